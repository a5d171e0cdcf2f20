//! One typed error for every call, and the table that sorts AWS's codes.

use std::fmt;
use std::ops::Deref;

/// What a failed call means for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Too many calls, and the client's own patience is used up. Nothing was executed.
    Throttled,
    /// The credentials are known and may not do this.
    Denied,
    /// No usable credentials: none found, not known to AWS, or refused by this client.
    Credentials,
    /// The credentials, or a token of the request, have expired.
    Expired,
    /// What the call names does not exist.
    NotFound,
    /// What the call would create exists.
    AlreadyExists,
    /// A condition of the call does not hold (conditional writes, `If-Match`, transactions).
    ConditionFailed,
    /// What the call names is in use or is being changed by another.
    Conflict,
    /// AWS has none of these machines here at present.
    Capacity,
    /// The account's quota is used up.
    Quota,
    /// The request is wrong and stays wrong.
    Validation,
    /// `DryRun` was asked for, and the call would have succeeded.
    WouldSucceed,
    /// The service failed (5xx).
    Unavailable,
    /// No answer was had. See [`Failure::maybe_executed`].
    Network,
    /// The answer is not what the service's API promises.
    Malformed,
    /// Any other error answer.
    Other,
}

/// What is known about a failed call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The service as AWS writes it: `EC2`, `Auto Scaling`.
    pub service: &'static str,
    /// The operation: `RunInstances`.
    pub operation: &'static str,
    /// What it means.
    pub kind: ErrorKind,
    /// AWS's code, as `InsufficientInstanceCapacity`; empty where no answer was had.
    pub code: String,
    /// AWS's words, or what went wrong on the way.
    pub message: String,
    /// AWS's name of the request, for its support.
    pub request_id: Option<String>,
    /// The HTTP status; 0 where no answer was had.
    pub status: u16,
    /// How often the request was sent.
    pub attempts: u32,
    /// The call, or an earlier attempt of it, may have been executed although it failed. A failed
    /// condition may then be the mark of one's own first attempt: read before deciding.
    pub maybe_executed: bool,
    /// The region S3 says the bucket is in, where it is another.
    pub bucket_region: Option<String>,
    /// The whole error document of a JSON service.
    pub document: Option<serde_json::Value>,
    /// The service's clock as the answer says it, for the client's own.
    pub(crate) date: Option<std::time::SystemTime>,
    /// Sending again cannot help, though the kind says that it may.
    pub(crate) permanent: bool,
}

/// A failed call. Dereferences to the [`Failure`]; never holds a secret.
#[derive(Clone)]
pub struct AwsError(Box<Failure>);

impl Deref for AwsError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl fmt::Debug for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.service, self.operation)?;
        match (self.code.is_empty(), self.message.is_empty()) {
            (true, true) => write!(f, "HTTP status {}", self.status)?,
            (true, false) => f.write_str(&self.message)?,
            (false, true) => f.write_str(&self.code)?,
            (false, false) => write!(f, "{} ({})", self.message, self.code)?,
        }
        if self.kind == ErrorKind::Network && self.maybe_executed {
            f.write_str("; it may have been executed")?;
        }
        Ok(())
    }
}

impl std::error::Error for AwsError {}

impl AwsError {
    /// An error that no answer of AWS says.
    #[must_use]
    pub fn new(
        service: &'static str,
        operation: &'static str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self(Box::new(Failure {
            service,
            operation,
            kind,
            code: String::new(),
            message: message.into(),
            request_id: None,
            status: 0,
            attempts: 0,
            maybe_executed: false,
            bucket_region: None,
            document: None,
            date: None,
            permanent: false,
        }))
    }

    pub(crate) fn details(&mut self) -> &mut Failure {
        &mut self.0
    }

    /// The codes of `TransactWriteItems`' answer, one for each item, `None` for those without
    /// fault; empty if this is not a cancelled transaction.
    #[must_use]
    pub fn cancellation_reasons(&self) -> Vec<&str> {
        self.document
            .as_ref()
            .and_then(|d| d["CancellationReasons"].as_array())
            .map(|reasons| {
                reasons
                    .iter()
                    .map(|r| r["Code"].as_str().unwrap_or("None"))
                    .collect()
            })
            .unwrap_or_default()
    }
}

/// Whether `code` says that too much was asked at once.
#[must_use]
pub fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "ProvisionedThroughputExceededException"
            | "TransactionInProgressException"
            | "PriorRequestNotComplete"
            | "EC2ThrottledException"
            | "SlowDown"
    )
}

/// Whether `code` can mean that the two clocks differ.
#[must_use]
pub fn may_be_skew(code: &str) -> bool {
    matches!(
        code,
        "RequestTimeTooSkewed"
            | "RequestExpired"
            | "RequestInTheFuture"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "AuthFailure"
            | "IncompleteSignature"
    )
}

/// Sorts an error answer by AWS's code, then by the words EC2 uses in codes, then by the status.
#[must_use]
pub fn classify(code: &str, status: u16) -> ErrorKind {
    use ErrorKind as K;
    if is_throttle(code) {
        return K::Throttled;
    }
    match code {
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "OptInRequired"
        | "AccountProblem"
        | "Blocked"
        | "PendingVerification"
        | "AllAccessDisabled"
        | "NotAuthorizedException" => return K::Denied,
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidToken"
        | "RequestTimeTooSkewed"
        | "NotSignedUp" => return K::Credentials,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => return K::Expired,
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientAddressCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientCapacityOnHost"
        | "SpotMaxPriceTooLow"
        | "UnfulfillableCapacity" => return K::Capacity,
        "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "VolumeLimitExceeded"
        | "LimitExceeded"
        | "LimitExceededException"
        | "ServiceQuotaExceededException"
        | "QuotaExceededException"
        | "MaxIOPSLimitExceeded"
        | "TooManyBuckets"
        | "AddressLimitExceeded" => return K::Quota,
        "DryRunOperation" => return K::WouldSucceed,
        "NoSuchKey"
        | "NoSuchBucket"
        | "NoSuchUpload"
        | "NoSuchEntity"
        | "ParameterNotFound"
        | "ResourceNotFoundException"
        | "ResourceNotFound"
        | "NotFound"
        | "NotFoundException"
        | "NoSuchResourceException"
        | "NoSuchLifecycleConfiguration"
        | "NoSuchPublicAccessBlockConfiguration" => return K::NotFound,
        "AlreadyExists"
        | "EntityAlreadyExists"
        | "BucketAlreadyOwnedByYou"
        | "BucketAlreadyExists"
        | "ResourceInUseException"
        | "ParameterAlreadyExists"
        | "TableAlreadyExistsException" => return K::AlreadyExists,
        "ConditionalCheckFailedException"
        | "TransactionCanceledException"
        | "PreconditionFailed"
        | "IdempotentParameterMismatch"
        | "IdempotentParameterMismatchException" => return K::ConditionFailed,
        "ScalingActivityInProgress"
        | "ResourceInUse"
        | "ResourceContention"
        | "ResourceContentionFault"
        | "DeleteConflict"
        | "ConcurrentModification"
        | "ConcurrentModificationException"
        | "ConflictException"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "BucketNotEmpty"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "TransactionConflictException"
        | "DependencyViolation" => {
            return K::Conflict;
        }
        "ValidationError"
        | "ValidationException"
        | "MissingParameter"
        | "UnknownParameter"
        | "UnsupportedOperation"
        | "Unsupported"
        | "InvalidRequest"
        | "MalformedPolicyDocument"
        | "InvalidAction" => return K::Validation,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerErrorException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "Unavailable"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServerInternal" => {
            return K::Unavailable;
        }
        _ => {}
    }
    if code.ends_with(".NotFound") || code.ends_with("NotFoundException") {
        return K::NotFound;
    }
    if code.ends_with(".Duplicate") || code.ends_with("AlreadyExistsException") {
        return K::AlreadyExists;
    }
    if code.ends_with("LimitExceeded") {
        return K::Quota;
    }
    if code.starts_with("Invalid") || code.starts_with("Malformed") {
        return K::Validation;
    }
    match status {
        401 | 403 => K::Denied,
        404 => K::NotFound,
        409 => K::Conflict,
        412 => K::ConditionFailed,
        429 => K::Throttled,
        400..=499 => K::Validation,
        500.. => K::Unavailable,
        _ => K::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        use ErrorKind as K;
        for (code, status, kind) in [
            ("RequestLimitExceeded", 503, K::Throttled),
            ("SlowDown", 503, K::Throttled),
            ("Throttling", 400, K::Throttled),
            ("UnauthorizedOperation", 403, K::Denied),
            ("InvalidClientTokenId", 403, K::Credentials),
            ("ExpiredTokenException", 400, K::Expired),
            ("InsufficientInstanceCapacity", 500, K::Capacity),
            ("VcpuLimitExceeded", 400, K::Quota),
            ("MaxSpotInstanceCountExceeded", 400, K::Quota),
            (
                "InvalidLaunchTemplateName.NotFoundException",
                400,
                K::NotFound,
            ),
            ("InvalidInstanceID.NotFound", 400, K::NotFound),
            (
                "InvalidLaunchTemplateName.AlreadyExistsException",
                400,
                K::AlreadyExists,
            ),
            ("InvalidParameterValue", 400, K::Validation),
            ("InvalidAMIID.Malformed", 400, K::Validation),
            ("DryRunOperation", 412, K::WouldSucceed),
            ("ConditionalCheckFailedException", 400, K::ConditionFailed),
            ("PreconditionFailed", 412, K::ConditionFailed),
            ("NoSuchEntity", 404, K::NotFound),
            ("AlreadyExists", 400, K::AlreadyExists),
            ("InternalError", 500, K::Unavailable),
            ("", 404, K::NotFound),
            ("", 502, K::Unavailable),
            ("SomethingNew", 400, K::Validation),
        ] {
            assert_eq!(classify(code, status), kind, "{code} {status}");
        }
    }

    #[test]
    fn an_error_is_small_and_says_what_failed() {
        assert!(size_of::<AwsError>() <= 16);
        let mut error = AwsError::new("EC2", "RunInstances", ErrorKind::Capacity, "none left");
        assert_eq!(error.to_string(), "EC2 RunInstances: none left");
        error.details().code = "InsufficientInstanceCapacity".into();
        assert_eq!(
            error.to_string(),
            "EC2 RunInstances: none left (InsufficientInstanceCapacity)"
        );
        let mut lost = AwsError::new("S3", "PutObject", ErrorKind::Network, "connection closed");
        lost.details().maybe_executed = true;
        assert!(lost.to_string().ends_with("; it may have been executed"));
    }
}
