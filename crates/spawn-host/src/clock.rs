//! When somebody sets the wall clock, the deadlines that are written in its terms move with it: a
//! TTL is a length of time, and no task is lost or kept because a clock was wrong.

use std::time::Duration;

use spawn_core::moment::UnixMicros;

use crate::arrays::LiveArray;

/// A clock that is being corrected little by little is not set.
const LEAST_STEP: i64 = 5_000_000;

/// Watches the wall clock against one that nobody sets.
#[derive(Debug)]
pub struct ClockWatch {
    wall: UnixMicros,
    steady: Duration,
}

impl ClockWatch {
    /// Both clocks as they are now.
    pub fn new(wall: UnixMicros, steady: Duration) -> ClockWatch {
        ClockWatch { wall, steady }
    }

    /// By how many microseconds the wall clock was set since this was last asked, if it was.
    pub fn step(&mut self, wall: UnixMicros, steady: Duration) -> Option<i64> {
        let passed = steady.saturating_sub(self.steady).as_micros();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let step = wall.0.saturating_sub(self.wall.0).saturating_sub(passed);
        *self = ClockWatch { wall, steady };
        (step.saturating_abs() >= LEAST_STEP).then_some(step)
    }
}

/// A moment as the clock shows it after it was set.
pub fn moved(at: UnixMicros, step: i64) -> UnixMicros {
    UnixMicros(at.0.saturating_add(step))
}

impl LiveArray {
    /// The clock was set: what was to happen at some time of it happens when it would have. The
    /// deadline is the ledger's to move.
    pub fn clock_was_set(&mut self, step: i64) {
        self.retry_start_at = self.retry_start_at.map(|at| moved(at, step));
        for lane in &mut self.lanes {
            // The ledger is asked again; it knows what a wait can be.
            lane.asleep_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn watch() -> ClockWatch {
        ClockWatch::new(UnixMicros(1_000 * SECOND), Duration::from_secs(50))
    }

    #[test]
    fn time_that_passes_is_no_step_and_neither_is_sleep() {
        let mut watch = watch();
        for hours in 1..50 {
            let passed = hours * 3600;
            let wall = UnixMicros((1_000 + passed) * SECOND);
            assert_eq!(
                watch.step(wall, Duration::from_secs(50 + passed as u64)),
                None
            );
        }
    }

    #[test]
    fn a_clock_that_is_set_is_seen_once_both_ways() {
        let mut watch = watch();
        let day = 86_400 * SECOND;
        let forward = UnixMicros(1_001 * SECOND + day);
        assert_eq!(watch.step(forward, Duration::from_secs(51)), Some(day));
        let on = UnixMicros(1_002 * SECOND + day);
        assert_eq!(watch.step(on, Duration::from_secs(52)), None);
        let back = UnixMicros(1_003 * SECOND);
        assert_eq!(watch.step(back, Duration::from_secs(53)), Some(-day));
    }

    #[test]
    fn a_clock_that_is_corrected_little_by_little_is_not_set() {
        let mut watch = watch();
        for n in 1..1_000 {
            let wall = UnixMicros(1_000 * SECOND + n * (SECOND + SECOND / 2_000));
            assert_eq!(watch.step(wall, Duration::from_secs(50 + n as u64)), None);
        }
    }

    #[test]
    fn a_deadline_stays_as_far_away_as_it_was() {
        let deadline = UnixMicros(500 * SECOND);
        for step in [-9_000 * SECOND, 9_000 * SECOND] {
            let now = UnixMicros(100 * SECOND + step);
            assert_eq!(moved(deadline, step).micros_since(now), 400 * SECOND as u64);
        }
    }
}
