//! The attributes of queues: which exist, and what they may be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Outcome;
use super::fault::{Fault, Kind};

/// Numeric attributes with their default and limits.
const NUMBERS: [(&str, i64, i64, i64); 6] = [
    ("VisibilityTimeout", 30, 0, 43_200),
    ("DelaySeconds", 0, 0, 900),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("MaximumMessageSize", 1_048_576, 1_024, 1_048_576),
    ("KmsDataKeyReusePeriodSeconds", 300, 60, 86_400),
];
const BOOLEANS: [&str; 3] = [
    "FifoQueue",
    "ContentBasedDeduplication",
    "SqsManagedSseEnabled",
];
/// Kept and returned, without effect here unless the code names them.
const TEXTS: [&str; 6] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

/// The attributes a queue was given; what is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes(pub(super) BTreeMap<String, String>);

/// Where messages go that were received too often.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redrive {
    /// The name of the queue they go to.
    pub(super) target: String,
    pub(super) max_receives: i64,
}

impl Attributes {
    /// Checks what a client wants to set. An empty text unsets.
    pub(super) fn checked(wanted: BTreeMap<String, String>) -> Outcome<Self> {
        for (name, value) in &wanted {
            let invalid = |why: &str| {
                let message = format!("Invalid value for the parameter {name}. Reason: {why}");
                Err(Fault::new(Kind::InvalidAttributeValue, message))
            };
            if let Some((_, _, min, max)) = NUMBERS.iter().find(|(known, ..)| known == name) {
                if !value
                    .parse::<i64>()
                    .is_ok_and(|number| (*min..=*max).contains(&number))
                {
                    return invalid(&format!("must be an integer from {min} to {max}."));
                }
            } else if BOOLEANS.contains(&name.as_str()) {
                if value != "true" && value != "false" {
                    return invalid("must be true or false.");
                }
            } else if !TEXTS.contains(&name.as_str()) {
                let message = format!("Unknown Attribute {name}.");
                return Err(Fault::new(Kind::InvalidAttributeName, message));
            }
            if name == "RedrivePolicy" && !value.is_empty() && redrive(value).is_none() {
                return invalid(
                    "must hold deadLetterTargetArn, and maxReceiveCount from 1 to 1000.",
                );
            }
        }
        Ok(Self(wanted))
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        let given = self.0.get(name).and_then(|value| value.parse().ok());
        let default = NUMBERS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|known| known.1);
        given.or(default).unwrap_or_default()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value == "true")
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.is("FifoQueue")
    }

    pub(super) fn redrive(&self) -> Option<Redrive> {
        redrive(self.0.get("RedrivePolicy")?)
    }

    /// Everything a client sees that does not depend on the messages.
    pub(super) fn shown(&self) -> BTreeMap<String, String> {
        let mut shown: BTreeMap<_, _> = NUMBERS
            .iter()
            .filter(|(name, ..)| *name != "KmsDataKeyReusePeriodSeconds")
            .map(|(name, ..)| ((*name).to_owned(), self.number(name).to_string()))
            .collect();
        shown.insert("SqsManagedSseEnabled".to_owned(), "false".to_owned());
        if self.is_fifo() {
            for (name, value) in [
                ("ContentBasedDeduplication", "false"),
                ("DeduplicationScope", "queue"),
                ("FifoThroughputLimit", "perQueue"),
            ] {
                shown.insert(name.to_owned(), value.to_owned());
            }
        }
        shown.extend(self.0.clone());
        shown.retain(|_, value| !value.is_empty());
        shown
    }
}

fn redrive(policy: &str) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let target = policy.get("deadLetterTargetArn")?.as_str()?;
    let max_receives = match policy.get("maxReceiveCount")? {
        Value::String(text) => text.parse().ok()?,
        other => other.as_i64()?,
    };
    (1..=1000).contains(&max_receives).then(|| Redrive {
        target: target.rsplit(':').next().unwrap_or_default().to_owned(),
        max_receives,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Outcome<Attributes> {
        Attributes::checked([(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn limits_are_checked() {
        assert!(of("VisibilityTimeout", "0").is_ok());
        assert!(of("VisibilityTimeout", "43201").is_err());
        assert!(of("FifoQueue", "yes").is_err());
        assert!(of("Colour", "red").is_err());
        assert!(of("RedrivePolicy", "{}").is_err());
    }

    #[test]
    fn a_redrive_policy_takes_its_count_as_number_or_text() {
        for count in ["3", "\"3\""] {
            let policy = format!(
                "{{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:1:dead\",\"maxReceiveCount\":{count}}}"
            );
            let redrive = of("RedrivePolicy", &policy).unwrap().redrive().unwrap();
            assert_eq!((redrive.target.as_str(), redrive.max_receives), ("dead", 3));
        }
    }
}
