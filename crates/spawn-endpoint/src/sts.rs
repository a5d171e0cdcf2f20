//! The one call of STS that scripts make to see who they are.

use hyper::StatusCode;

use crate::identifiers;
use crate::wire::{self, Protocol, Served};
use crate::{ACCOUNT_ID, sqs};

/// Answers `GetCallerIdentity`; everything else of STS is refused.
pub(crate) fn serve(body: &[u8]) -> Served {
    let form = sqs::decode_form(body);
    let operation = form
        .iter()
        .find(|(name, _)| name == "Action")
        .map_or_else(|| "Unknown".to_owned(), |(_, value)| value.clone());
    if operation != "GetCallerIdentity" {
        let message = format!("`{operation}` is not part of the local endpoint");
        return Served {
            reply: wire::error(
                Protocol::Query,
                StatusCode::BAD_REQUEST,
                "InvalidAction",
                &message,
            ),
            operation,
            resource: None,
            error_code: Some("InvalidAction".to_owned()),
        };
    }
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT_ID}:user/spawn-local</Arn>\
         <UserId>AIDASPAWNLOCALENDPOINT</UserId><Account>{ACCOUNT_ID}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>",
        identifiers::uuid()
    );
    Served {
        reply: wire::xml(StatusCode::OK, body),
        operation,
        resource: None,
        error_code: None,
    }
}
