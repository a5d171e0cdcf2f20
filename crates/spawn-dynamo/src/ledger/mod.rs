//! The ledger in a DynamoDB table.
//!
//! `schema` says what the table holds, `keys` where, `rows` and `hot` how; `items` writes
//! DynamoDB's JSON and `wire` sends it. `claims`, `settle`, `ends`, `transitions` and
//! `reopen` change, `reads`, `glance` and `waiting` read. What a transition means is decided in `spawn_core`.

mod claims;
mod ends;
mod glance;
mod hot;
mod items;
mod keys;
mod reads;
mod reopen;
mod rows;
mod schema;
mod settle;
mod transitions;
mod waiting;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Illegal, Intent, TaskState, Token};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, Claim, Commit, Ledger, LedgerError, NewAgent,
    NewArray, Reopen, TaskQuery, TaskRow,
};

use crate::{DynamoApi, DynamoError};
use claims::Plan;
use hot::Frame;
use reads::Enrolment;
use settle::Ask;
pub use wire::Retries;
use wire::{Search, Wire};

/// How often a call reads anew after others changed what it had read.
const ROUNDS: u32 = 30;

/// Which table, and how patiently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamoOptions {
    /// The table's name.
    pub table: String,
    /// How operations are repeated that failed in passing.
    pub retries: Retries,
    /// How long a task that was given out may be without an item before others take it, in
    /// milliseconds. No harm if its claim was only slow: whoever writes the item first has it.
    pub lease_millis: u64,
}

impl Default for DynamoOptions {
    fn default() -> Self {
        DynamoOptions {
            table: "spawn".to_owned(),
            retries: Retries::default(),
            lease_millis: 120_000,
        }
    }
}

/// The ledger in a DynamoDB table. Any number of them, anywhere, share one table.
#[derive(Debug)]
pub struct DynamoLedger<A> {
    wire: Wire<A>,
    lease_millis: u64,
    frames: HashMap<ArrayId, Arc<Frame>>,
    enrolments: HashMap<AgentId, Enrolment>,
    /// Claims that broke off, to be gone on with.
    plans: HashMap<AgentId, Plan>,
    /// Commits whose answers were lost.
    unsure: Vec<(ArrayId, Commit)>,
    /// Lanes that seem to have tasks which were given out and have no items, and since when.
    gaps: HashMap<(ArrayId, usize), UnixMicros>,
}

/// Why a call failed.
#[derive(Debug)]
enum Fail {
    /// The caller asked for something that is not there. Nothing was written.
    Refused(LedgerError),
    /// The table could not be read or written.
    Dynamo(DynamoError),
    /// The ledger contradicts itself, or was given what it cannot store.
    Broken(String),
}

impl From<LedgerError> for Fail {
    fn from(error: LedgerError) -> Fail {
        Fail::Refused(error)
    }
}

impl From<DynamoError> for Fail {
    fn from(error: DynamoError) -> Fail {
        Fail::Dynamo(error)
    }
}

impl<A: DynamoApi> DynamoLedger<A> {
    /// A ledger over a connection. Nothing is sent before the first call, which makes the table
    /// if there is none.
    pub fn new(api: A, options: DynamoOptions) -> DynamoLedger<A> {
        DynamoLedger {
            wire: Wire {
                api,
                table: options.table,
                retries: options.retries,
                known: false,
            },
            lease_millis: options.lease_millis,
            frames: HashMap::new(),
            enrolments: HashMap::new(),
            plans: HashMap::new(),
            unsure: Vec::new(),
            gaps: HashMap::new(),
        }
    }

    /// The connection.
    pub fn api(&mut self) -> &mut A {
        &mut self.wire.api
    }

    fn run<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Fail>,
    ) -> Result<T, LedgerError> {
        let done = schema::ensure(&mut self.wire).and_then(|()| work(self));
        done.map_err(|fail| self.wire.named(doing, fail))
    }
}

impl<A: DynamoApi> Ledger for DynamoLedger<A> {
    fn submit(&mut self, array: &NewArray, now: UnixMicros) -> Result<(), LedgerError> {
        self.run("submit to", |ledger| ledger.add_array(array, now))
    }

    fn array(&mut self, id: &ArrayId) -> Result<Option<ArrayRecord>, LedgerError> {
        self.run("read", |ledger| ledger.read_array(id))
    }

    fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, LedgerError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let search = Search {
            of: keys::ARRAYS.to_owned(),
            limit: limit as usize,
            backwards: true,
            ..Search::default()
        };
        self.run("read", |ledger| ledger.listed(&search))
    }

    fn unfinished(&mut self) -> Result<Vec<ArrayRecord>, LedgerError> {
        self.run("read", DynamoLedger::read_unfinished)
    }

    fn enroll(&mut self, agent: &NewAgent, now: UnixMicros) -> Result<AgentId, LedgerError> {
        self.run("enroll in", |ledger| ledger.add_agent(agent, now))
    }

    fn agents(&mut self, array: &ArrayId, limit: u32) -> Result<Vec<AgentRecord>, LedgerError> {
        self.run("read", |ledger| ledger.read_agents(array, limit))
    }

    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>, LedgerError> {
        self.run("read", |ledger| ledger.read_agent(id))
    }

    fn live_agents(&mut self) -> Result<Vec<AgentRecord>, LedgerError> {
        self.run("read", DynamoLedger::read_live_agents)
    }

    fn claim(&mut self, agent: AgentId, want: u32, now: UnixMicros) -> Result<Claim, LedgerError> {
        self.run("claim from", |ledger| ledger.claim_for(agent, want, now))
    }

    fn commit(
        &mut self,
        agent: AgentId,
        commits: &[Commit],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        let asks: Vec<Ask<'_>> = commits.iter().map(Ask::Commit).collect();
        self.run("commit to", |ledger| ledger.settle(agent, &asks, now))
    }

    fn release(
        &mut self,
        agent: AgentId,
        token: Token,
        positions: &[u64],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        let asks = positions.iter().map(|at| Ask::Release(*at, token));
        let asks: Vec<Ask<'_>> = asks.collect();
        self.run("hand back to", |ledger| ledger.settle(agent, &asks, now))
    }

    fn end_agent(&mut self, agent: AgentId, now: UnixMicros) -> Result<Vec<u64>, LedgerError> {
        self.run("end an agent in", |ledger| ledger.end(agent, now))
    }

    fn close(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        now: UnixMicros,
    ) -> Result<ArrayRecord, LedgerError> {
        self.run("close an array of", |ledger| {
            ledger.close_array(id, intent, now)
        })
    }

    fn extend(&mut self, id: &ArrayId, deadline: UnixMicros) -> Result<ArrayRecord, LedgerError> {
        self.run("extend an array of", |ledger| {
            ledger.move_deadline(id, deadline)
        })
    }

    fn reopen(
        &mut self,
        id: &ArrayId,
        which: &Reopen,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<u64, LedgerError> {
        self.run("reopen an array of", |ledger| {
            ledger.run_again(id, which, deadline, now)
        })
    }

    fn task(&mut self, id: &ArrayId, position: u64) -> Result<Option<TaskRow>, LedgerError> {
        self.run("read", |ledger| ledger.read_task(id, position))
    }

    fn tasks(&mut self, id: &ArrayId, query: TaskQuery) -> Result<Vec<TaskRow>, LedgerError> {
        self.run("read", |ledger| ledger.read_tasks(id, query))
    }

    fn attempts(&mut self, id: &ArrayId, position: u64) -> Result<Vec<AttemptRow>, LedgerError> {
        self.run("read", |ledger| ledger.read_attempts(id, position))
    }

    fn recent_failures(&mut self, id: &ArrayId, limit: u32) -> Result<Vec<TaskRow>, LedgerError> {
        let search = Search {
            of: keys::failed(id),
            limit: limit as usize,
            backwards: true,
            ..Search::default()
        };
        self.run("read", |ledger| {
            ledger.read_listed(id, search, |task| {
                task.state == TaskState::Failed && task.closed_by == Intent::Run
            })
        })
    }

    fn doubtful_successes(
        &mut self,
        id: &ArrayId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, LedgerError> {
        let search = Search {
            of: keys::doubtful(id),
            limit: limit as usize,
            ..Search::default()
        };
        self.run("read", |ledger| {
            ledger.read_listed(id, search, |task| {
                task.state == TaskState::Succeeded && task.is_doubtful()
            })
        })
    }
}
