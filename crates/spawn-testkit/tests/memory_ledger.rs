//! The plain ledger keeps the laws it stands for.

use spawn_testkit::{MemoryLedger, ledger_model};

spawn_testkit::ledger_contract!(|| Box::new(MemoryLedger::new()));

/// The laws are those of `ledger_model::laws`, over more histories than a ledger on disk has time
/// for: claims, commits, retries, releases, lost workers, late commits, closings, reopenings and a
/// clock that goes both ways, in any order.
#[test]
fn no_task_is_lost_or_ends_twice_and_every_array_ends_under_any_interleaving() {
    ledger_model::random_histories(256, &mut || Box::new(MemoryLedger::new()));
}
