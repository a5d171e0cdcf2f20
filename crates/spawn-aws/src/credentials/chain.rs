//! The order in which sources are asked.

use std::sync::Arc;

use crate::client::{Config, HttpTransport, Transport};
use crate::credentials::{
    Credentials, CredentialsError, CredentialsProvider, Profiles, assume_role, container, process,
};
use crate::environment::Environment;
use crate::imds::{Imds, ImdsError};

/// The sources in AWS's order: environment, profile, container, instance. A profile that was named
/// by a flag comes before the environment.
#[derive(Debug)]
pub struct Chain {
    environment: Environment,
    /// Of the time the chain was made; for which profile is in use.
    profiles: Profiles,
    profile_first: bool,
    config: Config,
    metadata: Arc<dyn Transport>,
}

impl Chain {
    /// A chain; nothing is asked yet. `config` is what roles are assumed with; its own credentials
    /// are not used.
    #[must_use]
    pub fn new(
        environment: &Environment,
        profiles: Profiles,
        profile_first: bool,
        config: &Config,
    ) -> Self {
        Self {
            environment: environment.clone(),
            profiles,
            profile_first,
            config: config.clone(),
            metadata: Arc::new(HttpTransport::for_metadata()),
        }
    }

    fn variables(&self) -> Result<Option<Credentials>, CredentialsError> {
        let var = |name| self.environment.var(name);
        match (var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Ok(Some(Credentials {
                session_token: var("AWS_SESSION_TOKEN").map(str::to_owned),
                ..Credentials::fixed(id, secret)
            })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(CredentialsError::Incomplete {
                present: "AWS_ACCESS_KEY_ID",
                missing: "AWS_SECRET_ACCESS_KEY",
            }),
            (None, Some(_)) => Err(CredentialsError::Incomplete {
                present: "AWS_SECRET_ACCESS_KEY",
                missing: "AWS_ACCESS_KEY_ID",
            }),
        }
    }

    fn profile(
        &self,
        profiles: &Profiles,
        profile: &str,
        seen: &mut Vec<String>,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let value = |key| profiles.value(profile, key);
        let refused = |reason: String| CredentialsError::Profile {
            profile: profile.to_owned(),
            reason,
        };
        let keys = || match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(Some(Credentials {
                session_token: value("aws_session_token").map(str::to_owned),
                ..Credentials::fixed(id, secret)
            })),
            (None, None) => Ok(None),
            _ => Err(refused(
                "`aws_access_key_id` and `aws_secret_access_key` belong together".to_owned(),
            )),
        };
        if seen.iter().any(|s| s == profile) {
            // A profile may name itself as the source: its own keys are meant.
            if seen.last().is_some_and(|last| last == profile) {
                return keys();
            }
            return Err(refused(format!(
                "`source_profile` goes in a circle: {}",
                seen.join(", ")
            )));
        }
        seen.push(profile.to_owned());
        if let Some(role) = value("role_arn") {
            if value("web_identity_token_file").is_some() {
                return self.cli(profile, "web identity").map(Some);
            }
            if value("mfa_serial").is_some() {
                return self.cli(profile, "a role with MFA").map(Some);
            }
            let source = match (value("source_profile"), value("credential_source")) {
                (Some(source), None) => {
                    if !profiles.has(source) {
                        return Err(refused(format!(
                            "`source_profile = {source}` does not exist"
                        )));
                    }
                    self.profile(profiles, source, seen)?
                        .ok_or_else(|| refused(format!("`{source}` has no credentials")))?
                }
                (None, Some("Environment")) => self.variables()?.ok_or_else(|| {
                    refused("`credential_source = Environment`, which has none".to_owned())
                })?,
                (None, Some("Ec2InstanceMetadata")) => self.instance()?,
                (None, Some("EcsContainer")) => self.container()?,
                (None, Some(other)) => {
                    return Err(refused(format!("`credential_source = {other}` is unknown")));
                }
                (None, None) | (Some(_), Some(_)) => {
                    return Err(refused(
                        "`role_arn` needs either `source_profile` or `credential_source`"
                            .to_owned(),
                    ));
                }
            };
            return assume_role::assume(profiles, profile, role, source, &self.config).map(Some);
        }
        if let Some(found) = keys()? {
            return Ok(Some(found));
        }
        if let Some(line) = value("credential_process") {
            return process::credential_process(&self.environment, profile, line).map(Some);
        }
        if value("sso_session").or(value("sso_start_url")).is_some() {
            return self.cli(profile, "single sign-on").map(Some);
        }
        if value("login_session").is_some() {
            return self.cli(profile, "a login session").map(Some);
        }
        Ok(None)
    }

    fn cli(&self, profile: &str, what: &str) -> Result<Credentials, CredentialsError> {
        process::aws_cli(&self.environment, profile, self.profiles.has(profile), what)
    }

    fn container(&self) -> Result<Credentials, CredentialsError> {
        container::fetch(&self.environment, &*self.metadata, &*self.config.clock)
    }

    fn instance(&self) -> Result<Credentials, CredentialsError> {
        let imds = Imds::new(
            &self.environment,
            Arc::clone(&self.metadata),
            Arc::clone(&self.config.clock),
        );
        Ok(imds.role_credentials()?)
    }
}

impl CredentialsProvider for Chain {
    fn fetch(&self) -> Result<Credentials, CredentialsError> {
        if !self.profile_first
            && let Some(found) = self.variables()?
        {
            return Ok(found);
        }
        let profile = self.profiles.selected();
        // Read anew: the files may have been renewed since.
        let profiles = Profiles::load(&self.environment, Some(profile))?;
        let named = self.profile_first
            || self.environment.var("AWS_PROFILE").is_some()
            || self.environment.var("AWS_DEFAULT_PROFILE").is_some();
        if named && !profiles.has(profile) {
            return Err(CredentialsError::Profile {
                profile: profile.to_owned(),
                reason: "it is in neither of the AWS files".to_owned(),
            });
        }
        if let Some(found) = self.profile(&profiles, profile, &mut Vec::new())? {
            return Ok(found);
        }
        if self
            .environment
            .var("AWS_WEB_IDENTITY_TOKEN_FILE")
            .is_some()
        {
            return self.cli(profile, "web identity");
        }
        if container::is_named(&self.environment) {
            return self.container();
        }
        match self.instance() {
            Err(CredentialsError::Instance(
                ImdsError::Unavailable { .. } | ImdsError::Disabled,
            )) => Err(CredentialsError::NotFound {
                looked_at: format!(
                    "AWS_ACCESS_KEY_ID, profile `{profile}` of the AWS files, container and instance metadata"
                ),
            }),
            other => other,
        }
    }
}
