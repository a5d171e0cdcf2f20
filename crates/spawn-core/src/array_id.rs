//! The name an array is found by: `array-20260127-abc123`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const PREFIX: &str = "array-";
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `array-YYYYMMDD-xxxxxx`: the day of the launch and six base-36 characters.
///
/// Ids sort by day, then at random.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArrayId(String);

impl ArrayId {
    /// Makes an id from a day (UTC by convention) and six random bytes.
    ///
    /// Each byte is reduced modulo 36, which favours four of the characters by
    /// an eighth; six of them still tell two billion arrays of a day apart.
    ///
    /// # Errors
    /// [`ArrayIdError`] if there is no such day, or its year is not 0 to 9999.
    pub fn new(year: u16, month: u8, day: u8, random: [u8; 6]) -> Result<Self, ArrayIdError> {
        let tail: String = random
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
            .collect();
        format!("{PREFIX}{year:04}{month:02}{day:02}-{tail}").parse()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the user may mean this array by `typed`: the start of the id,
    /// with or without `array-`. An empty text matches nothing.
    pub fn matches(&self, typed: &str) -> bool {
        !typed.is_empty()
            && (self.0.starts_with(typed) || self.0[PREFIX.len()..].starts_with(typed))
    }

    /// The one id among `ids` that `typed` means. A full id always means itself.
    ///
    /// # Errors
    /// [`PrefixError::None`] or [`PrefixError::Many`], with the candidates.
    pub fn find<'a>(
        typed: &str,
        ids: impl IntoIterator<Item = &'a ArrayId>,
    ) -> Result<&'a ArrayId, PrefixError> {
        let found: Vec<&ArrayId> = ids.into_iter().filter(|id| id.matches(typed)).collect();
        match found.as_slice() {
            [] => Err(PrefixError::None {
                typed: typed.to_owned(),
            }),
            [only] => Ok(only),
            many => Err(PrefixError::Many {
                typed: typed.to_owned(),
                candidates: many.iter().copied().cloned().collect(),
            }),
        }
    }
}

impl fmt::Display for ArrayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ArrayId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArrayId {
    type Err = ArrayIdError;

    fn from_str(text: &str) -> Result<Self, ArrayIdError> {
        match is_array_id(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(ArrayIdError {
                text: text.chars().take(60).collect(),
            }),
        }
    }
}

fn is_array_id(text: &str) -> bool {
    let Some((date, tail)) = text
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let digits = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    let known = tail.len() == 6 && tail.bytes().all(|b| ALPHABET.contains(&b));
    digits && known && is_day(date)
}

/// Expects eight ASCII digits.
fn is_day(date: &str) -> bool {
    let number = |range: std::ops::Range<usize>| date[range].parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

impl Serialize for ArrayId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ArrayId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not of the form `array-YYYYMMDD-xxxxxx`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an array id; expected `array-YYYYMMDD-xxxxxx`")]
pub struct ArrayIdError {
    /// The text, cut short if it is very long.
    pub text: String,
}

/// What the user typed does not name one array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No id starts so.
    #[error("no array `{typed}`")]
    None {
        /// What the user typed.
        typed: String,
    },
    /// More than one id starts so.
    #[error("`{typed}` fits {} arrays; type more of the id", candidates.len())]
    Many {
        /// What the user typed.
        typed: String,
        /// The ids that start so.
        candidates: Vec<ArrayId>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_made_of_a_day_and_six_bytes() {
        let id = ArrayId::new(2026, 1, 27, [0, 9, 10, 35, 36, 255]).unwrap();
        assert_eq!(id.as_str(), "array-20260127-09az03");
        for (year, month, day) in [(2026, 0, 1), (2026, 13, 1), (2026, 2, 29), (10_000, 1, 1)] {
            assert!(ArrayId::new(year, month, day, [0; 6]).is_err());
        }
        assert!(ArrayId::new(2028, 2, 29, [0; 6]).is_ok());
    }

    #[test]
    fn only_ids_are_ids() {
        assert!("array-20260127-abc123".parse::<ArrayId>().is_ok());
        for text in [
            "",
            "array-",
            "array-xxx",
            "array-2026127-abc123",
            "array-20260127-abc12",
            "array-20260127-abc1234",
            "array-20260127-ABC123",
            "array-20261301-abc123",
            "array-20260127-abc123 ",
            "array-20260127-é1234",
            "20260127-abc123",
        ] {
            let error = text.parse::<ArrayId>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is not an array id; expected `array-YYYYMMDD-xxxxxx`")
            );
        }
    }

    #[test]
    fn a_prefix_finds_the_one_array() {
        let ids: Vec<ArrayId> = ["array-20260127-abc123", "array-20260127-abd000"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for typed in [
            "array-20260127-abc123",
            "array-20260127-abc",
            "20260127-abc",
        ] {
            assert_eq!(ArrayId::find(typed, &ids), Ok(&ids[0]), "{typed}");
        }
        for (typed, message) in [
            (
                "array-2026",
                "`array-2026` fits 2 arrays; type more of the id",
            ),
            ("array-2025", "no array `array-2025`"),
            ("", "no array ``"),
        ] {
            let error = ArrayId::find(typed, &ids).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn every_id_reads_back(random in any::<[u8; 6]>(), month in 1_u8..=12, day in 1_u8..=28) {
            let id = ArrayId::new(2026, month, day, random).unwrap();
            prop_assert_eq!(id.to_string().parse(), Ok(id.clone()));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ArrayId>(&json).unwrap(), id);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<ArrayId>();
            let _ = format!("array-{text}").parse::<ArrayId>();
        }
    }
}
