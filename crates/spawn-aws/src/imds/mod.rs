//! The instance metadata service, version 2 only.
//!
//! A session token is asked for once and renewed before it ends. Version 1, which any program on
//! the machine that can be talked into a GET can read, is never used: a service that hands out no
//! token is unavailable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::client::{Clock, HttpRequest, HttpResponse, Method, Transport};
use crate::credentials::Credentials;
use crate::environment::Environment;

/// Why metadata could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImdsError {
    /// No answer, or one that says to come back later: an outage, or this is no instance.
    #[error("the instance metadata service is not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// `AWS_EC2_METADATA_DISABLED` is true.
    #[error("the instance metadata service is disabled by AWS_EC2_METADATA_DISABLED")]
    Disabled,
    /// The instance has it switched off, or the token was refused twice.
    #[error("the instance metadata service refuses (HTTP status {status})")]
    Refused {
        /// The status.
        status: u16,
    },
    /// There is no such metadata.
    #[error("the instance has no `{path}`")]
    Absent {
        /// The path.
        path: String,
    },
    /// The answer is not what the service promises.
    #[error("the instance metadata service's `{path}`: {reason}")]
    Malformed {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// What will happen to a spot instance, and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InstanceAction {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A client of the service; clones of the `Arc`s within, so cheap to make.
#[derive(Debug)]
pub struct Imds {
    endpoint: String,
    disabled: bool,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    token: Mutex<Option<Token>>,
}

struct Token {
    value: String,
    renew_at: Duration,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The longest a token may live.
const TOKEN_TTL: u64 = 6 * 3600;
/// Renewed this long before its end.
const TOKEN_MARGIN: u64 = 5 * 60;
const ATTEMPTS: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(1);

impl Imds {
    /// At `AWS_EC2_METADATA_SERVICE_ENDPOINT`, else at the link-local address of the mode that
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` names (`IPv4` or `IPv6`).
    #[must_use]
    pub fn new(
        environment: &Environment,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let six = environment
            .var("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let usual = if six {
            "http://[fd00:ec2::254]"
        } else {
            "http://169.254.169.254"
        };
        let endpoint = environment
            .var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .unwrap_or(usual);
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            disabled: environment
                .var("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|v| v.eq_ignore_ascii_case("true")),
            transport,
            clock,
            token: Mutex::new(None),
        }
    }

    /// `i-...`
    ///
    /// # Errors
    /// See [`ImdsError`]; so for all below.
    pub fn instance_id(&self) -> Result<String, ImdsError> {
        self.text("meta-data/instance-id")
    }

    /// `m7g.large`
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn instance_type(&self) -> Result<String, ImdsError> {
        self.text("meta-data/instance-type")
    }

    /// `eu-west-1`
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn region(&self) -> Result<String, ImdsError> {
        self.text("meta-data/placement/region")
    }

    /// `eu-west-1a`
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn availability_zone(&self) -> Result<String, ImdsError> {
        self.text("meta-data/placement/availability-zone")
    }

    /// `spot`, `on-demand` or `scheduled`.
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn life_cycle(&self) -> Result<String, ImdsError> {
        self.text("meta-data/instance-life-cycle")
    }

    /// The instance's tags; none if they are not in its metadata.
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn tags(&self) -> Result<Vec<(String, String)>, ImdsError> {
        let Some(keys) = self.get("meta-data/tags/instance")? else {
            return Ok(Vec::new());
        };
        let mut tags = Vec::new();
        for key in keys.lines() {
            // A tag may go while they are read.
            if let Some(value) = self.get(&format!("meta-data/tags/instance/{key}"))? {
                tags.push((key.to_owned(), value));
            }
        }
        Ok(tags)
    }

    /// The notice of a spot interruption, if there is one.
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn spot_instance_action(&self) -> Result<Option<InstanceAction>, ImdsError> {
        let path = "meta-data/spot/instance-action";
        self.get(path)?.map(|t| read_json(path, &t)).transpose()
    }

    /// When the instance was recommended for rebalancing, if it was; RFC 3339 in UTC.
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn rebalance_recommendation(&self) -> Result<Option<String>, ImdsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Notice {
            notice_time: String,
        }
        let path = "meta-data/events/recommendations/rebalance";
        let notice = self.get(path)?.map(|t| read_json::<Notice>(path, &t));
        Ok(notice.transpose()?.map(|n| n.notice_time))
    }

    /// What an Auto Scaling group wants of the instance: `InService`, `Terminated`, ...
    ///
    /// # Errors
    /// See [`ImdsError`].
    pub fn target_lifecycle_state(&self) -> Result<Option<String>, ImdsError> {
        self.get("meta-data/autoscaling/target-lifecycle-state")
    }

    /// The credentials of the instance's role.
    ///
    /// # Errors
    /// [`ImdsError::Absent`]: the instance has no role, or its credentials are not there yet.
    pub fn role_credentials(&self) -> Result<Credentials, ImdsError> {
        let base = "meta-data/iam/security-credentials/";
        let listed = self.text(base)?;
        let role = listed.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(ImdsError::Absent { path: base.into() });
        }
        let path = format!("{base}{role}");
        let text = self.text(&path)?;
        Credentials::parse(text.as_bytes()).map_err(|reason| ImdsError::Malformed { path, reason })
    }

    fn text(&self, path: &str) -> Result<String, ImdsError> {
        self.get(path)?.ok_or_else(|| ImdsError::Absent {
            path: path.to_owned(),
        })
    }

    /// What is at `/latest/<path>`; nothing if there is no such thing.
    fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        if self.disabled {
            return Err(ImdsError::Disabled);
        }
        let malformed = |reason: &str| ImdsError::Malformed {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut renewed = false;
        loop {
            let token = self.token()?;
            let headers = vec![("x-aws-ec2-metadata-token".to_owned(), token.clone())];
            let answer = self.send(Method::Get, path, headers)?;
            return match answer.status {
                200 => String::from_utf8(answer.body)
                    .map(Some)
                    .map_err(|_| malformed("it is not text")),
                404 => Ok(None),
                401 if !renewed => {
                    renewed = true;
                    self.forget(&token);
                    continue;
                }
                status => Err(ImdsError::Refused { status }),
            };
        }
    }

    fn token(&self) -> Result<String, ImdsError> {
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*kept
            && self.clock.monotonic() < token.renew_at
        {
            return Ok(token.value.clone());
        }
        let ttl = vec![(
            "x-aws-ec2-metadata-token-ttl-seconds".to_owned(),
            TOKEN_TTL.to_string(),
        )];
        let answer = self.send(Method::Put, "api/token", ttl)?;
        match answer.status {
            200 => {}
            403 => return Err(ImdsError::Refused { status: 403 }),
            status => {
                return Err(ImdsError::Unavailable {
                    reason: format!(
                        "it gives no session token (HTTP status {status}), and version 1 is not used"
                    ),
                });
            }
        }
        let granted = answer
            .header("x-aws-ec2-metadata-token-ttl-seconds")
            .and_then(|v| v.parse().ok())
            .unwrap_or(TOKEN_TTL);
        let value = String::from_utf8(answer.body)
            .ok()
            .filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| ImdsError::Malformed {
                path: "api/token".to_owned(),
                reason: "it is not a token".to_owned(),
            })?;
        let margin = TOKEN_MARGIN.min(granted / 2);
        *kept = Some(Token {
            value: value.clone(),
            renew_at: self.clock.monotonic() + Duration::from_secs(granted - margin),
        });
        Ok(value)
    }

    fn forget(&self, refused: &str) {
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|t| t.value == refused) {
            *kept = None;
        }
    }

    /// Sends until there is an answer that is no server's fault.
    fn send(
        &self,
        method: Method,
        path: &str,
        headers: Vec<(String, String)>,
    ) -> Result<HttpResponse, ImdsError> {
        let request = HttpRequest {
            method,
            url: format!("{}/latest/{path}", self.endpoint),
            headers,
            body: Arc::from(&b""[..]),
        };
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.clock.sleep(Duration::from_millis(100 << attempt));
            }
            match self.transport.send(&request, TIMEOUT) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => return Ok(answer),
                Ok(answer) => reason = format!("HTTP status {}", answer.status),
                Err(error) => reason = error.message,
            }
        }
        Err(ImdsError::Unavailable { reason })
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &str, text: &str) -> Result<T, ImdsError> {
    serde_json::from_str(text).map_err(|e| ImdsError::Malformed {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests;
