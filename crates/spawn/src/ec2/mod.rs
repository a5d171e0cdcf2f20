//! EC2, as the commands see it.
//!
//! - [`account`]: who is signed in, and where. [`programs`]: what machines are given to run.
//! - [`regions`]: which regions a command looks at.
//! - [`known`]: the arrays that were launched from this home. [`backend`]: questions about an array,
//!   answered from its ledger and its bucket, where the background host answers on this machine.

pub mod account;
pub mod backend;
pub mod known;
pub mod programs;
pub mod regions;
