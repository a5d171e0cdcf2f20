//! Credentials: where they are found, in the order of AWS's own SDKs, and when they are renewed.
//!
//! Environment, shared files (keys, `credential_process`, `role_arn`), container, instance. What
//! else a profile can say (single sign-on, web identity, MFA) is left to the AWS CLI, if there is
//! one: `aws configure export-credentials`.

mod assume_role;
mod cache;
mod chain;
mod container;
mod process;
mod profile;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

use serde::Deserialize;

use crate::client::AwsError;
use crate::imds::ImdsError;

pub(crate) use cache::CachedCredentials;
pub use chain::Chain;
pub use profile::Profiles;

/// What every access key of spawn's own endpoint begins with. Such keys are not sent to AWS.
pub const EMBEDDED_KEY_PREFIX: &str = "SPAWNLOCAL";

/// A key pair, perhaps for a session. `Debug` shows the key's id only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key's id, which is no secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token of a session.
    pub session_token: Option<String>,
    /// When they end.
    pub expires: Option<SystemTime>,
}

impl Credentials {
    /// A lasting key pair.
    #[must_use]
    pub fn fixed(access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: None,
            expires: None,
        }
    }

    /// Reads the JSON that `credential_process`, container and instance services write.
    ///
    /// # Errors
    /// It is not that JSON. The text is not repeated.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Shape {
            access_key_id: Option<String>,
            secret_access_key: Option<String>,
            #[serde(alias = "Token")]
            session_token: Option<String>,
            expiration: Option<String>,
        }
        let shape: Shape = serde_json::from_slice(json)
            .map_err(|_| "it is not the JSON of credentials".to_owned())?;
        let expires = shape
            .expiration
            .map(|text| {
                text.parse::<jiff::Timestamp>()
                    .map(SystemTime::from)
                    .map_err(|_| "its `Expiration` is not a time".to_owned())
            })
            .transpose()?;
        let filled = |value: Option<String>| value.filter(|v| !v.is_empty());
        match (filled(shape.access_key_id), filled(shape.secret_access_key)) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Self {
                access_key_id,
                secret_access_key,
                session_token: filled(shape.session_token),
                expires,
            }),
            _ => Err("it has no `AccessKeyId` and `SecretAccessKey`".to_owned()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials. Never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Nothing is configured anywhere.
    #[error("no AWS credentials were found (looked at {looked_at})")]
    NotFound {
        /// The places.
        looked_at: String,
    },
    /// Two variables belong together and one is missing.
    #[error("`{present}` is set, but `{missing}` is not")]
    Incomplete {
        /// The one that is set.
        present: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A profile is missing or cannot be used.
    #[error("AWS profile `{profile}`: {reason}")]
    Profile {
        /// Its name.
        profile: String,
        /// Why.
        reason: String,
    },
    /// The container's credential service failed.
    #[error("the container's credential service: {reason}")]
    Container {
        /// Why.
        reason: String,
    },
    /// The instance's metadata service failed.
    #[error("the instance's credentials: {0}")]
    Instance(#[from] ImdsError),
    /// A role could not be assumed.
    #[error("AWS profile `{profile}` cannot assume its role: {source}")]
    AssumeRole {
        /// The profile.
        profile: String,
        /// AWS's answer.
        source: AwsError,
    },
}

/// A source of credentials.
pub trait CredentialsProvider: fmt::Debug + Send + Sync {
    /// Asks the source. The client keeps the answer until it nears its end.
    ///
    /// # Errors
    /// The source has none, or cannot be asked.
    fn fetch(&self) -> Result<Credentials, CredentialsError>;
}

impl CredentialsProvider for Credentials {
    fn fetch(&self) -> Result<Credentials, CredentialsError> {
        Ok(self.clone())
    }
}

/// No source.
#[derive(Debug)]
pub struct NoCredentials;

impl CredentialsProvider for NoCredentials {
    fn fetch(&self) -> Result<Credentials, CredentialsError> {
        Err(CredentialsError::NotFound {
            looked_at: "nothing".to_owned(),
        })
    }
}
