//! Why a request could not be answered.

use std::path::PathBuf;

use spawn_aws::client::{AwsError, ErrorKind};
use spawn_dynamo::DynamoError;
use spawn_ports::ledger::LedgerError;
use spawn_ports::objects::ObjectError;

use crate::launch::LaunchError;

/// Why a request could not be answered. An array that is not there is no error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The bucket.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// Machines could not be had again; asked once more it goes on from there.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A file of this machine.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl DeskError {
    /// Whether what the request is about does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            DeskError::Ledger(LedgerError::UnknownArray(_)) => true,
            DeskError::Aws(e) => e.kind == ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether AWS does not let this user do it, or does not know them.
    pub fn is_denied(&self) -> bool {
        if let Some(error) = self.aws() {
            return matches!(
                error.kind,
                ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::Expired
            );
        }
        matches!(self.dynamo(), Some(DynamoError::Other { code, .. }) if is_refusal(code))
    }

    /// The failed call of AWS, wherever it is; the ledger's are [`DeskError::dynamo`].
    pub fn aws(&self) -> Option<&AwsError> {
        match self {
            DeskError::Aws(e) | DeskError::Launch(LaunchError::Aws(e)) => Some(e),
            DeskError::Objects(e) => e.source.as_ref()?.downcast_ref(),
            _ => None,
        }
    }

    /// The ledger's failed call, if it is one.
    pub fn dynamo(&self) -> Option<&DynamoError> {
        match self {
            DeskError::Ledger(LedgerError::Storage {
                source: Some(e), ..
            })
            | DeskError::Launch(LaunchError::Ledger(LedgerError::Storage {
                source: Some(e),
                ..
            })) => e.downcast_ref(),
            _ => None,
        }
    }
}

/// DynamoDB's codes for callers that it does not serve.
fn is_refusal(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "ExpiredTokenException"
            | "IncompleteSignatureException"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(kind: ErrorKind) -> AwsError {
        AwsError::new("EC2", "RunInstances", kind, "words")
    }

    fn ledger(code: &str) -> DeskError {
        LedgerError::Storage {
            what: "cannot read".to_owned(),
            source: Some(Box::new(DynamoError::Other {
                code: code.to_owned(),
                message: String::new(),
            })),
        }
        .into()
    }

    fn objects(kind: ErrorKind) -> DeskError {
        ObjectError {
            what: "cannot get".to_owned(),
            is_passing: false,
            source: Some(Box::new(aws(kind))),
        }
        .into()
    }

    #[test]
    fn what_is_denied_is_so_whoever_denied_it() {
        assert!(DeskError::from(aws(ErrorKind::Denied)).is_denied());
        assert!(DeskError::from(LaunchError::from(aws(ErrorKind::Denied))).is_denied());
        assert!(objects(ErrorKind::Denied).is_denied());
        assert!(ledger("AccessDeniedException").is_denied());
        assert!(!ledger("ValidationException").is_denied());
        assert!(!objects(ErrorKind::Network).is_denied());
        assert!(!DeskError::from(aws(ErrorKind::NotFound)).is_denied());
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let id = "array-20260127-abc123".parse().unwrap();
        assert!(DeskError::from(LedgerError::UnknownArray(id)).is_not_found());
        assert!(DeskError::from(aws(ErrorKind::NotFound)).is_not_found());
        assert!(!DeskError::from(aws(ErrorKind::Denied)).is_not_found());
        assert!(!ledger("AccessDeniedException").is_not_found());
    }
}
