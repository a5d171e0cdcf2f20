//! What a web page can make a browser send without anybody being asked: forms, simple requests,
//! preflights, and requests under a name of its own that leads here (DNS rebinding).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::message::{Draft, Message};
use crate::world::Expected::{Refused, Served};
use crate::world::{Case, Expected, World};

const DENIED: Expected = Refused(403, "AccessDenied");
const UNSIGNED: Expected = Refused(403, "MissingAuthenticationToken");

pub fn cases(world: &World) -> Vec<Case> {
    let from_page = |message: Message| {
        message
            .add("origin", "https://evil.example")
            .add("referer", "https://evil.example/")
            .add("sec-fetch-site", "cross-site")
    };
    let post = |path: &str, kind: &str, body: &str| {
        let draft = world.draft("POST", path).body(body.as_bytes());
        from_page(draft.header("content-type", kind).unsigned())
    };
    let sqs = "Action=SendMessage&QueueUrl=queue&MessageBody=new";
    let json = r#"{"QueueUrl":"queue","MessageBody":"new"}"#;
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let delete = "<Delete><Object><Key>old</Key></Object></Delete>";
    let mut cases = vec![
        Case::new("a form to SQS", post("/", form, sqs), UNSIGNED),
        Case::new(
            "a form to a queue",
            post("/123456789012/queue", form, sqs),
            UNSIGNED,
        ),
        Case::new("a form to a bucket", post("/bkt", form, "a=b"), UNSIGNED),
        Case::new(
            "a form upload",
            post("/bkt", multipart, &fields(&[("key", "new")])),
            DENIED,
        ),
        Case::new(
            "a form upload to the root",
            post("/", multipart, &fields(&[("key", "new")])),
            DENIED,
        ),
        Case::new(
            "a form upload of another case",
            post(
                "/bkt",
                "Multipart/Form-Data; boundary=b",
                &fields(&[("key", "new")]),
            ),
            DENIED,
        ),
        Case::new(
            "a form upload with a policy",
            post("/bkt", multipart, &with_policy(world)),
            DENIED,
        ),
        Case::new("plain text to SQS", post("/", "text/plain", json), DENIED),
        Case::new(
            "plain text to a bucket",
            post("/bkt?delete", "text/plain", delete),
            DENIED,
        ),
        Case::new(
            "plain text to begin an upload",
            post("/bkt/new?uploads", "text/plain", ""),
            DENIED,
        ),
        Case::new(
            "an image",
            from_page(world.draft("GET", "/bkt/old").unsigned()),
            DENIED,
        ),
    ];
    for (method, path) in [
        ("PUT", "/bkt/new"),
        ("POST", "/"),
        ("DELETE", "/bkt/old"),
        ("GET", "/bkt/old"),
    ] {
        let preflight = world
            .draft("OPTIONS", path)
            .header("access-control-request-method", method)
            .header(
                "access-control-request-headers",
                "authorization,x-amz-date,x-amz-target",
            )
            .header("access-control-request-private-network", "true");
        let name = format!("a preflight for {method}");
        cases.push(Case::new(&name, from_page(preflight.unsigned()), DENIED));
    }
    let signed = from_page(world.draft("GET", "/bkt/old").signed());
    cases.push(Case::new("a signed request from a page", signed, Served));
    let socket = world
        .draft("GET", "/")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    cases.push(Case::new(
        "a web socket",
        from_page(socket.unsigned()),
        DENIED,
    ));
    cases.extend(rebound(world));
    cases
}

/// Under a name that its owner has pointed here. The browser takes the endpoint for that site, so
/// the page may set headers and read answers. It has no key all the same.
fn rebound(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for host in [
        "evil.example",
        "evil.example:80",
        "bkt.evil.example",
        "localhost",
        "[::1]:80",
        "127.0.0.1.nip.io",
    ] {
        let at = |draft: Draft| Draft {
            host: host.to_owned(),
            ..draft
        };
        cases.push(Case::new(
            &format!("GET at {host}"),
            at(world.draft("GET", "/bkt/old")).unsigned(),
            DENIED,
        ));
        cases.push(Case::new(
            &format!("PUT at {host}"),
            at(world.put()).unsigned(),
            DENIED,
        ));
        cases.push(Case::new(
            &format!("SQS at {host}"),
            at(world.send_message()).unsigned(),
            UNSIGNED,
        ));
    }
    let moved = world
        .draft("GET", "/bkt/old")
        .signed()
        .set("host", |_| "evil.example".into());
    cases.push(Case::new(
        "signed for another host",
        moved,
        Refused(403, "SignatureDoesNotMatch"),
    ));
    cases
}

fn fields(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body + "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nnew\r\n--b--\r\n"
}

/// As `generate_presigned_post` makes it. The signature is not looked at: it is in the body.
fn with_policy(world: &World) -> String {
    let policy =
        r#"{"expiration":"2099-01-01T00:00:00Z","conditions":[{"bucket":"bkt"},{"key":"new"}]}"#;
    let key = world.client.credentials.access_key_id.as_str();
    let policy = BASE64.encode(policy);
    fields(&[
        ("key", "new"),
        ("AWSAccessKeyId", key),
        ("policy", &policy),
        ("signature", "abc"),
    ])
}
