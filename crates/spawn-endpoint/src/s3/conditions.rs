//! `If-Match` and its relatives, on reads and on writes.

use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};

use super::store::{Object, timestamp};

/// The conditions of a request; each may be absent.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

fn names(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(ETag::Strong(value) | ETag::Weak(value)) => value == etag,
    }
}

impl Conditions {
    /// For a read: 304 if the client has it already, 412 if it is not what the client means.
    pub(super) fn check_read(&self, object: &Object) -> S3Result<()> {
        self.check(object, true)
    }

    /// For the source of a copy: 412 in either case.
    pub(super) fn check_source(&self, object: &Object) -> S3Result<()> {
        self.check(object, false)
    }

    fn check(&self, object: &Object, is_read: bool) -> S3Result<()> {
        // HTTP dates are whole seconds.
        let modified = timestamp(object.modified_ms / 1000 * 1000);
        let failed = || {
            Err(s3_error!(
                PreconditionFailed,
                "A condition of the request does not hold"
            ))
        };
        let unchanged = || {
            if is_read {
                Err(s3_error!(NotModified))
            } else {
                failed()
            }
        };
        // If-Match takes precedence over If-Unmodified-Since, If-None-Match over If-Modified-Since.
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !names(condition, &object.etag) => return failed(),
            (None, Some(since)) if modified > *since => return failed(),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if names(condition, &object.etag) => unchanged(),
            (None, Some(since)) if modified <= *since => unchanged(),
            _ => Ok(()),
        }
    }

    /// For a write: the key must hold, or not hold, what the client says.
    pub(super) fn check_write(&self, present: Option<&Object>) -> S3Result<()> {
        let failed = || {
            s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            )
        };
        if let Some(condition) = &self.if_match {
            let Some(object) = present else {
                return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
            };
            if !names(condition, &object.etag) {
                return Err(failed());
            }
        }
        match (&self.if_none_match, present) {
            (Some(condition), Some(object)) if names(condition, &object.etag) => Err(failed()),
            _ => Ok(()),
        }
    }

    /// Whether there is anything to check.
    pub(super) fn any(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }
}
