//! Objects, listings and multipart uploads, over signed HTTP.

mod client;

use client::{Client, Endpoint, hex};
use s3s::crypto::{Checksum as _, Md5};

fn bucket() -> (Endpoint, Client) {
    let endpoint = Endpoint::start();
    let client = endpoint.client.clone();
    client.s3("PUT", "/bkt").ok();
    (endpoint, client)
}

fn md5(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::checksum(bytes)))
}

/// How many blob files there are.
fn blobs(endpoint: &Endpoint) -> usize {
    let shards = std::fs::read_dir(endpoint.dir.join("blobs"))
        .into_iter()
        .flatten()
        .flatten();
    shards
        .map(|shard| std::fs::read_dir(shard.path()).unwrap().count())
        .sum()
}

#[test]
fn an_object_comes_back_as_it_was_put() {
    let (_endpoint, client) = bucket();
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
    let (_endpoint, client) = bucket();
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
    let (_endpoint, client) = bucket();
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
    let (_endpoint, client) = bucket();
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
    let (_endpoint, client) = bucket();
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
    let (endpoint, client) = bucket();
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
    assert_eq!(blobs(&endpoint), 1, "overwritten blobs are gone");
    client.s3("DELETE", "/bkt/k").ok();
    assert_eq!(blobs(&endpoint), 0);
}

#[test]
fn listings_page_and_roll_up() {
    let (_endpoint, client) = bucket();
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
    let (endpoint, client) = bucket();
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
    let (_endpoint, client) = bucket();
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
fn a_multipart_upload_is_its_parts() {
    let (endpoint, client) = bucket();
    let part = |n: u8| vec![n; 5 * 1024 * 1024 + usize::from(n)];
    let created = client
        .s3_with(
            "POST",
            "/bkt/big",
            &[("uploads", "")],
            &[("x-amz-meta-a", "b")],
            b"",
        )
        .ok();
    let id = created.element("UploadId").unwrap();
    let upload = |number: &str, body: &[u8]| {
        let query = [("partNumber", number), ("uploadId", id.as_str())];
        let answer = client.s3_with("PUT", "/bkt/big", &query, &[], body).ok();
        answer.header("etag").unwrap().to_owned()
    };
    let complete = |parts: &[(u8, &str)]| {
        let parts: String = parts
            .iter()
            .map(|(n, etag)| {
                format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        client.s3_with(
            "POST",
            "/bkt/big",
            &[("uploadId", &id)],
            &[],
            body.as_bytes(),
        )
    };
    upload("1", &part(9));
    let first = upload("1", &part(1));
    let third = upload("3", b"tail");
    upload("4", b"never listed");
    client.put("/bkt/source", &part(2)).ok();
    let query = [("partNumber", "2"), ("uploadId", id.as_str())];
    let headers = [
        ("x-amz-copy-source", "bkt/source"),
        ("x-amz-copy-source-range", "bytes=0-5242881"),
    ];
    let copied = client
        .s3_with("PUT", "/bkt/big", &query, &headers, b"")
        .ok();
    let second = copied.element("ETag").unwrap();

    let listed = client
        .s3_with("GET", "/bkt/big", &[("uploadId", &id)], &[], b"")
        .ok();
    assert_eq!(listed.elements("PartNumber"), ["1", "2", "3", "4"]);
    let uploads = client
        .s3_with("GET", "/bkt", &[("uploads", "")], &[], b"")
        .ok();
    assert_eq!(uploads.element("UploadId").as_ref(), Some(&id));
    assert_eq!(
        client.s3("HEAD", "/bkt/big").status,
        404,
        "not published yet"
    );

    let code = |answer: client::Answer| answer.element("Code").unwrap_or_default();
    assert_eq!(
        code(complete(&[(3, &third), (1, &first)])),
        "InvalidPartOrder"
    );
    assert_eq!(code(complete(&[(1, &third)])), "InvalidPart");
    assert_eq!(
        code(complete(&[(3, &third), (4, &third)])),
        "EntityTooSmall"
    );
    let done = complete(&[(1, &first), (2, &second), (3, &third)]).ok();
    assert!(done.element("ETag").unwrap().contains("-3"));
    assert_eq!(code(complete(&[(1, &first)])), "NoSuchUpload");

    client.s3("DELETE", "/bkt/source").ok();
    let got = client.s3("GET", "/bkt/big").ok();
    let expected = [part(1), vec![2; 5_242_882], b"tail".to_vec()].concat();
    assert!(
        got.body == expected,
        "{} bytes of {}",
        got.body.len(),
        expected.len()
    );
    assert_eq!(got.header("x-amz-meta-a"), Some("b"));
    let at = part(1).len() - 2;
    let range = format!("bytes={at}-{}", at + 3);
    let got = client.s3_with("GET", "/bkt/big", &[], &[("range", &range)], b"");
    assert_eq!(got.body, [1, 1, 2, 2]);
    let got = client.s3_with("GET", "/bkt/big", &[("partNumber", "3")], &[], b"");
    assert_eq!((got.status, got.text().as_str()), (206, "tail"));

    client.s3("DELETE", "/bkt/big").ok();
    assert_eq!(blobs(&endpoint), 0, "no part is left behind");
}

#[test]
fn an_aborted_upload_leaves_nothing() {
    let (endpoint, client) = bucket();
    let created = client
        .s3_with("POST", "/bkt/big", &[("uploads", "")], &[], b"")
        .ok();
    let id = created.element("UploadId").unwrap();
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    client.s3_with("PUT", "/bkt/big", &query, &[], b"part").ok();
    assert_eq!(blobs(&endpoint), 1);
    assert_eq!(
        client
            .s3_with("DELETE", "/bkt/big", &[("uploadId", &id)], &[], b"")
            .status,
        204
    );
    assert_eq!(blobs(&endpoint), 0);
    assert_eq!(
        client
            .s3_with("PUT", "/bkt/big", &query, &[], b"part")
            .status,
        404
    );
}

#[test]
fn large_objects_stream_both_ways() {
    let (_endpoint, client) = bucket();
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
