//! STS: who is calling, and roles.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::client::{AwsError, Client, ErrorKind, Lists, STS, Safety, Service, query_result_call};
use crate::credentials::Credentials;

const API: (&Service, &str, Lists) = (&STS, "2011-06-15", Lists::Member);

/// The caller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CallerIdentity {
    /// The account's twelve digits.
    pub account: String,
    /// The user or the session of a role.
    pub arn: String,
    /// The unique id of it.
    pub user_id: String,
}

/// `GetCallerIdentity`: needs no permission, and fails only if the credentials are not good
/// ([`ErrorKind::Credentials`], [`ErrorKind::Expired`]).
///
/// # Errors
/// See [`AwsError`].
pub fn get_caller_identity(client: &Client) -> Result<CallerIdentity, AwsError> {
    let none = serde_json::json!({});
    query_result_call(client, API, "GetCallerIdentity", Safety::Read, &none)
}

/// What `AssumeRole` is asked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// A name for the session: 2 to 64 of letters, digits and `+=,.@-_`.
    pub role_session_name: String,
    /// What the role's trust asks of outsiders.
    pub external_id: Option<String>,
    /// How long the session lasts; 3,600 if not said.
    pub duration_seconds: Option<u32>,
}

/// `AssumeRole`. [`ErrorKind::Denied`]: the role does not trust the caller, or is not there.
///
/// # Errors
/// See [`AwsError`].
pub fn assume_role(client: &Client, request: &AssumeRole) -> Result<Credentials, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Assumed {
        credentials: Keys,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Keys {
        access_key_id: String,
        secret_access_key: String,
        session_token: String,
        expiration: String,
    }
    let keys =
        query_result_call::<Assumed>(client, API, "AssumeRole", Safety::Read, request)?.credentials;
    let expires = keys.expiration.parse::<jiff::Timestamp>().map_err(|_| {
        let message = "the answer's `Expiration` is not a time";
        AwsError::new(STS.name, "AssumeRole", ErrorKind::Malformed, message)
    })?;
    Ok(Credentials {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: Some(keys.session_token),
        expires: Some(SystemTime::from(expires)),
    })
}
