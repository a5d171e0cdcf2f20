//! The seams between the pure core and the world, one trait a file.
//!
//! - [`ledger`]: the durable record of arrays, tasks, attempts, leases and agents.
//! - [`objects`]: bytes under names that outlive every machine.
//! - [`machine`]: the machine a worker is, what is heard of its end, and how it leaves.

pub mod ledger;
pub mod machine;
pub mod objects;
