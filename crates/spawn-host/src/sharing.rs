//! Which array gets the next agent, and which agents make way for another array.
//!
//! Arrays with a width of their own (`--workers`, `--max-concurrent`) get that many agents. All
//! others share the cores by the rules of [`spawn_core::sharing`]. Where tasks cannot be kept apart
//! and run one at a time, all arrays share the one place that there is.

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::sharing::Demand;
use spawn_local::wire::agent::{Isolation, ToAgent};
use spawn_local::wire::client::{Holder, Queued};

use crate::arrays::LiveArray;
use crate::desk::Desk;
use crate::peers::PeerId;

/// As many arrays are named to somebody who waits for a core.
const NAMED: usize = 4;

impl Desk {
    /// Takes in what every array has and wants; agents that only wait make way if a core is wanted.
    pub(crate) fn share_out(&mut self, now: UnixMicros) {
        self.observe_demand(now);
        let idle: Vec<(ArrayId, PeerId)> = self
            .arrays
            .iter()
            .flat_map(|(id, array)| {
                let parked = array.lanes.iter().flat_map(|lane| &lane.parked);
                parked.map(|(peer, _)| (id.clone(), *peer))
            })
            .collect();
        for (id, peer) in idle {
            let Some(array) = self.arrays.get_mut(&id) else {
                continue;
            };
            if self
                .sharing
                .yields_idle(&array.turn(), self.origin.elapsed())
            {
                for lane in &mut array.lanes {
                    lane.parked.retain(|(p, _)| *p != peer);
                }
                self.retire(peer);
                self.observe_demand(now);
            }
        }
    }

    fn observe_demand(&mut self, now: UnixMicros) {
        let is_narrow = self.is_one_at_a_time();
        let demands = self
            .arrays
            .values()
            .filter(|a| a.unfinished > 0 || !a.slots.is_empty())
            .filter(|a| is_narrow || a.asked_width().is_none())
            .map(|a| {
                let demand = Demand {
                    slots: a.slots.len() as u32,
                    leaving: a.leaving,
                    wants: a.wants(now),
                };
                (a.turn(), demand)
            });
        let cores = if is_narrow { 1 } else { self.cores };
        self.sharing.observe(cores, demands, self.origin.elapsed());
    }

    /// Which array gets the next agent, and for which of its lanes, if any.
    pub(crate) fn next_to_serve(&self, now: UnixMicros) -> Option<(ArrayId, u32)> {
        if self.is_one_at_a_time() {
            // An agent that is on its way out may still have a script.
            return self.agents.is_empty().then(|| self.next_sharer(now))?;
        }
        let wide = self
            .arrays
            .values()
            .filter(|a| a.asked_width().is_some() && a.wants(now) > 0)
            .min_by_key(|a| a.launched_at);
        match wide.and_then(|a| Some((a.id.clone(), a.neediest_lane(now)?))) {
            Some(found) => Some(found),
            None => self.next_sharer(now),
        }
    }

    fn next_sharer(&self, now: UnixMicros) -> Option<(ArrayId, u32)> {
        let (_, id) = self.sharing.next()?;
        let lane = self.arrays.get(id)?.neediest_lane(now)?;
        Some((id.clone(), lane))
    }

    /// Tasks that share `/tmp` run one at a time, unless every array allows otherwise.
    fn is_one_at_a_time(&self) -> bool {
        let allows = |a: &LiveArray| a.submission.launch.allow_shared_tmp;
        let mut live = self.arrays.values();
        self.isolation == Isolation::Shared
            && !live.all(|a| allows(a) || (a.unfinished == 0 && a.slots.is_empty()))
    }

    /// Whether an agent that asks for tasks gives up its slot to another array; it is told.
    pub(crate) fn makes_way(&mut self, peer: PeerId) -> bool {
        let Some(agent) = self.agents.get_mut(&peer) else {
            return false;
        };
        let Some(array) = self.arrays.get_mut(&agent.array) else {
            return false;
        };
        if !self.sharing.yields(&array.turn(), self.origin.elapsed()) {
            return false;
        }
        // It may still run a task: its slot is free once it is gone.
        agent.makes_way = true;
        array.leaving += 1;
        self.peers.send(peer, &ToAgent::Retire);
        true
    }

    /// For whom an array waits that could run tasks and has no core.
    pub(crate) fn queued(&self, id: &ArrayId, now: UnixMicros) -> Option<Queued> {
        let array = self.arrays.get(id)?;
        let is_narrow = self.is_one_at_a_time();
        let shares = |a: &LiveArray| is_narrow || a.asked_width().is_none();
        if !array.slots.is_empty() || array.wants(now) == 0 || !shares(array) {
            return None;
        }
        let mut others: Vec<&LiveArray> = self
            .arrays
            .values()
            .filter(|a| a.id != *id && shares(a))
            .collect();
        others.sort_by_key(|a| (std::cmp::Reverse(a.slots.len()), a.launched_at));
        let holders: Vec<&LiveArray> = others
            .iter()
            .filter(|a| !a.slots.is_empty())
            .copied()
            .collect();
        Some(Queued {
            cores: if is_narrow { 1 } else { self.cores },
            one_at_a_time: is_narrow,
            holders: holders
                .iter()
                .take(NAMED)
                .map(|a| Holder {
                    array: a.id.clone(),
                    name: a.submission.launch.name.clone(),
                    slots: a.slots.len() as u32,
                })
                .collect(),
            more_holders: holders.len().saturating_sub(NAMED) as u32,
            also_waiting: others
                .iter()
                .filter(|a| a.slots.is_empty() && a.wants(now) > 0)
                .count() as u32,
        })
    }
}
