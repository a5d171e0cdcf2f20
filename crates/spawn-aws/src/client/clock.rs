//! Time and chance, as the client sees them.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// What the client would otherwise ask the machine: the time, a rest, a random number.
///
/// Retries, pacing and refreshes go through this, so tests run them without waiting.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall clock. Signatures and expiries of credentials are compared with it.
    fn wall(&self) -> SystemTime;
    /// Time that only grows, from an arbitrary start.
    fn monotonic(&self) -> Duration;
    /// Rests.
    fn sleep(&self, time: Duration);
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| {
            // No source of randomness: the low bits of the time still spread machines apart.
            let elapsed = self.start.elapsed().as_nanos() as u64;
            let wall = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |t| t.as_nanos() as u64);
            elapsed.rotate_left(32) ^ wall
        })
    }
}

/// A token that names one intent, so that a repeated request is executed once: 32 hex digits.
#[must_use]
pub fn new_token(clock: &dyn Clock) -> String {
    format!("{:016x}{:016x}", clock.random(), clock.random())
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use std::sync::Mutex;

    /// A clock whose time passes only by sleeping; its random numbers count up.
    #[derive(Debug)]
    pub(crate) struct FakeClock {
        state: Mutex<State>,
    }

    #[derive(Debug)]
    struct State {
        elapsed: Duration,
        start: SystemTime,
        slept: Vec<Duration>,
        random: u64,
    }

    impl FakeClock {
        pub(crate) fn at(start: SystemTime) -> Self {
            Self {
                state: Mutex::new(State {
                    elapsed: Duration::ZERO,
                    start,
                    slept: Vec::new(),
                    random: u64::MAX / 2,
                }),
            }
        }

        pub(crate) fn slept(&self) -> Vec<Duration> {
            self.state.lock().unwrap().slept.clone()
        }

        pub(crate) fn pass(&self, time: Duration) {
            self.state.lock().unwrap().elapsed += time;
        }
    }

    impl Clock for FakeClock {
        fn wall(&self) -> SystemTime {
            let state = self.state.lock().unwrap();
            state.start + state.elapsed
        }

        fn monotonic(&self) -> Duration {
            self.state.lock().unwrap().elapsed
        }

        fn sleep(&self, time: Duration) {
            let mut state = self.state.lock().unwrap();
            state.elapsed += time;
            state.slept.push(time);
        }

        fn random(&self) -> u64 {
            let mut state = self.state.lock().unwrap();
            state.random += 1;
            state.random
        }
    }
}
