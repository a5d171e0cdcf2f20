//! Points in time, shown as RFC 3339.

use std::fmt;

use serde::{Serialize, Serializer};
use spawn_core::moment::UnixMicros;

/// A point in time, to the millisecond: `2026-01-27T09:30:00.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub UnixMicros);

impl Stamp {
    /// Seconds from `earlier` to this time; 0 if the clock went back.
    pub fn seconds_since(self, earlier: Stamp) -> f64 {
        // Whole milliseconds, so that nobody reads noise.
        (self.0.micros_since(earlier.0) / 1000) as f64 / 1000.0
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("unknown"),
        }
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339_with_milliseconds() {
        let at = |micros| Stamp(UnixMicros(micros)).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_769_506_200_123_456), "2026-01-27T09:30:00.123Z");
    }
}
