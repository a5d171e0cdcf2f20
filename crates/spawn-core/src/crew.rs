//! When a worker that finds nothing to do may leave for good.
//!
//! A group of machines replaces whatever leaves without a word. A worker that leaves for good takes
//! its place with it, so it must not go while tasks may still need that place: those in backoff, and
//! those that other workers hold and may hand back.

/// What a worker that finds nothing claimable does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It leaves for good, and nobody takes its place.
    Retire,
    /// It stays, and asks again later.
    Stay,
}

/// Decides for one idle worker of a lane.
///
/// `unfinished` tasks of the lane have no outcome yet; `serving` workers serve the lane, the one that
/// asks included. Those that stay must be as many as the tasks that may still need one.
pub fn when_idle(unfinished: u64, serving: u64) -> Idle {
    match serving > unfinished {
        true => Idle::Retire,
        false => Idle::Stay,
    }
}

/// Whether machines of another kind are still wanted beside those that serve a lane: some of its
/// `unclaimed` tasks wait, and fewer workers serve than `machines` were asked for.
pub fn is_fallback_needed(unclaimed: u64, serving: u64, machines: u64) -> bool {
    unclaimed > 0 && serving < machines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_tasks_keep_as_many_workers_as_they_are() {
        assert_eq!(when_idle(0, 1), Idle::Retire);
        assert_eq!(
            when_idle(1, 1),
            Idle::Stay,
            "it waits for a backoff to pass"
        );
        assert_eq!(when_idle(1, 2), Idle::Retire, "the other one has it");
        assert_eq!(when_idle(3, 3), Idle::Stay);
    }

    #[test]
    fn others_are_wanted_while_tasks_wait_and_machines_lack() {
        assert!(is_fallback_needed(1, 6, 7));
        assert!(!is_fallback_needed(0, 6, 7), "nothing is left for them");
        assert!(
            !is_fallback_needed(100, 7, 7),
            "all that was asked for is there"
        );
    }

    proptest! {
        /// However workers ask, in whatever order: enough stay, and once all is done none does.
        #[test]
        fn enough_stay(unfinished in 0u64..50, workers in 1u64..100) {
            let mut serving = workers;
            for _ in 0..workers {
                if when_idle(unfinished, serving) == Idle::Retire {
                    serving -= 1;
                }
            }
            prop_assert_eq!(serving, unfinished.min(workers));
        }
    }
}
