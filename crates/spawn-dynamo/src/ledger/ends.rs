//! The end of an agent: whatever it holds is lost.

use spawn_core::moment::UnixMicros;
use spawn_core::task::Token;
use spawn_ports::ledger::AgentId;

use super::hot::Live;
use super::items::number;
use super::settle::{Ask, MOST, Table, is_given_out};
use super::{DynamoLedger, Fail, ROUNDS};
use crate::DynamoApi;

/// Transactions that the leases of one agent can take.
const MOST_CHUNKS: u32 = 10_000;

impl<A: DynamoApi> DynamoLedger<A> {
    /// Ends an agent, and gives the positions that it held.
    pub(super) fn end(&mut self, agent: AgentId, now: UnixMicros) -> Result<Vec<u64>, Fail> {
        let array = self.enrolment(agent)?.said.array;
        let frame = self.frame(&array)?;
        let mut lost = Vec::new();
        for round in 1..=ROUNDS + MOST_CHUNKS {
            let (_, live) = self.look_up(&frame, agent, std::iter::empty(), now)?;
            if live.ended_at.is_some() {
                return Ok(in_order(lost));
            }
            let held: Vec<u64> = live.leases.iter().copied().take(MOST).collect();
            let last = held.len() == live.leases.len();
            let (mut table, live_again) = self.look_up(&frame, agent, held.iter().copied(), now)?;
            let same = (live_again.claimed, &live_again.leases) == (live.claimed, &live.leases);
            if !same {
                self.wire.retries.pause(1);
                continue;
            }
            for position in &held {
                let token = table.task(*position).token;
                // A lease of a task that is not run has nothing to lose.
                let _ = table.ask(&Ask::Lost(*position, token));
                table.change(agent).over.insert(*position);
            }
            let mut positions = held;
            if last {
                positions.extend(self.lose_claim(&mut table, &live)?);
            }
            let size = live.leases.len();
            table.change(agent);
            let may_end = is_given_out(&frame, &table.head);
            let writes = table.writes(|_, edit| {
                let edit = edit
                    .if_absent("ea")
                    .if_size("ls", size)
                    .if_equal("lt", number(live.claimed.0));
                match last {
                    true => edit.set("ea", number(now.0)).remove("ip").remove("is"),
                    false => edit,
                }
            })?;
            match self.wire.transact(writes) {
                Ok(()) => {
                    lost.extend(positions);
                    if last {
                        if may_end {
                            // Who reads the array sees that it ended.
                            let _ = self.finish(&frame, now);
                        }
                        return Ok(in_order(lost));
                    }
                }
                Err(error) if error.is_condition() => self.wire.retries.pause(round),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Fail::Broken(format!(
            "agent {} changed at every attempt to end it",
            agent.0
        )))
    }

    /// Takes back what an agent's last claim was given if it came no further than that.
    fn lose_claim(&mut self, table: &mut Table<'_>, live: &Live) -> Result<Vec<u64>, Fail> {
        let lane = &table.frame.lanes[live.lane];
        let slots = table.head.slots.iter();
        let slots = slots.filter(|slot| slot.agent == live.id && slot.token > live.claimed);
        let given: Vec<(u64, Token)> = slots
            .flat_map(|slot| slot.positions(lane).map(|at| (at, slot.token)))
            .take(MOST)
            .collect();
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let id = &table.frame.submitted.id;
        let written = self.stored(id, given.iter().map(|(at, _)| *at))?;
        let unwritten = given
            .into_iter()
            .filter(|(at, _)| !written.contains_key(at));
        let lost = unwritten.filter(|(at, token)| table.lose_unwritten(*at, *token, live.id));
        Ok(lost.map(|(at, _)| at).collect())
    }
}

fn in_order(mut positions: Vec<u64>) -> Vec<u64> {
    positions.sort_unstable();
    positions
}
