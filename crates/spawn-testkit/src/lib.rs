//! In-memory ports and contract suites for tests.
//!
//! - [`memory_ledger`]: the ledger as plain maps, written to be obviously right.
//! - [`mod@ledger_contract`]: what every ledger must do, one public function per law;
//!   [`ledger_contract!`] makes a `#[test]` of each for one implementation.
//! - [`ledger_model`]: random histories run against a ledger and the plain one side by side.

pub mod ledger_contract;
pub mod ledger_model;
pub mod memory_ledger;

pub use memory_ledger::MemoryLedger;
