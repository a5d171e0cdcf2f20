//! The one place of the local provider where the wall clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use spawn_core::moment::UnixMicros;

/// The time now. Recorded and shown to people; no lease is judged by it.
pub fn now() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
