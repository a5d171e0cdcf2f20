//! The pure core of spawn: it decides from (event, now); the shells around it act.
//!
//! No clock, no files, no environment, no async runtime; a test over `cargo metadata` holds that.
//!
//! - [`task`] is the transition table of a task, [`outcome`] how attempts end, [`budgets`] what
//!   may be retried, [`max_failures`] when an array gives up, [`counts`] what its tasks add up to,
//!   [`observed`] what else is known of an attempt, [`failure_groups`] what failures have in common.
//! - [`supervise`] decides when a script is stopped and how hard, [`pace`] how many tasks an
//!   agent claims at a time, [`sharing`] which array gets a core of a machine.
//! - [`cost`] is what machines cost, from prices that are handed in.
//! - [`index_set`], [`duration`], [`exit_codes`], [`array_id`], [`instance_type`] and [`tags`] read what
//!   users write.

pub mod array_id;
pub mod budgets;
pub mod completion;
pub mod cost;
pub mod counts;
pub mod crew;
pub mod duration;
pub mod exit_codes;
pub mod failure_groups;
pub mod index_set;
pub mod instance_type;
pub mod max_failures;
pub mod moment;
pub mod observed;
pub mod outcome;
pub mod pace;
pub mod sharing;
pub mod supervise;
pub mod tags;
pub mod task;
