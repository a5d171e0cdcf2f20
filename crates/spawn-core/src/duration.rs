//! Lengths of time as people type them: `90s`, `30m`, `2h`, `1d`, `3h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A length of time of 1 ms to 365 days, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// The longest: 365 days.
    pub const MAX: Span = Span(365 * 86_400_000);
    /// One day, the default TTL.
    pub const DAY: Span = Span(86_400_000);

    /// `None` for zero and beyond [`Span::MAX`].
    pub const fn from_millis(millis: u64) -> Option<Span> {
        match millis {
            0 => None,
            _ if millis > Span::MAX.0 => None,
            _ => Some(Span(millis)),
        }
    }

    /// In milliseconds; never 0.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// As the standard library's type.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.as_duration()
    }
}

/// Largest unit first, zeros left out: `1d`, `3h30m`, `1s500ms`. Reads back.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        for (unit, millis) in UNITS {
            if left >= millis {
                write!(f, "{}{unit}", left / millis)?;
                left %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let fail = |kind| SpanError {
            text: shorten(text),
            kind,
        };
        parse(text).map_err(fail)
    }
}

fn parse(text: &str) -> Result<Span, SpanErrorKind> {
    if text.is_empty() {
        return Err(SpanErrorKind::Empty);
    }
    if text.starts_with('-') {
        return Err(SpanErrorKind::Negative);
    }
    let mut total = 0_u64;
    let mut rest = text;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit());
        let (digits, after) = rest.split_at(digits_end.unwrap_or(rest.len()));
        if digits.is_empty() {
            return Err(SpanErrorKind::Shape);
        }
        if after.is_empty() {
            return Err(match digits.len() == text.len() {
                true if digits.bytes().all(|b| b == b'0') => SpanErrorKind::Zero,
                true => SpanErrorKind::NoUnit,
                false => SpanErrorKind::Shape,
            });
        }
        let unit_end = after.find(|c: char| !c.is_ascii_lowercase());
        let (unit, after) = after.split_at(unit_end.unwrap_or(after.len()));
        // Units descend and come once, so `30m3h` and `1h1h` are typing errors.
        let Some(at) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(SpanErrorKind::Shape);
        };
        if at < next_unit {
            return Err(SpanErrorKind::Order);
        }
        next_unit = at + 1;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(UNITS[at].1))
            .and_then(|millis| total.checked_add(millis))
            .ok_or(SpanErrorKind::TooLong)?;
        rest = after;
    }
    match total {
        0 => Err(SpanErrorKind::Zero),
        _ => Span::from_millis(total).ok_or(SpanErrorKind::TooLong),
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// Stored as the string that [`Display`](fmt::Display) gives.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct SpanError {
    /// The text, cut short if it is very long.
    pub text: String,
    /// What is wrong with it.
    pub kind: SpanErrorKind,
}

impl SpanError {
    fn render(&self) -> String {
        let Self { text, kind } = self;
        match kind {
            SpanErrorKind::NoUnit => {
                format!("`{text}` has no unit; did you mean `{text}s` or `{text}m`?")
            }
            _ => format!("`{text}` {kind}"),
        }
    }
}

/// What is wrong with a text that should be a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanErrorKind {
    /// Nothing at all.
    #[error("is empty; expected a time such as `90s`, `30m` or `2h`")]
    Empty,
    /// `90`.
    #[error("has no unit; expected a time such as `90s`, `30m` or `2h`")]
    NoUnit,
    /// `0s`.
    #[error("is no time at all; expected 1ms or more")]
    Zero,
    /// `-5m`.
    #[error("is negative; expected a time such as `90s`, `30m` or `2h`")]
    Negative,
    /// `30m3h`, `1h1h`.
    #[error("has its units out of order; expected each once, largest first, as in `1d3h30m`")]
    Order,
    /// Beyond [`Span::MAX`].
    #[error("is too long; the limit is 365d")]
    TooLong,
    /// Anything else.
    #[error(
        "is not a time; expected whole numbers with `d`, `h`, `m`, `s` or `ms`, such as `90s` or `3h30m`"
    )]
    Shape,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_documented_form_is_read() {
        for (text, millis, shown) in [
            ("90s", 90_000, "1m30s"),
            ("30m", 1_800_000, "30m"),
            ("2h", 7_200_000, "2h"),
            ("24h", 86_400_000, "1d"),
            ("1d", 86_400_000, "1d"),
            ("3h30m", 12_600_000, "3h30m"),
            ("500ms", 500, "500ms"),
            ("1s500ms", 1_500, "1s500ms"),
            ("0h5m", 300_000, "5m"),
            ("365d", 31_536_000_000, "365d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_millis(), millis, "{text}");
            assert_eq!(span.to_string(), shown);
        }
    }

    #[test]
    fn each_refusal_says_what_was_expected() {
        let shape = "is not a time; expected whole numbers with `d`, `h`, `m`, `s` or `ms`, such as `90s` or `3h30m`";
        let order =
            "has its units out of order; expected each once, largest first, as in `1d3h30m`";
        for (text, message) in [
            (
                "",
                "`` is empty; expected a time such as `90s`, `30m` or `2h`".into(),
            ),
            (
                "90",
                "`90` has no unit; did you mean `90s` or `90m`?".into(),
            ),
            ("0", "`0` is no time at all; expected 1ms or more".into()),
            ("0s", "`0s` is no time at all; expected 1ms or more".into()),
            (
                "-5m",
                "`-5m` is negative; expected a time such as `90s`, `30m` or `2h`".into(),
            ),
            ("366d", "`366d` is too long; the limit is 365d".into()),
            ("365d1ms", "`365d1ms` is too long; the limit is 365d".into()),
            (
                "99999999999999999999d",
                "`99999999999999999999d` is too long; the limit is 365d".into(),
            ),
            (
                "18446744073709551615d",
                "`18446744073709551615d` is too long; the limit is 365d".into(),
            ),
            ("30m3h", format!("`30m3h` {order}")),
            ("1h1h", format!("`1h1h` {order}")),
            ("1h30", format!("`1h30` {shape}")),
            ("1.5h", format!("`1.5h` {shape}")),
            ("2 h", format!("`2 h` {shape}")),
            ("2H", format!("`2H` {shape}")),
            ("2w", format!("`2w` {shape}")),
            ("h", format!("`h` {shape}")),
            ("1hour", format!("`1hour` {shape}")),
        ] {
            assert_eq!(text.parse::<Span>().unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 1..=Span::MAX.as_millis()) {
            let span = Span::from_millis(millis).unwrap();
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            let json = serde_json::to_string(&span).unwrap();
            prop_assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), span);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<Span>();
        }

        #[test]
        fn any_likely_text_is_read_or_refused(text in "[0-9dhmsé]{0,24}") {
            let _ = text.parse::<Span>();
        }
    }
}
