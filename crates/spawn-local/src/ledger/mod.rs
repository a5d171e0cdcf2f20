//! The ledger in a SQLite file.
//!
//! One process writes (the host); any number read. Write-ahead logging lets readers go on while
//! the writer commits, and makes a kill at any moment harmless: what was acknowledged is there,
//! what was not is gone as a whole.
//!
//! - [`SqliteLedger::group`] makes many calls one transaction. Outside a group every call is one.
//! - What every claim changes is cached in memory (`hot`) and written once per transaction.
//! - What a transition means is decided in `spawn_core`; `transitions` and `reopen` read, ask and
//!   write.
//! - `schema` says what is stored, `rows` how, `open` what can be wrong with a file, `frozen`
//!   how it is read where nothing can be written, `wal` whether its log is whole.
//! - `check` says whether a ledger is whole, `salvage` saves what can be read of one that is not.

pub mod check;
mod frozen;
mod hot;
mod open;
mod reads;
mod reopen;
mod rows;
pub mod salvage;
mod schema;
mod tally;
mod transitions;
pub mod wal;

#[cfg(test)]
mod plan_tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Illegal, Intent, Token};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, Claim, Commit, Ledger, LedgerError, NewAgent,
    NewArray, Reopen, TaskQuery, TaskRow,
};

use hot::Hot;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of any process, by whatever signal. A power cut may take the last seconds, and
    /// leaves a ledger that opens.
    #[default]
    ProcessCrash,
    /// A power cut, too; every commit waits for the disk.
    PowerLoss,
}

/// The ledger in a SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    conn: Connection,
    hot: Hot,
    group: Group,
    /// Why the open group cannot be kept, if it cannot.
    failure: Option<String>,
    /// The highest number of an agent that is taken, whatever the rows say.
    last_agent: u64,
}

/// Whether a group is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    None,
    Open,
    /// The storage failed in one of its calls: nothing of it can be kept.
    Failed,
}

/// Why a call failed.
#[derive(Debug)]
enum Fail {
    /// The caller asked for something that is not there. Nothing was written.
    Refused(LedgerError),
    /// The file could not be read or written.
    Sql(rusqlite::Error),
    /// The ledger contradicts itself, or was given what it cannot store.
    Broken(String),
}

impl From<LedgerError> for Fail {
    fn from(error: LedgerError) -> Fail {
        Fail::Refused(error)
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Fail {
        Fail::Sql(error)
    }
}

impl SqliteLedger {
    /// Opens the ledger at `path`; creates it if there is none. Its directory must exist.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file, if it cannot be opened, is damaged, is no
    /// ledger, or was written by a newer program.
    pub fn open(path: &Path, durability: Durability) -> Result<SqliteLedger, LedgerError> {
        Ok(SqliteLedger::over(path, open::writable(path, durability)?))
    }

    /// Opens the ledger at `path` for reading. Every call that writes will fail.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`]; also if there is no such file.
    pub fn open_read_only(path: &Path) -> Result<SqliteLedger, LedgerError> {
        Ok(SqliteLedger::over(path, open::read_only(path)?))
    }

    /// Opens the ledger at `path` for reading where nothing can be written: neither beside it nor
    /// to it.
    ///
    /// # Errors
    /// As [`SqliteLedger::open_read_only`].
    pub fn open_frozen(path: &Path) -> Result<SqliteLedger, LedgerError> {
        Ok(SqliteLedger::over(path, frozen::open(path)?))
    }

    /// A new ledger that is nowhere but in memory.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    pub fn in_memory() -> Result<SqliteLedger, LedgerError> {
        let path = Path::new(":memory:");
        let made = Connection::open_in_memory().and_then(|mut conn| {
            schema::migrate(&mut conn)?;
            Ok(conn)
        });
        let conn = made.map_err(|error| open::storage(path, "open", error))?;
        Ok(SqliteLedger::over(path, conn))
    }

    /// Changes what acknowledged writes survive from now on. Not inside a group.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file.
    pub fn set_durability(&mut self, durability: Durability) -> Result<(), LedgerError> {
        let set = self.conn.execute_batch(open::synchronous(durability));
        set.map_err(|error| self.named("set the durability of", Fail::Sql(error)))
    }

    fn over(path: &Path, conn: Connection) -> SqliteLedger {
        SqliteLedger {
            path: path.to_owned(),
            conn,
            hot: Hot::default(),
            group: Group::None,
            failure: None,
            last_agent: 0,
        }
    }

    /// The ids of all arrays.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file.
    pub fn array_ids(&mut self) -> Result<HashSet<ArrayId>, LedgerError> {
        self.read(reads::array_ids)
    }

    /// The agents that an array ever had.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file; [`LedgerError::UnknownArray`].
    pub fn agent_ids(&mut self, id: &ArrayId) -> Result<HashSet<u64>, LedgerError> {
        self.read(|conn| reads::agent_ids(conn, id))
    }

    /// Moves everything from the write-ahead log into the file and empties the log. Not inside a
    /// group.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file.
    pub fn empty_log(&mut self) -> Result<(), LedgerError> {
        let emptied = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        emptied.map_err(|error| self.named("write", Fail::Sql(error)))
    }

    /// Numbers agents after this one from now on, also where the ledger never had it.
    pub fn number_agents_after(&mut self, last: AgentId) {
        self.last_agent = self.last_agent.max(last.0);
    }

    /// Makes all calls in `work` one transaction: all are kept, or none.
    ///
    /// None is kept if `work` answers with an error or panics, and if the storage failed in any
    /// of the calls. A call that was merely refused (an unknown agent, a duplicate array) wrote
    /// nothing and leaves the group whole. A group inside a group joins it.
    ///
    /// # Errors
    /// What `work` answers; [`LedgerError::Storage`] if the group could not be kept.
    pub fn group<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteLedger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if self.group != Group::None {
            let answer = work(self);
            if answer.is_err() {
                self.group = Group::Failed;
            }
            return answer;
        }
        self.failure = None;
        self.begin()?;
        let open = OpenGroup(self);
        let answer = work(open.0)?;
        if open.0.group == Group::Failed {
            let why = open.0.failure.take().unwrap_or_default();
            return Err(open
                .0
                .broken(&format!("nothing of this group was kept: {why}")));
        }
        open.0.finish()?;
        Ok(answer)
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        let begun = execute(&self.conn, "BEGIN IMMEDIATE");
        let begun = begun.and_then(|()| self.hot.recheck(&self.conn));
        if let Err(error) = begun {
            self.roll_back();
            return Err(self.named("write", Fail::Sql(error)));
        }
        self.group = Group::Open;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        let written = self.hot.write_back(&self.conn);
        let written = written.and_then(|()| execute(&self.conn, "COMMIT"));
        if let Err(error) = written {
            self.roll_back();
            return Err(self.named("write", Fail::Sql(error)));
        }
        self.hot.forget_ended();
        self.group = Group::None;
        Ok(())
    }

    fn roll_back(&mut self) {
        self.group = Group::None;
        self.hot.forget();
        if !self.conn.is_autocommit() {
            // Nothing is lost if this fails, too: SQLite rolls back when the file is closed.
            let _ = execute(&self.conn, "ROLLBACK");
        }
    }

    fn write<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Connection, &mut Hot) -> Result<T, Fail>,
    ) -> Result<T, LedgerError> {
        match self.group {
            Group::None => self.group(|ledger| ledger.write(doing, work)),
            Group::Failed => Err(self.failed_before()),
            Group::Open => work(&self.conn, &mut self.hot).map_err(|fail| {
                let is_kept = matches!(fail, Fail::Refused(_));
                let error = self.named(doing, fail);
                if !is_kept {
                    self.group = Group::Failed;
                    self.failure = Some(error.to_string());
                }
                error
            }),
        }
    }

    fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, Fail>,
    ) -> Result<T, LedgerError> {
        let answer = match self.group {
            Group::Failed => return Err(self.failed_before()),
            Group::Open => match self.hot.write_back(&self.conn) {
                Ok(()) => work(&self.conn),
                Err(error) => {
                    self.group = Group::Failed;
                    Err(Fail::Sql(error))
                }
            },
            // One transaction, so that all it reads is of one moment.
            Group::None => execute(&self.conn, "BEGIN")
                .map_err(Fail::Sql)
                .and_then(|()| {
                    let answer = work(&self.conn);
                    let ended = execute(&self.conn, "COMMIT");
                    answer.and_then(|answer| Ok(ended.map(|()| answer)?))
                }),
        };
        answer.map_err(|fail| self.named("read", fail))
    }

    fn named(&self, doing: &str, fail: Fail) -> LedgerError {
        match fail {
            Fail::Refused(error) => error,
            Fail::Sql(error) => open::storage(&self.path, doing, error),
            Fail::Broken(what) => self.broken(&format!(
                "{what}; `spawn local check` says what else is wrong"
            )),
        }
    }

    fn failed_before(&self) -> LedgerError {
        let why = self.failure.as_deref().unwrap_or_default();
        self.broken(&format!("an earlier call of this group failed: {why}"))
    }

    fn broken(&self, what: &str) -> LedgerError {
        LedgerError::Storage {
            what: format!("ledger `{}`: {what}", self.path.display()),
            source: None,
        }
    }
}

/// Rolls back when it is dropped with its group still open.
struct OpenGroup<'a>(&'a mut SqliteLedger);

impl Drop for OpenGroup<'_> {
    fn drop(&mut self) {
        if self.0.group != Group::None {
            self.0.roll_back();
        }
    }
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl Ledger for SqliteLedger {
    fn submit(&mut self, array: &NewArray, now: UnixMicros) -> Result<(), LedgerError> {
        self.write("submit to", |conn, _| transitions::submit(conn, array, now))
    }

    fn array(&mut self, id: &ArrayId) -> Result<Option<ArrayRecord>, LedgerError> {
        self.read(|conn| reads::array(conn, id))
    }

    fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, LedgerError> {
        self.read(|conn| reads::arrays(conn, limit))
    }

    fn unfinished(&mut self) -> Result<Vec<ArrayRecord>, LedgerError> {
        self.read(reads::unfinished)
    }

    fn enroll(&mut self, agent: &NewAgent, now: UnixMicros) -> Result<AgentId, LedgerError> {
        let last = self.last_agent;
        self.write("enroll in", |conn, _| {
            transitions::enroll(conn, agent, last, now)
        })
    }

    fn agents(&mut self, array: &ArrayId, limit: u32) -> Result<Vec<AgentRecord>, LedgerError> {
        self.read(|conn| reads::agents(conn, array, limit))
    }

    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>, LedgerError> {
        self.read(|conn| reads::agent(conn, id))
    }

    fn live_agents(&mut self) -> Result<Vec<AgentRecord>, LedgerError> {
        self.read(reads::live_agents)
    }

    fn claim(&mut self, agent: AgentId, want: u32, now: UnixMicros) -> Result<Claim, LedgerError> {
        self.write("claim from", |conn, hot| {
            transitions::claim(conn, hot, agent, want, now)
        })
    }

    fn commit(
        &mut self,
        agent: AgentId,
        commits: &[Commit],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        self.write("commit to", |conn, hot| {
            transitions::commit(conn, hot, agent, commits, now)
        })
    }

    fn release(
        &mut self,
        agent: AgentId,
        token: Token,
        positions: &[u64],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        self.write("hand back to", |conn, hot| {
            transitions::release(conn, hot, agent, token, positions, now)
        })
    }

    fn end_agent(&mut self, agent: AgentId, now: UnixMicros) -> Result<Vec<u64>, LedgerError> {
        self.write("end an agent in", |conn, hot| {
            transitions::end_agent(conn, hot, agent, now)
        })
    }

    fn close(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        now: UnixMicros,
    ) -> Result<ArrayRecord, LedgerError> {
        self.write("close an array in", |conn, hot| {
            let row = reads::frame(conn, id)?.row;
            transitions::close(conn, hot, row, intent, now)?;
            hot.write_back(conn)?;
            let record = reads::array(conn, id)?;
            Ok(record.ok_or_else(|| LedgerError::UnknownArray(id.clone()))?)
        })
    }

    fn extend(&mut self, id: &ArrayId, deadline: UnixMicros) -> Result<ArrayRecord, LedgerError> {
        self.write("extend an array in", |conn, hot| {
            let row = reads::frame(conn, id)?.row;
            reopen::extend(conn, hot, row, deadline)?;
            hot.write_back(conn)?;
            let record = reads::array(conn, id)?;
            Ok(record.ok_or_else(|| LedgerError::UnknownArray(id.clone()))?)
        })
    }

    fn reopen(
        &mut self,
        id: &ArrayId,
        which: &Reopen,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<u64, LedgerError> {
        self.write("open an array again in", |conn, hot| {
            let row = reads::frame(conn, id)?.row;
            reopen::reopen(conn, hot, row, which, deadline, now)
        })
    }

    fn task(&mut self, id: &ArrayId, position: u64) -> Result<Option<TaskRow>, LedgerError> {
        self.read(|conn| reads::task(conn, id, position))
    }

    fn tasks(&mut self, id: &ArrayId, query: TaskQuery) -> Result<Vec<TaskRow>, LedgerError> {
        self.read(|conn| reads::tasks(conn, id, query))
    }

    fn attempts(&mut self, id: &ArrayId, position: u64) -> Result<Vec<AttemptRow>, LedgerError> {
        self.read(|conn| reads::attempts(conn, id, position))
    }

    fn recent_failures(&mut self, id: &ArrayId, limit: u32) -> Result<Vec<TaskRow>, LedgerError> {
        self.read(|conn| reads::recent_failures(conn, id, limit))
    }

    fn doubtful_successes(
        &mut self,
        id: &ArrayId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, LedgerError> {
        self.read(|conn| reads::doubtful_successes(conn, id, limit))
    }
}
