//! How many tasks one agent claims at a time.

use std::time::Duration;

/// Work worth claiming ahead: short enough that an unlucky neighbour never waits long for it.
pub const AHEAD: Duration = Duration::from_millis(40);

/// Tasks claimed ahead are handed back when the one before them has run this long.
pub const HAND_BACK_AFTER: Duration = Duration::from_millis(100);

/// The most tasks one claim takes.
pub const LARGEST_CLAIM: u32 = 64;

/// Sizes claims to task length: one task at a time until tasks prove short.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    mean: Option<Duration>,
    last_claim: u32,
}

impl Pace {
    /// Nothing is known yet: the first claim is one task.
    pub fn new() -> Pace {
        Pace::default()
    }

    /// Learns from a finished task.
    pub fn finished(&mut self, took: Duration) {
        self.mean = Some(match self.mean {
            // A long task counts at once, short ones win trust slowly.
            Some(mean) if took < mean => (mean * 7 + took) / 8,
            _ => took,
        });
    }

    /// Whether to ask for more while a task runs: tasks so far were short enough that what is
    /// claimed ahead is started before it would be handed back.
    pub fn asks_ahead(&self) -> bool {
        self.mean.is_some_and(|mean| mean < HAND_BACK_AFTER)
    }

    /// How many tasks to ask for now. At most doubles from claim to claim.
    pub fn want(&mut self) -> u32 {
        let fits = match self.mean {
            None => 1,
            Some(mean) => {
                let fits = AHEAD.as_nanos() / mean.as_nanos().max(1);
                u32::try_from(fits).unwrap_or(u32::MAX)
            }
        };
        self.last_claim = fits
            .min(self.last_claim.saturating_mul(2))
            .clamp(1, LARGEST_CLAIM);
        self.last_claim
    }
}

/// What a ledger hands out of `pending` tasks to one of `agents` that asked for `want`.
///
/// Towards the end of an array claims shrink, so that no agent sits idle beside another's queue.
pub fn fair_share(want: u32, pending: u64, agents: u32) -> u32 {
    let share = pending.div_ceil(u64::from(agents.max(1)) * 2);
    u64::from(want).min(share).min(pending) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_grow_for_short_tasks_and_fall_to_one_for_long_ones() {
        let mut p = Pace::new();
        assert_eq!(p.want(), 1);
        let mut claims = Vec::new();
        for _ in 0..10 {
            p.finished(Duration::from_millis(1));
            claims.push(p.want());
        }
        assert_eq!(claims, [2, 4, 8, 16, 32, 40, 40, 40, 40, 40]);
        assert!(p.asks_ahead());
        p.finished(Duration::from_millis(50));
        assert_eq!((p.want(), p.asks_ahead()), (1, true));
        p.finished(Duration::from_secs(1));
        assert_eq!((p.want(), p.asks_ahead()), (1, false));
    }

    #[test]
    fn the_last_tasks_are_shared_out() {
        assert_eq!(fair_share(40, 1_000_000, 2), 40);
        assert_eq!(fair_share(40, 8, 2), 2);
        assert_eq!(fair_share(40, 1, 8), 1);
        assert_eq!(fair_share(40, 0, 2), 0);
    }
}
