//! How many calls an operation takes, and what it takes when there are many tasks or agents.

mod world;

use std::cell::RefCell;
use std::rc::Rc;

use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::Intent;
use spawn_dynamo::DynamoLedger;
use spawn_ports::ledger::{Commit, Ledger, Reopen};
use world::{Faults, Faulty, Http};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

fn counted() -> (DynamoLedger<Faulty<Http>>, Rc<RefCell<Faults>>) {
    let (api, faults) = Faulty::over(Http::new());
    let ledger = DynamoLedger::new(api, world::options(&world::new_table()));
    (ledger, faults)
}

/// The calls since the last look.
fn calls(faults: &RefCell<Faults>) -> Vec<String> {
    std::mem::take(&mut faults.borrow_mut().calls)
}

#[test]
fn claims_and_commits_take_few_calls_however_many_tasks() {
    let (mut ledger, faults) = counted();
    let id = world::array_id(0);
    ledger
        .submit(&world::new_array(id.clone(), 1_000_000), NOW)
        .unwrap();
    let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
    calls(&faults);
    for want in [1, 48] {
        let claim = ledger.claim(agent, want, NOW).unwrap();
        assert_eq!(claim.tasks.len(), want as usize);
        assert_eq!(
            calls(&faults),
            ["Query", "UpdateItem", "TransactWriteItems"]
        );
        let outcome = |cause| -> Vec<Commit> {
            let tasks = claim.tasks.iter();
            tasks
                .map(|t| world::outcome(t.position, claim.token, cause, NOW))
                .collect()
        };
        ledger
            .commit(agent, &outcome(Cause::Interrupted), NOW)
            .unwrap();
        assert_eq!(calls(&faults), ["BatchGetItem", "TransactWriteItems"]);
        let claim = ledger.claim(agent, want, NOW).unwrap();
        assert_eq!(claim.tasks[0].attempt, 2);
        let looked = [
            "Query",
            "Query",
            "BatchGetItem",
            "UpdateItem",
            "TransactWriteItems",
        ];
        assert_eq!(calls(&faults), looked);
        ledger
            .commit(agent, &outcome(Cause::Succeeded), NOW)
            .unwrap();
        calls(&faults);
        let positions: Vec<u64> = claim.tasks.iter().map(|t| t.position).collect();
        ledger.release(agent, claim.token, &positions, NOW).unwrap();
        assert_eq!(
            calls(&faults),
            ["BatchGetItem", "BatchGetItem", "TransactWriteItems"]
        );
        let again = ledger.claim(agent, want, NOW).unwrap();
        let outcomes: Vec<Commit> = again
            .tasks
            .iter()
            .map(|t| world::outcome(t.position, again.token, Cause::Succeeded, NOW))
            .collect();
        ledger.commit(agent, &outcomes, NOW).unwrap();
        calls(&faults);
    }
    let claim = ledger.claim(agent, 1_000, NOW).unwrap();
    assert_eq!(claim.tasks.len(), 48, "what one transaction holds");
    calls(&faults);
    ledger.end_agent(agent, NOW).unwrap();
    assert_eq!(
        calls(&faults),
        ["BatchGetItem", "BatchGetItem", "TransactWriteItems"]
    );
}

#[test]
fn the_last_commit_looks_whether_it_was() {
    let (mut ledger, faults) = counted();
    let id = world::array_id(0);
    ledger
        .submit(&world::new_array(id.clone(), 2), NOW)
        .unwrap();
    let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
    let token = ledger.claim(agent, 2, NOW).unwrap().token;
    calls(&faults);
    let mut commit = |position| {
        let outcome = world::outcome(position, token, Cause::Succeeded, NOW);
        ledger.commit(agent, &[outcome], NOW).unwrap();
        calls(&faults)
    };
    assert_eq!(commit(0), ["BatchGetItem", "TransactWriteItems"]);
    let last = ["BatchGetItem", "TransactWriteItems", "Query", "UpdateItem"];
    assert_eq!(commit(1), last);
}

#[test]
fn a_million_tasks_are_closed_and_opened_by_a_few_calls() {
    let (mut ledger, faults) = counted();
    let id = world::array_id(0);
    calls(&faults);
    ledger
        .submit(&world::new_array(id.clone(), 1_000_000), NOW)
        .unwrap();
    let submitted = calls(&faults).len();
    assert!(
        submitted <= 12,
        "{submitted}, the table's creation included"
    );
    ledger
        .submit(&world::new_array(world::array_id(1), 1_000_000), NOW)
        .unwrap();
    assert_eq!(
        calls(&faults),
        ["Query", "UpdateItem", "TransactWriteItems"]
    );
    let record = ledger.close(&id, Intent::Expired, NOW).unwrap();
    assert_eq!(record.counts.failed, 1_000_000);
    let closed = calls(&faults);
    assert!(closed.len() <= 6, "{closed:?}");
    let count = ledger.reopen(&id, &Reopen::Failed, NOW, NOW).unwrap();
    assert_eq!(count, 1_000_000);
    assert_eq!(calls(&faults), ["GetItem", "Query", "TransactWriteItems"]);
    assert_eq!(
        ledger.array(&id).unwrap().unwrap().counts.pending,
        1_000_000
    );
}

#[test]
fn an_array_of_many_agents_is_read_by_one_query() {
    let (mut ledger, faults) = counted();
    let id = world::array_id(0);
    ledger
        .submit(&world::new_array(id.clone(), 1_000), NOW)
        .unwrap();
    let mut agents = Vec::new();
    for _ in 0..300 {
        let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
        agents.push(agent);
    }
    for agent in &agents[..20] {
        ledger.claim(*agent, 2, NOW).unwrap();
    }
    calls(&faults);
    let record = ledger.array(&id).unwrap().unwrap();
    assert_eq!((record.counts.running, record.counts.pending), (40, 960));
    assert_eq!(calls(&faults), ["Query"]);
    assert_eq!(ledger.agents(&id, 1_000).unwrap().len(), 300);
    let read = calls(&faults);
    assert!(
        read.len() <= 4,
        "one query and pages of a hundred: {read:?}"
    );
    assert_eq!(ledger.live_agents().unwrap().len(), 300);
    let read = calls(&faults);
    assert!(read.len() <= 8, "{read:?}");
}
