//! Presigned URLs that have ended, were made for something else, or say things twice.

use crate::message::{Draft, Message};
use crate::world::Expected::{Refused, Served};
use crate::world::{Case, Expected, World};

const DENIED: Expected = Refused(403, "AccessDenied");
const MISMATCH: Expected = Refused(403, "SignatureDoesNotMatch");
const MALFORMED: Expected = Refused(400, "AuthorizationHeaderMalformed");
const TWICE: Expected = Refused(400, "InvalidArgument");

pub fn cases(world: &World) -> Vec<Case> {
    let mut cases = version_4(world);
    cases.extend(version_2(world));
    cases
}

fn more(message: Message, query: &str) -> Message {
    let query = query.to_owned();
    message.target(move |target| format!("{target}&{query}"))
}

fn replaced(message: Message, from: &str, to: &str) -> Message {
    message.target(|target| target.replacen(from, to, 1))
}

/// Without one of its parameters.
fn less(message: Message, name: &str) -> Message {
    message.target(|target| {
        let (path, query) = target.split_once('?').unwrap();
        let kept = query
            .split('&')
            .filter(|pair| !pair.starts_with(&format!("{name}=")));
        format!("{path}?{}", kept.collect::<Vec<_>>().join("&"))
    })
}

fn version_4(world: &World) -> Vec<Case> {
    let get = || world.draft("GET", "/bkt/old");
    let url = || get().presigned("60");
    let of_service = |service: &str| Draft {
        service: service.to_owned(),
        ..get()
    };
    let mut cases = vec![
        Case::new("a presigned URL is served", url(), Served),
        Case::new("for a week", get().presigned("604800"), Served),
        Case::new("past its time", get().ago(61).presigned("60"), DENIED),
        Case::new(
            "a day past its time",
            get().ago(86_461).presigned("60"),
            DENIED,
        ),
        Case::new(
            "16 minutes before its time",
            get().ago(-960).presigned("60"),
            Refused(403, "RequestTimeTooSkewed"),
        ),
        Case::new(
            "a day before its time",
            get().ago(-86_400).presigned("604800"),
            Refused(403, "RequestTimeTooSkewed"),
        ),
        Case::new(
            "longer than it was made for",
            replaced(url(), "Expires=60", "Expires=6000"),
            MISMATCH,
        ),
        Case::new(
            "for another object",
            replaced(url(), "old", "new"),
            MISMATCH,
        ),
        Case::new("with another method", url().method("DELETE"), MISMATCH),
        Case::new(
            "with another host",
            url().set("host", |_| "127.0.0.1:1".into()),
            MISMATCH,
        ),
        Case::new("with more query", more(url(), "versionId=1"), MISMATCH),
        Case::new(
            "with a digest",
            url().add("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            DENIED,
        ),
        Case::new(
            "and an Authorization header",
            url().add("authorization", "AWS a:b"),
            TWICE,
        ),
        Case::new(
            "and a signature of version 2",
            more(url(), "Signature=abc"),
            TWICE,
        ),
        Case::new("for sts", of_service("sts").presigned("60"), MALFORMED),
        Case::new("for sqs", of_service("sqs").presigned("60"), MALFORMED),
        Case::new(
            "another algorithm",
            replaced(url(), "HMAC-SHA256", "ECDSA-P256-SHA256"),
            MALFORMED,
        ),
        Case::new(
            "host not signed",
            replaced(url(), "SignedHeaders=host", "SignedHeaders=date"),
            MALFORMED,
        ),
        Case::new(
            "with a tampered signature",
            replaced(url(), "Signature=", "Signature=0"),
            Refused(400, "InvalidRequest"),
        ),
        Case::new(
            "a stream of chunks",
            world
                .put()
                .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
                .presigned("60"),
            Refused(501, "NotImplemented"),
        ),
        Case::new(
            "another body than its digest",
            world
                .put()
                .header("x-amz-content-sha256", &"0".repeat(64))
                .presigned("60"),
            Refused(400, "XAmzContentSHA256Mismatch"),
        ),
    ];
    for expires in [
        "604801",
        "60000000",
        "0",
        "-1",
        "",
        "abc",
        "+60",
        "6e1",
        "60.5",
        "99999999999999999999",
    ] {
        let name = format!("that lasts `{expires}` seconds");
        cases.push(Case::new(&name, get().presigned(expires), MALFORMED));
    }
    for name in [
        "Algorithm",
        "Credential",
        "Date",
        "Expires",
        "SignedHeaders",
        "Signature",
    ] {
        let parameter = format!("X-Amz-{name}");
        let said = format!("{parameter} twice");
        cases.push(Case::new(
            &said,
            more(url(), &format!("{parameter}=1")),
            TWICE,
        ));
        cases.push(Case::new(
            &format!("no {parameter}"),
            less(url(), &parameter),
            MALFORMED,
        ));
    }
    let hidden = more(url(), "X-Amz-%45xpires=600000");
    cases.push(Case::new("a parameter twice, one encoded", hidden, TWICE));
    cases
}

fn version_2(world: &World) -> Vec<Case> {
    let get = || world.draft("GET", "/bkt/old");
    let put = || world.put().presigned_v2(60, "");
    let url = || get().presigned_v2(60, "");
    let mut cases = vec![
        Case::new("v2: a presigned URL is served", url(), Served),
        Case::new(
            "v2: with a session token",
            get()
                .header("x-amz-security-token", "array-1/7")
                .presigned_v2(60, ""),
            Served,
        ),
        Case::new(
            "v2: with another token",
            replaced(
                get()
                    .header("x-amz-security-token", "array-1/7")
                    .presigned_v2(60, ""),
                "array-1",
                "array-2",
            ),
            MISMATCH,
        ),
        Case::new("v2: past its time", get().presigned_v2(-1, ""), DENIED),
        Case::new(
            "v2: long past its time",
            get().presigned_v2_until("1", ""),
            DENIED,
        ),
        Case::new(
            "v2: for another object",
            replaced(url(), "old", "new"),
            MISMATCH,
        ),
        Case::new("v2: with another method", url().method("DELETE"), MISMATCH),
        Case::new(
            "v2: as a copy",
            put().add("x-amz-copy-source", "/bkt/old"),
            MISMATCH,
        ),
        Case::new(
            "v2: as a copy, in the query",
            more(put(), "x-amz-copy-source=/bkt/old"),
            MISMATCH,
        ),
        Case::new(
            "v2: with metadata",
            put().add("x-amz-meta-a", "b"),
            MISMATCH,
        ),
        Case::new("v2: as something else", more(put(), "tagging"), MISMATCH),
        Case::new(
            "v2: as something else, twice",
            more(put(), "tagging&tagging"),
            TWICE,
        ),
        Case::new(
            "v2: as a part, twice",
            more(put(), "uploadId=a&uploadId=b&partNumber=1"),
            TWICE,
        ),
        Case::new("v2: two signatures", more(url(), "Signature=abc"), TWICE),
        Case::new("v2: two ends", more(url(), "Expires=99999999999"), TWICE),
        Case::new(
            "v2: and an Authorization header",
            url().add("authorization", "AWS a:b"),
            TWICE,
        ),
        Case::new("v2: no signature", less(url(), "Signature"), MALFORMED),
        Case::new("v2: no key", less(url(), "AWSAccessKeyId"), MALFORMED),
        Case::new("v2: no end", less(url(), "Expires"), MALFORMED),
        Case::new(
            "v2: a tampered signature",
            replaced(url(), "Signature=", "Signature=0"),
            MISMATCH,
        ),
        Case::new(
            "v2: another type of content",
            put().add("content-type", "text/html"),
            MISMATCH,
        ),
    ];
    for until in ["-1", "", "abc", "+9999999999", "9e9"] {
        let name = format!("v2: that ends at `{until}`");
        cases.push(Case::new(
            &name,
            get().presigned_v2_until(until, ""),
            MALFORMED,
        ));
    }
    let later = url().target(|target| {
        let (before, end) = target.split_once("Expires=").unwrap();
        format!(
            "{before}Expires={}",
            end.replacen(|c: char| c.is_ascii_digit(), "9", 1)
        )
    });
    cases.push(Case::new(
        "v2: longer than it was made for",
        later,
        MISMATCH,
    ));
    cases
}
