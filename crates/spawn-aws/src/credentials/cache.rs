//! Keeps credentials until they near their end. One caller renews; the others wait for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::client::Clock;
use crate::credentials::{Credentials, CredentialsError, CredentialsProvider};

/// Renewed this long before they end, as AWS's services have new ones by then.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// A failed renewal of credentials that still hold is tried again after this.
const PAUSE: Duration = Duration::from_secs(30);

/// A source's credentials, kept.
#[derive(Debug)]
pub(crate) struct CachedCredentials {
    provider: Arc<dyn CredentialsProvider>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    credentials: Option<Credentials>,
    not_before: Duration,
}

impl CachedCredentials {
    pub(crate) fn new(provider: Arc<dyn CredentialsProvider>, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            clock,
            kept: Mutex::default(),
        }
    }

    /// The kept credentials, or new ones; `now` is AWS's time, since a machine's own may be far off.
    pub(crate) fn get(&self, now: SystemTime) -> Result<Credentials, CredentialsError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |c: &Credentials| match c.expires {
            Some(expires) => expires.duration_since(now).unwrap_or_default(),
            None => Duration::MAX,
        };
        if let Some(known) = &kept.credentials {
            let paused = self.clock.monotonic() < kept.not_before;
            if left(known) > EARLY || (paused && !left(known).is_zero()) {
                return Ok(known.clone());
            }
        }
        match self.provider.fetch() {
            Ok(new) => {
                // A source may hand out ones with less left than `EARLY`: not asked at each call.
                kept.not_before = self.clock.monotonic() + PAUSE;
                kept.credentials = Some(new.clone());
                Ok(new)
            }
            Err(error) => match &kept.credentials {
                Some(known) if !left(known).is_zero() => {
                    let known = known.clone();
                    kept.not_before = self.clock.monotonic() + PAUSE;
                    Ok(known)
                }
                _ => Err(error),
            },
        }
    }

    /// AWS says that the kept ones have expired: asks again. Whether others came.
    pub(crate) fn renew(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match self.provider.fetch() {
            Ok(new) => {
                let differs = kept.credentials.as_ref() != Some(&new);
                kept.credentials = Some(new);
                differs
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::FakeClock;
    use std::time::UNIX_EPOCH;

    #[derive(Debug)]
    struct Source(Mutex<Vec<Option<Credentials>>>);

    impl CredentialsProvider for Source {
        fn fetch(&self) -> Result<Credentials, CredentialsError> {
            self.0
                .lock()
                .unwrap()
                .remove(0)
                .ok_or(CredentialsError::NotFound {
                    looked_at: "the test".into(),
                })
        }
    }

    fn ending(id: &str, minutes: u64) -> Option<Credentials> {
        Some(Credentials {
            expires: Some(UNIX_EPOCH + Duration::from_secs(minutes * 60)),
            ..Credentials::fixed(id, "s")
        })
    }

    #[test]
    fn renewed_before_the_end_and_kept_through_outages() {
        let clock = Arc::new(FakeClock::at(UNIX_EPOCH));
        let source = Source(Mutex::new(vec![
            ending("a", 60),
            None,
            ending("b", 120),
            None,
            None,
        ]));
        let cache = CachedCredentials::new(Arc::new(source), Arc::clone(&clock) as _);
        let id = || cache.get(clock.wall()).map(|c| c.access_key_id);
        assert_eq!(id().unwrap(), "a");
        clock.pass(Duration::from_secs(54 * 60));
        assert_eq!(id().unwrap(), "a", "the source is not asked yet");
        clock.pass(Duration::from_secs(2 * 60));
        assert_eq!(id().unwrap(), "a", "an outage is survived");
        assert_eq!(id().unwrap(), "a", "and the source left alone for a while");
        clock.pass(PAUSE);
        assert_eq!(id().unwrap(), "b");
        assert!(!cache.renew(), "no other came");
        clock.pass(Duration::from_secs(2 * 3600));
        assert!(id().is_err(), "what has ended is not handed out");
    }

    #[test]
    fn a_clock_that_is_days_ahead_asks_no_more_often() {
        let clock = Arc::new(FakeClock::at(UNIX_EPOCH + Duration::from_secs(9 * 86_400)));
        // Asked a second time it would have nothing to give.
        let source = Source(Mutex::new(vec![ending("a", 60)]));
        let cache = CachedCredentials::new(Arc::new(source), Arc::clone(&clock) as _);
        for seconds in [0, 60, 600] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(cache.get(now).unwrap().access_key_id, "a");
            clock.pass(2 * PAUSE);
        }
    }
}
