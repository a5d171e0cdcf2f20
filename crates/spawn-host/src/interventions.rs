//! What people do to an array that was launched: interrupt a worker, give it more time, run tasks
//! again.

use std::collections::BTreeSet;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::task::{Intent, TaskState};
use spawn_local::answers::to_reopen;
use spawn_local::ledger::SqliteLedger;
use spawn_local::wire::agent::ToAgent;
use spawn_local::wire::client::{Answer, Interrupted, Refusal, ToldWorker};
use spawn_local::worker_name;
use spawn_ports::ledger::{Ledger, LedgerError, Reopen};

use crate::agents::Agent;
use crate::arrays::LiveArray;
use crate::desk::Desk;
use crate::peers::PeerId;

fn refused(kind: Refusal, message: String) -> Answer {
    Answer::Refused { kind, message }
}

impl Desk {
    /// Plays a spot interruption: the worker is told, hands back what it has, and is replaced.
    pub(crate) fn interrupt(
        &mut self,
        ledger: &mut SqliteLedger,
        id: Option<&ArrayId>,
        which: &Interrupted,
        notice_ms: u64,
        now: UnixMicros,
    ) -> Result<Answer, LedgerError> {
        let found = match (which, id) {
            (Interrupted::Worker(name), _) => self.worker_named(name, id),
            (Interrupted::Position(position), Some(id)) => self.worker_of(ledger, id, *position)?,
            (Interrupted::Position(_), None) => Err(refused(
                Refusal::NotFound,
                "a task is of some array; none was named".to_owned(),
            )),
        };
        let peer = match found {
            Ok(peer) => peer,
            Err(answer) => return Ok(answer),
        };
        self.stop_agent(peer, StopCause::Interrupted, notice_ms);
        let agent = &self.agents[&peer];
        let position = match which {
            Interrupted::Position(position) => Some(*position),
            Interrupted::Worker(_) => agent.running.map(|running| running.position),
        };
        let already = agent.running.and_then(|running| running.stopping);
        let kill_at = now.plus_millis(notice_ms).0 / 1000;
        Ok(Answer::Told(ToldWorker {
            array: agent.array.clone(),
            slot: agent.slot,
            position,
            // Of two ends the earlier counts, and of two causes the graver.
            kill_at_ms: already.map_or(kill_at, |stop| stop.kill_at_ms.min(kill_at)),
            already: already.map(|stop| stop.cause),
            runs_again: match position {
                Some(position) => {
                    let is_graver = already.is_some_and(|s| s.cause > StopCause::Interrupted);
                    !is_graver && self.may_run_again(ledger, peer, position)?
                }
                None => true,
            },
        }))
    }

    /// Whether a task that is interrupted now is given another attempt.
    fn may_run_again(
        &self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        position: u64,
    ) -> Result<bool, LedgerError> {
        let id = &self.agents[&peer].array;
        let spent = ledger.task(id, position)?.map(|row| row.spent.interrupted);
        let record = ledger.array(id)?;
        Ok(spent.zip(record).is_some_and(|(spent, record)| {
            record.intent == Intent::Run && spent < record.submitted.budgets.interrupted
        }))
    }

    /// The agent that runs a task, or why there is none.
    fn worker_of(
        &self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        position: u64,
    ) -> Result<Result<PeerId, Answer>, LedgerError> {
        let row = ledger.task(id, position)?;
        let Some(row) = row else {
            let why = "the array has no such task".to_owned();
            return Ok(Err(refused(Refusal::NotFound, why)));
        };
        let agent = row.agent.filter(|_| row.state == TaskState::Running);
        let peer = agent.and_then(|agent| {
            let mut all = self.agents.iter();
            all.find(|(_, a)| a.id == agent).map(|(peer, _)| *peer)
        });
        Ok(peer.ok_or_else(|| {
            let state = row.state.word();
            let why =
                format!("the task is not running ({state}); only a running one can be interrupted");
            refused(Refusal::Failed, why)
        }))
    }

    /// The agent whose worker goes by this name, or why there is not just one.
    fn worker_named(&self, name: &str, id: Option<&ArrayId>) -> Result<PeerId, Answer> {
        let mut found: Vec<(PeerId, &Agent)> = self
            .agents
            .iter()
            .filter(|(_, agent)| id.is_none_or(|id| agent.array == *id))
            .filter(|(_, agent)| self.name_of(agent).as_deref() == Some(name))
            .map(|(peer, agent)| (*peer, agent))
            .collect();
        match found.len() {
            1 => Ok(found.remove(0).0),
            0 => Err(refused(
                Refusal::NotFound,
                format!("no worker `{name}` is at work"),
            )),
            _ => {
                let arrays: BTreeSet<&str> = found
                    .iter()
                    .map(|(_, agent)| agent.array.as_str())
                    .collect();
                let arrays: Vec<&str> = arrays.into_iter().collect();
                Err(refused(
                    Refusal::Failed,
                    format!(
                        "several workers are called `{name}`, of {}; name one by its task, `spawn interrupt ID --task INDEX`",
                        arrays.join(", ")
                    ),
                ))
            }
        }
    }

    /// What an agent's worker is called; one that is between two sandboxes has no name.
    fn name_of(&self, agent: &Agent) -> Option<String> {
        let array = self.arrays.get(&agent.array)?;
        let launch = &array.submission.launch;
        match array.fresh() {
            false => Some(worker_name::of_slot(&launch.name, agent.slot)),
            true => {
                let index = launch.index_at(agent.running?.position)?;
                Some(worker_name::of_task(&launch.name, index))
            }
        }
    }

    /// Gives an array, and the workers it has, more time.
    pub(crate) fn extend(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        by_ms: u64,
        now: UnixMicros,
    ) -> Result<Answer, LedgerError> {
        let before = ledger
            .array(id)?
            .ok_or_else(|| LedgerError::UnknownArray(id.clone()))?;
        let deadline = before.submitted.deadline;
        if before.counts.all_ended() || before.intent != Intent::Run || deadline <= now {
            let why = "the array has ended, or is ending; `spawn retry` runs its tasks again";
            return Ok(refused(Refusal::Failed, why.to_owned()));
        }
        let record = ledger.extend(id, deadline.plus_millis(by_ms))?;
        if let Some(array) = self.arrays.get_mut(id) {
            array.refresh(&record);
        }
        let mut too_late = 0;
        for (peer, agent) in &self.agents {
            if agent.array == *id {
                self.peers.send(*peer, &ToAgent::Extend { by_ms });
                let stopping = agent.running.and_then(|running| running.stopping);
                too_late += u32::from(stopping.is_some_and(|s| s.cause == StopCause::Ttl));
            }
        }
        Ok(Answer::Extended {
            record: Box::new(record),
            too_late,
        })
    }

    /// Runs ended tasks again, in the array they belong to.
    pub(crate) fn retry(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        which: &Reopen,
        ttl_ms: Option<u64>,
        now: UnixMicros,
    ) -> Result<Answer, LedgerError> {
        let before = ledger
            .array(id)?
            .ok_or_else(|| LedgerError::UnknownArray(id.clone()))?;
        if !self.home.job(id).is_dir() {
            let why = format!(
                "its files are gone: there is no {}",
                self.home.job(id).display()
            );
            return Ok(refused(Refusal::Failed, why));
        }
        let mut array = match self.arrays.remove(id) {
            Some(array) => array,
            None => LiveArray::new(&before).map_err(|e| LedgerError::Storage {
                what: format!("cannot read what was launched: {e}"),
                source: None,
            })?,
        };
        let is_open = before.intent == Intent::Run && !before.counts.all_ended();
        let deadline = match is_open {
            true => before.submitted.deadline,
            false => now.plus_millis(ttl_ms.unwrap_or(array.submission.launch.ttl_ms)),
        };
        let which = to_reopen(ledger, &before, which.clone())?;
        let reopened = ledger.reopen(id, &which, deadline, now);
        array.missing = None;
        if let Ok(1..) = reopened
            && let Some(record) = ledger.array(id)?
        {
            array.refresh(&record);
            array.held_up = None;
            array.failed_starts = 0;
            array.failures_before = record.counts.failed;
            for lane in &mut array.lanes {
                // What was reopened is due, however long others still wait.
                lane.asleep_until = None;
            }
        }
        self.arrays.insert(id.clone(), array);
        reopened.map(Answer::Reopened)
    }
}
