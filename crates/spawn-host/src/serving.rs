//! What commands ask of the host.

use std::time::Instant;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_local::answers::{self, Slots, record_of, refusal, resolve};
use spawn_local::ledger::SqliteLedger;
use spawn_local::shortage::is_ledger_shortage;
use spawn_local::wall_clock;
use spawn_local::wire::PROTOCOL;
use spawn_local::wire::client::{Answer, ArrayStatus, HostInfo, Refusal, Request, WorkerStatus};
use spawn_ports::ledger::{Ledger, LedgerError, NewArray};

use crate::arrays::{LiveArray, Waiter};
use crate::desk::Desk;
use crate::peers::PeerId;

impl Desk {
    /// Serves one request. A refusal is an answer; it never holds up the round.
    pub(crate) fn serve_request(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        request: Request,
        now: UnixMicros,
    ) {
        if let Request::Wait { id } = &request {
            match self.wait_for(ledger, peer, id) {
                Ok(()) => {}
                Err(e) => self.peers.send(peer, &refusal(&e)),
            }
            return;
        }
        let answer = self.answer(ledger, request, now).unwrap_or_else(|e| {
            let answer = refusal(&e);
            if is_ledger_shortage(&e) {
                self.refused_for_room = Some(e);
            }
            answer
        });
        self.peers.send(peer, &answer);
    }

    fn answer(
        &mut self,
        ledger: &mut SqliteLedger,
        request: Request,
        now: UnixMicros,
    ) -> Result<Answer, LedgerError> {
        Ok(match request {
            Request::Hello { protocol, .. } if protocol != PROTOCOL => Answer::Refused {
                kind: Refusal::Protocol,
                message: format!("the host speaks protocol {PROTOCOL}, the command {protocol}"),
            },
            Request::Hello { .. } => Answer::Host(HostInfo {
                warnings: std::mem::take(&mut self.warnings),
                ..self.info()
            }),
            Request::Host => Answer::Host(self.info()),
            Request::Submit { array } => self.submit(ledger, &array, now)?,
            Request::Resolve { typed } => Answer::Matches(resolve(ledger, &typed)?),
            Request::Arrays { limit } => Answer::Arrays(ledger.arrays(limit)?),
            Request::Status { id } => Answer::Status(Box::new(self.status(ledger, &id)?)),
            Request::Tasks { id, query } => {
                let rows = ledger.tasks(&id, query)?;
                Answer::Tasks(Slots::default().lines(ledger, rows)?)
            }
            Request::Attempts { id, position } => Answer::Attempts(ledger.attempts(&id, position)?),
            Request::Explain { id, position } => self.explain(ledger, &id, position)?,
            Request::Interrupt {
                id,
                which,
                notice_ms,
            } => self.interrupt(ledger, id.as_ref(), &which, notice_ms, now)?,
            Request::Extend { id, by_ms } => self.extend(ledger, &id, by_ms, now)?,
            Request::Retry { id, which, ttl_ms } => self.retry(ledger, &id, &which, ttl_ms, now)?,
            Request::Close {
                id,
                intent,
                notice_ms,
            } => {
                let cause = match intent {
                    Intent::Expired => StopCause::Ttl,
                    _ => StopCause::Cancelled,
                };
                self.close_array(ledger, &id, intent, Some((cause, notice_ms)), now)?;
                Answer::Done
            }
            Request::MissingBuckets { names } => self.missing_buckets(names),
            Request::Shutdown => {
                self.drain();
                Answer::Done
            }
            Request::Wait { .. } => Answer::Done,
        })
    }

    /// Commands that wait are told to go: they would start the next host at once.
    pub(crate) fn dismiss_waiters(&mut self, message: &str) {
        for array in self.arrays.values_mut() {
            for waiter in std::mem::take(&mut array.waiters) {
                let answer = Answer::Refused {
                    kind: Refusal::Failed,
                    message: message.to_owned(),
                };
                self.peers.send(waiter.peer, &answer);
            }
        }
    }

    /// The ledger failed, and the host ends: whoever asked, or waits, is told why.
    pub(crate) fn say_why_it_ends(&mut self, error: &LedgerError) {
        let message = answers::in_full(error);
        self.dismiss_waiters(&message);
        self.peers.take_back(&Answer::Refused {
            kind: Refusal::Failed,
            message,
        });
        self.peers.flush();
    }

    fn missing_buckets(&self, mut names: Vec<String>) -> Answer {
        match spawn_endpoint::existing_buckets(&self.home.aws()) {
            Ok(there) => {
                names.retain(|n| !there.contains(n));
                Answer::Buckets(names)
            }
            Err(e) => Answer::Refused {
                kind: Refusal::Failed,
                message: e.to_string(),
            },
        }
    }

    fn info(&self) -> HostInfo {
        HostInfo {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at.0,
            endpoint_port: self.endpoint_port,
            agents: self.agents.len() as u32,
            unfinished: self.arrays.values().filter(|a| a.unfinished > 0).count() as u32,
            limits: self.can_limit(),
            isolation: self.isolation_known.then_some(self.isolation),
            warnings: Vec::new(),
            lessened: self.lessened.clone(),
        }
    }

    fn submit(
        &mut self,
        ledger: &mut SqliteLedger,
        array: &NewArray,
        now: UnixMicros,
    ) -> Result<Answer, LedgerError> {
        ledger.submit(array, now)?;
        let record = record_of(ledger, &array.id)?;
        match LiveArray::new(&record) {
            Ok(live) => {
                self.arrays.insert(array.id.clone(), live);
                Ok(Answer::Done)
            }
            Err(e) => Err(LedgerError::Storage {
                what: format!("cannot read the submission: {e}"),
                source: None,
            }),
        }
    }

    pub(crate) fn status(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
    ) -> Result<ArrayStatus, LedgerError> {
        let record = record_of(ledger, id)?;
        let now = wall_clock::now();
        let mut workers = Vec::new();
        for agent in self.agents.values().filter(|a| a.array == *id) {
            if let Some(mut record) = ledger.agent(agent.id)? {
                // The ledger knows of claims and commits only; agents say more than that.
                let silent = agent.heard.elapsed().as_micros() as i64;
                record.last_update = record.last_update.max(UnixMicros(now.0 - silent));
                workers.push(WorkerStatus {
                    agent: record,
                    running: agent.running,
                });
            }
        }
        workers.sort_by_key(|w| w.agent.enrolled.slot);
        let held_up = self
            .arrays
            .get(id)
            // Where nothing waits, nothing is held up.
            .filter(|a| a.lanes.iter().any(|lane| lane.pending > 0))
            .and_then(|a| match &self.shortage {
                Some(shortage) => Some(shortage.why.clone()),
                None => a.held_up.clone(),
            });
        let queued = self.queued(id, now).filter(|_| held_up.is_none());
        let slots = &mut Slots::default();
        let mut status = answers::status(ledger, slots, record, workers, held_up, now)?;
        status.queued = queued;
        status.lessened = self.lessened.clone();
        status.stuck = self.doom.stuck(id);
        Ok(status)
    }

    fn wait_for(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        id: &ArrayId,
    ) -> Result<(), LedgerError> {
        let status = self.status(ledger, id)?;
        let ended = status.record.counts.all_ended();
        self.peers.send(peer, &Answer::Status(Box::new(status)));
        if let Some(array) = self.arrays.get_mut(id).filter(|_| !ended) {
            array.waiters.push(Waiter {
                peer,
                stale: false,
                told: Instant::now(),
            });
        }
        Ok(())
    }

    /// The answer for commands that wait.
    pub(crate) fn status_answer(&mut self, ledger: &mut SqliteLedger, id: &ArrayId) -> Answer {
        self.status(ledger, id)
            .map_or_else(|e| refusal(&e), |s| Answer::Status(Box::new(s)))
    }
}
