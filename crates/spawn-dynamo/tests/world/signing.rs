//! Signature version 4, of DynamoDB's requests.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use spawn_endpoint::Credentials;

/// The head of a signed request.
pub fn request_head(
    address: SocketAddr,
    credentials: &Credentials,
    operation: &str,
    body: &str,
) -> String {
    let timestamp = amz_date(SystemTime::now());
    let date = &timestamp[..8];
    let payload = hex(&Sha256::digest(body.as_bytes()));
    let target = format!("DynamoDB_20120810.{operation}");
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("host", &address.to_string()),
        ("x-amz-content-sha256", &payload),
        ("x-amz-date", &timestamp),
        ("x-amz-target", &target),
    ];
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names = headers.map(|(name, _)| name).join(";");
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{payload}");
    let scope = format!("{date}/eu-west-1/dynamodb/aws4_request");
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hash}");
    let mut key = mac(
        format!("AWS4{}", credentials.secret_access_key).as_bytes(),
        date,
    );
    for part in ["eu-west-1", "dynamodb", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &to_sign));
    let authorization = format!(
        "authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, \
         Signature={signature}\r\n",
        credentials.access_key_id,
    );
    let lines = lines.replace('\n', "\r\n");
    let length = body.len();
    format!("POST / HTTP/1.1\r\n{lines}{authorization}content-length: {length}\r\n\r\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `YYYYMMDD'T'HHMMSS'Z'`.
fn amz_date(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = since.as_secs().cast_signed();
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}
