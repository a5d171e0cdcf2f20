//! Requests that are signed as they should be, and can be changed afterwards.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use spawn_endpoint::Credentials;

use crate::client::{amz_date, encode, hex};

/// A request before it is signed.
#[derive(Clone)]
pub struct Draft {
    pub method: String,
    /// As it goes over the wire.
    pub path: String,
    /// Not encoded.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub service: String,
    pub region: String,
    pub credentials: Credentials,
    pub at: SystemTime,
    /// The value of `x-amz-content-sha256`; the digest of the body if not given.
    pub payload: Option<String>,
    pub host: String,
}

/// A request as it goes over the wire.
#[derive(Clone)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the chunks of its body are signed with and after.
    seal: Seal,
}

/// What chunk signatures are made of.
#[derive(Clone)]
struct Seal {
    key: Vec<u8>,
    timestamp: String,
    scope: String,
    signature: String,
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// HMAC-SHA1, which only signatures of version 2 use.
fn mac_sha1(key: &[u8], data: &str) -> Vec<u8> {
    use s3s::crypto::{Checksum, Sha1};

    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let digest = |pad: u8, rest: &[u8]| {
        let mut sha1 = Sha1::new();
        sha1.update(&block.map(|byte| byte ^ pad));
        sha1.update(rest);
        sha1.finalize()
    };
    digest(0x5c, &digest(0x36, data.as_bytes())).to_vec()
}

impl Draft {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Signed this long ago; in the future if negative.
    pub fn ago(mut self, seconds: i64) -> Self {
        let span = Duration::from_secs(seconds.unsigned_abs());
        self.at = if seconds < 0 {
            self.at + span
        } else {
            self.at - span
        };
        self
    }

    fn timestamp(&self) -> String {
        amz_date(self.at)
    }

    fn scope(&self) -> String {
        let date = &self.timestamp()[..8];
        format!("{date}/{}/{}/aws4_request", self.region, self.service)
    }

    fn seal(&self, canonical: &str) -> Seal {
        let (timestamp, scope) = (self.timestamp(), self.scope());
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let secret = format!("AWS4{}", self.credentials.secret_access_key);
        let key = scope
            .split('/')
            .fold(secret.into_bytes(), |key, part| mac(&key, part));
        Seal {
            signature: hex(&mac(&key, &to_sign)),
            key,
            timestamp,
            scope,
        }
    }

    fn encoded_query(&self) -> String {
        let pairs = self.query.iter();
        let mut pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{}={}", encode(name, ""), encode(value, "")))
            .collect();
        pairs.sort();
        pairs.join("&")
    }

    fn message(self, seal: Seal, headers: Vec<(String, String)>, query: &str) -> Message {
        let target = if query.is_empty() {
            self.path
        } else {
            format!("{}?{query}", self.path)
        };
        Message {
            method: self.method,
            target,
            headers,
            body: self.body,
            seal,
        }
    }

    /// Nothing of it is signed.
    pub fn unsigned(self) -> Message {
        let mut headers = vec![("host".to_owned(), self.host.clone())];
        headers.extend(self.headers.clone());
        let query = self.encoded_query();
        let seal = self.seal("");
        self.message(seal, headers, &query)
    }

    /// With an `Authorization` header.
    pub fn signed(self) -> Message {
        let payload = self.payload.clone();
        let payload = payload.unwrap_or_else(|| hex(&Sha256::digest(&self.body)));
        let mut headers: Vec<(String, String)> = vec![
            ("host".into(), self.host.clone()),
            ("x-amz-date".into(), self.timestamp()),
            ("x-amz-content-sha256".into(), payload.clone()),
        ];
        headers.extend(self.headers.iter().cloned());
        headers.sort();
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let query = self.encoded_query();
        let path = if self.service == "s3" {
            self.path.clone()
        } else {
            encode(&self.path, "/")
        };
        let canonical = format!(
            "{}\n{path}\n{query}\n{lines}\n{names}\n{payload}",
            self.method
        );
        let seal = self.seal(&canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={}",
            self.credentials.access_key_id, seal.scope, seal.signature
        );
        headers.push(("authorization".into(), authorization));
        self.message(seal, headers, &query)
    }

    /// With a signature of version 4 in the query.
    pub fn presigned(mut self, expires: &str) -> Message {
        let mut headers = vec![("host".to_owned(), self.host.clone())];
        headers.append(&mut self.headers);
        headers.sort();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let credential = format!("{}/{}", self.credentials.access_key_id, self.scope());
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &self.timestamp()),
            ("X-Amz-Expires", expires),
            ("X-Amz-SignedHeaders", &names),
        ] {
            self.query.push((name.to_owned(), value.to_owned()));
        }
        let query = self.encoded_query();
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let canonical = format!(
            "{}\n{}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD",
            self.method, self.path
        );
        let seal = self.seal(&canonical);
        let query = format!("{query}&X-Amz-Signature={}", seal.signature);
        self.message(seal, headers, &query)
    }

    /// With a signature of version 2 in the query, as the AWS CLI makes them: headers go into the
    /// query with the rest. `resource` are the parameters that are signed.
    pub fn presigned_v2(self, expires_in: i64, resource: &str) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let expires = now.as_secs().cast_signed() + expires_in;
        self.presigned_v2_until(&expires.to_string(), resource)
    }

    pub fn presigned_v2_until(mut self, expires: &str, resource: &str) -> Message {
        let mut headers = std::mem::take(&mut self.headers);
        headers.sort();
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let to_sign = format!(
            "{}\n\n\n{expires}\n{lines}{}{resource}",
            self.method, self.path
        );
        let signature = mac_sha1(self.credentials.secret_access_key.as_bytes(), &to_sign);
        let key = self.credentials.access_key_id.clone();
        self.query.push(("AWSAccessKeyId".to_owned(), key));
        self.query
            .push(("Signature".to_owned(), BASE64.encode(signature)));
        self.query.push(("Expires".to_owned(), expires.to_owned()));
        self.query.extend(headers);
        let query = self.encoded_query();
        let seal = self.seal("");
        let host = vec![("host".to_owned(), self.host.clone())];
        self.message(seal, host, &query)
    }

    /// With a signature of version 2 in a header.
    pub fn signed_v2(self, date: &str) -> Message {
        let to_sign = format!("{}\n\n\n{date}\n{}", self.method, self.path);
        let signature = mac_sha1(self.credentials.secret_access_key.as_bytes(), &to_sign);
        let key = self.credentials.access_key_id.clone();
        let authorization = format!("AWS {key}:{}", BASE64.encode(signature));
        self.header("date", date)
            .header("authorization", &authorization)
            .unsigned()
    }
}

impl Message {
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes a header that is there.
    pub fn set(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        let header = self.headers.iter_mut().find(|(given, _)| given == name);
        let (_, value) = header.expect("the header to change is there");
        *value = change(value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(given, _)| given != name);
        self
    }

    pub fn authorization(self, change: impl Fn(&str) -> String) -> Self {
        self.set("authorization", change)
    }

    pub fn target(mut self, change: impl Fn(&str) -> String) -> Self {
        let changed = change(&self.target);
        assert_ne!(changed, self.target, "the change is one");
        self.target = changed;
        self
    }

    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// A body of signed chunks after the signature of the head, the empty last one included.
    pub fn chunks(mut self, chunks: &[&[u8]]) -> Self {
        let mut body = Vec::new();
        for chunk in chunks.iter().copied().chain([&b""[..]]) {
            let Seal {
                key,
                timestamp,
                scope,
                signature,
            } = &self.seal;
            let to_sign = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{signature}\n{}\n{}",
                hex(&Sha256::digest(b"")),
                hex(&Sha256::digest(chunk))
            );
            let signature = hex(&mac(key, &to_sign));
            let line = format!("{:x};chunk-signature={signature}\r\n", chunk.len());
            body.extend_from_slice(line.as_bytes());
            body.extend_from_slice(chunk);
            if !chunk.is_empty() {
                body.extend_from_slice(b"\r\n");
            }
            self.seal.signature = signature;
        }
        self.body = body;
        self
    }

    /// `trailers`, signed after the last chunk.
    pub fn trailers(mut self, trailers: &str) -> Self {
        let Seal {
            key,
            timestamp,
            scope,
            signature,
        } = &self.seal;
        let to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{signature}\n{}",
            hex(&Sha256::digest(trailers.as_bytes()))
        );
        let signature = hex(&mac(key, &to_sign));
        let text = trailers.replace('\n', "\r\n");
        let text = format!("{text}x-amz-trailer-signature:{signature}\r\n\r\n");
        self.body.extend_from_slice(text.as_bytes());
        self
    }

    pub fn text(mut self, text: &str) -> Self {
        self.body.extend_from_slice(text.as_bytes());
        self
    }

    /// Its head, with the length of its body unless that is said otherwise.
    pub fn head(&self) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nconnection: close\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let says = |name: &str| self.headers.iter().any(|(given, _)| given == name);
        if !says("content-length") && !says("transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head + "\r\n"
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head().as_bytes(), &self.body].concat()
    }
}

/// Sends bytes as they are and reads what comes until the connection ends. With `end`, says that
/// nothing more will come.
pub fn exchange(address: SocketAddr, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // A request that is refused may not be read to its end.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
