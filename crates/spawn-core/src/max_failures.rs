//! How many failed tasks an array bears before it starts no more: `--max-failures 10` or `5%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most tasks that may fail. With one more, nothing further is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxFailures {
    /// A number of tasks. 0: the first failure is one too many.
    Tasks(u64),
    /// A share of all tasks of the array, in percent, 0 to 100.
    Percent(u8),
}

/// A text that says no number of failures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no number of failures; expected a count such as `10`, or a share such as `5%`"
)]
pub struct MaxFailuresError {
    /// What it says.
    pub text: String,
}

impl MaxFailures {
    /// Whether `failed` of `total` tasks are too many.
    pub fn exceeded_by(self, failed: u64, total: u64) -> bool {
        match self {
            MaxFailures::Tasks(most) => failed > most,
            MaxFailures::Percent(most) => {
                u128::from(failed) * 100 > u128::from(total) * u128::from(most)
            }
        }
    }
}

impl FromStr for MaxFailures {
    type Err = MaxFailuresError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MaxFailuresError {
            text: text.to_owned(),
        };
        let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match text.strip_suffix('%') {
            Some(share) if plain(share) => {
                let share = share.parse().ok().filter(|share| *share <= 100);
                share.map(MaxFailures::Percent).ok_or_else(wrong)
            }
            None if plain(text) => text.parse().map(MaxFailures::Tasks).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxFailures::Tasks(most) => write!(f, "{most}"),
            MaxFailures::Percent(most) => write!(f, "{most}%"),
        }
    }
}

impl Serialize for MaxFailures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaxFailures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_allowed_is_too_many() {
        let most = |text: &str| text.parse::<MaxFailures>().unwrap();
        assert!(most("0").exceeded_by(1, 10) && !most("0").exceeded_by(0, 10));
        assert!(most("3").exceeded_by(4, 10) && !most("3").exceeded_by(3, 10));
        assert!(most("5%").exceeded_by(6, 100) && !most("5%").exceeded_by(5, 100));
        // Five per cent of ten tasks is less than one of them.
        assert!(most("5%").exceeded_by(1, 10));
        assert!(!most("100%").exceeded_by(10, 10));
        assert!(!most("100%").exceeded_by(u64::MAX, u64::MAX));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "%",
            "-1",
            "101%",
            "1.5%",
            "5 %",
            "ten",
            "+3",
            "99999999999999999999",
        ] {
            assert!(text.parse::<MaxFailures>().is_err(), "{text}");
        }
        for text in ["0", "12", "0%", "100%"] {
            assert_eq!(text.parse::<MaxFailures>().unwrap().to_string(), text);
        }
    }
}
