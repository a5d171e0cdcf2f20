//! The supervision of one attempt: when to stop a script, how hard, and why.
//!
//! Order, once, for every cause (TTL, interruption, timeout, cancel):
//!
//! 1. TERM to the script's leader; note which of its descendants run at this moment.
//! 2. After min(10 s, a quarter of the notice): TERM to those of the noted descendants that
//!    still run. Bash runs a trap only after its foreground child ends, while a trap's own
//!    children (an upload, say) were not running when the stop began and are spared.
//! 3. At the deadline: KILL of everything.
//!
//! The first three are words to the sandbox's init, which may not answer: it can be stopped, traced,
//! frozen or stuck in the kernel. So a stop has two more steps, taken while the leader's end is not heard:
//!
//! 4. [`LONGEST_ANSWER`] later: the sandbox is ended by force, its init with it.
//! 5. After as long again: the attempt is given up, and what is left of it is named.
//!
//! Pure: times are handed in as durations since any fixed origin of the caller's.

use std::time::Duration;

use crate::outcome::StopCause;

/// The longest wait between TERM to the leader and TERM to its descendants.
pub const LONGEST_TERM_WAIT: Duration = Duration::from_secs(10);

/// The longest that a script gets to clean up when its time runs out.
pub const LONGEST_NOTICE: Duration = Duration::from_secs(30);

/// How long the init of a sandbox may take to end what it was told to, and the kernel to let go of a
/// sandbox that was ended by force.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(3);

/// How long after the deadline of a stop the agent that carries it out has reported and left at the
/// latest. Past that it is ended itself.
pub const AGENT_ANSWER: Duration = Duration::from_secs(12);

/// How long before the end of a time limit a script is told: a quarter of it, 30 seconds at most.
pub fn notice_of(limit: Duration) -> Duration {
    (limit / 4).min(LONGEST_NOTICE)
}

/// What the shell around the machine has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Note the descendants that run now, then TERM the leader.
    TermLeader,
    /// TERM the noted descendants that still run.
    TermDescendants,
    /// KILL everything of the attempt.
    KillAll,
    /// End the sandbox itself: its init has not said that all is gone.
    EndSandbox,
    /// Go on without the sandbox: the kernel does not let go of it.
    GiveUp,
}

/// The stop that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stop {
    /// None if the script ended by itself and only what it left behind is stopped.
    cause: Option<StopCause>,
    phase: Phase,
    term_descendants_at: Duration,
    kill_at: Duration,
    /// When the step after the KILL is due; set by it.
    next_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    LeaderTermed,
    DescendantsTermed,
    Killed,
    SandboxEnded,
    GivenUp,
}

/// Supervises one attempt from its start to the exit of its leader.
#[derive(Debug, Clone)]
pub struct Supervisor {
    limits: Vec<(StopCause, Duration, Duration)>,
    stop: Option<Stop>,
}

impl Supervisor {
    /// An attempt with no limit.
    pub fn new() -> Supervisor {
        Supervisor {
            limits: Vec::new(),
            stop: None,
        }
    }

    /// Stops the script for `cause` so that it is gone by `at`, telling it `notice` before.
    pub fn limit(&mut self, cause: StopCause, at: Duration, notice: Duration) {
        self.limits.push((cause, at, notice));
    }

    /// Moves the limit of `cause` to `at`. A stop that has begun is not taken back: the script has
    /// been told. False in that case, or if there is no such limit.
    pub fn move_limit(&mut self, cause: StopCause, at: Duration) -> bool {
        let mut moved = false;
        for limit in self.limits.iter_mut().filter(|limit| limit.0 == cause) {
            limit.1 = at;
            moved = true;
        }
        moved
    }

    /// Asks for a stop: everything is gone `notice` after `now`.
    ///
    /// During a stop, a graver cause replaces the cause, and an earlier deadline the deadline.
    pub fn stop(&mut self, cause: StopCause, notice: Duration, now: Duration) -> Option<Action> {
        let wait = LONGEST_TERM_WAIT.min(notice / 4);
        let kill_at = now + notice;
        match &mut self.stop {
            None => {
                self.stop = Some(Stop {
                    cause: Some(cause),
                    phase: Phase::LeaderTermed,
                    term_descendants_at: now + wait,
                    kill_at,
                    next_at: Duration::MAX,
                });
                Some(Action::TermLeader)
            }
            Some(stop) => {
                stop.cause = stop.cause.max(Some(cause));
                stop.kill_at = stop.kill_at.min(kill_at);
                stop.term_descendants_at = stop.term_descendants_at.min(now + wait);
                None
            }
        }
    }

    /// The script has ended and the init has begun to kill what it left behind: that must end, too.
    pub fn lingers(&mut self, now: Duration) {
        let next_at = now + LONGEST_ANSWER;
        match &mut self.stop {
            None => {
                self.stop = Some(Stop {
                    cause: None,
                    phase: Phase::Killed,
                    term_descendants_at: now,
                    kill_at: now,
                    next_at,
                });
            }
            Some(stop) if stop.phase < Phase::Killed => {
                (stop.phase, stop.next_at) = (Phase::Killed, next_at);
            }
            Some(_) => {}
        }
    }

    /// What has come due at `now`. Call again until it gives `None`.
    pub fn tick(&mut self, now: Duration) -> Option<Action> {
        while let Some(i) = self
            .limits
            .iter()
            .position(|(_, at, notice)| at.saturating_sub(*notice) <= now)
        {
            let (cause, at, _) = self.limits.swap_remove(i);
            let action = self.stop(cause, at.saturating_sub(now), now);
            if action.is_some() {
                return action;
            }
        }
        let stop = self.stop.as_mut()?;
        if stop.phase < Phase::Killed && stop.kill_at <= now {
            stop.phase = Phase::Killed;
            // Counted from now: an agent that was itself asleep has not waited yet.
            stop.next_at = now + LONGEST_ANSWER;
            return Some(Action::KillAll);
        }
        if stop.phase >= Phase::Killed && stop.next_at <= now {
            let (phase, action, next_at) = match stop.phase {
                Phase::Killed => (
                    Phase::SandboxEnded,
                    Action::EndSandbox,
                    now + LONGEST_ANSWER,
                ),
                _ => (Phase::GivenUp, Action::GiveUp, Duration::MAX),
            };
            (stop.phase, stop.next_at) = (phase, next_at);
            return Some(action);
        }
        if stop.phase < Phase::DescendantsTermed && stop.term_descendants_at <= now {
            stop.phase = Phase::DescendantsTermed;
            return Some(Action::TermDescendants);
        }
        None
    }

    /// When [`Supervisor::tick`] has to be called next; `None` if only events matter.
    pub fn next_tick(&self) -> Option<Duration> {
        let limits = self
            .limits
            .iter()
            .map(|(_, at, notice)| at.saturating_sub(*notice));
        let stop = self.stop.and_then(|stop| match stop.phase {
            Phase::LeaderTermed => Some(stop.term_descendants_at.min(stop.kill_at)),
            Phase::DescendantsTermed => Some(stop.kill_at),
            Phase::Killed | Phase::SandboxEnded => Some(stop.next_at),
            Phase::GivenUp => None,
        });
        limits.chain(stop).min()
    }

    /// Why the script is being stopped, and when everything is killed, if it is.
    pub fn stop_under_way(&self) -> Option<(StopCause, Duration)> {
        self.stop.and_then(|stop| Some((stop.cause?, stop.kill_at)))
    }

    /// Why the script is being stopped, if it is.
    pub fn stopping(&self) -> Option<StopCause> {
        self.stop.and_then(|s| s.cause)
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Supervisor::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_limit_moves_until_its_stop_has_begun() {
        let mut m = Supervisor::new();
        m.limit(StopCause::Ttl, s(100), s(10));
        assert!(m.move_limit(StopCause::Ttl, s(200)));
        assert!(!m.move_limit(StopCause::Timeout, s(200)));
        assert_eq!(m.tick(s(150)), None);
        assert_eq!(m.next_tick(), Some(s(190)));
        assert_eq!(m.tick(s(190)), Some(Action::TermLeader));
        assert!(!m.move_limit(StopCause::Ttl, s(300)));
        assert_eq!(m.stopping(), Some(StopCause::Ttl));
    }

    #[test]
    fn two_minutes_of_notice_give_the_trap_ten_seconds_then_its_child_is_asked() {
        let mut m = Supervisor::new();
        assert_eq!(
            m.stop(StopCause::Interrupted, s(120), s(5)),
            Some(Action::TermLeader)
        );
        assert_eq!(m.next_tick(), Some(s(15)));
        assert_eq!(m.tick(s(14)), None);
        assert_eq!(m.tick(s(15)), Some(Action::TermDescendants));
        assert_eq!(m.tick(s(16)), None);
        assert_eq!(m.next_tick(), Some(s(125)));
        assert_eq!(m.tick(s(125)), Some(Action::KillAll));
    }

    #[test]
    fn an_init_that_does_not_answer_is_ended_and_then_given_up() {
        let mut m = Supervisor::new();
        m.stop(StopCause::Cancelled, s(0), s(10));
        assert_eq!(m.tick(s(10)), Some(Action::KillAll));
        assert_eq!(m.tick(s(12)), None);
        assert_eq!(m.next_tick(), Some(s(13)));
        // The agent slept; the kernel gets its time all the same.
        assert_eq!(m.tick(s(40)), Some(Action::EndSandbox));
        assert_eq!(m.tick(s(42)), None);
        assert_eq!(m.tick(s(43)), Some(Action::GiveUp));
        assert_eq!((m.tick(s(1000)), m.next_tick()), (None, None));
        assert!(AGENT_ANSWER > 2 * LONGEST_ANSWER);
    }

    #[test]
    fn what_a_script_leaves_behind_is_ended_without_a_stop() {
        let mut m = Supervisor::new();
        m.limit(StopCause::Ttl, s(100), s(10));
        m.lingers(s(5));
        assert_eq!((m.tick(s(6)), m.stopping()), (None, None));
        assert_eq!(m.next_tick(), Some(s(8)));
        assert_eq!(m.tick(s(8)), Some(Action::EndSandbox));
        assert_eq!(m.tick(s(11)), Some(Action::GiveUp));
        let mut m = Supervisor::new();
        m.stop(StopCause::Timeout, s(60), s(0));
        m.lingers(s(1));
        assert_eq!(m.tick(s(4)), Some(Action::EndSandbox));
        assert_eq!(m.stopping(), Some(StopCause::Timeout));
    }

    #[test]
    fn a_graver_cause_and_a_nearer_deadline_win() {
        let mut m = Supervisor::new();
        m.stop(StopCause::Interrupted, s(120), s(0));
        assert_eq!(m.stop(StopCause::Cancelled, s(20), s(1)), None);
        assert_eq!(m.stopping(), Some(StopCause::Cancelled));
        assert_eq!(m.tick(s(6)), Some(Action::TermDescendants));
        assert_eq!(m.tick(s(21)), Some(Action::KillAll));
        let mut m = Supervisor::new();
        m.stop(StopCause::Cancelled, s(20), s(0));
        m.stop(StopCause::Interrupted, s(120), s(1));
        assert_eq!(m.stopping(), Some(StopCause::Cancelled));
        assert_eq!(m.next_tick(), Some(s(5)));
    }

    #[test]
    fn a_limit_tells_the_script_before_it_ends() {
        let mut m = Supervisor::new();
        m.limit(StopCause::Timeout, s(60), s(20));
        assert_eq!(m.next_tick(), Some(s(40)));
        assert_eq!(m.tick(s(39)), None);
        assert_eq!(m.tick(s(40)), Some(Action::TermLeader));
        assert_eq!(m.stopping(), Some(StopCause::Timeout));
        assert_eq!(m.tick(s(60)), Some(Action::KillAll));
    }

    proptest! {
        /// Whatever is asked and whenever ticks come: TERM comes first, KILL comes once and by
        /// the nearest deadline, what follows where nobody answers comes in order and ends, and the
        /// cause never gets lighter.
        #[test]
        fn every_stop_ends(
            asks in proptest::collection::vec((0u64..100, 0u64..200, 0usize..4), 1..8),
        ) {
            let causes = [StopCause::Interrupted, StopCause::Timeout, StopCause::Ttl, StopCause::Cancelled];
            let mut asks = asks;
            asks.sort();
            let mut m = Supervisor::new();
            let mut actions = Vec::new();
            let mut deadline = u64::MAX;
            for (at, notice, cause) in &asks {
                while let Some(a) = m.tick(s(*at)) { actions.push(a); }
                let before = m.stopping();
                actions.extend(m.stop(causes[*cause], s(*notice), s(*at)));
                prop_assert!(m.stopping() >= before);
                deadline = deadline.min(at + notice);
            }
            while let Some(at) = m.next_tick() {
                let killed = actions.iter().filter(|a| **a >= Action::KillAll).count() as u32;
                let end = s(deadline.max(asks.last().unwrap().0)) + killed * LONGEST_ANSWER;
                prop_assert!(at <= end);
                while let Some(a) = m.tick(at) { actions.push(a); }
            }
            prop_assert_eq!(actions[0], Action::TermLeader);
            let last = &actions[actions.len() - 3..];
            prop_assert_eq!(last, [Action::KillAll, Action::EndSandbox, Action::GiveUp]);
            prop_assert_eq!(actions.iter().filter(|a| **a >= Action::KillAll).count(), 3);
            prop_assert!(actions.iter().filter(|a| **a == Action::TermDescendants).count() <= 1);
        }
    }
}
