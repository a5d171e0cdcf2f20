//! Service Quotas: how many machines the account may run.

use serde::Deserialize;
use serde_json::json;

use crate::client::{AwsError, Client, SERVICE_QUOTAS, Safety, json_call};

/// A limit of the account.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quota {
    /// `L-1216C47A`
    pub quota_code: String,
    /// `Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances`
    #[serde(default)]
    pub quota_name: String,
    /// The limit; vCPUs for those of instances.
    pub value: f64,
}

/// `GetServiceQuota`, or AWS's default (`GetAWSDefaultServiceQuota`) where the account has no value
/// of its own. [`crate::client::ErrorKind::NotFound`]: there is no such quota.
///
/// # Errors
/// See [`AwsError`].
pub fn get_service_quota(client: &Client, service: &str, quota: &str) -> Result<Quota, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        quota: Quota,
    }
    let api = (&SERVICE_QUOTAS, "ServiceQuotasV20190624", "1.1");
    let request = json!({ "ServiceCode": service, "QuotaCode": quota });
    let ask = |operation| {
        json_call::<Answer>(client, api, operation, Safety::Read, &request).map(|a| a.quota)
    };
    match ask("GetServiceQuota") {
        Err(e) if e.kind == crate::client::ErrorKind::NotFound => ask("GetAWSDefaultServiceQuota"),
        other => other,
    }
}
