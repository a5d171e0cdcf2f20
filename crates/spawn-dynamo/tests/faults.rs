//! Whatever call of an operation fails, and however: done again, it comes to what it should.

mod world;

use std::cell::RefCell;
use std::rc::Rc;

use spawn_core::array_id::ArrayId;
use spawn_core::counts::Counts;
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState, Token};
use spawn_dynamo::{DynamoLedger, Retries};
use spawn_ports::ledger::{AgentId, Commit, Ledger, LedgerError, Reopen};
use world::{Fault, Faults, Faulty, Http};

/// Who repeats what failed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Again {
    /// The ledger, call by call.
    Ledger,
    /// Nobody below the caller, who asks for the whole operation again.
    Caller,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Claim,
    ClaimFresh,
    ClaimNothing,
    Commit,
    CommitLast,
    Release,
    EndAgent,
    Close,
    Reopen,
    Extend,
}

struct Scene {
    ledger: DynamoLedger<Faulty<Http>>,
    faults: Rc<RefCell<Faults>>,
    id: ArrayId,
    agent: AgentId,
    token: Token,
    /// Positions that the agent was told it has.
    told: Vec<u64>,
}

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

/// What remains of an array, tokens aside.
#[derive(Debug, PartialEq)]
struct Remains {
    tasks: Vec<(TaskState, u32, u32, u32, Option<Cause>, usize)>,
    counts: Counts,
    interrupted: u64,
    workers_lost: u64,
    ended: bool,
    deadline: UnixMicros,
    tasks_done: u64,
    agent_ended: bool,
}

impl Scene {
    /// Seven tasks: one has succeeded, one was handed back, two run, three nobody touched.
    fn new(table: &str, n: u32, again: Again) -> Scene {
        let (api, faults) = Faulty::over(Http::new());
        let mut options = world::options(table);
        if again == Again::Caller {
            options.retries = Retries::none();
        }
        let mut ledger = DynamoLedger::new(api, options);
        let id = world::array_id(n);
        ledger
            .submit(&world::new_array(id.clone(), 7), NOW)
            .unwrap();
        let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
        let claim = ledger.claim(agent, 4, NOW).unwrap();
        let token = claim.token;
        let commits = [
            world::outcome(0, token, Cause::Succeeded, NOW),
            world::outcome(1, token, Cause::Interrupted, NOW),
        ];
        let answers = ledger.commit(agent, &commits, NOW).unwrap();
        assert!(answers.iter().all(Result::is_ok));
        Scene {
            ledger,
            faults,
            id,
            agent,
            token,
            told: vec![2, 3],
        }
    }

    fn outcomes(&self) -> Vec<Commit> {
        let outcome = |at: &u64| world::outcome(*at, self.token, Cause::Succeeded, NOW);
        self.told.iter().map(outcome).collect()
    }

    /// What comes before the operation.
    fn prepare(&mut self, operation: Operation) {
        match operation {
            Operation::ClaimFresh | Operation::ClaimNothing | Operation::CommitLast => {
                let claim = self.ledger.claim(self.agent, 1, NOW).unwrap();
                assert_eq!(claim.tasks[0].position, 1);
                let last = [world::outcome(1, claim.token, Cause::Succeeded, NOW)];
                self.ledger.commit(self.agent, &last, NOW).unwrap();
            }
            Operation::Reopen => {
                self.ledger.close(&self.id, Intent::Expired, NOW).unwrap();
            }
            _ => {}
        }
        if matches!(operation, Operation::ClaimNothing | Operation::CommitLast) {
            let claim = self.ledger.claim(self.agent, 9, NOW).unwrap();
            let all: Vec<Commit> = (4..7)
                .map(|at| world::outcome(at, claim.token, Cause::Skipped, NOW))
                .collect();
            self.ledger.commit(self.agent, &all, NOW).unwrap();
        }
    }

    fn try_it(&mut self, operation: Operation) -> Result<(), LedgerError> {
        let Scene {
            ledger, id, agent, ..
        } = self;
        match operation {
            Operation::Claim | Operation::ClaimFresh | Operation::ClaimNothing => {
                let claim = ledger.claim(*agent, 3, NOW)?;
                self.told
                    .extend(claim.tasks.iter().map(|task| task.position));
            }
            Operation::Commit | Operation::CommitLast => {
                let outcomes = self.outcomes();
                let answers = self.ledger.commit(self.agent, &outcomes, NOW)?;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                self.told.clear();
            }
            Operation::Release => {
                ledger.release(*agent, self.token, &[3], NOW)?;
                self.told = vec![2];
            }
            Operation::EndAgent => {
                ledger.end_agent(*agent, NOW)?;
                self.told.clear();
            }
            Operation::Close => {
                let record = ledger.close(id, Intent::Cancel, NOW)?;
                assert_eq!(record.intent, Intent::Cancel);
            }
            Operation::Reopen => {
                let which = IndexSet::from_indices([0, 1, 5]).unwrap();
                ledger.reopen(id, &Reopen::Positions(which), UnixMicros(5), NOW)?;
            }
            Operation::Extend => {
                ledger.extend(id, UnixMicros(6))?;
            }
        }
        Ok(())
    }

    fn remains(&mut self) -> Remains {
        let record = self.ledger.array(&self.id).unwrap().unwrap();
        let agent = self.ledger.agent(self.agent).unwrap().unwrap();
        let rows = world::all_tasks(&mut self.ledger, &self.id);
        let running = rows.iter().filter(|row| row.state == TaskState::Running);
        let running: Vec<u64> = running.map(|row| row.position).collect();
        self.told.sort_unstable();
        assert_eq!(running, self.told, "an agent knows its leases");
        for state in TaskState::ALL {
            let rows = rows.iter().filter(|row| row.state == state).count() as u64;
            assert_eq!(record.counts.of(state), rows, "{state:?}");
        }
        let mut tasks = Vec::new();
        for row in rows {
            let attempts = self.ledger.attempts(&self.id, row.position).unwrap();
            tasks.push((
                row.state,
                row.attempt,
                row.spent.interrupted,
                row.spent.worker_lost,
                row.ending.map(|ending| ending.cause),
                attempts.len(),
            ));
        }
        Remains {
            tasks,
            counts: record.counts,
            interrupted: record.interrupted,
            workers_lost: record.workers_lost,
            ended: record.ended_at.is_some(),
            deadline: record.submitted.deadline,
            tasks_done: agent.tasks_done,
            agent_ended: agent.ended_at.is_some(),
        }
    }
}

fn survives_every_fault(operation: Operation) {
    let table = world::new_table();
    let mut n = 0;
    let mut scene = |again| {
        n += 1;
        let mut scene = Scene::new(&table, n, again);
        scene.prepare(operation);
        scene.faults.borrow_mut().calls.clear();
        scene
    };
    let mut plain = scene(Again::Ledger);
    plain.try_it(operation).unwrap();
    let calls = plain.faults.borrow().calls.len();
    let expected = plain.remains();
    for again in [Again::Ledger, Again::Caller] {
        for fault in Fault::ALL {
            for at in 0..calls {
                let what = format!("{operation:?}, {fault:?} at call {at}, {again:?} repeats");
                let mut scene = scene(again);
                let mut next: Vec<Option<Fault>> = vec![None; at];
                next.push(Some(fault));
                scene.faults.borrow_mut().next.extend(next);
                let tries = if again == Again::Ledger { 1 } else { 3 };
                let done = (0..tries).any(|_| scene.try_it(operation).is_ok());
                assert!(done, "{what}");
                assert!(scene.faults.borrow().next.is_empty(), "{what}: came to it");
                assert_eq!(scene.remains(), expected, "{what}");
            }
        }
    }
}

/// Whoever was at it is gone for good: others end its agent, and run the array to its end.
fn outlives_whoever_did_it(operation: Operation) {
    let table = world::new_table();
    let mut n = 0;
    for fault in [Fault::LostAnswer, Fault::ServerError] {
        for at in 0.. {
            n += 1;
            let mut scene = Scene::new(&table, n, Again::Caller);
            scene.prepare(operation);
            let mut next: Vec<Option<Fault>> = vec![None; at];
            next.push(Some(fault));
            scene.faults.borrow_mut().next.extend(next);
            let _ = scene.try_it(operation);
            if !scene.faults.borrow().next.is_empty() {
                assert!(at > 1, "{operation:?} takes some calls");
                break;
            }
            let what = format!("{operation:?}, {fault:?} at call {at}");
            run_to_the_end(&table, &scene.id, scene.agent, &what);
        }
    }
}

fn run_to_the_end(table: &str, id: &ArrayId, gone: AgentId, what: &str) {
    let mut ledger = world::ledger(table);
    ledger.end_agent(gone, NOW).unwrap();
    let heir = ledger.enroll(&world::new_agent(id), NOW).unwrap();
    let mut now = NOW;
    loop {
        let record = ledger.array(id).unwrap().unwrap();
        assert_eq!(record.counts.total(), 7, "{what}");
        let claim = ledger.claim(heir, 2, now).unwrap();
        if claim.unfinished == 0 {
            break;
        }
        let outcomes: Vec<Commit> = claim
            .tasks
            .iter()
            .map(|task| world::outcome(task.position, claim.token, Cause::Succeeded, now))
            .collect();
        let answers = ledger.commit(heir, &outcomes, now).unwrap();
        assert!(answers.iter().all(Result::is_ok), "{what}");
        now = now.plus_millis(60_000);
        assert!(now < NOW.plus_millis(3_600_000), "{what}: {record:?}");
    }
    let record = ledger.array(id).unwrap().unwrap();
    assert!(record.ended_at.is_some(), "{what}");
    let rows = world::all_tasks(&mut ledger, id);
    for state in TaskState::ALL {
        let rows = rows.iter().filter(|row| row.state == state).count() as u64;
        assert_eq!(record.counts.of(state), rows, "{what}: {state:?}");
    }
    assert!(rows.iter().all(|row| row.state.is_terminal()), "{what}");
    let unfinished = ledger.unfinished().unwrap();
    assert!(unfinished.iter().all(|array| array.submitted.id != *id));
}

#[test]
fn an_array_outlives_whoever_died_at_it() {
    for operation in [
        Operation::Claim,
        Operation::ClaimFresh,
        Operation::Commit,
        Operation::CommitLast,
        Operation::Release,
        Operation::EndAgent,
        Operation::Close,
        Operation::Reopen,
    ] {
        outlives_whoever_did_it(operation);
    }
}

macro_rules! operations {
    ($($name:ident $operation:ident)*) => {$(
        #[test]
        fn $name() {
            survives_every_fault(Operation::$operation);
        }
    )*};
}

operations! {
    a_claim_survives_every_fault Claim
    a_claim_of_fresh_tasks_survives_every_fault ClaimFresh
    an_empty_claim_survives_every_fault ClaimNothing
    a_commit_survives_every_fault Commit
    the_last_commit_survives_every_fault CommitLast
    a_release_survives_every_fault Release
    the_end_of_an_agent_survives_every_fault EndAgent
    a_closing_survives_every_fault Close
    a_reopening_survives_every_fault Reopen
    a_new_deadline_survives_every_fault Extend
}
