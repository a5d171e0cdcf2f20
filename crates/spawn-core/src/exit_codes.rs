//! Sets of exit codes, as `--retry-on` and `--no-retry-on` take them: `75`, `1,2,100-110`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of exit codes, 1 to 255. A script that a signal ended counts as 128 plus the signal, as
/// shells have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitCodes([u64; 4]);

/// A text that is no set of exit codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no exit code; expected numbers from 1 to 255, such as `75` or `1,100-110`")]
pub struct ExitCodesError {
    /// The part that cannot be read.
    pub part: String,
}

impl ExitCodes {
    /// Whether `code` is in the set.
    pub fn contains(&self, code: i32) -> bool {
        u8::try_from(code).is_ok_and(|code| self.0[usize::from(code / 64)] >> (code % 64) & 1 == 1)
    }
}

impl FromStr for ExitCodes {
    type Err = ExitCodesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = [0u64; 4];
        for part in text.split(',').map(str::trim) {
            let wrong = || ExitCodesError {
                part: part.to_owned(),
            };
            let code = |text: &str| -> Result<u8, ExitCodesError> {
                let digits = text.trim();
                let plain = digits.bytes().all(|b| b.is_ascii_digit());
                let code = digits.parse().ok().filter(|code| plain && *code > 0);
                code.ok_or_else(wrong)
            };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (code(first)?, code(last)?);
            if first > last {
                return Err(wrong());
            }
            for code in first..=last {
                set[usize::from(code / 64)] |= 1 << (code % 64);
            }
        }
        Ok(ExitCodes(set))
    }
}

impl fmt::Display for ExitCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut code = 1;
        let mut comma = "";
        while code <= 255 {
            let first = code;
            while self.contains(code) {
                code += 1;
            }
            match code - first {
                0 => code += 1,
                1 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{}", code - 1)?,
            }
            if code > first && self.contains(first) {
                comma = ",";
            }
        }
        Ok(())
    }
}

impl Serialize for ExitCodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExitCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_and_ranges_are_read_and_shown() {
        let codes: ExitCodes = "75, 1-3,255,2".parse().unwrap();
        assert_eq!(codes.to_string(), "1-3,75,255");
        for (code, inside) in [(0, false), (1, true), (4, false), (75, true), (255, true)] {
            assert_eq!(codes.contains(code), inside, "{code}");
        }
        assert!(!codes.contains(-1) && !codes.contains(331));
    }

    #[test]
    fn what_is_no_code_is_named() {
        for (text, part) in [
            ("", ""),
            ("0", "0"),
            ("256", "256"),
            ("1,x", "x"),
            ("9-3", "9-3"),
            ("+1", "+1"),
            ("1-", "1-"),
        ] {
            let error = text.parse::<ExitCodes>().unwrap_err();
            assert_eq!(error.part, part);
        }
    }

    proptest! {
        #[test]
        fn any_set_survives_being_shown(codes in prop::collection::btree_set(1i32..=255, 1..40)) {
            let text: Vec<String> = codes.iter().map(ToString::to_string).collect();
            let set: ExitCodes = text.join(",").parse().unwrap();
            prop_assert_eq!(set.to_string().parse::<ExitCodes>(), Ok(set));
            for code in -5..300 {
                prop_assert_eq!(set.contains(code), codes.contains(&code));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<ExitCodes>();
        }
    }
}
