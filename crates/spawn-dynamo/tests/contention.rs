//! Many agents at once, each with a connection of its own.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::Token;
use spawn_ports::ledger::{Commit, Ledger};

const TASKS: u64 = 500;
const AGENTS: usize = 8;

/// What all agents together know.
#[derive(Default)]
struct Seen {
    /// Who holds which position now.
    held: BTreeMap<u64, Token>,
    tokens: BTreeSet<Token>,
    committed: BTreeSet<u64>,
    interrupted: u64,
}

#[test]
fn each_position_has_one_holder_and_one_outcome() {
    let table = world::new_table();
    let id = world::array_id(1);
    let clock = AtomicU64::new(1_769_500_000_000_000);
    let now = || UnixMicros(clock.fetch_add(1, Ordering::Relaxed).cast_signed());
    let mut observer = world::ledger(&table);
    observer
        .submit(&world::new_array(id.clone(), TASKS), now())
        .unwrap();
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for n in 0..AGENTS {
            let (table, id, seen, now) = (&table, &id, &seen, &now);
            scope.spawn(move || {
                let mut ledger = world::ledger(table);
                let mut agent = ledger.enroll(&world::new_agent(id), now()).unwrap();
                for round in 0.. {
                    let claim = ledger.claim(agent, 3 + n as u32 % 3, now()).unwrap();
                    if claim.unfinished == 0 {
                        break;
                    }
                    let mut outcomes: Vec<Commit> = Vec::new();
                    {
                        let mut seen = seen.lock().unwrap();
                        let new = claim.tasks.is_empty() || seen.tokens.insert(claim.token);
                        assert!(new, "a token is given out once");
                        for task in &claim.tasks {
                            let other = seen.held.insert(task.position, claim.token);
                            assert_eq!(other, None, "two hold {}", task.position);
                            assert!(!seen.committed.contains(&task.position));
                            let interrupted = (task.position + round) % 7 == 0;
                            let cause = match interrupted {
                                true => Cause::Interrupted,
                                false => Cause::Succeeded,
                            };
                            outcomes.push(world::outcome(task.position, claim.token, cause, now()));
                        }
                        // Before the ledger is told: afterwards another may have them at once.
                        for outcome in &outcomes {
                            seen.held.remove(&outcome.position);
                            match outcome.report.ending.cause {
                                Cause::Succeeded => {
                                    assert!(seen.committed.insert(outcome.position));
                                }
                                _ => seen.interrupted += 1,
                            }
                        }
                    }
                    // Now and then an agent is lost with what it has; nobody told it.
                    if round % 20 == 19 && !outcomes.is_empty() {
                        let lost = ledger.end_agent(agent, now()).unwrap();
                        assert_eq!(lost.len(), outcomes.len());
                        let mut seen = seen.lock().unwrap();
                        for outcome in &outcomes {
                            match outcome.report.ending.cause {
                                Cause::Succeeded => {
                                    seen.committed.remove(&outcome.position);
                                }
                                _ => seen.interrupted -= 1,
                            }
                        }
                        drop(seen);
                        let late = ledger.commit(agent, &outcomes, now()).unwrap();
                        assert!(late.iter().all(Result::is_err));
                        agent = ledger.enroll(&world::new_agent(id), now()).unwrap();
                        continue;
                    }
                    let answers = ledger.commit(agent, &outcomes, now()).unwrap();
                    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                    // While others write, the counts add up.
                    if round % 10 == n as u64 {
                        let record = ledger.array(id).unwrap().unwrap();
                        assert_eq!(record.counts.total(), TASKS);
                    }
                }
            });
        }
    });
    let record = observer.array(&id).unwrap().unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.committed.len() as u64, TASKS);
    assert_eq!(record.counts.succeeded, TASKS);
    assert_eq!(record.interrupted, seen.interrupted);
    assert!(record.ended_at.is_some());
    assert!(observer.unfinished().unwrap().is_empty());
    let agents = observer.agents(&id, 1_000).unwrap();
    let done: u64 = agents.iter().map(|agent| agent.tasks_done).sum();
    assert_eq!(done, TASKS + seen.interrupted);
    for position in 0..TASKS {
        let attempts = observer.attempts(&id, position).unwrap();
        let well = attempts.iter().filter(|attempt| {
            let ending = attempt.ending.as_ref();
            ending.is_some_and(|ending| ending.cause == Cause::Succeeded)
        });
        assert_eq!(well.count(), 1, "one outcome of {position}");
    }
}
