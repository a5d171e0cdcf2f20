//! A profile's role, assumed with the credentials of another source.

use std::sync::Arc;

use crate::client::{Client, Config, new_token};
use crate::credentials::{Credentials, CredentialsError, CredentialsProvider, Profiles};
use crate::services::sts::{self, AssumeRole};

/// Assumes the `role_arn` of `profile` with `source`.
pub(super) fn assume(
    profiles: &Profiles,
    profile: &str,
    role_arn: &str,
    source: Credentials,
    config: &Config,
) -> Result<Credentials, CredentialsError> {
    let value = |key| profiles.value(profile, key).map(str::to_owned);
    let client = Client::new(Config {
        credentials: Arc::new(source) as Arc<dyn CredentialsProvider>,
        region: value("region").unwrap_or_else(|| config.region.clone()),
        ..config.clone()
    });
    let session = value("role_session_name")
        .unwrap_or_else(|| format!("spawn-{}", &new_token(&*config.clock)[..12]));
    let duration_seconds = value("duration_seconds")
        .map(|text| {
            text.parse::<u32>().map_err(|_| CredentialsError::Profile {
                profile: profile.to_owned(),
                reason: format!("`duration_seconds = {text}` is not a number"),
            })
        })
        .transpose()?;
    sts::assume_role(
        &client,
        &AssumeRole {
            role_arn: role_arn.to_owned(),
            role_session_name: session,
            external_id: value("external_id"),
            duration_seconds,
        },
    )
    .map_err(|source| CredentialsError::AssumeRole {
        profile: profile.to_owned(),
        source,
    })
}
