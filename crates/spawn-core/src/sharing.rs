//! How arrays share the cores of one machine.
//!
//! Each array that sets no width of its own is a *sharer*. A core that is free goes to the sharer
//! with the fewest slots, and of those to the one that has been served least. A slot changes hands
//! only between two tasks: its agent asks here whether it should make way for another array.
//!
//! With fewer arrays than cores this gives each its share of the slots. With more arrays than cores
//! they take turns: a slot is given up once its array is a *quantum* of core time ahead of one that
//! waits. The quantum shrinks as arrays become more, so that each has its turn within about two
//! seconds, as far as the length of tasks allows: a script that runs is never stopped for this.
//!
//! An array that had nothing to run collects no claim to later time beyond [`MOST_CREDIT`], and a
//! new one starts level with the one that was served least.
//!
//! Pure: times are durations since any fixed origin of the caller's.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

/// All sharers together have a turn within about this much time.
const CYCLE: Duration = Duration::from_millis(1_500);
/// A slot is not passed on sooner than this: starting an agent costs some milliseconds.
const SHORTEST_QUANTUM: Duration = Duration::from_millis(30);
/// With few sharers a slot is not held longer than this.
const LONGEST_QUANTUM: Duration = Duration::from_millis(250);

/// The most core time by which one sharer counts as served less than another.
pub const MOST_CREDIT: Duration = Duration::from_secs(10);

/// What one array has of the machine, and what more it could use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Slots that it holds; each takes one core.
    pub slots: u32,
    /// How many of these are about to be given up.
    pub leaving: u32,
    /// How many more slots would find a task to run now.
    pub wants: u32,
}

impl Demand {
    /// Slots that it holds and keeps.
    fn kept(self) -> u32 {
        self.slots.saturating_sub(self.leaving)
    }

    fn is_active(self) -> bool {
        self.slots > 0 || self.wants > 0
    }
}

/// One array among those that share.
#[derive(Debug, Clone)]
struct Sharer {
    demand: Demand,
    /// Core time that it was given.
    served: Duration,
    /// When it last was given a slot.
    last_start: Option<Duration>,
}

/// The arrays that share the cores of a machine. Keys are ordered by launch: of two that are
/// otherwise equal the smaller key goes first.
#[derive(Debug, Clone)]
pub struct Sharing<K> {
    cores: u32,
    sharers: BTreeMap<K, Sharer>,
    /// When it was last looked at.
    seen: Duration,
    /// What the active sharer that was served least has been given; it never falls.
    floor: Duration,
}

impl<K: Ord + Clone> Sharing<K> {
    /// Nobody shares yet.
    pub fn new() -> Sharing<K> {
        Sharing {
            cores: 1,
            sharers: BTreeMap::new(),
            seen: Duration::ZERO,
            floor: Duration::ZERO,
        }
    }

    /// Takes over what each sharer has and wants at `now`. Those not named share no more.
    pub fn observe(
        &mut self,
        cores: u32,
        demands: impl IntoIterator<Item = (K, Demand)>,
        now: Duration,
    ) {
        self.count_service(now);
        self.cores = cores;
        let mut before = std::mem::take(&mut self.sharers);
        let known = demands.into_iter().map(|(key, demand)| {
            let old = before.remove(&key);
            let is_back = old.as_ref().is_none_or(|old| !old.demand.is_active());
            let mut sharer = old.unwrap_or(Sharer {
                demand,
                served: Duration::ZERO,
                last_start: None,
            });
            if is_back {
                sharer.served = sharer.served.max(self.floor);
            }
            if demand.slots > sharer.demand.slots || (is_back && demand.slots > 0) {
                sharer.last_start = Some(now);
            }
            sharer.demand = demand;
            (key, sharer)
        });
        self.sharers = known.collect();
        self.level();
    }

    /// Adds what slots were worth since the last look.
    fn count_service(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.seen);
        self.seen = self.seen.max(now);
        for sharer in self.sharers.values_mut() {
            sharer.served += passed * sharer.demand.slots;
        }
        self.level();
    }

    /// Bounds how far sharers lie apart, and raises the floor.
    fn level(&mut self) {
        let active = || self.sharers.values().filter(|s| s.demand.is_active());
        let Some(most) = active().map(|s| s.served).max() else {
            return;
        };
        let least = most.saturating_sub(MOST_CREDIT);
        for sharer in self.sharers.values_mut() {
            sharer.served = sharer.served.max(least);
        }
        let active = self.sharers.values().filter(|s| s.demand.is_active());
        self.floor = active
            .map(|s| s.served)
            .min()
            .map_or(self.floor, |served| self.floor.max(served));
    }

    /// Who gets a free core, if one is free and somebody wants it.
    pub fn next(&self) -> Option<&K> {
        let taken: u32 = self.sharers.values().map(|s| s.demand.slots).sum();
        if taken >= self.cores {
            return None;
        }
        let waiting = self.sharers.iter().filter(|(_, s)| s.demand.wants > 0);
        waiting.min_by(compare).map(|(key, _)| key)
    }

    /// Notes that `key` was given a slot at `now`.
    pub fn started(&mut self, key: &K, now: Duration) {
        self.count_service(now);
        if let Some(sharer) = self.sharers.get_mut(key) {
            sharer.demand.slots += 1;
            sharer.demand.wants = sharer.demand.wants.saturating_sub(1);
            sharer.last_start = Some(now);
        }
    }

    /// Whether an agent of `key` that has ended a task, and asks for another at `now`, should give up
    /// its slot to another array. Its slot counts as leaving from then on.
    pub fn yields(&mut self, key: &K, now: Duration) -> bool {
        if self.sharers.len() < 2 {
            return false;
        }
        self.count_service(now);
        let quantum = self.quantum();
        let Some(own) = self.sharers.get(key).filter(|s| s.demand.kept() > 0) else {
            return false;
        };
        let Some((kept, served)) = self.first_in_vain(key) else {
            return false;
        };
        let ahead = own.demand.kept().saturating_sub(kept);
        let makes_way = ahead >= 2 || (ahead == 1 && own.served >= served + quantum);
        self.leave_if(key, makes_way)
    }

    /// Whether an agent of `key` that only waits should give up its slot: somebody could use it now.
    pub fn yields_idle(&mut self, key: &K, now: Duration) -> bool {
        self.count_service(now);
        let is_wanted = self.first_in_vain(key).is_some();
        self.leave_if(key, is_wanted)
    }

    fn leave_if(&mut self, key: &K, makes_way: bool) -> bool {
        if makes_way && let Some(own) = self.sharers.get_mut(key) {
            own.demand.leaving += 1;
        }
        makes_way
    }

    /// The sharer that comes next, `key` aside, among those that want a slot and get none of the cores
    /// that are free or about to be: the slots that it will have by then, and its service.
    fn first_in_vain(&self, key: &K) -> Option<(u32, Duration)> {
        let kept: u32 = self.sharers.values().map(|s| s.demand.kept()).sum();
        let mut free = self.cores.saturating_sub(kept);
        let mut waiting: Vec<(&K, Sharer)> = self
            .sharers
            .iter()
            .filter(|(_, s)| s.demand.wants > 0)
            .map(|(key, s)| (key, s.clone()))
            .collect();
        while free > 0 {
            let first = waiting.iter_mut().min_by(|a, b| {
                let ((a_key, a), (b_key, b)) = (a, b);
                compare(&(*a_key, a), &(*b_key, b))
            })?;
            free -= 1;
            first.1.demand.slots += 1;
            first.1.demand.wants -= 1;
            waiting.retain(|(_, s)| s.demand.wants > 0);
        }
        let others = waiting.iter().filter(|(k, _)| *k != key);
        let (_, first) = others.map(|(key, s)| (*key, s)).min_by(compare)?;
        Some((first.demand.kept(), first.served))
    }

    /// How far ahead of another an array may get before its slot passes on, in core time.
    fn quantum(&self) -> Duration {
        let active = self.sharers.values().filter(|s| s.demand.is_active());
        let active = u32::try_from(active.count()).unwrap_or(u32::MAX).max(1);
        (CYCLE * self.cores / active).clamp(SHORTEST_QUANTUM, LONGEST_QUANTUM)
    }
}

/// Who comes first: fewest slots, least service, longest without a slot, earliest launch.
fn compare<K: Ord>(a: &(&K, &Sharer), b: &(&K, &Sharer)) -> Ordering {
    let rank = |s: &Sharer| (s.demand.kept(), s.served, s.last_start);
    rank(a.1).cmp(&rank(b.1)).then_with(|| a.0.cmp(b.0))
}

impl<K: Ord + Clone> Default for Sharing<K> {
    fn default() -> Self {
        Sharing::new()
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
