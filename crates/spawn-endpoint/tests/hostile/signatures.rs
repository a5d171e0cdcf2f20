//! Requests to S3 that are signed by nobody, by somebody else, for something else, or not wholly.

use crate::message::{Draft, Message};
use crate::world::Expected::{Refused, Served, Status};
use crate::world::{Case, World};

const DENIED: crate::world::Expected = Refused(403, "AccessDenied");
const MISMATCH: crate::world::Expected = Refused(403, "SignatureDoesNotMatch");
const MALFORMED: crate::world::Expected = Refused(400, "AuthorizationHeaderMalformed");

pub fn cases(world: &World) -> Vec<Case> {
    let mut cases = unsigned(world);
    cases.extend(of_others(world));
    cases.extend(for_something_else(world));
    cases.extend(unreadable(world));
    cases.extend(not_wholly_signed(world));
    cases
}

fn unsigned(world: &World) -> Vec<Case> {
    let delete = "<Delete><Object><Key>old</Key></Object></Delete>";
    let drafts = [
        ("PUT an object", world.put()),
        (
            "PUT over an object",
            world.draft("PUT", "/bkt/old").body(b"x"),
        ),
        ("GET an object", world.draft("GET", "/bkt/old")),
        ("DELETE an object", world.draft("DELETE", "/bkt/old")),
        ("list a bucket", world.draft("GET", "/bkt")),
        ("list the buckets", world.draft("GET", "/")),
        ("create a bucket", world.draft("PUT", "/other")),
        ("remove a bucket", world.draft("DELETE", "/bkt")),
        (
            "delete many",
            world
                .draft("POST", "/bkt")
                .query("delete", "")
                .body(delete.as_bytes()),
        ),
        (
            "begin an upload",
            world.draft("POST", "/bkt/new").query("uploads", ""),
        ),
        (
            "copy",
            world
                .draft("PUT", "/bkt/new")
                .header("x-amz-copy-source", "/bkt/old"),
        ),
        (
            "PUT a key without a bucket",
            world.draft("PUT", "/nowhere/new").body(b"x"),
        ),
    ];
    let mut cases: Vec<Case> = drafts
        .map(|(name, draft)| Case::new(&format!("unsigned: {name}"), draft.unsigned(), DENIED))
        .into();
    let head = world.draft("HEAD", "/bkt/old").unsigned();
    cases.push(Case::new("unsigned: HEAD an object", head, Status(403)));
    cases
}

fn of_others(world: &World) -> Vec<Case> {
    let key = |draft: Draft| Draft {
        credentials: world.other_key(),
        ..draft
    };
    let secret = |draft: Draft| Draft {
        credentials: world.other_secret(),
        ..draft
    };
    let unknown = Refused(403, "InvalidAccessKeyId");
    let get = || world.draft("GET", "/bkt/old");
    let delete = || world.draft("DELETE", "/bkt/old");
    let skewed = Refused(403, "RequestTimeTooSkewed");
    let mut cases = vec![
        Case::new("another key puts", key(world.put()).signed(), unknown),
        Case::new("another key gets", key(get()).signed(), unknown),
        Case::new("another key presigns", key(get()).presigned("60"), unknown),
        Case::new(
            "another key presigns by v2",
            key(get()).presigned_v2(60, ""),
            unknown,
        ),
        Case::new(
            "another secret puts",
            secret(world.put()).signed(),
            MISMATCH,
        ),
        Case::new("another secret gets", secret(get()).signed(), MISMATCH),
        Case::new(
            "another secret deletes",
            secret(delete()).signed(),
            MISMATCH,
        ),
        Case::new(
            "another secret presigns",
            secret(get()).presigned("60"),
            MISMATCH,
        ),
        Case::new(
            "another secret presigns by v2",
            secret(get()).presigned_v2(60, ""),
            MISMATCH,
        ),
    ];
    let day = 86_400;
    for seconds in [16 * 60, -16 * 60, day, -day, 3650 * day, -3650 * day] {
        let name = format!("signed {seconds} seconds ago");
        cases.push(Case::new(&name, world.put().ago(seconds).signed(), skewed));
    }
    for seconds in [14 * 60, -14 * 60] {
        let name = format!("signed {seconds} seconds ago, which is allowed");
        cases.push(Case::new(&name, get().ago(seconds).signed(), Served));
    }
    cases
}

/// Signed by the right key, and then changed.
fn for_something_else(world: &World) -> Vec<Case> {
    let put = || world.put().signed();
    let of_service = |service: &str| {
        let mut draft = world.put();
        draft.service = service.to_owned();
        draft.signed()
    };
    let another_region = |header: &str| header.replace("us-east-1", "us-west-2");
    let list = || world.draft("GET", "/bkt").query("prefix", "a").signed();
    let replace = |from: &'static str, to: &'static str| move |text: &str| text.replace(from, to);
    vec![
        Case::new(
            "another body",
            put().body(b"NEW"),
            Refused(400, "XAmzContentSHA256Mismatch"),
        ),
        Case::new(
            "a longer body",
            put().body(b"newer"),
            Refused(400, "XAmzContentSHA256Mismatch"),
        ),
        Case::new(
            "no body",
            put().body(b""),
            Refused(400, "XAmzContentSHA256Mismatch"),
        ),
        Case::new(
            "another path",
            put().target(replace("new", "old")),
            MISMATCH,
        ),
        Case::new(
            "another bucket",
            put().target(replace("bkt", "bkk")),
            MISMATCH,
        ),
        Case::new(
            "a longer query",
            put().target(|target| format!("{target}?tagging")),
            MISMATCH,
        ),
        Case::new(
            "another query",
            list().target(replace("prefix=a", "prefix=b")),
            MISMATCH,
        ),
        Case::new("less query", list().target(|_| "/bkt".into()), MISMATCH),
        Case::new("another method", put().method("DELETE"), MISMATCH),
        Case::new(
            "another host",
            put().set("host", |_| "127.0.0.1:1".into()),
            MISMATCH,
        ),
        Case::new(
            "another region",
            put().authorization(another_region),
            MISMATCH,
        ),
        Case::new(
            "another date than the scope's",
            put().authorization(|header| {
                let (before, after) = header.split_once("/2").unwrap();
                format!("{before}/20200101{}", &after[7..])
            }),
            MISMATCH,
        ),
        Case::new("for sqs", of_service("sqs"), Refused(400, "InvalidAction")),
        Case::new(
            "for dynamodb",
            of_service("dynamodb"),
            Refused(400, "UnknownOperation"),
        ),
        Case::new("for sts", of_service("sts"), Refused(400, "InvalidAction")),
        Case::new(
            "for lambda",
            of_service("lambda"),
            Refused(501, "NotImplemented"),
        ),
        Case::new(
            "for s3express",
            of_service("s3express"),
            Refused(501, "NotImplemented"),
        ),
        Case::new(
            "for no service",
            of_service(""),
            Refused(501, "NotImplemented"),
        ),
    ]
}

fn unreadable(world: &World) -> Vec<Case> {
    let put = || world.put().signed();
    let with = |change: &dyn Fn(&str) -> String| put().authorization(change);
    let is = |text: &'static str| put().authorization(move |_| text.to_owned());
    let replace = |from: &'static str, to: &'static str| {
        put().authorization(move |header| header.replace(from, to))
    };
    let signature = |change: &dyn Fn(&str) -> String| {
        put().authorization(|header| {
            let (before, signature) = header.rsplit_once('=').unwrap();
            format!("{before}={}", change(signature))
        })
    };
    let date = "Tue, 27 Mar 2007 19:36:42 +0000";
    let v2 = Refused(400, "InvalidRequest");
    vec![
        Case::new("empty", is(""), MALFORMED),
        Case::new("basic", is("Basic dXNlcjpwYXNz"), MALFORMED),
        Case::new("bearer", is("Bearer abc"), MALFORMED),
        Case::new("only the algorithm", is("AWS4-HMAC-SHA256"), MALFORMED),
        Case::new(
            "another algorithm",
            replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            MALFORMED,
        ),
        Case::new(
            "no signature",
            with(&|h| h.split(", Signature").next().unwrap().into()),
            MALFORMED,
        ),
        Case::new(
            "two signatures",
            with(&|h| format!("{h}, Signature={}", "0".repeat(64))),
            MALFORMED,
        ),
        Case::new(
            "two credentials",
            with(&|h| {
                h.replace(
                    "SignedHeaders",
                    "Credential=a/20200101/b/s3/aws4_request, SignedHeaders",
                )
            }),
            MALFORMED,
        ),
        Case::new(
            "two lists of headers",
            with(&|h| h.replace("SignedHeaders", "SignedHeaders=host, SignedHeaders")),
            MALFORMED,
        ),
        Case::new(
            "another field",
            with(&|h| format!("{h}, Other=1")),
            MALFORMED,
        ),
        Case::new(
            "a credential without a scope",
            with(&|h| h.replace("/us-east-1/s3/aws4_request", "")),
            MALFORMED,
        ),
        Case::new(
            "another end of the scope",
            replace("aws4_request", "aws5_request"),
            MALFORMED,
        ),
        Case::new(
            "two authorization headers",
            put().add("authorization", "AWS a:b"),
            MALFORMED,
        ),
        Case::new(
            "headers out of order",
            replace(
                "host;x-amz-content-sha256;x-amz-date",
                "x-amz-date;host;x-amz-content-sha256",
            ),
            MALFORMED,
        ),
        Case::new(
            "headers in upper case",
            replace("host;", "Host;"),
            MALFORMED,
        ),
        Case::new(
            "a header named twice",
            replace("host;", "host;host;"),
            MALFORMED,
        ),
        Case::new("the host not signed", replace("host;", ""), MALFORMED),
        Case::new(
            "a signed header that is not there",
            replace("host;", "host;range;"),
            MISMATCH,
        ),
        Case::new(
            "a signature in upper case",
            signature(&str::to_uppercase),
            MISMATCH,
        ),
        Case::new(
            "an empty signature",
            signature(&|_| String::new()),
            MISMATCH,
        ),
        Case::new(
            "a signature cut short",
            signature(&|s| s[1..].to_owned()),
            MISMATCH,
        ),
        Case::new(
            "a signature of zeros",
            signature(&|_| "0".repeat(64)),
            MISMATCH,
        ),
        Case::new(
            "a key cut short",
            with(&|h| h.replace("Credential=S", "Credential=")),
            Refused(403, "InvalidAccessKeyId"),
        ),
        Case::new(
            "an empty key",
            with(&|h| {
                let (before, after) = h.split_once("Credential=").unwrap();
                format!("{before}Credential=/{}", after.split_once('/').unwrap().1)
            }),
            Refused(403, "InvalidAccessKeyId"),
        ),
        Case::new(
            "version 2",
            world.draft("GET", "/bkt/old").signed_v2(date),
            v2,
        ),
        Case::new("version 2, put", world.put().signed_v2(date), v2),
        Case::new(
            "version 2, another key",
            is("AWS AKIAIOSFODNN7EXAMPLE:abc="),
            v2,
        ),
        Case::new("version 2, nothing in it", is("AWS :"), v2),
        Case::new("no date", put().without("x-amz-date"), MALFORMED),
        Case::new(
            "two dates",
            put().add("x-amz-date", "20200101T000000Z"),
            MALFORMED,
        ),
        Case::new(
            "a date that is none",
            put().set("x-amz-date", |_| "yesterday".into()),
            MALFORMED,
        ),
        Case::new(
            "the other date header",
            put().without("x-amz-date").add("date", date),
            MALFORMED,
        ),
        Case::new("two hosts", put().add("host", "127.0.0.1:1"), MALFORMED),
    ]
}

/// Signed, but for something that changes what is done.
fn not_wholly_signed(world: &World) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("x-amz-copy-source", "/bkt/old"),
        ("x-amz-copy-source-range", "bytes=0-1"),
        ("x-amz-acl", "public-read"),
        ("x-amz-meta-a", "b"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-security-token", "array-1/7"),
        ("x-amz-decoded-content-length", "3"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-website-redirect-location", "/other"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
    ]
    .into_iter()
    .flat_map(|(name, value)| {
        let add = |message: Message| message.add(name, value);
        [
            Case::new(
                &format!("{name} is not signed"),
                add(world.put().signed()),
                DENIED,
            ),
            Case::new(
                &format!("{name} is not presigned"),
                add(world.put().presigned("60")),
                DENIED,
            ),
        ]
    })
    .collect();
    let digest = "x-amz-content-sha256";
    let put = || world.put().signed();
    cases.extend([
        Case::new("no digest of the body", put().without(digest), MISMATCH),
        Case::new(
            "the digest exchanged",
            put().set(digest, |_| "UNSIGNED-PAYLOAD".into()),
            MISMATCH,
        ),
        Case::new(
            "the digest is none",
            Draft {
                payload: Some("abc".into()),
                ..world.put()
            }
            .signed(),
            MISMATCH,
        ),
        Case::new(
            "the digest of something else",
            Draft {
                payload: Some("0".repeat(64)),
                ..world.put()
            }
            .signed(),
            Refused(400, "XAmzContentSHA256Mismatch"),
        ),
    ]);
    cases
}
