//! How a worker leaves: for good when enough others stay, so that another takes its place, or since
//! its array is over.

use std::time::Duration;

use spawn_core::crew::{Idle, when_idle};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_local::wire::agent::ToAgent;
use spawn_local::wire::frames;
use spawn_ports::ledger::{ArrayRecord, LedgerError};
use spawn_ports::machine::Leave;

use super::{End, Worker, WorkerError};
use crate::output::Carrier;
use crate::patience::pause;

impl Worker<'_> {
    /// Others gave this worker up: whatever it runs has been given to another.
    pub(super) fn be_given_up(&mut self) -> Result<(), WorkerError> {
        self.leave_because(Leave::Yield, Some((StopCause::Interrupted, Duration::ZERO)))
    }

    /// There is no array any more: nobody wants what runs.
    pub(super) fn be_abandoned(&mut self) -> Result<(), WorkerError> {
        let stop = (StopCause::Cancelled, Duration::ZERO);
        self.leave_because(Leave::Retire, Some(stop))
    }

    pub(super) fn stay_or_retire(
        &mut self,
        next_due: Option<UnixMicros>,
    ) -> Result<(), WorkerError> {
        if self.may_retire()? {
            self.leaving = Some(Leave::Retire);
            return self.retire();
        }
        let due = next_due.map(|at| at.micros_since((self.now)()));
        let wait = due.map_or(self.settings.ask_every, Duration::from_micros);
        self.ask_at = self.origin.elapsed() + wait.min(self.settings.ask_every);
        Ok(())
    }

    /// Whether the workers that stay are enough for what may still have to run. Two that ask at once
    /// must not both go: each takes itself out of the ledger first and looks again.
    pub(super) fn may_retire(&mut self) -> Result<bool, WorkerError> {
        if !self.is_out {
            let (unfinished, serving) = self.crew()?;
            if when_idle(unfinished, serving) == Idle::Stay {
                return Ok(false);
            }
            self.ledger.end_agent(self.id, (self.now)())?;
            self.is_out = true;
        }
        let (unfinished, serving) = self.crew()?;
        if serving >= unfinished {
            return Ok(true);
        }
        // Others went at the same moment: somebody has to stay.
        self.id = self.ledger.enroll(&self.settings.enrolment, (self.now)())?;
        self.is_out = false;
        self.carrier = Carrier::new(&self.settings.array, self.id, &self.settings.log);
        Ok(false)
    }

    /// Unfinished tasks of this worker's lane, and workers that serve it: this one, if it is enrolled,
    /// and those that it has seen alive.
    pub(super) fn crew(&mut self) -> Result<(u64, u64), WorkerError> {
        let Some(record) = self.record()? else {
            return Ok((0, 1));
        };
        let lane = self.settings.enrolment.lane;
        let counts = record.lanes.get(lane as usize).copied().unwrap_or_default();
        let agents = self.ledger.agents(&self.settings.array, u32::MAX)?;
        let serving = agents
            .iter()
            .filter(|a| a.ended_at.is_none() && a.enrolled.lane == lane)
            .filter(|a| a.id == self.id || self.observer.has_seen_alive(a.id));
        Ok((counts.pending + counts.running, serving.count() as u64))
    }

    pub(super) fn retire(&mut self) -> Result<(), WorkerError> {
        self.wanted = None;
        if !std::mem::replace(&mut self.retired, true) {
            frames::send(&ToAgent::Retire, &mut self.agent)?;
            // It has nothing to do any more.
            self.expect_gone(Duration::ZERO);
        }
        Ok(())
    }

    /// Claims nothing more; and stops what runs, if there is a cause.
    pub(super) fn leave_because(
        &mut self,
        how: Leave,
        stop: Option<(StopCause, Duration)>,
    ) -> Result<(), WorkerError> {
        self.leaving.get_or_insert(how);
        if let Some((cause, notice)) = stop {
            let stop = ToAgent::Stop {
                cause,
                notice_ms: u64::try_from(notice.as_millis()).unwrap_or(u64::MAX),
                position: None,
            };
            frames::send(&stop, &mut self.agent)?;
            self.expect_gone(notice);
        } else if self.wanted.is_some() {
            self.retire()?;
        }
        Ok(())
    }

    /// The agent has ended: what it held goes back, what it printed is kept, and the machine goes.
    pub(super) fn leave(mut self) -> Result<End, WorkerError> {
        let end = self.hopeless_at.saturating_sub(self.settings.lease);
        let at_end = self.leaving.is_none() && self.origin.elapsed() + self.ttl_notice >= end;
        if at_end {
            self.leaving = Some(Leave::Retire);
        }
        let record = loop {
            let done = self.part().and_then(|record| match record {
                Some(record) if at_end && !record.counts.all_ended() => self.see_out(end),
                record => Ok(record),
            });
            match done {
                Ok(record) => break Some(record),
                // Whatever is not told now is never told: the array's time is over.
                Err(e) if e.is_passing() && self.origin.elapsed() >= self.hopeless_at => {
                    break None;
                }
                Err(e) => {
                    self.borne(Err(e))?;
                    std::thread::sleep(pause(self.failures));
                }
            }
        };
        let has_ended = |record: &Option<ArrayRecord>| match record {
            Some(record) => record.counts.all_ended(),
            None => true,
        };
        // An agent that ended by itself has not said why: another machine may do better.
        let mut how = self.leaving.unwrap_or(Leave::Yield);
        if record.as_ref().is_some_and(has_ended) {
            how = Leave::Retire;
            if let Err(e) = self.machine.array_has_ended() {
                // Whatever remains of it, this machine need not.
                eprintln!("spored-node: {e}");
            }
        }
        self.machine.leave(how)?;
        Ok(match how {
            Leave::Retire => End::Retired,
            Leave::Yield => End::Yielded,
        })
    }

    /// The agent left since the array's time runs out: another machine could do no more. What was never
    /// started ends with the array, unless somebody gives it more time.
    pub(super) fn see_out(&mut self, end: Duration) -> Result<Option<ArrayRecord>, WorkerError> {
        std::thread::sleep(end.saturating_sub(self.origin.elapsed()));
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        if record.submitted.deadline > self.deadline {
            self.leaving = Some(Leave::Yield);
            return Ok(Some(record));
        }
        let now = (self.now)();
        Ok(Some(self.ledger.close(
            &self.settings.array,
            Intent::Expired,
            now,
        )?))
    }

    /// Tells what is to be told, and takes itself out of the ledger. The array, if it is there.
    pub(super) fn part(&mut self) -> Result<Option<ArrayRecord>, WorkerError> {
        if self.is_unsettled() {
            // The store may be out and the ledger not: others are to see that it is there.
            let _ = self.ledger.claim(self.id, 0, (self.now)());
            self.settle()?;
        }
        self.running = None;
        self.show();
        self.carrier.carry(self.objects, None)?;
        match self.ledger.end_agent(self.id, (self.now)()) {
            Ok(_) | Err(LedgerError::UnknownAgent(_) | LedgerError::UnknownArray(_)) => {}
            Err(e) => return Err(e.into()),
        }
        self.record()
    }
}
