//! The credential services of ECS, EKS and others: an address, perhaps a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Clock, HttpRequest, Method, Transport};
use crate::credentials::{Credentials, CredentialsError};
use crate::environment::Environment;

const ECS: &str = "http://169.254.170.2";
const ATTEMPTS: u32 = 3;

fn failed(reason: impl Into<String>) -> CredentialsError {
    CredentialsError::Container {
        reason: reason.into(),
    }
}

/// Whether the environment names such a service.
pub(super) fn is_named(environment: &Environment) -> bool {
    environment
        .var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        .or_else(|| environment.var("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        .is_some()
}

/// Asks the service that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `..._FULL_URI` names.
pub(super) fn fetch(
    environment: &Environment,
    transport: &dyn Transport,
    clock: &dyn Clock,
) -> Result<Credentials, CredentialsError> {
    let url = match (
        environment.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        environment.var("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ) {
        (Some(path), _) => format!("{ECS}{path}"),
        (None, Some(url)) => {
            allowed(url)?;
            url.to_owned()
        }
        (None, None) => return Err(failed("none is named")),
    };
    // The file is read each time: it is replaced while the process runs.
    let token = match environment.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|e| failed(format!("token file `{path}`: {e}")))?
                .trim()
                .to_owned(),
        ),
        None => environment
            .var("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(str::to_owned),
    };
    if token.as_deref().is_some_and(|t| t.contains(['\r', '\n'])) {
        return Err(failed("the authorization token has line breaks"));
    }
    let request = HttpRequest {
        method: Method::Get,
        url,
        headers: token
            .into_iter()
            .map(|t| ("authorization".to_owned(), t))
            .collect(),
        body: Arc::from(&b""[..]),
    };
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            clock.sleep(Duration::from_millis(200 << attempt));
        }
        match transport.send(&request, Duration::from_secs(2)) {
            Ok(answer) if answer.status == 200 => {
                return Credentials::parse(&answer.body).map_err(failed);
            }
            Ok(answer) if answer.status < 500 => {
                return Err(failed(format!("it answered {}", answer.status)));
            }
            Ok(answer) => last = format!("it answered {}", answer.status),
            Err(e) => last = e.message,
        }
    }
    Err(failed(last))
}

/// A token may go over plain HTTP only to this machine and to AWS's own link-local addresses.
fn allowed(url: &str) -> Result<(), CredentialsError> {
    if url.starts_with("https://") {
        return Ok(());
    }
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest))
        .unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    let local = name == "localhost"
        || name.parse::<IpAddr>().is_ok_and(|ip| {
            ip.is_loopback()
                || ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"]
                    .iter()
                    .any(|known| known.parse() == Ok(ip))
        });
    if local {
        Ok(())
    } else {
        Err(failed(
            "its address is neither HTTPS nor on this machine, so the token is not sent there",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_on_the_machine() {
        for url in [
            "https://example.com/x",
            "http://localhost:80/x",
            "http://127.0.0.1/x",
            "http://[::1]:8080/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(allowed(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.com/",
            "http://127.0.0.1.evil/",
            "http://user@evil/",
            "ftp://x",
            "",
        ] {
            assert!(allowed(url).is_err(), "{url}");
        }
    }
}
