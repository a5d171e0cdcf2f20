//! The protocols over [`Client::send`]: query, JSON and REST JSON. REST XML is S3's own.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::call::{Answer, Call, Client};
use crate::client::error::{AwsError, ErrorKind};
use crate::client::query::{Lists, form};
use crate::client::retry::Safety;
use crate::client::service::Service;
use crate::client::transport::Method;
use crate::client::xml;

/// A service that speaks query, and the version of its API.
pub(crate) type QueryApi = (&'static Service, &'static str, Lists);

fn query(
    client: &Client,
    (service, version, lists): QueryApi,
    operation: &'static str,
    safety: Safety,
    request: &impl Serialize,
) -> Result<(Call, Answer), AwsError> {
    let mut call = Call::new(service, operation, safety).header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    call.body = form(operation, version, lists, request).into_bytes().into();
    let answer = client.send(&call)?;
    Ok((call, answer))
}

fn malformed(call: &Call, answer: &Answer, message: String) -> AwsError {
    let mut error = call.error(ErrorKind::Malformed, message);
    let details = error.details();
    details.status = answer.response.status;
    details.attempts = answer.attempts;
    details.maybe_executed = call.safety != Safety::Read;
    error
}

/// A query call whose answer has its fields below the root (EC2).
pub(crate) fn query_call<T: DeserializeOwned>(
    client: &Client,
    api: QueryApi,
    operation: &'static str,
    safety: Safety,
    request: &impl Serialize,
) -> Result<T, AwsError> {
    let (call, answer) = query(client, api, operation, safety, request)?;
    xml::read(&answer.response.body).map_err(|m| malformed(&call, &answer, m))
}

/// A query call whose answer has its fields in a result element (the others).
pub(crate) fn query_result_call<T: DeserializeOwned>(
    client: &Client,
    api: QueryApi,
    operation: &'static str,
    safety: Safety,
    request: &impl Serialize,
) -> Result<T, AwsError> {
    let (call, answer) = query(client, api, operation, safety, request)?;
    xml::read_result(&answer.response.body).map_err(|m| malformed(&call, &answer, m))
}

/// A JSON call: `target` is the prefix of `X-Amz-Target`, `version` 1.0 or 1.1.
pub(crate) fn json_call<T: DeserializeOwned>(
    client: &Client,
    (service, target, version): (&'static Service, &str, &str),
    operation: &'static str,
    safety: Safety,
    request: &impl Serialize,
) -> Result<T, AwsError> {
    let mut call = Call::new(service, operation, safety)
        .header("content-type", format!("application/x-amz-json-{version}"))
        .header("x-amz-target", format!("{target}.{operation}"));
    call.body = bytes(request);
    let answer = client.send(&call)?;
    read_json(&call, &answer)
}

/// A REST JSON call; `request` is the body of POST and PUT.
pub(crate) fn rest_json<T: DeserializeOwned>(
    client: &Client,
    mut call: Call,
    request: Option<&impl Serialize>,
) -> Result<T, AwsError> {
    if let Some(request) = request {
        debug_assert!(matches!(call.method, Method::Post | Method::Put));
        call = call.header("content-type", "application/json");
        call.body = bytes(request);
    }
    let answer = client.send(&call)?;
    read_json(&call, &answer)
}

fn bytes(request: &impl Serialize) -> Arc<[u8]> {
    serde_json::to_vec(request)
        .expect("requests are plain data")
        .into()
}

fn read_json<T: DeserializeOwned>(call: &Call, answer: &Answer) -> Result<T, AwsError> {
    let body: &[u8] = match &answer.response.body[..] {
        b"" => b"{}",
        body => body,
    };
    serde_json::from_slice(body)
        .map_err(|e| malformed(call, answer, format!("the answer cannot be read: {e}")))
}
