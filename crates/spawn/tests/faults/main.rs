//! Faults, one at a time: of the disk, of the machine, of other programs, of scripts; and what people
//! do about them.

#[allow(dead_code, reason = "each test program uses a part")]
mod processes;
#[path = "../acceptance/shared.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

mod clocks;
mod failed_calls;
mod homes;
mod hosts;
mod interventions;
mod isolations;
mod losses;
mod misbehaving;
mod observing;
mod other_users;
mod pieces;
mod stops;
mod strangers;
mod vanishing;
