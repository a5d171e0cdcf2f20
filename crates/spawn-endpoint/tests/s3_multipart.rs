//! Multipart uploads, over signed HTTP.

mod client;

use client::Endpoint;

#[test]
fn a_multipart_upload_is_its_parts() {
    let (endpoint, client) = Endpoint::with_bucket();
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
    assert_eq!(endpoint.blobs(), 0, "no part is left behind");
}

#[test]
fn an_aborted_upload_leaves_nothing() {
    let (endpoint, client) = Endpoint::with_bucket();
    let created = client
        .s3_with("POST", "/bkt/big", &[("uploads", "")], &[], b"")
        .ok();
    let id = created.element("UploadId").unwrap();
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    client.s3_with("PUT", "/bkt/big", &query, &[], b"part").ok();
    assert_eq!(endpoint.blobs(), 1);
    assert_eq!(
        client
            .s3_with("DELETE", "/bkt/big", &[("uploadId", &id)], &[], b"")
            .status,
        204
    );
    assert_eq!(endpoint.blobs(), 0);
    assert_eq!(
        client
            .s3_with("PUT", "/bkt/big", &query, &[], b"part")
            .status,
        404
    );
}
