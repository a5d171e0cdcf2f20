//! Uploads of a client that has the key, whose bodies are not what was said, or break off.

use serde_json::json;

use crate::message::{Draft, Message};
use crate::world::Expected::{Closed, Refused};
use crate::world::{Case, Expected, World};

const DIGEST: Expected = Refused(400, "BadDigest");
const INCOMPLETE: Expected = Refused(400, "IncompleteBody");
const TRAILER: Expected = Refused(400, "MalformedTrailerError");
const SIGNATURE: Expected = Refused(403, "SignatureDoesNotMatch");

/// The CRC32 of `new`.
const CRC: &str = "a+NERQ==";

pub fn cases(world: &World) -> Vec<Case> {
    let mut cases = digests(world);
    cases.extend(unsigned_chunks(world));
    cases.extend(signed_chunks(world));
    cases.extend(broken_off(world));
    cases.extend(documents(world));
    cases
}

/// Uploads that are what they say, in every kind of framing.
pub fn whole(world: &World) -> Vec<Message> {
    let trailer = Some("x-amz-checksum-crc32");
    let text = format!("1\r\nn\r\n2\r\new\r\n0\r\nx-amz-checksum-crc32:{CRC}\r\n\r\n");
    let signed_trailer = format!("x-amz-checksum-crc32:{CRC}\n");
    vec![
        streamed(world, "UNSIGNED-PAYLOAD-TRAILER", trailer, "3").text(&text),
        streamed(world, "AWS4-HMAC-SHA256-PAYLOAD", None, "3").chunks(&[b"n", b"ew"]),
        streamed(world, "AWS4-HMAC-SHA256-PAYLOAD", None, "3")
            .chunks(&[b"new"])
            .text("\r\n"),
        streamed(world, "AWS4-HMAC-SHA256-PAYLOAD-TRAILER", trailer, "3")
            .chunks(&[b"new"])
            .trailers(&signed_trailer),
        world.put().presigned("60"),
        world.put().presigned_v2(60, ""),
    ]
}

fn digests(world: &World) -> Vec<Case> {
    let with = |name: &str, value: &str| world.put().header(name, value).signed();
    vec![
        Case::new(
            "another MD5",
            with("content-md5", "XrY7u+Ae7tCTyyK7j1rNww=="),
            DIGEST,
        ),
        Case::new("an MD5 that is none", with("content-md5", "abc"), DIGEST),
        Case::new("an empty MD5", with("content-md5", ""), DIGEST),
        Case::new(
            "another CRC32",
            with("x-amz-checksum-crc32", "AAAAAA=="),
            DIGEST,
        ),
        Case::new(
            "another CRC32C",
            with("x-amz-checksum-crc32c", "AAAAAA=="),
            DIGEST,
        ),
        Case::new(
            "another CRC64",
            with("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
            DIGEST,
        ),
        Case::new(
            "another SHA1",
            with("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            DIGEST,
        ),
        Case::new(
            "another SHA256",
            with("x-amz-checksum-sha256", "abc"),
            DIGEST,
        ),
        Case::new(
            "a bucket that is not there",
            Draft {
                path: "/nowhere/new".into(),
                ..world.put()
            }
            .signed(),
            Refused(404, "NoSuchBucket"),
        ),
    ]
}

fn streamed(world: &World, kind: &str, trailer: Option<&str>, length: &str) -> Message {
    let mut draft = world
        .draft("PUT", "/bkt/new")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", length);
    if let Some(trailer) = trailer {
        draft = draft.header("x-amz-trailer", trailer);
    }
    draft.payload = Some(format!("STREAMING-{kind}"));
    draft.signed()
}

fn unsigned_chunks(world: &World) -> Vec<Case> {
    let message = |length: &str| {
        let kind = "UNSIGNED-PAYLOAD-TRAILER";
        streamed(world, kind, Some("x-amz-checksum-crc32"), length)
    };
    let sent = |text: &str| message("3").text(text);
    let trailer = format!("x-amz-checksum-crc32:{CRC}\r\n\r\n");
    let kind = "UNSIGNED-PAYLOAD-TRAILER";
    let invalid = Refused(400, "InvalidRequest");
    vec![
        Case::new(
            "a trailer of another sum",
            sent("3\r\nnew\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"),
            DIGEST,
        ),
        Case::new(
            "another body than its trailer",
            sent(&format!("3\r\nNEW\r\n0\r\n{trailer}")),
            DIGEST,
        ),
        Case::new("no trailer", sent("3\r\nnew\r\n0\r\n\r\n"), TRAILER),
        Case::new(
            "no end of the last chunk",
            sent("3\r\nnew\r\n0\r\n"),
            TRAILER,
        ),
        Case::new(
            "another trailer",
            sent("3\r\nnew\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n"),
            TRAILER,
        ),
        Case::new(
            "a trailer too many",
            sent(&format!("3\r\nnew\r\n0\r\nx-amz-meta-a:b\r\n{trailer}")),
            TRAILER,
        ),
        Case::new(
            "a trailer twice",
            sent(&format!(
                "3\r\nnew\r\n0\r\nx-amz-checksum-crc32:{CRC}\r\n{trailer}"
            )),
            TRAILER,
        ),
        Case::new(
            "an empty trailer",
            sent("3\r\nnew\r\n0\r\nx-amz-checksum-crc32:\r\n\r\n"),
            TRAILER,
        ),
        Case::new(
            "a trailer cut short",
            sent("3\r\nnew\r\n0\r\nx-amz-checksum-crc32:a+N"),
            TRAILER,
        ),
        Case::new(
            "a trailer that is none",
            sent("3\r\nnew\r\n0\r\nnonsense\r\n\r\n"),
            TRAILER,
        ),
        Case::new(
            "trailers of 20 kB",
            sent(&format!(
                "3\r\nnew\r\n0\r\nx-h:{}\r\n{trailer}",
                "a".repeat(20_000)
            )),
            TRAILER,
        ),
        Case::new("no last chunk", sent("3\r\nnew\r\n"), INCOMPLETE),
        Case::new("no end of the chunk", sent("3\r\nnew"), INCOMPLETE),
        Case::new("half a chunk", sent("3\r\nne"), INCOMPLETE),
        Case::new("no chunk", sent(""), INCOMPLETE),
        Case::new(
            "only the last chunk",
            sent(&format!("0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "less than was said",
            message("4").text(&format!("3\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "more than was said",
            message("2").text(&format!("3\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "a chunk longer than its size",
            sent(&format!("2\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "a size that is none",
            sent(&format!("zz\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "a size with more behind it",
            sent(&format!("3zz\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new(
            "a negative size",
            sent(&format!("-3\r\nnew\r\n0\r\n{trailer}")),
            INCOMPLETE,
        ),
        Case::new("a size of 4 GB", sent("ffffffff\r\nnew"), INCOMPLETE),
        Case::new(
            "a size past all numbers",
            sent("ffffffffffffffffff\r\nnew"),
            INCOMPLETE,
        ),
        Case::new(
            "a size of 2 kB of digits",
            sent(&format!("{}3\r\nnew\r\n", "0".repeat(2000))),
            INCOMPLETE,
        ),
        Case::new("no framing at all", sent("new"), INCOMPLETE),
        Case::new(
            "a trailer that nobody knows",
            streamed(world, kind, Some("x-amz-checksum-other"), "3").text("0\r\n\r\n"),
            invalid,
        ),
        Case::new(
            "a header as a trailer",
            streamed(world, kind, Some("x-amz-copy-source"), "3").text("0\r\n\r\n"),
            invalid,
        ),
        Case::new(
            "no trailer announced",
            streamed(world, kind, None, "3").text("3\r\nnew\r\n0\r\n\r\n"),
            invalid,
        ),
    ]
}

fn signed_chunks(world: &World) -> Vec<Case> {
    let kind = "AWS4-HMAC-SHA256-PAYLOAD";
    let message = |length: &str| streamed(world, kind, None, length);
    let whole = || message("3").chunks(&[b"new"]);
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(whole().body).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed);
        whole().body(changed.as_bytes())
    };
    let cut = |from: &str| {
        let text = String::from_utf8(whole().body).unwrap();
        let kept = text.rfind(from).unwrap();
        whole().body(&text.as_bytes()[..kept])
    };
    let announced = "x-amz-checksum-crc32";
    let with_trailer = || {
        let kind = "AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
        streamed(world, kind, Some(announced), "3").chunks(&[b"new"])
    };
    let signed_trailer = format!("{announced}:{CRC}\n");
    let huge = format!("1100000;chunk-signature={}\r\nnew", "0".repeat(64));
    vec![
        Case::new(
            "another chunk than was signed",
            changed("new", "NEW"),
            SIGNATURE,
        ),
        Case::new(
            "another signature of a chunk",
            changed("chunk-signature=", "chunk-signature=0"),
            INCOMPLETE,
        ),
        Case::new(
            "a signature of zeros",
            {
                let text = String::from_utf8(whole().body).unwrap();
                let (before, rest) = text.split_once('=').unwrap();
                let forged = format!("{before}={}{}", "0".repeat(64), &rest[64..]);
                whole().body(forged.as_bytes())
            },
            SIGNATURE,
        ),
        Case::new(
            "chunks in another order",
            {
                let sent = message("6").chunks(&[b"one", b"two"]).body;
                let text = String::from_utf8(sent).unwrap();
                let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
                let order = [lines[2], lines[3], lines[0], lines[1], lines[4]].concat();
                message("6").body(order.as_bytes())
            },
            SIGNATURE,
        ),
        Case::new(
            "a chunk left out",
            {
                let sent = message("3").chunks(&[b"one", b"two"]).body;
                let text = String::from_utf8(sent).unwrap();
                let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
                message("3").body([lines[0], lines[1], lines[4]].concat().as_bytes())
            },
            SIGNATURE,
        ),
        Case::new(
            "a chunk without a signature",
            whole().body(b"3\r\nnew\r\n0\r\n\r\n"),
            INCOMPLETE,
        ),
        Case::new("no signed last chunk", cut("0;chunk"), INCOMPLETE),
        Case::new("half a last chunk", cut("chunk"), INCOMPLETE),
        Case::new(
            "signed, less than was said",
            message("4").chunks(&[b"new"]),
            INCOMPLETE,
        ),
        Case::new(
            "signed, more than was said",
            message("2").chunks(&[b"new"]),
            INCOMPLETE,
        ),
        Case::new(
            "a signed chunk of 17 MB",
            message("17825792").text(&huge),
            Refused(400, "MaxMessageLengthExceeded"),
        ),
        Case::new(
            "trailers that were not announced",
            whole().text("x-amz-meta-a:b\r\n\r\n"),
            TRAILER,
        ),
        Case::new("no signed trailer", with_trailer().text("\r\n"), TRAILER),
        Case::new(
            "a trailer that is not signed",
            with_trailer().text(&format!("{announced}:{CRC}\r\n\r\n")),
            INCOMPLETE,
        ),
        Case::new(
            "a trailer signed for another sum",
            {
                let sent = with_trailer().trailers(&signed_trailer);
                let text = String::from_utf8(sent.body.clone()).unwrap();
                sent.body(text.replace(CRC, "AAAAAA==").as_bytes())
            },
            SIGNATURE,
        ),
        Case::new(
            "a signed trailer of another sum",
            with_trailer().trailers(&format!("{announced}:AAAAAA==\n")),
            DIGEST,
        ),
    ]
}

/// Connections that are cut in the middle of a body.
fn broken_off(world: &World) -> Vec<Case> {
    let big = vec![b'x'; 1 << 20];
    let half = |message: Message| {
        let bytes = message.bytes();
        bytes[..bytes.len() - message.body.len() / 2].to_vec()
    };
    let put = world.put().body(&big).signed();
    let over = world.draft("PUT", "/bkt/old").body(&big).signed();
    let unsigned = {
        let mut draft = world.put().body(&big);
        draft.payload = Some("UNSIGNED-PAYLOAD".into());
        draft.signed()
    };
    let presigned = world.put().body(&big).presigned("60");
    let chunks = streamed(world, "AWS4-HMAC-SHA256-PAYLOAD", None, "1048576").chunks(&[&big]);
    let text = "x".repeat(100_000);
    let message = json!({ "QueueUrl": "queue", "MessageBody": text });
    let message = world
        .call("sqs", "AmazonSQS.SendMessage", &message)
        .signed();
    let item =
        json!({ "TableName": "table", "Item": { "id": { "S": "new" }, "text": { "S": text } } });
    let item = world
        .call("dynamodb", "DynamoDB_20120810.PutItem", &item)
        .signed();
    let longer = put.clone().add("content-length", "2097152");
    let mut cases = vec![
        Case::cut("a put is cut off", half(put)),
        Case::cut("a put over an object is cut off", half(over)),
        Case::cut("an unsigned body is cut off", half(unsigned)),
        Case::cut("a presigned put is cut off", half(presigned)),
        Case::cut("chunks are cut off", half(chunks)),
        Case::cut("a message is cut off", half(message)),
        Case::cut("an item is cut off", half(item)),
        Case::cut("less than its length", longer.bytes()),
    ];
    let transfer = format!(
        "{}{:x}\r\n{}\r\n",
        world
            .put()
            .presigned("60")
            .add("transfer-encoding", "chunked")
            .head(),
        big.len(),
        "x".repeat(big.len())
    );
    cases.push(Case::cut("a transfer in chunks is cut off", transfer));
    let transfer = world
        .put()
        .presigned("60")
        .add("transfer-encoding", "chunked")
        .head();
    cases.push(Case::raw(
        "a transfer in bad chunks",
        format!("{transfer}zz\r\nnew\r\n0\r\n\r\n"),
        Closed,
    ));
    cases
}

/// Requests whose body is a document.
fn documents(world: &World) -> Vec<Case> {
    let delete = |body: &str| {
        world
            .draft("POST", "/bkt")
            .query("delete", "")
            .body(body.as_bytes())
    };
    let malformed = Refused(400, "MalformedXML");
    let keys = |count: usize| {
        let keys: String = (0..count)
            .map(|n| format!("<Object><Key>k{n}</Key></Object>"))
            .collect();
        format!("<Delete>{keys}</Delete>")
    };
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>\
                <Delete><Object><Key>&b;</Key></Object></Delete>";
    let outside = "<!DOCTYPE d [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\
                   <Delete><Object><Key>&a;</Key></Object></Delete>";
    vec![
        Case::new("a document that is none", delete("nonsense").signed(), malformed),
        Case::new("a document that breaks off", delete("<Delete><Object>").signed(), malformed),
        Case::new("a document of 1001 keys", delete(&keys(1001)).signed(), malformed),
        Case::new("a document of 9 MB", delete(&" ".repeat(9 << 20)).signed(), Refused(400, "MaxMessageLengthExceeded")),
        Case::new("a document with entities", delete(bomb).signed(), malformed),
        Case::new("a document that reads a file", delete(outside).signed(), malformed),
        Case::new("another document than was signed", delete("<Delete/>").signed().body(keys(1).as_bytes()), Refused(400, "XAmzContentSHA256Mismatch")),
        Case::new(
            "a message of 17 MB",
            world.call("sqs", "AmazonSQS.SendMessage", &json!({ "MessageBody": "x".repeat(17 << 20) })).signed(),
            Refused(413, "RequestEntityTooLarge"),
        ),
        Case::new(
            "an item of 500 kB",
            world.call("dynamodb", "DynamoDB_20120810.PutItem", &json!({ "TableName": "table", "Item": { "id": { "S": "new" }, "a": { "S": "x".repeat(500_000) } } })).signed(),
            Refused(400, "ValidationException"),
        ),
        Case::new(
            "JSON a hundred thousand deep",
            Draft { body: "[".repeat(100_000).into_bytes(), ..world.put_item() }.signed(),
            Refused(400, "SerializationException"),
        ),
        Case::new(
            "JSON that is no UTF-8",
            Draft { body: vec![0xff; 100], ..world.send_message() }.signed(),
            Refused(400, "InvalidParameterValue"),
        ),
    ]
}
