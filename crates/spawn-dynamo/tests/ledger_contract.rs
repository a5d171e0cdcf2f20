//! The DynamoDB ledger keeps the laws of every ledger.

mod world;

use spawn_ports::ledger::Ledger;

/// Makes fresh ledgers, each in a table of its own.
fn dynamo() -> impl FnMut() -> Box<dyn Ledger> {
    || Box::new(world::ledger(&world::new_table()))
}

// A history takes some thousand requests.
spawn_testkit::ledger_contract!(dynamo(), histories: 6);
