//! Lengths of time, and amounts of memory, for people.

use crate::read_model::Stamp;

/// `0.35s`, `12s`, `3m05s`, `2h10m`, `4d3h`.
pub fn human_seconds(seconds: f64) -> String {
    if seconds < 9.95 {
        let text = format!("{seconds:.2}");
        return format!("{}s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `512 B`, `3.2 MiB`, `14 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1000.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    match unit == "B" || amount >= 9.95 {
        true => format!("{amount:.0} {unit}"),
        false => format!("{amount:.1} {unit}"),
    }
}

/// How long ago, coarsely: `just now`, `5m ago`, `3d ago`.
pub fn human_since(then: Stamp, now: Stamp) -> String {
    let seconds = now.seconds_since(then) as u64;
    match seconds {
        0..5 => "just now".to_owned(),
        5..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (3_400_000, "3.2 MiB"),
            (10_480_000, "10 MiB"),
            (15_032_385_536, "14 GiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.351, "0.35s"),
            (2.5, "2.5s"),
            (9.96, "10s"),
            (59.7, "1m00s"),
            (185.0, "3m05s"),
            (7800.0, "2h10m"),
            (356_400.0, "4d3h"),
        ] {
            assert_eq!(human_seconds(seconds), text);
        }
    }
}
