//! Agents that die between being given positions and writing them down.

mod world;

use std::collections::VecDeque;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_dynamo::{DynamoLedger, Retries};
use spawn_ports::ledger::{AgentId, Ledger};
use world::{Fault, Faulty, Http};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

/// An agent that was given the first three positions and wrote none.
struct BrokenOff {
    ledger: DynamoLedger<Faulty<Http>>,
    table: String,
    id: ArrayId,
    agent: AgentId,
}

fn broken_off(total: u64) -> BrokenOff {
    let table = world::new_table();
    let (api, faults) = Faulty::over(Http::new());
    let mut options = world::options(&table);
    options.retries = Retries::none();
    let mut ledger = DynamoLedger::new(api, options);
    let id = world::array_id(0);
    ledger
        .submit(&world::new_array(id.clone(), total), NOW)
        .unwrap();
    let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
    let third: VecDeque<_> = [None, None, Some(Fault::ServerError)].into();
    faults.borrow_mut().next = third;
    ledger.claim(agent, 3, NOW).unwrap_err();
    BrokenOff {
        ledger,
        table,
        id,
        agent,
    }
}

#[test]
fn what_was_given_out_and_not_written_waits() {
    let mut it = broken_off(5);
    let record = it.ledger.array(&it.id).unwrap().unwrap();
    assert_eq!((record.counts.pending, record.counts.running), (5, 0));
    let row = it.ledger.task(&it.id, 1).unwrap().unwrap();
    assert_eq!((row.state, row.attempt), (TaskState::Pending, 0));
    // The agent lives: its next claim goes on where the last broke off.
    let claim = it.ledger.claim(it.agent, 3, NOW).unwrap();
    let positions: Vec<u64> = claim.tasks.iter().map(|task| task.position).collect();
    assert_eq!(positions, [0, 1, 2]);
    let claim = it.ledger.claim(it.agent, 3, NOW).unwrap();
    assert_eq!(claim.tasks.len(), 2);
}

#[test]
fn a_smaller_claim_goes_on_and_hands_back_the_rest() {
    let mut it = broken_off(5);
    let claim = it.ledger.claim(it.agent, 1, NOW).unwrap();
    assert_eq!(claim.tasks.len(), 1);
    assert_eq!(claim.tasks[0].position, 0);
    let record = it.ledger.array(&it.id).unwrap().unwrap();
    assert_eq!((record.counts.pending, record.counts.running), (4, 1));
    let claim = it.ledger.claim(it.agent, 9, NOW).unwrap();
    assert_eq!(claim.tasks.len(), 4);
    assert!(claim.tasks.iter().all(|task| task.attempt == 1));
}

#[test]
fn they_are_lost_with_their_agent() {
    let it = broken_off(5);
    let mut observer = world::ledger(&it.table);
    assert_eq!(observer.end_agent(it.agent, NOW).unwrap(), [0, 1, 2]);
    assert!(observer.end_agent(it.agent, NOW).unwrap().is_empty());
    let row = observer.task(&it.id, 1).unwrap().unwrap();
    assert_eq!((row.state, row.attempt), (TaskState::Pending, 1));
    assert_eq!((row.spent.worker_lost, row.agent), (1, Some(it.agent)));
    let attempts = observer.attempts(&it.id, 1).unwrap();
    let ending = attempts[0].ending.as_ref().unwrap();
    assert_eq!((attempts.len(), ending.cause), (1, Cause::WorkerLost));
    let record = observer.array(&it.id).unwrap().unwrap();
    assert_eq!((record.workers_lost, record.counts.pending), (3, 5));
    let heir = observer.enroll(&world::new_agent(&it.id), NOW).unwrap();
    let claim = observer.claim(heir, 9, NOW).unwrap();
    let positions: Vec<u64> = claim.tasks.iter().map(|task| task.position).collect();
    assert_eq!(positions, [0, 1, 2, 3, 4]);
    // The agent was only slow; it is refused.
    let mut late = it.ledger;
    late.claim(it.agent, 3, NOW).unwrap_err();
    assert_eq!(observer.array(&it.id).unwrap().unwrap().counts.running, 5);
}

#[test]
fn they_are_claimable_after_a_lease_period_though_nobody_remembers_whose_they_were() {
    let it = broken_off(203);
    let mut other = world::ledger(&it.table);
    let heir = other.enroll(&world::new_agent(&it.id), NOW).unwrap();
    // So many claims that the head forgets the one that broke off.
    let mut claimed = 0;
    for _ in 0..200 {
        let claim = other.claim(heir, 1, NOW).unwrap();
        claimed += claim.tasks.len();
        let outcome = world::outcome(claim.tasks[0].position, claim.token, Cause::Succeeded, NOW);
        other.commit(heir, &[outcome], NOW).unwrap();
    }
    assert_eq!(claimed, 200);
    assert!(other.end_agent(it.agent, NOW).unwrap().is_empty());
    let claim = other.claim(heir, 9, NOW).unwrap();
    assert_eq!((claim.tasks.len(), claim.unfinished), (0, 3));
    let due = NOW.plus_millis(120_000);
    assert_eq!(claim.next_due, Some(due), "worth another look");
    let soon = UnixMicros(due.0 - 1);
    assert!(other.claim(heir, 9, soon).unwrap().tasks.is_empty());
    let claim = other.claim(heir, 9, due).unwrap();
    let positions: Vec<u64> = claim.tasks.iter().map(|task| task.position).collect();
    assert_eq!(positions, [0, 1, 2]);
    for position in positions {
        let outcome = world::outcome(position, claim.token, Cause::Succeeded, due);
        other.commit(heir, &[outcome], due).unwrap()[0].unwrap();
    }
    let record = other.array(&it.id).unwrap().unwrap();
    assert_eq!(record.counts.succeeded, 203);
    assert_eq!(record.ended_at, Some(due));
}

#[test]
fn a_claim_that_comes_too_late_takes_nothing_from_anybody() {
    let mut it = broken_off(3);
    let mut other = world::ledger(&it.table);
    let heir = other.enroll(&world::new_agent(&it.id), NOW).unwrap();
    assert!(other.claim(heir, 9, NOW).unwrap().tasks.is_empty());
    let later = NOW.plus_millis(120_000);
    assert_eq!(other.claim(heir, 2, later).unwrap().tasks.len(), 2);
    // The first agent goes on: one position is left for it.
    let claim = it.ledger.claim(it.agent, 3, later).unwrap();
    let positions: Vec<u64> = claim.tasks.iter().map(|task| task.position).collect();
    assert_eq!(positions, [2]);
    let record = other.array(&it.id).unwrap().unwrap();
    assert_eq!((record.counts.running, record.counts.pending), (3, 0));
}

#[test]
fn a_closed_and_reopened_array_has_them_again() {
    let mut it = broken_off(5);
    let mut other = world::ledger(&it.table);
    let record = other.close(&it.id, Intent::Cancel, NOW).unwrap();
    assert_eq!((record.counts.cancelled, record.ended_at), (5, Some(NOW)));
    assert!(it.ledger.claim(it.agent, 3, NOW).unwrap().tasks.is_empty());
    let which = spawn_core::index_set::IndexSet::from_indices([1, 4]).unwrap();
    let which = spawn_ports::ledger::Reopen::Positions(which);
    assert_eq!(other.reopen(&it.id, &which, NOW, NOW).unwrap(), 2);
    let claim = it.ledger.claim(it.agent, 9, NOW).unwrap();
    let positions: Vec<u64> = claim.tasks.iter().map(|task| task.position).collect();
    assert_eq!(positions, [1, 4]);
    let record = other.array(&it.id).unwrap().unwrap();
    assert_eq!((record.counts.running, record.counts.cancelled), (2, 3));
    assert_eq!(record.counts.pending, 0);
}
