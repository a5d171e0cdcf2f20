//! How outages are borne: what passes is tried again, soon at first, then more seldom.

use std::time::Duration;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(15);

/// How long to wait after so many failures in a row.
pub fn pause(failures: u32) -> Duration {
    let doubled =
        Duration::from_millis(500).saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_a_minute() {
        let millis = [0, 1, 2, 3, 6, 7, u32::MAX].map(|n| pause(n).as_millis());
        assert_eq!(millis, [500, 500, 1_000, 2_000, 15_000, 15_000, 15_000]);
    }
}
