//! The pure core of spawn: it decides from (event, now); the shells around it act.
//!
//! No clock, no files, no environment, no async runtime; a test over `cargo metadata` holds that.
//!
//! - [`task`] is the transition table of a task, [`outcome`] how attempts end, [`budgets`] what
//!   may be retried, [`counts`] what an array's tasks add up to.
//! - [`supervise`] decides when a script is stopped and how hard, [`pace`] how many tasks an
//!   agent claims at a time.
//! - [`index_set`], [`duration`], [`array_id`], [`instance_type`] and [`tags`] read what users write.

pub mod array_id;
pub mod budgets;
pub mod completion;
pub mod counts;
pub mod duration;
pub mod index_set;
pub mod instance_type;
pub mod moment;
pub mod outcome;
pub mod pace;
pub mod supervise;
pub mod tags;
pub mod task;
