//! Bytes that are no request, or two at once.

use crate::world::Expected::{Closed, Refused, Status};
use crate::world::{Case, World};

const DENIED: crate::world::Expected = Refused(403, "AccessDenied");

pub fn cases(world: &World) -> Vec<Case> {
    let host = &world.client.address;
    let get = |extra: &str| format!("GET /bkt/old HTTP/1.1\r\nhost: {host}\r\n{extra}\r\n");
    let put = |extra: &str, body: &str| {
        format!("PUT /bkt/new HTTP/1.1\r\nhost: {host}\r\n{extra}\r\n{body}")
    };
    let close = "connection: close\r\n";
    let many: String = (0..1000).map(|n| format!("x-h-{n}: v\r\n")).collect();
    let signed = |name: &str, value: &str| {
        let message = world.put().signed().add(name, value);
        message.bytes()
    };
    let pipelined = format!(
        "{}{}",
        get(""),
        put(&format!("content-length: 1\r\n{close}"), "x")
    );
    vec![
        Case::raw(
            "a header of 1 MB",
            get(&format!("x-h: {}\r\n", "a".repeat(1 << 20))),
            Status(431),
        ),
        Case::raw(
            "a header name of 1 MB",
            get(&format!("{}: v\r\n", "a".repeat(1 << 20))),
            Status(431),
        ),
        Case::raw("1000 headers", get(&many), Status(431)),
        Case::raw(
            "a path of 1 MB",
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20)),
            Closed,
        ),
        Case::raw(
            "a path of 66 kB",
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(66_000)),
            Closed,
        ),
        Case::raw(
            "a query of 1 MB",
            format!("GET /?{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20)),
            Closed,
        ),
        Case::raw(
            "a method of 1 MB",
            format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(1 << 20)),
            Closed,
        ),
        Case::raw(
            "garbage",
            vec![
                0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, b'\r', b'\n', b'\r',
                b'\n',
            ],
            Closed,
        ),
        Case::raw(
            "more garbage",
            (0..=255).cycle().take(100_000).collect::<Vec<u8>>(),
            Closed,
        ),
        Case::raw(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Closed,
        ),
        Case::raw("HTTP/0.9", "GET /bkt/old\r\n\r\n", Closed),
        Case::raw("HTTP/3.0", "GET /bkt/old HTTP/3.0\r\n\r\n", Closed),
        Case::raw("HTTP/1.0", "GET /bkt/old HTTP/1.0\r\n\r\n", DENIED),
        Case::raw(
            "no host",
            format!("GET /bkt/old HTTP/1.1\r\n{close}\r\n"),
            DENIED,
        ),
        Case::raw("two hosts", get(&format!("host: a\r\n{close}")), DENIED),
        Case::raw(
            "another site's URL",
            format!("GET http://evil.example/bkt/old HTTP/1.1\r\nhost: {host}\r\n{close}\r\n"),
            DENIED,
        ),
        Case::raw(
            "a tunnel",
            format!("CONNECT evil.example:443 HTTP/1.1\r\nhost: {host}\r\n{close}\r\n"),
            Closed,
        ),
        Case::raw(
            "TRACE",
            format!("TRACE /bkt/old HTTP/1.1\r\nhost: {host}\r\n{close}\r\n"),
            DENIED,
        ),
        Case::raw(
            "a method of its own",
            format!("STEAL /bkt/old HTTP/1.1\r\nhost: {host}\r\n{close}\r\n"),
            DENIED,
        ),
        Case::raw(
            "an asterisk",
            format!("OPTIONS * HTTP/1.1\r\nhost: {host}\r\n{close}\r\n"),
            DENIED,
        ),
        Case::raw("a blank in a header's name", get("x h: v\r\n"), Closed),
        Case::raw("a NUL in a header", get("x-h: a\0b\r\n"), Closed),
        Case::raw(
            "a header that is continued",
            get("x-h: a\r\n b\r\n"),
            Closed,
        ),
        Case::raw("a header without a colon", get("x-h\r\n"), Closed),
        Case::raw(
            "a length and chunks",
            put(
                "content-length: 3\r\ntransfer-encoding: chunked\r\nconnection: close\r\n",
                "0\r\n\r\n",
            ),
            Closed,
        ),
        Case::raw(
            "two lengths",
            put("content-length: 3\r\ncontent-length: 4\r\n", "newx"),
            Closed,
        ),
        Case::raw(
            "a length of two",
            put("content-length: 3, 4\r\n", "newx"),
            Closed,
        ),
        Case::raw(
            "a negative length",
            put("content-length: -3\r\n", "new"),
            Closed,
        ),
        Case::raw(
            "a length with a sign",
            put("content-length: +3\r\n", "new"),
            Closed,
        ),
        Case::raw(
            "a length that is none",
            put("content-length: abc\r\n", "new"),
            Closed,
        ),
        Case::raw(
            "a length past all numbers",
            put("content-length: 99999999999999999999\r\n", "new"),
            Closed,
        ),
        Case::raw(
            "a length of an exabyte",
            put(
                &format!("content-length: 1000000000000000000\r\n{close}"),
                "new",
            ),
            DENIED,
        ),
        Case::raw(
            "chunks of no size",
            put(
                &format!("transfer-encoding: chunked\r\n{close}"),
                "zz\r\nnew\r\n0\r\n\r\n",
            ),
            DENIED,
        ),
        Case::raw(
            "another transfer encoding",
            put("transfer-encoding: gzip\r\n", "new"),
            Closed,
        ),
        Case::raw(
            "signed, a length and chunks",
            signed("content-length", "3\r\ntransfer-encoding: chunked"),
            Closed,
        ),
        Case::raw(
            "signed, two lengths",
            signed("content-length", "3\r\ncontent-length: 4"),
            Closed,
        ),
        Case::raw(
            "signed, chunks of a bad size",
            [signed("transfer-encoding", "chunked").as_slice(), b""].concat(),
            Closed,
        ),
        Case::raw("a put behind a get", pipelined, DENIED),
        Case::cut("half a request line", "GET /bk"),
        Case::cut("half a head", &get("")[..40]),
        Case::cut("nothing at all", ""),
    ]
}
