//! Measures `spawn` beside bare floors and other tools, in one run, and prints ratios.
//!
//! Every figure is printed beside its baseline and its goal, with the spread of its repetitions;
//! contestants take turns, so that a noisy machine shows instead of favouring one. Nothing here
//! asserts a time.
//!
//! - [`floor`]: what the floor programs `floor-bare` and `floor-sandbox` have in common.
//! - [`contest`]: one command, run and measured; repetitions; what they say together.
//! - [`home`]: a private home with a host of its own, from its start to its end.
//! - [`programs`]: where the programs are. [`options`]: the command line.
//! - [`sections`]: what is measured, one file each. [`report`]: the table at the end.

pub mod contest;
pub mod floor;
pub mod home;
pub mod options;
pub mod programs;
pub mod report;
pub mod sections;
