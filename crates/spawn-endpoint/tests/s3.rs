//! Objects, listings and multipart uploads, over signed HTTP.

mod client;

use client::{Endpoint, hex};
use s3s::crypto::{Checksum as _, Md5};

fn md5(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::checksum(bytes)))
}

#[test]
fn an_object_comes_back_as_it_was_put() {
    let (_endpoint, client) = Endpoint::with_bucket();
    let longest = "k".repeat(1024);
    let keys = [
        "plain",
        "conf",
        "conf/child",
        "conf//child",
        "a b",
        "a+b",
        "a%20b",
        "a%2Bb",
        "\u{e9}\u{4e2d}\u{1f600}",
        "dir/",
        "..",
        "dir/../x",
        "quote'\"<&>",
        "tilde~*()!",
        &longest,
    ];
    for key in keys {
        let body = format!("body of {key}");
        let put = client.put(&format!("/bkt/{key}"), body.as_bytes()).ok();
        assert_eq!(
            put.header("etag"),
            Some(md5(body.as_bytes()).as_str()),
            "{key}"
        );
    }
    for key in keys {
        let got = client.s3("GET", &format!("/bkt/{key}")).ok();
        assert_eq!(got.text(), format!("body of {key}"));
        assert_eq!(got.header("content-type"), Some("binary/octet-stream"));
    }
    let listed = client
        .s3_with(
            "GET",
            "/bkt",
            &[("list-type", "2"), ("encoding-type", "url")],
            &[],
            b"",
        )
        .ok();
    let mut expected: Vec<String> = keys.iter().map(|key| client::encode(key, "/*")).collect();
    let mut sorted: Vec<&str> = keys.to_vec();
    sorted.sort_by_key(|key| key.as_bytes());
    expected.sort_by_key(|key| {
        sorted
            .iter()
            .position(|other| client::encode(other, "/*") == *key)
    });
    assert_eq!(listed.elements("Key"), expected);

    let too_long = client.put(&format!("/bkt/{longest}k"), b"");
    assert_eq!(too_long.element("Code").as_deref(), Some("KeyTooLongError"));
}

#[test]
fn headers_and_metadata_are_kept_and_copied() {
    let (_endpoint, client) = Endpoint::with_bucket();
    let headers = [
        ("content-type", "text/csv"),
        ("cache-control", "no-cache"),
        ("content-encoding", "gzip,aws-chunked"),
        ("x-amz-meta-run", "7"),
        ("x-amz-tagging", "team=a%20b&empty="),
    ];
    client
        .s3_with("PUT", "/bkt/one", &[], &headers, b"1,2")
        .ok();
    let copy = [("x-amz-copy-source", "/bkt/one")];
    client.s3_with("PUT", "/bkt/two", &[], &copy, b"").ok();
    let replacing = [
        ("x-amz-copy-source", "bkt/one"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("content-type", "text/plain"),
    ];
    client
        .s3_with("PUT", "/bkt/three", &[], &replacing, b"")
        .ok();

    for key in ["one", "two"] {
        let head = client.s3("HEAD", &format!("/bkt/{key}")).ok();
        assert_eq!(head.header("content-type"), Some("text/csv"));
        assert_eq!(head.header("content-encoding"), Some("gzip"));
        assert_eq!(head.header("x-amz-meta-run"), Some("7"));
        assert_eq!(head.header("content-length"), Some("3"));
        let tags = client
            .s3_with("GET", &format!("/bkt/{key}"), &[("tagging", "")], &[], b"")
            .ok();
        assert_eq!(tags.elements("Value"), ["", "a b"]);
    }
    let head = client.s3("HEAD", "/bkt/three").ok();
    assert_eq!(head.header("content-type"), Some("text/plain"));
    assert_eq!(head.header("x-amz-meta-run"), None);

    let onto_itself = client.s3_with("PUT", "/bkt/one", &[], &copy, b"");
    assert_eq!(
        onto_itself.element("Code").as_deref(),
        Some("InvalidRequest")
    );
}

#[test]
fn ranges() {
    let (_endpoint, client) = Endpoint::with_bucket();
    client.put("/bkt/k", b"0123456789").ok();
    let get = |range: &str| client.s3_with("GET", "/bkt/k", &[], &[("range", range)], b"");
    for (range, body, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
    ] {
        let answer = get(range);
        assert_eq!((answer.status, answer.text().as_str()), (206, body));
        assert_eq!(answer.header("content-range"), Some(content_range));
    }
    assert_eq!(get("bytes=10-").status, 416);
    assert_eq!(client.s3("GET", "/bkt/k").ok().status, 200);
}

#[test]
fn conditions_on_reads_and_writes() {
    let (_endpoint, client) = Endpoint::with_bucket();
    let when = |method: &str, name: &str, value: &str| {
        client
            .s3_with(method, "/bkt/k", &[], &[(name, value)], b"new")
            .status
    };
    assert_eq!(
        when("PUT", "if-match", "\"00000000000000000000000000000000\""),
        404
    );
    assert_eq!(when("PUT", "if-none-match", "*"), 200);
    assert_eq!(when("PUT", "if-none-match", "*"), 412);
    let etag = md5(b"new");
    assert_eq!(when("PUT", "if-match", &etag), 200);
    assert_eq!(
        when("PUT", "if-match", "\"00000000000000000000000000000000\""),
        412
    );
    assert_eq!(when("GET", "if-match", &etag), 200);
    assert_eq!(when("GET", "if-match", "\"other\""), 412);
    assert_eq!(when("GET", "if-none-match", &etag), 304);
    assert_eq!(when("GET", "if-none-match", "\"other\""), 200);
    assert_eq!(
        when("GET", "if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        304
    );
    assert_eq!(
        when(
            "GET",
            "if-unmodified-since",
            "Thu, 01 Jan 2015 00:00:00 GMT"
        ),
        412
    );
}

#[test]
fn of_many_creators_one_wins() {
    let (_endpoint, client) = Endpoint::with_bucket();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..16)
            .map(|n| {
                let client = &client;
                scope.spawn(move || {
                    let body = format!("creator {n}");
                    client
                        .s3_with(
                            "PUT",
                            "/bkt/lock",
                            &[],
                            &[("if-none-match", "*")],
                            body.as_bytes(),
                        )
                        .status
                })
            })
            .collect();
        creators
            .into_iter()
            .map(|creator| creator.join().unwrap())
            .collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 412).count(),
        15,
        "{statuses:?}"
    );
}

#[test]
fn concurrent_puts_of_one_key_never_mix() {
    let (endpoint, client) = Endpoint::with_bucket();
    let body_of = |n: usize| vec![b'a' + u8::try_from(n).unwrap(); 300_000 + n * 1000];
    client.put("/bkt/k", &body_of(0)).ok();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for _ in 0..6 {
                    client.put("/bkt/k", &body_of(n)).ok();
                }
            });
        }
        for _ in 0..2 {
            let client = &client;
            scope.spawn(move || {
                for _ in 0..12 {
                    let got = client.s3("GET", "/bkt/k").ok();
                    let writer = usize::from(got.body[0] - b'a');
                    assert_eq!(got.body, body_of(writer));
                    assert_eq!(got.header("etag"), Some(md5(&got.body).as_str()));
                }
            });
        }
    });
    assert_eq!(endpoint.blobs(), 1, "overwritten blobs are gone");
    client.s3("DELETE", "/bkt/k").ok();
    assert_eq!(endpoint.blobs(), 0);
}

#[test]
fn listings_page_and_roll_up() {
    let (_endpoint, client) = Endpoint::with_bucket();
    for key in ["a", "b/1", "b/2", "b/c/3", "b0", "d/4", "e", "z/\u{e9}"] {
        client.put(&format!("/bkt/{key}"), b"x").ok();
    }
    let list = |query: &[(&str, &str)]| {
        let answer = client.s3_with("GET", "/bkt", query, &[], b"").ok();
        let prefixes: Vec<String> = answer
            .elements("CommonPrefixes")
            .iter()
            .map(|prefix| prefix.replace("<Prefix>", "").replace("</Prefix>", ""))
            .collect();
        (answer.elements("Key"), prefixes, answer)
    };
    let (keys, prefixes, _) = list(&[("list-type", "2"), ("delimiter", "/")]);
    assert_eq!(keys, ["a", "b0", "e"]);
    assert_eq!(prefixes, ["b/", "d/", "z/"]);

    let (keys, prefixes, _) = list(&[("list-type", "2"), ("delimiter", "/"), ("prefix", "b/")]);
    assert_eq!(
        (keys, prefixes),
        (vec!["b/1".into(), "b/2".into()], vec!["b/c/".into()])
    );

    let (keys, _, _) = list(&[("list-type", "2"), ("start-after", "b/2")]);
    assert_eq!(keys, ["b/c/3", "b0", "d/4", "e", "z/\u{e9}"]);

    let (keys, _, answer) = list(&[("list-type", "2"), ("max-keys", "0")]);
    assert!(keys.is_empty());
    assert_eq!(answer.element("IsTruncated").as_deref(), Some("false"));

    for delimiter in ["", "/"] {
        let (all_keys, all_prefixes, _) = list(&[("list-type", "2"), ("delimiter", delimiter)]);
        let (mut keys, mut prefixes, mut token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let mut query = vec![
                ("list-type", "2"),
                ("max-keys", "2"),
                ("delimiter", delimiter),
            ];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let (page_keys, page_prefixes, answer) = list(&query);
            assert!(page_keys.len() + page_prefixes.len() <= 2);
            keys.extend(page_keys);
            prefixes.extend(page_prefixes);
            match answer.element("NextContinuationToken") {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(
            (keys, prefixes),
            (all_keys, all_prefixes),
            "delimiter {delimiter:?}"
        );
    }

    let (mut keys, mut marker) = (Vec::new(), String::new());
    loop {
        let (page, prefixes, answer) =
            list(&[("max-keys", "1"), ("delimiter", "/"), ("marker", &marker)]);
        keys.extend(page.into_iter().chain(prefixes));
        match answer.element("NextMarker") {
            Some(next) => marker = next,
            None => break,
        }
    }
    assert_eq!(keys, ["a", "b/", "b0", "d/", "e", "z/"]);
}

#[test]
fn buckets_are_made_once_and_removed_when_empty() {
    let (endpoint, client) = Endpoint::with_bucket();
    let code = |answer: client::Answer| answer.element("Code").unwrap_or_default();
    assert_eq!(
        spawn_endpoint::existing_buckets(&endpoint.dir).unwrap(),
        ["bkt"]
    );
    assert_eq!(client.s3("PUT", "/bkt").status, 200);
    assert_eq!(code(client.s3("PUT", "/No_Bucket")), "InvalidBucketName");
    assert_eq!(client.s3("HEAD", "/bkt").status, 200);
    assert_eq!(client.s3("HEAD", "/absent").status, 404);
    assert_eq!(code(client.s3("GET", "/absent/key")), "NoSuchBucket");
    assert_eq!(code(client.s3("GET", "/bkt/absent")), "NoSuchKey");
    assert_eq!(code(client.put("/absent/key", b"x")), "NoSuchBucket");
    client.put("/bkt/k", b"x").ok();
    assert_eq!(code(client.s3("DELETE", "/bkt")), "BucketNotEmpty");

    let delete =
        b"<Delete><Object><Key>k</Key></Object><Object><Key>absent</Key></Object></Delete>";
    let sum = s3s::crypto::Md5::checksum(delete);
    let sum = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sum);
    let deleted = client
        .s3_with(
            "POST",
            "/bkt",
            &[("delete", "")],
            &[("content-md5", &sum)],
            delete,
        )
        .ok();
    assert_eq!(deleted.elements("Key"), ["k", "absent"]);
    assert_eq!(client.s3("DELETE", "/bkt").status, 204);
    assert!(
        spawn_endpoint::existing_buckets(&endpoint.dir)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        code(client.s3_with("GET", "/bkt", &[("policy", "")], &[], b"")),
        "NotImplemented"
    );
}

#[test]
fn checksums_are_verified_kept_and_returned() {
    let (_endpoint, client) = Endpoint::with_bucket();
    // CRC32 of "hello", and of something else.
    let right = ("x-amz-checksum-crc32", "NhCmhg==");
    let wrong = ("x-amz-checksum-crc32", "AAAAAA==");
    let refused = client.s3_with("PUT", "/bkt/k", &[], &[wrong], b"hello");
    assert_eq!(refused.element("Code").as_deref(), Some("BadDigest"));
    assert_eq!(client.s3("HEAD", "/bkt/k").status, 404);
    let put = client
        .s3_with("PUT", "/bkt/k", &[], &[right], b"hello")
        .ok();
    assert_eq!(put.header(right.0), Some(right.1));
    let got = client
        .s3_with(
            "GET",
            "/bkt/k",
            &[],
            &[("x-amz-checksum-mode", "ENABLED")],
            b"",
        )
        .ok();
    assert_eq!(got.header(right.0), Some(right.1));
    assert_eq!(client.s3("GET", "/bkt/k").ok().header(right.0), None);
    let refused = client.s3_with(
        "PUT",
        "/bkt/k",
        &[],
        &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
        b"x",
    );
    assert_eq!(refused.element("Code").as_deref(), Some("BadDigest"));
}

#[test]
fn large_objects_stream_both_ways() {
    let (_endpoint, client) = Endpoint::with_bucket();
    let body: Vec<u8> = (0..6_000_011_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let put = client.put("/bkt/large", &body).ok();
    assert_eq!(put.header("etag"), Some(md5(&body).as_str()));
    let got = client.s3("GET", "/bkt/large").ok();
    assert!(got.body == body);
    let got = client.s3_with(
        "GET",
        "/bkt/large",
        &[],
        &[("range", "bytes=1000000-3999999")],
        b"",
    );
    assert!(got.body == body[1_000_000..4_000_000]);
}
