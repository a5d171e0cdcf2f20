//! Keys and bucket names that mean something elsewhere.

use crate::client::encode;
use crate::world::Expected::{Refused, Status};
use crate::world::{Case, Expected, World};

/// Keys that are stored exactly as they are.
pub fn kept() -> Vec<String> {
    let mut keys: Vec<String> = [
        "..",
        "../../etc/passwd",
        "a/../b",
        "./a",
        "a/./b",
        "a//b",
        "/a",
        "//",
        "a/",
        "~",
        "%2e%2e/a",
        "%00",
        "a%2Fb",
        "a+b c",
        "a\nb",
        "a\r\nx-amz-acl: public-read",
        "a\tb",
        "\u{7f}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1f600}",
        "\u{202e}gnp",
        "\u{feff}a",
        "<a>&\"'",
        "?versionId=1",
        "#a",
        "a\\b",
        "C:\\a",
        "con",
        "a;b",
        "'; DROP TABLE objects; --",
        "$(id)",
        "s3.sqlite",
        "\u{1}",
    ]
    .map(str::to_owned)
    .into();
    keys.push("a".repeat(1024));
    keys.push("\u{e9}".repeat(512));
    keys
}

pub fn cases(world: &World) -> Vec<Case> {
    let put = |path: &str| world.draft("PUT", path).body(b"new").signed();
    let long = Refused(400, "KeyTooLongError");
    let mut cases = vec![
        Case::new(
            "a key of 1025 bytes",
            put(&format!("/bkt/{}", "a".repeat(1025))),
            long,
        ),
        Case::new(
            "a key of 1026 bytes",
            put(&format!("/bkt/{}", encode(&"\u{e9}".repeat(513), ""))),
            long,
        ),
        Case::new(
            "a key of 60000 bytes",
            put(&format!("/bkt/{}", "a".repeat(60_000))),
            long,
        ),
        Case::new(
            "a key that is no UTF-8",
            put("/bkt/%ff%fe"),
            Refused(400, "InvalidURI"),
        ),
        Case::new(
            "a key of half a pair",
            put("/bkt/%ed%a0%80"),
            Refused(400, "InvalidURI"),
        ),
    ];
    let invalid = Refused(400, "InvalidBucketName");
    for name in [
        "ab",
        "a",
        "AB-bucket",
        "a_b_c",
        "-abc",
        "abc-",
        ".abc",
        "abc.",
        "a..b",
        "192.168.0.1",
        "xn--abc",
        "..",
        "...",
        "a b c",
        "a%00b",
        "%2e%2e",
        "caf%C3%A9",
        "a%0Ab",
    ] {
        cases.push(create(world, name, invalid));
    }
    cases.push(create(world, &"a".repeat(64), invalid));
    cases.push(create(world, &"a".repeat(10_000), invalid));
    cases.push(Case::new(
        "a bucket twice removed",
        world.draft("DELETE", "/bkt").signed(),
        Refused(409, "BucketNotEmpty"),
    ));
    cases.push(Case::new(
        "a bucket that is there",
        world
            .draft("PUT", "/bkt")
            .header("x-amz-bucket-object-lock-enabled", "nonsense")
            .signed(),
        Status(400),
    ));
    cases
}

fn create(world: &World, name: &str, expected: Expected) -> Case {
    let message = world.draft("PUT", &format!("/{name}")).signed();
    let shown: String = name.chars().take(20).collect();
    let length = name.len();
    Case::new(
        &format!("a bucket called `{shown}`, {length} bytes"),
        message,
        expected,
    )
}
