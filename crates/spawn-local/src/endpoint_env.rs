//! The variables that point AWS tools at the embedded endpoint, for tasks and for `spawn env`.

/// The region of the embedded endpoint.
pub const REGION: &str = "us-east-1";

/// The account of the embedded endpoint.
pub const ACCOUNT: &str = "123456789012";

/// Every variable, with its value.
pub fn variables(port: u16, access_key_id: &str, secret_access_key: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", access_key_id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        // A profile or the machine's own role would win over nothing, but cost seconds to look for.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ("AWS_PAGER", String::new()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
