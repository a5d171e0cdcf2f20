//! What was seen of an attempt besides how it ended.

use serde::{Deserialize, Serialize};

/// What a script used of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Largest resident set of any one of its processes that were waited for, in bytes.
    pub peak_memory_bytes: u64,
    /// Processor time, user and system, in microseconds.
    pub cpu_micros: u64,
}

/// A kind of AWS call that failed during an attempt, and how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FailedCall {
    /// `s3`, `sqs`, `dynamodb`, ...
    pub service: String,
    /// The API operation, such as `PutObject`.
    pub operation: String,
    /// The error code, such as `NoSuchBucket`; the HTTP status where the answer had none.
    pub code: String,
    /// One of the things it was about, such as `bucket/key`.
    pub resource: Option<String>,
    /// How many such calls failed.
    pub count: u64,
}

/// How far a script says it has come, with `spored progress DONE[/TOTAL]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, if it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A text that says no progress.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no progress; expected `DONE` or `DONE/TOTAL`, such as `30/100`, with DONE at most TOTAL"
)]
pub struct ProgressError {
    /// What it says.
    pub text: String,
}

impl std::str::FromStr for Progress {
    type Err = ProgressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| plain)
        };
        let read = match text.trim().split_once('/') {
            None => number(text.trim()).map(|done| Progress { done, total: None }),
            Some((done, total)) => number(done.trim())
                .zip(number(total.trim()))
                .filter(|(done, total)| done <= total)
                .map(|(done, total)| Progress {
                    done,
                    total: Some(total),
                }),
        };
        read.ok_or_else(|| ProgressError {
            text: text.chars().take(60).collect(),
        })
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.total {
            Some(total) => write!(f, "{}/{total}", self.done),
            None => write!(f, "{}", self.done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn progress_is_read_and_shown() {
        for text in ["0", "30", "30/100", "100/100", "0/0"] {
            assert_eq!(text.parse::<Progress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "/",
            "3/",
            "/3",
            "4/3",
            "-1",
            "1.5",
            "50%",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Progress>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9 /]{0,24}") {
            if let Ok(read) = text.parse::<Progress>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }
}
