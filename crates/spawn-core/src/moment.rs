//! Points in time, always handed in, never read here.

use serde::{Deserialize, Serialize};

/// A wall-clock time: microseconds since 1970-01-01 UTC.
///
/// Recorded and shown to people. No lease is judged by it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// This time plus `millis` milliseconds, saturating.
    pub fn plus_millis(self, millis: u64) -> Self {
        let micros = i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX);
        UnixMicros(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time; zero if the clock went back.
    pub fn micros_since(self, earlier: UnixMicros) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
