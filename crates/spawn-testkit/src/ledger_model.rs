//! Random histories, run against a ledger and the plain one side by side.
//!
//! ```no_run
//! # use spawn_testkit::{MemoryLedger, ledger_model};
//! ledger_model::random_histories(64, &mut || Box::new(MemoryLedger::new()));
//! ```
//!
//! After every step each answer, and all that can be read of the array it touched, must be the
//! same in both. Besides, whatever the two agree on must keep the laws of `laws`: they are asked
//! of the ledger's own answers. At the end of a history every array is run to its end, or its
//! deadline passes: nothing is lost, and whoever waits for an array's end sees it.
//! `PROPTEST_CASES` sets how many histories are played, whatever a test asks for.

mod history;
mod laws;
mod map_agents;

pub use history::{Forgery, Step, histories};

use std::fmt::Debug;

use proptest::test_runner::{Config, TestRunner};
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::{FailedCall, Usage};
use spawn_core::outcome::{Cause, Ending, Report};
use spawn_core::task::{Intent, TaskState, Token};
use spawn_ports::ledger::{
    AgentId, ArrayRecord, Commit, Ledger, LedgerError, LogSpan, NewAgent, NewArray, Reopen,
    TaskQuery, TaskRow,
};

use crate::MemoryLedger;
use laws::Laws;
use map_agents::MapAgents;

/// Plays `cases` random histories against fresh ledgers.
///
/// # Panics
/// If a ledger answers differently from the plain one; shows the shortest such history.
pub fn random_histories(cases: u32, fresh: &mut dyn FnMut() -> Box<dyn Ledger>) {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let fresh = std::cell::RefCell::new(fresh);
    TestRunner::new(config)
        .run(&histories(60), |history| {
            let mut ledger = (fresh.borrow_mut())();
            play(ledger.as_mut(), &history);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Plays one history to its end on an empty ledger.
///
/// # Panics
/// If the ledger answers differently from the plain one.
pub fn play(ledger: &mut dyn Ledger, history: &[Step]) {
    let mut twin = Twin::new();
    for step in history {
        twin.step(ledger, step);
    }
    twin.finish(ledger);
}

#[derive(Debug, Clone)]
struct Lease {
    agent: usize,
    position: u64,
    token: Token,
}

/// The plain ledger, and what was done to both.
#[derive(Debug, Default)]
pub struct Twin {
    model: MemoryLedger,
    now: i64,
    arrays: Vec<ArrayId>,
    /// The same agent in both ledgers, and its array.
    agents: Vec<(AgentId, AgentId, usize)>,
    leases: Vec<Lease>,
    laws: Laws,
}

impl Twin {
    /// Nothing has happened yet.
    pub fn new() -> Twin {
        Twin {
            now: 1_769_500_000_000_000,
            ..Twin::default()
        }
    }

    /// Does one step to both ledgers and compares.
    ///
    /// # Panics
    /// If they differ.
    pub fn step(&mut self, ledger: &mut dyn Ledger, step: &Step) {
        self.now += 1;
        match step {
            Step::Submit {
                total,
                retries,
                backoff,
                lanes,
            } => self.submit(ledger, *total, *retries, *backoff, *lanes),
            Step::Enroll(array, lane) => self.enroll(ledger, *array, *lane),
            Step::Claim { agent, want } => self.claim(ledger, *agent, *want),
            Step::Commit { agent, leases } => self.commit(ledger, *agent, leases),
            Step::Release {
                lease,
                more,
                forgery,
            } => self.release(ledger, *lease, *more, *forgery),
            Step::EndAgent(agent) => self.end_agent(ledger, *agent),
            Step::Close(array, intent) => self.close(ledger, *array, *intent),
            Step::Extend(array) => self.extend(ledger, *array),
            Step::ReopenFailed(array) => self.reopen(ledger, *array, &Reopen::Failed),
            Step::ReopenSome { array, first, step } => {
                let positions = IndexSet::from_indices((0..4).map(|n| first + n * step));
                let positions = positions.expect("small positions");
                self.reopen(ledger, *array, &Reopen::Positions(positions));
            }
            Step::AllEnd => (0..self.agents.len()).for_each(|n| self.end_agent(ledger, n)),
            Step::Pass(millis) => self.now += *millis as i64 * 1_000,
            Step::SetBack(millis) => self.now -= *millis as i64 * 1_000,
        }
    }

    fn now(&self) -> UnixMicros {
        UnixMicros(self.now)
    }

    fn submit(
        &mut self,
        ledger: &mut dyn Ledger,
        total: u64,
        retries: u32,
        backoff: u64,
        lanes: u64,
    ) {
        // Now and then an id that is taken.
        let n = (self.arrays.len() % 4) as u8;
        let array = NewArray {
            id: ArrayId::new(2026, 1, 27, [n; 6]).expect("a day"),
            name: format!("array {n}"),
            spec: r#"{"any":"thing"}"#.to_owned(),
            total,
            budgets: Budgets {
                exit: retries,
                timeout: retries,
                out_of_memory: retries,
                interrupted: retries + 1,
                worker_lost: retries,
                launch_failed: retries,
                backoff_millis: backoff,
                backoff_max_millis: backoff * 2,
                ..Budgets::default()
            },
            deadline: self.now().plus_millis(total),
            lanes: split(total, lanes),
        };
        let now = self.now();
        let expected = self.model.submit(&array, now);
        let got = ledger.submit(&array, now);
        same("submit", &expected, &got);
        if expected.is_ok() {
            self.arrays.push(array.id);
            self.look(ledger, self.arrays.len() - 1);
        }
    }

    fn enroll(&mut self, ledger: &mut dyn Ledger, array: usize, lane: u32) {
        let Some(at) = nth_of(array, self.arrays.len()) else {
            return;
        };
        let agent = NewAgent {
            array: self.arrays[at].clone(),
            slot: self.agents.len() as u32,
            lane,
            pid: 4_000_000,
            pid_started: u64::MAX - self.agents.len() as u64,
            boot: "6c3f".to_owned(),
            hostname: format!("worker-{array}"),
        };
        let now = self.now();
        let expected = self.model.enroll(&agent, now);
        let got = ledger.enroll(&agent, now);
        let (Ok(expected), Ok(got)) = (&expected, &got) else {
            same("enroll", &expected, &got);
            return;
        };
        assert!(
            self.agents.iter().all(|(_, real, _)| real != got),
            "agent id {got:?} was used before"
        );
        self.agents.push((*expected, *got, at));
        self.look(ledger, at);
    }

    fn claim(&mut self, ledger: &mut dyn Ledger, agent: usize, want: u32) {
        let Some(at) = nth_of(agent, self.agents.len()) else {
            return;
        };
        let (model, real, array) = self.agents[at];
        let now = self.now();
        let expected = self.model.claim(model, want, now);
        let got = ledger.claim(real, want, now);
        self.same_but_agents("claim", &expected, &got);
        if let Ok(claim) = expected {
            let record = ledger.agent(real).expect("reads").expect("is enrolled");
            let submitted = self.record(ledger, array).submitted;
            self.laws.claimed(array, &submitted, &record, &claim);
            self.leases.extend(claim.tasks.iter().map(|task| Lease {
                agent: at,
                position: task.position,
                token: claim.token,
            }));
        }
        self.look(ledger, array);
    }

    fn lease(&self, back: usize) -> Option<Lease> {
        let at = nth_of(back, self.leases.len())?;
        self.leases.iter().rev().nth(at).cloned()
    }

    fn commit(
        &mut self,
        ledger: &mut dyn Ledger,
        agent: Option<usize>,
        picks: &[(usize, Forgery, Cause)],
    ) {
        let Some(first) = picks.first().and_then(|pick| self.lease(pick.0)) else {
            return;
        };
        let named = agent.and_then(|n| nth_of(n, self.agents.len()));
        let (model, real, array) = self.agents[named.unwrap_or(first.agent)];
        let mut commits = Vec::new();
        for (n, (back, forgery, cause)) in picks.iter().enumerate() {
            if let Some(lease) = self.lease(*back) {
                let (position, token) = forge(&lease, *forgery);
                commits.push(self.outcome(n, position, token, *cause));
            }
        }
        let now = self.now();
        let expected = self.model.commit(model, &commits, now);
        let got = ledger.commit(real, &commits, now);
        self.same_but_agents("commit", &expected, &got);
        let answers = got.expect("the agent is enrolled");
        for (commit, _) in commits
            .iter()
            .zip(answers)
            .filter(|(_, answer)| answer.is_ok())
        {
            // Whoever brought it: the lease that its token proves.
            let proven = self.leases.iter().find(|lease| {
                let of = self.agents[lease.agent].2;
                (of, lease.position, lease.token) == (array, commit.position, commit.token)
            });
            let holder = self.agents[proven.expect("there is such a lease").agent].1;
            let holder = ledger.agent(holder).expect("reads").expect("is enrolled");
            self.laws.committed(array, commit, &holder);
        }
        self.look(ledger, array);
    }

    fn outcome(&self, n: usize, position: u64, token: Token, cause: Cause) -> Commit {
        let odd = n % 2 == 1;
        Commit {
            position,
            token,
            report: Report {
                ending: Ending {
                    cause,
                    exit_code: odd.then_some(-7),
                    signal: (!odd).then_some(9),
                    message: odd.then(|| format!("said at {}", self.now)),
                    last_stderr: (!odd).then(|| "gone".to_owned()),
                },
            },
            started_at: UnixMicros(self.now - 900),
            ended_at: UnixMicros(self.now - n as i64),
            log: LogSpan {
                offset: u64::from(u32::MAX) + n as u64,
                len: n as u64,
            },
            usage: odd.then_some(Usage {
                peak_memory_bytes: self.now as u64,
                cpu_micros: n as u64,
            }),
            failed_calls: failed_calls(n),
        }
    }

    fn release(&mut self, ledger: &mut dyn Ledger, back: usize, more: u64, forgery: Forgery) {
        let Some(lease) = self.lease(back) else {
            return;
        };
        let (model, real, array) = self.agents[lease.agent];
        let (position, token) = forge(&lease, forgery);
        let positions: Vec<u64> = (position..=position.saturating_add(more)).collect();
        let now = self.now();
        let expected = self.model.release(model, token, &positions, now);
        let got = ledger.release(real, token, &positions, now);
        self.same_but_agents("release", &expected, &got);
        self.look(ledger, array);
    }

    fn end_agent(&mut self, ledger: &mut dyn Ledger, agent: usize) {
        let Some(at) = nth_of(agent, self.agents.len()) else {
            return;
        };
        let (model, real, array) = self.agents[at];
        let now = self.now();
        let expected = self.model.end_agent(model, now);
        let got = ledger.end_agent(real, now);
        self.same_but_agents("end_agent", &expected, &got);
        self.look(ledger, array);
    }

    fn close(&mut self, ledger: &mut dyn Ledger, array: usize, intent: Intent) {
        let Some(at) = nth_of(array, self.arrays.len()) else {
            return;
        };
        let id = self.arrays[at].clone();
        let now = self.now();
        let expected = self.model.close(&id, intent, now);
        let got = ledger.close(&id, intent, now);
        same("close", &expected, &got);
        self.look(ledger, at);
    }

    fn extend(&mut self, ledger: &mut dyn Ledger, array: usize) {
        let Some(at) = nth_of(array, self.arrays.len()) else {
            return;
        };
        let id = self.arrays[at].clone();
        let deadline = self.now().plus_millis(9_000);
        let expected = self.model.extend(&id, deadline);
        let got = ledger.extend(&id, deadline);
        same("extend", &expected, &got);
        self.look(ledger, at);
    }

    fn reopen(&mut self, ledger: &mut dyn Ledger, array: usize, which: &Reopen) {
        let Some(at) = nth_of(array, self.arrays.len()) else {
            return;
        };
        let id = self.arrays[at].clone();
        let deadline = self.now().plus_millis(7_000);
        let before = (self.record(ledger, at), all_tasks(ledger, &id));
        let now = self.now();
        let expected = self.model.reopen(&id, which, deadline, now);
        let got = ledger.reopen(&id, which, deadline, now);
        same("reopen", &expected, &got);
        let after = (self.record(ledger, at), all_tasks(ledger, &id));
        match got.expect("the array is there") {
            0 => assert_eq!(before, after, "nothing to reopen changes nothing at all"),
            count => {
                assert_eq!(after.0.submitted.deadline, deadline);
                assert_eq!((after.0.intent, after.0.ended_at), (Intent::Run, None));
                let reopened = self.laws.reopened(at, which, &before.1, &after.1);
                assert_eq!(reopened, count);
            }
        }
        self.look(ledger, at);
    }

    fn record(&self, ledger: &mut dyn Ledger, at: usize) -> ArrayRecord {
        let record = ledger.array(&self.arrays[at]).expect("reads");
        record.expect("was submitted")
    }

    /// Reads all that both ledgers know of one array, and the lists it is in.
    fn look(&mut self, ledger: &mut dyn Ledger, at: usize) {
        let id = self.arrays[at].clone();
        let record = self.model.array(&id);
        same("array", &record, &ledger.array(&id));
        same("arrays", &self.model.arrays(2), &ledger.arrays(2));
        same("unfinished", &self.model.unfinished(), &ledger.unfinished());
        let expected = self.model.live_agents();
        self.same_but_agents("live agents", &expected, &ledger.live_agents());
        let expected = self.model.agents(&id, 3);
        self.same_but_agents("agents", &expected, &ledger.agents(&id, 3));
        for limit in [1, 100] {
            let expected = self.model.recent_failures(&id, limit);
            let got = ledger.recent_failures(&id, limit);
            self.same_but_agents("recent failures", &expected, &got);
            let expected = self.model.doubtful_successes(&id, limit);
            let got = ledger.doubtful_successes(&id, limit);
            self.same_but_agents("doubtful successes", &expected, &got);
        }
        let record = record.expect("reads").expect("was submitted");
        let total = record.submitted.total;
        assert_eq!(record.counts.total(), total, "counts add up to the total");
        for state in TaskState::ALL.map(Some).into_iter().chain([None]) {
            for from in [0, total / 2, total + 1] {
                let limit = if from == 0 { 100 } else { 3 };
                let query = TaskQuery { from, limit, state };
                let expected = self.model.tasks(&id, query);
                let got = ledger.tasks(&id, query);
                self.same_but_agents(&format!("{query:?}"), &expected, &got);
            }
        }
        for position in 0..=total {
            let expected = self.model.task(&id, position);
            self.same_but_agents("task", &expected, &ledger.task(&id, position));
            let attempts = self.model.attempts(&id, position);
            let got = ledger.attempts(&id, position);
            self.same_but_agents("attempts", &attempts, &got);
            if let (Ok(Some(row)), Ok(attempts)) = (expected, attempts) {
                self.laws.seen(at, &row, &attempts, &record);
            }
        }
        laws::counts_are_those_of_the_tasks(&record, &all_tasks(ledger, &id));
    }

    /// Ends all agents; then one array's deadline passes, the others run to their ends.
    ///
    /// # Panics
    /// If the ledgers differ, a task was lost, or an array has no end.
    pub fn finish(&mut self, ledger: &mut dyn Ledger) {
        self.now += 1;
        self.step(ledger, &Step::AllEnd);
        for array in 0..self.arrays.len() {
            if array == 1 {
                self.close(ledger, array, Intent::Expired);
            } else {
                self.run_to_its_end(ledger, array);
            }
            let record = self.record(ledger, array);
            assert!(record.counts.all_ended(), "a task was lost: {record:?}");
            assert!(record.ended_at.is_some());
        }
    }

    fn run_to_its_end(&mut self, ledger: &mut dyn Ledger, array: usize) {
        let lanes = self.record(ledger, array).lanes.len();
        let first = self.agents.len();
        for lane in 0..lanes {
            self.enroll(ledger, array, lane as u32);
        }
        // More rounds than all retries of a task can take.
        for _ in 0..40 {
            if self.record(ledger, array).counts.all_ended() {
                break;
            }
            self.now += 10_000_000;
            for agent in first..first + lanes {
                let before = self.leases.len();
                self.claim(ledger, agent, 100);
                let claimed = self.leases.len() - before;
                let picks: Vec<_> = (0..claimed)
                    .map(|back| (back, Forgery::Genuine, Cause::Succeeded))
                    .collect();
                self.commit(ledger, None, &picks);
            }
        }
    }

    fn same_but_agents<T: Debug + PartialEq + MapAgents + Clone>(
        &self,
        what: &str,
        expected: &Result<T, LedgerError>,
        got: &Result<T, LedgerError>,
    ) {
        let to_model = |real: AgentId| {
            let known = self.agents.iter().find(|(_, other, _)| *other == real);
            known.map_or(real, |(model, _, _)| *model)
        };
        match got {
            Ok(value) => {
                let mut value = value.clone();
                value.map_agents(&to_model);
                same(what, expected, &Ok(value));
            }
            Err(LedgerError::UnknownAgent(id)) => {
                same(
                    what,
                    expected,
                    &Err(LedgerError::UnknownAgent(to_model(*id))),
                );
            }
            Err(_) => same(what, expected, got),
        }
    }
}

fn same<T: Debug + PartialEq>(
    what: &str,
    expected: &Result<T, LedgerError>,
    got: &Result<T, LedgerError>,
) {
    let alike = match (expected, got) {
        (Ok(expected), Ok(got)) => expected == got,
        // Errors cannot be compared, but they can be shown.
        (Err(expected), Err(got)) => format!("{expected:?}") == format!("{got:?}"),
        _ => false,
    };
    assert!(
        alike,
        "{what} differs\nexpected {expected:#?}\ngot {got:#?}"
    );
}

/// `total` tasks in so many lanes, the first the largest. One lane is not told.
fn split(total: u64, lanes: u64) -> Vec<u64> {
    let lanes = lanes.min(total);
    match lanes {
        0 | 1 => Vec::new(),
        lanes => std::iter::once(total - lanes + 1)
            .chain((1..lanes).map(|_| 1))
            .collect(),
    }
}

fn all_tasks(ledger: &mut dyn Ledger, id: &ArrayId) -> Vec<TaskRow> {
    let query = TaskQuery {
        from: 0,
        limit: u32::MAX,
        state: None,
    };
    ledger.tasks(id, query).expect("reads")
}

fn failed_calls(kinds: usize) -> Vec<FailedCall> {
    let kind = |n| FailedCall {
        service: "sqs".to_owned(),
        operation: "SendMessage".to_owned(),
        code: "AccessDenied".to_owned(),
        resource: None,
        count: n as u64,
    };
    (1..kinds).map(kind).collect()
}

fn nth_of(n: usize, len: usize) -> Option<usize> {
    n.checked_rem(len)
}

fn forge(lease: &Lease, forgery: Forgery) -> (u64, Token) {
    let Lease {
        position, token, ..
    } = *lease;
    match forgery {
        Forgery::Genuine => (position, token),
        Forgery::Older => (position, Token(token.0 - 1)),
        Forgery::Newer => (position, Token(token.0 + 7)),
        Forgery::None => (position, Token(0)),
        Forgery::Beyond => (u64::MAX - position, token),
    }
}
