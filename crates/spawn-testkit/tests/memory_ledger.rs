//! The plain ledger keeps the laws it stands for.

spawn_testkit::ledger_contract!(|| Box::new(spawn_testkit::MemoryLedger::new()));
