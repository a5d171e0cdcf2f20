//! What every claim and commit needs, kept in memory and written back once per transaction.
//!
//! A transaction that fails takes its changes here with it: the whole cache is dropped and read
//! again on demand. So is it when another connection has written in between.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use spawn_core::budgets::Budgets;
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_ports::ledger::{AgentId, LedgerError};

use super::Fail;
use super::reads::{self, counts_from};
use super::rows::{intent_code, intent_from, json_from};

/// The part of an array that its claims and commits change.
#[derive(Debug)]
pub(super) struct HotArray {
    pub row: i64,
    pub budgets: Budgets,
    pub intent: Intent,
    /// At least one.
    pub lanes: Vec<HotLane>,
    pub next_token: u64,
    pub counts: Counts,
    pub started_at: Option<UnixMicros>,
    pub ended_at: Option<UnixMicros>,
    pub interrupted: u64,
    pub workers_lost: u64,
    /// To be written back.
    pub changed: bool,
    /// Intent, start or end are to be written back, too. Apart, because an index hangs on them.
    pub turned: bool,
}

/// One lane of an array.
#[derive(Debug)]
pub(super) struct HotLane {
    pub first: u64,
    pub end: u64,
    /// Positions from here to `end` have no rows.
    pub fresh: u64,
    pub pending: u64,
    pub running: u64,
    /// To be written back, if the array has several.
    changed: bool,
}

impl HotLane {
    /// Pending tasks of an open array that have rows.
    pub fn with_rows(&self) -> u64 {
        self.pending - (self.end - self.fresh)
    }
}

impl HotArray {
    /// Moves the task at `position` from one state to another.
    pub fn shift(&mut self, position: u64, from: TaskState, to: TaskState) {
        let lane = self.lanes.partition_point(|lane| lane.end <= position);
        self.shift_in(lane, from, to, 1);
    }

    /// Moves `n` tasks of a lane from one state to another.
    pub fn shift_in(&mut self, lane: usize, from: TaskState, to: TaskState, n: u64) {
        self.counts.shift(from, to, n);
        let lane = &mut self.lanes[lane];
        match from {
            TaskState::Pending => lane.pending -= n,
            TaskState::Running => lane.running -= n,
            _ => {}
        }
        match to {
            TaskState::Pending => lane.pending += n,
            TaskState::Running => lane.running += n,
            _ => {}
        }
        lane.changed = true;
        self.changed = true;
    }

    /// Sets where the positions of a lane that have no rows begin.
    pub fn set_fresh(&mut self, lane: usize, fresh: u64) {
        self.lanes[lane].fresh = fresh;
        self.lanes[lane].changed = true;
        self.changed = true;
    }

    /// Pending tasks of a lane that have rows. None in a closed array.
    pub fn handed_back(&self, lane: usize) -> u64 {
        match self.intent {
            Intent::Run => self.lanes[lane].with_rows(),
            Intent::Cancel | Intent::Expired | Intent::Halted => 0,
        }
    }

    /// Counts an attempt that ended.
    pub fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Interrupted => self.interrupted += 1,
            Cause::WorkerLost => self.workers_lost += 1,
            _ => {}
        }
    }

    /// Notes the end of the array, if it has come.
    pub fn note_end(&mut self, now: UnixMicros) {
        if self.ended_at.is_none() && self.counts.all_ended() {
            self.ended_at = Some(now);
            self.turned = true;
        }
    }

    fn load(conn: &Connection, row: i64) -> rusqlite::Result<HotArray> {
        let mut array = conn
            .prepare_cached(
                "SELECT a.budgets, p.intent, p.next_token, p.started_at, p.ended_at,
                     p.interrupted, p.workers_lost,
                     p.pending, p.running, p.succeeded, p.failed, p.skipped, p.cancelled
                 FROM progress p JOIN arrays a USING (array) WHERE p.array = ?1",
            )?
            .query_row([row], |r| {
                Ok(HotArray {
                    row,
                    budgets: json_from(r.get_ref(0)?.as_str()?)?,
                    intent: intent_from(r.get(1)?)?,
                    lanes: Vec::new(),
                    next_token: r.get::<_, i64>(2)? as u64,
                    started_at: r.get::<_, Option<i64>>(3)?.map(UnixMicros),
                    ended_at: r.get::<_, Option<i64>>(4)?.map(UnixMicros),
                    interrupted: r.get::<_, i64>(5)? as u64,
                    workers_lost: r.get::<_, i64>(6)? as u64,
                    counts: counts_from(r, 7)?,
                    changed: false,
                    turned: false,
                })
            })?;
        array.lanes = reads::lanes(conn, row)?
            .into_iter()
            .map(|lane| HotLane {
                first: lane.first,
                end: lane.end,
                fresh: lane.fresh,
                pending: lane.counts.pending,
                running: lane.counts.running,
                changed: false,
            })
            .collect();
        Ok(array)
    }

    fn write_back(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.changed {
            conn.prepare_cached(
                "UPDATE progress SET fresh = ?2, next_token = ?3, interrupted = ?4,
                     workers_lost = ?5, pending = ?6, running = ?7, succeeded = ?8,
                     failed = ?9, skipped = ?10, cancelled = ?11
                 WHERE array = ?1",
            )?
            .execute(params![
                self.row,
                self.lanes[0].fresh as i64,
                self.next_token as i64,
                self.interrupted as i64,
                self.workers_lost as i64,
                self.counts.pending as i64,
                self.counts.running as i64,
                self.counts.succeeded as i64,
                self.counts.failed as i64,
                self.counts.skipped as i64,
                self.counts.cancelled as i64,
            ])?;
            self.changed = false;
            if self.lanes.len() > 1 {
                self.write_lanes(conn)?;
            }
        }
        if self.turned {
            conn.prepare_cached(
                "UPDATE progress SET intent = ?2, started_at = ?3, ended_at = ?4 WHERE array = ?1",
            )?
            .execute(params![
                self.row,
                intent_code(self.intent),
                self.started_at.map(|t| t.0),
                self.ended_at.map(|t| t.0),
            ])?;
            self.turned = false;
        }
        Ok(())
    }
}

impl HotArray {
    fn write_lanes(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let changed = self.lanes.iter_mut().enumerate();
        for (n, lane) in changed.filter(|(_, lane)| lane.changed) {
            conn.prepare_cached(
                "UPDATE lanes SET fresh = ?3, pending = ?4, running = ?5
                 WHERE array = ?1 AND lane = ?2",
            )?
            .execute(params![
                self.row,
                n as i64,
                lane.fresh as i64,
                lane.pending as i64,
                lane.running as i64,
            ])?;
            lane.changed = false;
        }
        Ok(())
    }
}

/// The part of an agent that its claims and commits change.
#[derive(Debug)]
pub(super) struct HotAgent {
    row: i64,
    array: i64,
    pub lane: usize,
    pub ended: bool,
    last_update: UnixMicros,
    tasks_done: u64,
    changed: bool,
}

impl HotAgent {
    /// Notes that the agent spoke and committed `done` attempts. An ended one stays as it ended.
    pub fn heard(&mut self, now: UnixMicros, done: u64) {
        if !self.ended {
            self.last_update = now;
            self.tasks_done += done;
            self.changed = true;
        }
    }

    fn load(conn: &Connection, row: i64) -> rusqlite::Result<Option<HotAgent>> {
        conn.prepare_cached(
            "SELECT array, ended_at, last_update, tasks_done, lane FROM agents WHERE agent = ?1",
        )?
        .query_row([row], |r| {
            Ok(HotAgent {
                row,
                array: r.get(0)?,
                ended: r.get::<_, Option<i64>>(1)?.is_some(),
                last_update: UnixMicros(r.get(2)?),
                tasks_done: r.get::<_, i64>(3)? as u64,
                lane: r.get::<_, u32>(4)? as usize,
                changed: false,
            })
        })
        .optional()
    }

    fn write_back(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.changed {
            conn.prepare_cached(
                "UPDATE agents SET last_update = ?2, tasks_done = ?3 WHERE agent = ?1",
            )?
            .execute(params![
                self.row,
                self.last_update.0,
                self.tasks_done as i64
            ])?;
            self.changed = false;
        }
        Ok(())
    }
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Hot {
    arrays: HashMap<i64, HotArray>,
    agents: HashMap<AgentId, HotAgent>,
    /// `PRAGMA data_version` when the cache was last known to be true.
    seen: i64,
}

impl Hot {
    /// Forgets everything if another connection has written since. Call inside a transaction.
    pub fn recheck(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let version = conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version != self.seen {
            self.forget();
            self.seen = version;
        }
        Ok(())
    }

    /// Forgets everything, changes included.
    pub fn forget(&mut self) {
        self.arrays.clear();
        self.agents.clear();
    }

    /// Forgets what will hardly be asked for again. Call when all is written back.
    pub fn forget_ended(&mut self) {
        self.agents.retain(|_, agent| !agent.ended);
        self.arrays.retain(|_, array| array.ended_at.is_none());
    }

    /// Writes all changes into the open transaction.
    pub fn write_back(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for array in self.arrays.values_mut() {
            array.write_back(conn)?;
        }
        for agent in self.agents.values_mut() {
            agent.write_back(conn)?;
        }
        Ok(())
    }

    /// The array with row id `row`, which must exist.
    pub fn array(&mut self, conn: &Connection, row: i64) -> rusqlite::Result<&mut HotArray> {
        array_in(&mut self.arrays, conn, row)
    }

    /// An agent, ended or not, with the array it serves.
    pub fn agent(
        &mut self,
        conn: &Connection,
        id: AgentId,
    ) -> Result<(&mut HotAgent, &mut HotArray), Fail> {
        use std::collections::hash_map::Entry;
        let agent = match self.agents.entry(id) {
            Entry::Occupied(cached) => cached.into_mut(),
            Entry::Vacant(empty) => {
                let row = i64::try_from(id.0).map_err(|_| LedgerError::UnknownAgent(id))?;
                let loaded = HotAgent::load(conn, row)?;
                empty.insert(loaded.ok_or(LedgerError::UnknownAgent(id))?)
            }
        };
        let array = array_in(&mut self.arrays, conn, agent.array)?;
        Ok((agent, array))
    }
}

fn array_in<'a>(
    arrays: &'a mut HashMap<i64, HotArray>,
    conn: &Connection,
    row: i64,
) -> rusqlite::Result<&'a mut HotArray> {
    use std::collections::hash_map::Entry;
    Ok(match arrays.entry(row) {
        Entry::Occupied(cached) => cached.into_mut(),
        Entry::Vacant(empty) => empty.insert(HotArray::load(conn, row)?),
    })
}
