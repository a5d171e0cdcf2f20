//! The SQLite ledger keeps the laws of every ledger.

use std::path::PathBuf;

use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::Ledger;

/// Makes fresh ledgers in a directory that lives as long as the maker.
fn sqlite() -> impl FnMut() -> Box<dyn Ledger> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut made = 0;
    move || {
        made += 1;
        let path: PathBuf = dir.path().join(format!("{made}.db"));
        let ledger = SqliteLedger::open(&path, Durability::ProcessCrash);
        Box::new(ledger.expect("a new ledger"))
    }
}

spawn_testkit::ledger_contract!(sqlite());
