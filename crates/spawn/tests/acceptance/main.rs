//! The promises, kept by real processes: the how-to's scripts with the real AWS CLI, crashes,
//! sandboxes, stops and completions.

#[path = "../support/mod.rs"]
mod support;

mod completing;
mod crashes;
mod docs;
mod fairness;
mod how_to;
mod people;
mod retrying;
mod sandboxes;
mod shared;
mod stopping;
mod sweeps;
