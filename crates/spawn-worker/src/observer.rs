//! Which workers are gone: those whose rows have not changed for a lease period.
//!
//! Every worker looks at the others' rows now and then. What it compares is a row with the same row
//! before, and how long ago that was by its own steady clock. So no two clocks are compared, and a
//! machine whose clock is wrong, or that slept, loses nothing by it.

use std::collections::HashMap;
use std::time::Duration;

use spawn_core::moment::UnixMicros;
use spawn_ports::ledger::{AgentId, AgentRecord};

/// What was seen of the workers that serve.
#[derive(Debug)]
pub struct Observer {
    lease: Duration,
    seen: HashMap<AgentId, Seen>,
    looked: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    last_update: UnixMicros,
    since: Duration,
    /// Its row has changed while it was watched: it was alive then.
    is_proved: bool,
}

impl Observer {
    /// Gives up workers that are silent for `lease`.
    pub fn new(lease: Duration) -> Observer {
        Observer {
            lease,
            seen: HashMap::new(),
            looked: None,
        }
    }

    /// Takes in the workers that serve, as their rows are at `now`, which is a time since any fixed
    /// origin of the caller's. Those whose lease is over.
    ///
    /// An observer that was itself away for longer than half a lease blames nobody: it begins anew.
    pub fn look(&mut self, serving: &[AgentRecord], now: Duration) -> Vec<AgentId> {
        let away = self
            .looked
            .is_some_and(|at| now.saturating_sub(at) > self.lease / 2);
        self.looked = Some(now);
        if away {
            self.seen.clear();
        }
        self.seen
            .retain(|id, _| serving.iter().any(|agent| agent.id == *id));
        let mut over = Vec::new();
        for agent in serving {
            let seen = self.seen.entry(agent.id).or_insert(Seen {
                last_update: agent.last_update,
                since: now,
                is_proved: false,
            });
            if seen.last_update != agent.last_update {
                *seen = Seen {
                    last_update: agent.last_update,
                    since: now,
                    is_proved: true,
                };
            }
            if now.saturating_sub(seen.since) >= self.lease {
                over.push(agent.id);
            }
        }
        over
    }

    /// Whether a worker was seen to live. One that has only ever been seen as it is may be gone
    /// already, and is not to be counted on.
    pub fn has_seen_alive(&self, id: AgentId) -> bool {
        self.seen.get(&id).is_some_and(|seen| seen.is_proved)
    }
}

#[cfg(test)]
mod tests {
    use spawn_ports::ledger::NewAgent;

    use super::*;

    const LEASE: Duration = Duration::from_secs(90);

    fn agent(id: u64, last_update: i64) -> AgentRecord {
        AgentRecord {
            id: AgentId(id),
            enrolled: NewAgent {
                array: "array-20260127-abc123".parse().unwrap(),
                slot: id as u32,
                lane: 0,
                pid: 1,
                pid_started: 0,
                boot: String::new(),
                hostname: String::new(),
            },
            started_at: UnixMicros(0),
            last_update: UnixMicros(last_update),
            ended_at: None,
            tasks_done: 0,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_whose_row_stands_still_for_a_lease_is_given_up() {
        let mut observer = Observer::new(LEASE);
        for t in (0..90).step_by(30) {
            // Its clock is a year behind, and may jump; only that it changes counts.
            let rows = [agent(1, 7), agent(2, t as i64 - 1_000_000)];
            assert!(observer.look(&rows, at(t)).is_empty(), "at {t}");
        }
        let rows = [agent(1, 7), agent(2, 5)];
        assert_eq!(observer.look(&rows, at(90)), [AgentId(1)]);
        assert!(observer.has_seen_alive(AgentId(2)));
        assert!(!observer.has_seen_alive(AgentId(1)));
    }

    #[test]
    fn an_observer_that_slept_blames_nobody() {
        let mut observer = Observer::new(LEASE);
        let rows = [agent(1, 7)];
        assert!(observer.look(&rows, at(0)).is_empty());
        assert!(observer.look(&rows, at(30)).is_empty());
        // A suspended machine: the rows it sees again are old, and so is what it remembers.
        assert!(observer.look(&rows, at(5_000)).is_empty());
        for t in [5_030, 5_060] {
            assert!(observer.look(&rows, at(t)).is_empty());
        }
        assert_eq!(observer.look(&rows, at(5_090)), [AgentId(1)]);
    }

    #[test]
    fn one_that_left_in_order_is_forgotten() {
        let mut observer = Observer::new(LEASE);
        observer.look(&[agent(1, 7)], at(0));
        observer.look(&[], at(30));
        assert!(observer.look(&[agent(1, 7)], at(60)).is_empty());
        assert!(observer.look(&[agent(1, 7)], at(90)).is_empty());
    }
}
