//! When the ledger's disk is full: nothing is started, what was said in vain is taken back, and the
//! host goes on once there is room.
//!
//! A round that cannot be kept leaves the ledger as it was before. Agents that took part in it are
//! ended, since the outcomes they reported are gone; their tasks run again. Commands get to know
//! why, and those that only read are served all the while.

use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use spawn_local::ledger::SqliteLedger;
use spawn_local::wall_clock;
use spawn_local::wire::client::{Answer, Refusal};
use spawn_ports::ledger::{AgentId, Ledger, LedgerError};

use crate::desk::Desk;

/// How often it is looked whether there is room again.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So much must be free, in bytes: a ledger that just fits would be short again at once.
const ROOM: u64 = 4 << 20;

/// A ledger that cannot be written to for want of room.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// What is told.
    pub(crate) why: String,
    /// Agents whose end is still to be written.
    ended: Vec<AgentId>,
    next_look: Instant,
}

impl Shortage {
    /// When to look again.
    pub(crate) fn next_look(&self) -> Instant {
        self.next_look
    }
}

impl Desk {
    /// A round could not be kept.
    pub(crate) fn run_short(
        &mut self,
        ledger: &mut SqliteLedger,
        error: &LedgerError,
    ) -> Result<(), LedgerError> {
        let why = error.to_string();
        note!("nothing is started until there is room: {why}");
        self.peers.take_back(&Answer::Refused {
            kind: Refusal::Failed,
            message: why.clone(),
        });
        let mut ended = self.shortage.take().map_or_else(Vec::new, |s| s.ended);
        for (peer, agent) in std::mem::take(&mut self.agents) {
            agent.kill();
            self.failed_calls.forget(agent.id);
            self.peers.remove(peer);
            ended.push(agent.id);
        }
        // The arrays as the ledger still has them; whoever waits for one goes on waiting.
        let ids: Vec<_> = self.arrays.keys().cloned().collect();
        for id in ids {
            match (ledger.array(&id)?, self.arrays.get_mut(&id)) {
                (Some(record), Some(array)) => array.restart(&record),
                _ => drop(self.arrays.remove(&id)),
            }
        }
        self.shortage = Some(Shortage {
            why,
            ended,
            next_look: Instant::now() + LOOK_EVERY,
        });
        Ok(())
    }

    /// Looks whether there is room again, if it is time to.
    pub(crate) fn look_for_room(&mut self, ledger: &mut SqliteLedger) -> Result<(), LedgerError> {
        let Some(shortage) = &mut self.shortage else {
            return Ok(());
        };
        if Instant::now() < shortage.next_look {
            return Ok(());
        }
        shortage.next_look = Instant::now() + LOOK_EVERY;
        let is_full = statvfs(self.home.root())
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() <= ROOM);
        if is_full {
            return Ok(());
        }
        let ended = shortage.ended.clone();
        ledger.group(|ledger| {
            for agent in ended {
                // One that was enrolled in a round that was not kept is unknown.
                if ledger.agent(agent)?.is_some() {
                    ledger.end_agent(agent, wall_clock::now())?;
                }
            }
            Ok(())
        })?;
        note!("there is room again");
        self.shortage = None;
        for array in self.arrays.values_mut() {
            if let Some(record) = ledger.array(&array.id)? {
                array.refresh(&record);
            }
        }
        Ok(())
    }
}
