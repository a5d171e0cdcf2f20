//! The seams between the pure core and the world, one trait a file.
//!
//! - [`ledger`]: the durable record of arrays, tasks, attempts, leases and agents.

pub mod ledger;
