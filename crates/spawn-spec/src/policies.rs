//! The permission templates of `--iam-policy`: `s3:FullAccess,sqs:ReadOnly`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{SpecError, SpecErrorKind};
use crate::origin::Origin;

/// The services a template exists for.
pub const SERVICES: [&str; 7] = [
    "s3",
    "dynamodb",
    "sqs",
    "logs",
    "ecr",
    "secretsmanager",
    "ssm",
];

/// How much of a service a task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Everything.
    FullAccess,
    /// Reading and listing.
    ReadOnly,
    /// Writing and deleting.
    WriteOnly,
}

const LEVELS: [(&str, Access); 3] = [
    ("FullAccess", Access::FullAccess),
    ("ReadOnly", Access::ReadOnly),
    ("WriteOnly", Access::WriteOnly),
];

/// One template: a service and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTemplate {
    service: &'static str,
    access: Access,
}

impl PolicyTemplate {
    /// One of [`SERVICES`].
    pub fn service(self) -> &'static str {
        self.service
    }

    /// How much of the service.
    pub fn access(self) -> Access {
        self.access
    }
}

impl fmt::Display for PolicyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.service, self.access)
    }
}

impl PolicyTemplate {
    /// Reads a template; otherwise says which one may be meant.
    pub(crate) fn read(text: &str) -> Result<Self, Option<PolicyTemplate>> {
        let find = |same: fn(&str, &str) -> bool| {
            let (service, access) = text.split_once(':')?;
            let service = SERVICES.into_iter().find(|known| same(known, service))?;
            let (_, access) = LEVELS.into_iter().find(|(known, _)| same(known, access))?;
            Some(PolicyTemplate { service, access })
        };
        find(|a, b| a == b).ok_or_else(|| find(str::eq_ignore_ascii_case))
    }
}

impl FromStr for PolicyTemplate {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::read(text).map_err(|meant| {
            let (origin, text) = (Origin::Flag("--iam-policy"), text.to_owned());
            SpecErrorKind::Policy {
                origin,
                text,
                meant,
            }
            .into()
        })
    }
}

/// Stored as `service:Access`.
impl Serialize for PolicyTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PolicyTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_policies(values: &[String]) -> Result<Vec<PolicyTemplate>, SpecError> {
        crate::setting_values::policies(values, &Origin::Flag("--iam-policy"))
    }

    #[test]
    fn every_template_reads_back() {
        for service in SERVICES {
            for (level, access) in LEVELS {
                let template: PolicyTemplate = format!("{service}:{level}").parse().unwrap();
                assert_eq!((template.service(), template.access()), (service, access));
                assert_eq!(template.to_string(), format!("{service}:{level}"));
            }
        }
    }

    #[test]
    fn lists_are_folded_and_sorted() {
        let values = [
            "sqs:FullAccess,s3:FullAccess".into(),
            "s3:FullAccess".into(),
        ];
        let policies = parse_policies(&values).unwrap();
        let shown: Vec<String> = policies.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["s3:FullAccess", "sqs:FullAccess"]);
    }

    #[test]
    fn what_is_not_a_template_says_what_is() {
        for (text, hint) in [
            ("s3:fullaccess", "did you mean `s3:FullAccess`?"),
            ("s3", "FullAccess"),
            ("", "secretsmanager"),
            ("ec2:FullAccess", "dynamodb"),
            ("arn:aws:iam::aws:policy/AmazonS3FullAccess", "templates"),
        ] {
            let error = parse_policies(&[text.into()]).unwrap_err();
            assert!(error.to_string().contains("--iam-policy"), "{error}");
            assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        }
    }
}
