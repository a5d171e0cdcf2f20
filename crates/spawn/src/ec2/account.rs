//! Who is signed in to AWS, and in which region.

use spawn_aws::client::{Client, Config};
use spawn_aws::credentials::EMBEDDED_KEY_PREFIX;
use spawn_aws::environment::Environment;
use spawn_aws::services::sts;

use crate::error::CliError;

/// A client for a region; for that of the environment or the profile if none is named.
pub fn client(region: Option<&str>) -> Result<Client, CliError> {
    let environment = Environment::of_process();
    let key = environment.var("AWS_ACCESS_KEY_ID").unwrap_or_default();
    if key.starts_with(EMBEDDED_KEY_PREFIX) {
        return Err(CliError::EmbeddedCredentials);
    }
    Ok(Client::new(Config::from_environment(
        &environment,
        region,
        None,
    )?))
}

/// The account that the client's credentials belong to.
pub fn account(client: &Client) -> Result<String, CliError> {
    Ok(sts::get_caller_identity(client)?.account)
}
