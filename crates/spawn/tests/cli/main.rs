//! The commands, run as their users run them.

#[path = "../support/mod.rs"]
mod support;

mod ec2;
mod environment;
mod help;
mod launching;
mod output;
mod refusals;
mod watching;
