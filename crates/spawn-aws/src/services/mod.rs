//! The operations, one service a file. Each names its page in AWS's API reference and the errors
//! a caller is expected to tell apart.

pub mod autoscaling;
pub mod dynamodb;
pub mod ec2;
pub mod iam;
pub mod pricing;
pub mod quotas;
pub mod s3;
pub mod scheduler;
pub mod ssm;
pub mod sts;

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    #[serde(rename(serialize = "Key"), alias = "Key", alias = "key")]
    pub key: String,
    /// Its value.
    #[serde(rename(serialize = "Value"), alias = "Value", default)]
    pub value: String,
}

impl Tag {
    /// A tag.
    #[must_use]
    pub fn new(key: &str, value: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// Calls `page` with the token of each page, none at first, until there is no other.
///
/// A service that answers with the token it was asked with would never end; that is an error of
/// its own.
pub(crate) fn pages<E>(
    mut page: impl FnMut(Option<String>) -> Result<Option<String>, E>,
    repeated: impl FnOnce() -> E,
) -> Result<(), E> {
    let mut token: Option<String> = None;
    loop {
        let next = page(token.clone())?.filter(|t| !t.is_empty());
        match next {
            None => return Ok(()),
            next if next == token => return Err(repeated()),
            next => token = next,
        }
    }
}

/// The error of a service whose pages go in a circle.
pub(crate) fn repeated(
    service: &'static crate::client::Service,
    operation: &'static str,
) -> crate::client::AwsError {
    crate::client::AwsError::new(
        service.name,
        operation,
        crate::client::ErrorKind::Malformed,
        "the pages of the answer go in a circle",
    )
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn all_pages_are_read_and_circles_end() {
        let mut asked = Vec::new();
        let answers = [Some("a"), Some("b"), Some("")];
        pages(
            |token| {
                asked.push(token);
                Ok::<_, ()>(answers[asked.len() - 1].map(str::to_owned))
            },
            || (),
        )
        .unwrap();
        assert_eq!(asked, [None, Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(
            pages(|_| Ok(Some("same".to_owned())), || "circle"),
            Err("circle")
        );
    }
}
