//! When a call is sent again, and how fast changing calls may go. Pure: time and chance come in.

use std::time::Duration;

use crate::client::error::ErrorKind;

/// What sending a call twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// It changes nothing.
    Read,
    /// It may be executed twice: it carries a token or a condition, or says a wanted state.
    Repeatable,
    /// It must not be executed twice: sent again only when it surely was not executed.
    Once,
}

/// How patient the client is.
#[derive(Debug, Clone, PartialEq)]
pub struct Patience {
    /// Times a call is sent, at most.
    pub attempts: u32,
    /// What a backoff grows from.
    pub base: Duration,
    /// What a backoff grows from after a throttle.
    pub throttle_base: Duration,
    /// No backoff is longer.
    pub longest: Duration,
    /// One attempt takes no longer.
    pub attempt: Duration,
    /// A whole call takes no longer, rests included.
    pub call: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(100),
            throttle_base: Duration::from_secs(1),
            longest: Duration::from_secs(20),
            attempt: Duration::from_secs(30),
            call: Duration::from_secs(90),
        }
    }
}

impl Patience {
    /// The rest after attempt number `attempt` (from 1) failed: full jitter, `random` of 64 bits.
    #[must_use]
    pub fn backoff(&self, attempt: u32, throttled: bool, random: u64) -> Duration {
        let base = if throttled {
            self.throttle_base
        } else {
            self.base
        };
        let ceiling = base
            .saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(20)))
            .min(self.longest);
        ceiling.mul_f64(random as f64 / u64::MAX as f64)
    }
}

/// Whether sending again may help and can do no harm.
///
/// `maybe_executed` is of this attempt: an error answer other than 5xx says it was not executed.
#[must_use]
pub fn may_send_again(safety: Safety, kind: ErrorKind, maybe_executed: bool) -> bool {
    let helps = matches!(
        kind,
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Network
    );
    helps && (safety != Safety::Once || !maybe_executed)
}

/// The pace of one service's changing calls: a bucket of tokens that fills at a rate, which a
/// throttle cuts by 0.7 and time without throttles gives back.
#[derive(Debug)]
pub struct Pace {
    /// Tokens a second; infinite before the first throttle where no limit is known.
    rate: f64,
    ceiling: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
    throttled_at: Option<Duration>,
    /// Calls let through in the current second, to learn a rate where none is known.
    recent: f64,
    recent_since: Duration,
}

const CUT: f64 = 0.7;
const SLOWEST: f64 = 0.5;

impl Pace {
    /// A full bucket at time `now`.
    #[must_use]
    pub fn new(limit: Option<(f64, f64)>, now: Duration) -> Self {
        let (rate, burst) = limit.unwrap_or((f64::INFINITY, 1.0));
        Self {
            rate,
            ceiling: rate,
            burst,
            tokens: burst,
            at: now,
            throttled_at: None,
            recent: 0.0,
            recent_since: now,
        }
    }

    /// Takes a token, now or in debt; says how long to rest before the call.
    pub fn take(&mut self, now: Duration) -> Duration {
        self.fill(now);
        if now.saturating_sub(self.recent_since) >= Duration::from_secs(1) {
            self.recent = 0.0;
            self.recent_since = now;
        }
        self.recent += 1.0;
        if self.rate.is_infinite() {
            return Duration::ZERO;
        }
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.rate)
        }
    }

    /// Gives back a token of a call that was not made after all.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// A call was throttled: slower from here on.
    pub fn throttled(&mut self, now: Duration) {
        self.fill(now);
        let measured = self.recent.max(1.0);
        let from = if self.rate.is_finite() {
            self.rate
        } else {
            measured
        };
        self.rate = (from * CUT).max(SLOWEST);
        self.tokens = self.tokens.min(0.0);
        self.throttled_at = Some(now);
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if self.rate.is_finite() {
            self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        }
        // A second without throttles gives back a twentieth, and at least a tenth of a call.
        if self.throttled_at.is_some() && passed > 0.0 {
            self.rate = (self.rate * 1.05f64.powf(passed) + 0.1 * passed).min(self.ceiling);
            let calm = now.saturating_sub(self.throttled_at.unwrap_or(now));
            if self.rate >= self.ceiling || calm > Duration::from_secs(300) {
                self.rate = self.ceiling;
                self.throttled_at = None;
                if self.rate.is_infinite() {
                    self.tokens = self.burst;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind as K;

    #[test]
    fn what_is_sent_again() {
        for safety in [Safety::Read, Safety::Repeatable, Safety::Once] {
            for kind in [
                K::Denied,
                K::NotFound,
                K::Capacity,
                K::Quota,
                K::Validation,
                K::ConditionFailed,
                K::Malformed,
            ] {
                assert!(!may_send_again(safety, kind, false));
            }
            assert!(may_send_again(safety, K::Throttled, false));
            assert!(may_send_again(safety, K::Network, false));
        }
        for kind in [K::Network, K::Unavailable] {
            assert!(may_send_again(Safety::Read, kind, true));
            assert!(may_send_again(Safety::Repeatable, kind, true));
            assert!(!may_send_again(Safety::Once, kind, true));
        }
    }

    #[test]
    fn backoffs_grow_within_bounds_and_throttles_wait_longer() {
        let patience = Patience::default();
        let longest = |attempt, throttled| patience.backoff(attempt, throttled, u64::MAX);
        assert_eq!(longest(1, false), Duration::from_millis(100));
        assert_eq!(longest(3, false), Duration::from_millis(400));
        assert_eq!(longest(3, true), Duration::from_secs(4));
        assert_eq!(longest(40, true), Duration::from_secs(20));
        assert_eq!(patience.backoff(5, true, 0), Duration::ZERO);
        let half = patience.backoff(1, true, u64::MAX / 2).as_secs_f64();
        assert!((half - 0.5).abs() < 0.01);
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_free_then_the_rate_holds() {
        let mut pace = Pace::new(Some((2.0, 5.0)), S * 10);
        for _ in 0..5 {
            assert_eq!(pace.take(S * 10), Duration::ZERO);
        }
        assert_eq!(pace.take(S * 10), S / 2);
        assert_eq!(pace.take(S * 10), S);
        pace.give_back();
        assert_eq!(pace.take(S * 10), S);
        assert_eq!(pace.take(S * 60), Duration::ZERO);
    }

    #[test]
    fn throttles_slow_down_and_calm_speeds_up() {
        let mut pace = Pace::new(Some((2.0, 5.0)), Duration::ZERO);
        for _ in 0..10 {
            pace.throttled(Duration::ZERO);
        }
        assert_eq!(
            pace.take(Duration::ZERO),
            S * 2,
            "no slower than one in two seconds"
        );
        pace.take(S * 400);
        assert!((pace.rate - 2.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_known_limit_the_first_throttle_sets_one() {
        let mut pace = Pace::new(None, Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(pace.take(Duration::ZERO), Duration::ZERO);
        }
        pace.throttled(Duration::ZERO);
        let rest = pace.take(Duration::ZERO).as_secs_f64();
        assert!((rest - 1.0 / 70.0).abs() < 1e-3, "{rest}");
        assert_eq!(pace.take(S * 1000), Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(pace.take(S * 1000), Duration::ZERO);
        }
    }
}
