//! HTTP, one request at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::Timeout;
use ureq::http;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// The methods AWS uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A request. `Debug` shows neither headers nor body, which hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The whole address, percent-encoded.
    pub url: String,
    /// Header names in lower case, with values.
    pub headers: Vec<(String, String)>,
    /// The body; sent with POST and PUT only.
    pub body: Arc<[u8]>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// An answer, of any status. `Debug` does not show the body, which may hold secrets.
#[derive(Clone, Default)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Header names in lower case, with values that are text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl HttpResponse {
    /// The value of a header, named in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// The request may have reached the service.
    pub maybe_executed: bool,
    /// Sending again cannot help (a bad address, a certificate that is not trusted).
    pub permanent: bool,
    /// What went wrong.
    pub message: String,
}

/// Sends requests. One implementation; tests have others.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// There is no whole answer within `timeout`.
    fn send(
        &self,
        request: &HttpRequest,
        timeout: Duration,
    ) -> Result<HttpResponse, TransportError>;
}

/// HTTP/1.1 with kept connections, and TLS with Mozilla's roots.
#[derive(Debug)]
pub struct HttpTransport {
    agent: ureq::Agent,
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Kept connections are given up before AWS's front ends give them up (20 s for S3).
const IDLE: Duration = Duration::from_secs(10);

impl HttpTransport {
    /// For AWS: through the proxy that `HTTPS_PROXY` and its kin name, trusting `roots` (PEM, as
    /// `AWS_CA_BUNDLE` names them) instead of Mozilla's roots if there are any.
    ///
    /// # Errors
    /// `roots` holds no certificate.
    pub fn for_aws(roots: Option<&[u8]>) -> Result<Self, TransportError> {
        Ok(Self::build(
            ureq::Proxy::try_from_env(),
            CONNECT,
            tls(roots)?,
        ))
    }

    /// For metadata services beside the machine: no proxy, and a connection at once or never.
    #[must_use]
    pub fn for_metadata() -> Self {
        Self::build(None, Duration::from_secs(1), TlsConfig::default())
    }

    fn build(proxy: Option<ureq::Proxy>, connect: Duration, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .timeout_connect(Some(connect))
            .timeout_resolve(Some(CONNECT))
            .max_idle_connections(64)
            .max_idle_connections_per_host(16)
            .max_idle_age(IDLE)
            .user_agent(concat!("spawn/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Self {
            agent: config.new_agent(),
        }
    }
}

fn tls(roots: Option<&[u8]>) -> Result<TlsConfig, TransportError> {
    let Some(pem) = roots else {
        return Ok(TlsConfig::default());
    };
    let certificates: Vec<_> = ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(permanent("the CA bundle holds no certificate"));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build())
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: &HttpRequest,
        timeout: Duration,
    ) -> Result<HttpResponse, TransportError> {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let unusable = |e: http::Error| permanent(&format!("the request cannot be written: {e}"));
        let answer = match request.method {
            Method::Post | Method::Put => {
                let request = builder.body(&request.body[..]).map_err(unusable)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .timeout_global(Some(timeout))
                    .build();
                self.agent.run(request)
            }
            Method::Get | Method::Head | Method::Delete => {
                let request = builder.body(()).map_err(unusable)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .timeout_global(Some(timeout))
                    .build();
                self.agent.run(request)
            }
        };
        let (parts, mut body) = answer.map_err(failed)?.into_parts();
        let body = body
            .with_config()
            .limit(u64::MAX)
            .read_to_vec()
            .map_err(|error| TransportError {
                // The status was read, so it was executed, whatever the rest says.
                maybe_executed: true,
                ..failed(error)
            })?;
        Ok(HttpResponse {
            status: parts.status.as_u16(),
            headers: parts
                .headers
                .iter()
                .filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned())))
                .collect(),
            body,
        })
    }
}

fn permanent(message: &str) -> TransportError {
    TransportError {
        maybe_executed: false,
        permanent: true,
        message: message.to_owned(),
    }
}

fn failed(error: ureq::Error) -> TransportError {
    use std::io::ErrorKind as Io;
    let (maybe_executed, permanent) = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => (false, false),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => (false, false),
        ureq::Error::Io(e) if e.kind() == Io::ConnectionRefused => (false, false),
        ureq::Error::Io(e)
            if matches!(
                e.kind(),
                Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown
            ) =>
        {
            (false, false)
        }
        // What rustls says of a certificate; the handshake comes before the request.
        ureq::Error::Io(e)
            if e.kind() == Io::InvalidData && e.to_string().contains("certificate") =>
        {
            (false, true)
        }
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => (false, true),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            (false, true)
        }
        _ => (true, false),
    };
    TransportError {
        maybe_executed,
        permanent,
        message: match error {
            ureq::Error::HostNotFound => "the host's name cannot be resolved".to_owned(),
            ureq::Error::Timeout(Timeout::Connect) => "no connection in time".to_owned(),
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            other => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_was_not_executed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let request = HttpRequest {
            method: Method::Post,
            url,
            headers: vec![("authorization".into(), "secret".into())],
            body: Arc::from(&b"secret"[..]),
        };
        let error = HttpTransport::for_metadata()
            .send(&request, Duration::from_secs(2))
            .unwrap_err();
        assert!(!error.maybe_executed && !error.permanent, "{error:?}");
        assert!(!format!("{request:?}").contains("secret"));
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let error = HttpTransport::for_aws(Some(b"hello")).unwrap_err();
        assert!(error.permanent);
    }
}
