//! A ledger with one array, and a clock that steps with every call.

use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::FailedCall;
use spawn_core::outcome::{Cause, Report};
use spawn_core::task::{Illegal, TaskState, Token};
use spawn_ports::ledger::{
    AgentId, ArrayRecord, Claim, Commit, Ledger, LogSpan, NewAgent, NewArray, TaskQuery, TaskRow,
};

use super::Fresh;

/// The first moment of every scene.
pub(super) const START: i64 = 1_769_500_000_000_000;

pub(super) struct Scene {
    pub ledger: Box<dyn Ledger>,
    pub id: ArrayId,
    pub now: i64,
}

/// The id of the `n`th array.
pub(super) fn array_id(n: u8) -> ArrayId {
    ArrayId::new(2026, 1, 27, [n; 6]).expect("a day")
}

/// An array to submit, with retries for everything and no backoff.
pub(super) fn new_array(n: u8, total: u64) -> NewArray {
    NewArray {
        id: array_id(n),
        name: format!("array {n}"),
        spec: r#"{"command":["true"]}"#.to_owned(),
        total,
        budgets: Budgets {
            exit: 1,
            backoff_millis: 0,
            ..Budgets::default()
        },
        deadline: UnixMicros(START).plus_millis(86_400_000),
        lanes: Vec::new(),
    }
}

pub(super) fn new_agent(array: ArrayId, slot: u32) -> NewAgent {
    NewAgent {
        array,
        slot,
        lane: 0,
        pid: 4_194_303,
        pid_started: 17,
        boot: "6c3f0d8e-7a3c-4f5b-9d56-0c9a4b1f2e77".to_owned(),
        hostname: format!("worker-{slot}"),
    }
}

impl Scene {
    /// A ledger with one array of `total` tasks.
    pub fn of(fresh: Fresh<'_>, total: u64) -> Scene {
        Scene::with(fresh, new_array(0, total))
    }

    pub fn with(fresh: Fresh<'_>, array: NewArray) -> Scene {
        let mut scene = Scene {
            ledger: fresh(),
            id: array.id.clone(),
            now: START,
        };
        let now = scene.tick();
        scene.ledger.submit(&array, now).expect("a new array");
        scene
    }

    /// The next microsecond.
    pub fn tick(&mut self) -> UnixMicros {
        self.now += 1;
        UnixMicros(self.now)
    }

    pub fn agent(&mut self) -> AgentId {
        let now = self.tick();
        let agent = new_agent(self.id.clone(), 0);
        self.ledger.enroll(&agent, now).expect("enrols")
    }

    pub fn claim(&mut self, agent: AgentId, want: u32) -> Claim {
        let now = self.tick();
        let claim = self.ledger.claim(agent, want, now).expect("claims");
        self.check();
        claim
    }

    /// Claims `want` tasks and gives their positions.
    pub fn positions(&mut self, agent: AgentId, want: u32) -> Vec<u64> {
        let claim = self.claim(agent, want);
        claim.tasks.iter().map(|t| t.position).collect()
    }

    pub fn commit(
        &mut self,
        agent: AgentId,
        position: u64,
        token: Token,
        cause: Cause,
    ) -> Result<(), Illegal> {
        let now = self.tick();
        let commits = [outcome(position, token, cause, now)];
        let answers = self.ledger.commit(agent, &commits, now).expect("answers");
        assert_eq!(answers.len(), 1);
        self.check();
        answers[0]
    }

    pub fn release(
        &mut self,
        agent: AgentId,
        token: Token,
        positions: &[u64],
    ) -> Vec<Result<(), Illegal>> {
        let now = self.tick();
        let answers = self.ledger.release(agent, token, positions, now);
        self.check();
        answers.expect("answers")
    }

    pub fn end_agent(&mut self, agent: AgentId) -> Vec<u64> {
        let now = self.tick();
        let lost = self.ledger.end_agent(agent, now).expect("ends");
        self.check();
        lost
    }

    pub fn record(&mut self) -> ArrayRecord {
        let record = self.ledger.array(&self.id).expect("reads");
        record.expect("is there")
    }

    pub fn task(&mut self, position: u64) -> TaskRow {
        let row = self.ledger.task(&self.id, position).expect("reads");
        row.expect("is in the array")
    }

    pub fn states(&mut self) -> Vec<TaskState> {
        let query = TaskQuery {
            from: 0,
            limit: u32::MAX,
            state: None,
        };
        let rows = self.ledger.tasks(&self.id, query).expect("reads");
        rows.iter().map(|row| row.state).collect()
    }

    /// What is true after every step: the counts are those of the tasks.
    pub fn check(&mut self) {
        let record = self.record();
        assert_eq!(record.counts.total(), record.submitted.total);
        let states = self.states();
        for state in TaskState::ALL {
            let tasks = states.iter().filter(|s| **s == state).count();
            assert_eq!(record.counts.of(state), tasks as u64, "{state:?}");
        }
        assert_eq!(record.ended_at.is_some(), record.counts.all_ended());
        let pending: u64 = record.lanes.iter().map(|lane| lane.pending).sum();
        let running: u64 = record.lanes.iter().map(|lane| lane.running).sum();
        let all = (record.counts.pending, record.counts.running);
        assert_eq!((pending, running), all, "the lanes make up the array");
    }
}

/// An outcome to commit: started two microseconds ago, ended one ago.
pub(super) fn outcome(position: u64, token: Token, cause: Cause, now: UnixMicros) -> Commit {
    Commit {
        position,
        token,
        report: Report::of(cause),
        started_at: UnixMicros(now.0 - 2),
        ended_at: UnixMicros(now.0 - 1),
        log: LogSpan {
            offset: position.wrapping_mul(100),
            len: 100,
        },
        usage: None,
        failed_calls: Vec::new(),
    }
}

/// `kinds` kinds of AWS calls that failed.
pub(super) fn failed_calls(kinds: usize) -> Vec<FailedCall> {
    let kind = |n| FailedCall {
        service: "s3".to_owned(),
        operation: "PutObject".to_owned(),
        code: format!("NoSuchBucket{n}"),
        resource: (n > 0).then(|| format!("bucket-{n}/a \"key\"\n")),
        count: u64::MAX - n as u64,
    };
    (0..kinds).map(kind).collect()
}

/// No positions.
pub(super) const NONE: [u64; 0] = [];
