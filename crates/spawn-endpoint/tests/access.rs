//! Who is let in, what the host learns of it, and what is open when.

mod client;

use std::time::{Duration, SystemTime};

use client::{Answer, Client, Endpoint, Request, hex};
use serde_json::json;
use spawn_endpoint::{Credentials, EndpointConfig, start};

/// One request to each service that would change something.
fn intrusions(body: &str) -> [Request<'_>; 4] {
    let json = |service, target| Request {
        service,
        method: "POST",
        path: "/",
        query: vec![],
        headers: vec![
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", target),
        ],
        body: body.as_bytes(),
    };
    [
        Request {
            service: "s3",
            method: "PUT",
            path: "/bucket",
            query: vec![],
            headers: vec![],
            body: b"",
        },
        json("sqs", "AmazonSQS.CreateQueue"),
        json("dynamodb", "DynamoDB_20120810.ListTables"),
        Request {
            service: "sts",
            method: "POST",
            path: "/",
            query: vec![],
            headers: vec![("content-type", "application/x-www-form-urlencoded")],
            body: b"Action=GetCallerIdentity&Version=2011-06-15",
        },
    ]
}

#[test]
fn only_the_right_key_gets_in() {
    let endpoint = Endpoint::start();
    let body = json!({ "QueueName": "queue" }).to_string();
    let right = &endpoint.client;
    let wrong_secret = Client {
        credentials: Credentials {
            secret_access_key: "wrong".into(),
            ..right.credentials.clone()
        },
        ..right.clone()
    };
    let wrong_key = Client {
        credentials: Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            ..right.credentials.clone()
        },
        ..right.clone()
    };
    for request in intrusions(&body) {
        let service = request.service;
        let hour = Duration::from_secs(3600);
        let attempts: [&dyn Fn() -> Answer; 5] = [
            &|| right.send_unsigned(&request),
            &|| wrong_secret.send(&request),
            &|| wrong_key.send(&request),
            &|| right.send_at(&request, SystemTime::now() - hour),
            &|| right.send_at(&request, SystemTime::now() + hour),
        ];
        for attempt in attempts {
            let answer = attempt();
            assert_eq!(answer.status, 403, "{service}: {}", answer.text());
            let record = endpoint.last_record();
            assert_eq!(record.status, 403);
            let code = record.error_code.unwrap();
            assert!(answer.text().contains(&code), "{code}: {}", answer.text());
        }
    }
    assert!(
        right.s3("GET", "/").ok().elements("Name").is_empty(),
        "nothing was executed"
    );
    assert_eq!(right.sqs("ListQueues", &json!({})).ok().json(), json!({}));
    for request in intrusions(&body) {
        right.send(&request).ok();
    }
    assert_eq!(right.s3("GET", "/").ok().elements("Name"), ["bucket"]);
}

#[test]
fn a_service_that_is_not_here_says_so() {
    let endpoint = Endpoint::start();
    let answer = endpoint.client.json("lambda", "Lambda.Invoke", &json!({}));
    assert_eq!(answer.status, 501);
    assert!(
        answer
            .text()
            .contains("`lambda` is not part of the local endpoint")
    );
    assert_eq!(endpoint.last_record().service, "lambda");
}

#[test]
fn the_host_sees_failures_and_session_tokens() {
    let endpoint = Endpoint::start();
    let client = Client {
        token: Some("array-1/7".into()),
        ..endpoint.client.clone()
    };
    assert_eq!(client.s3("GET", "/bucket/some/key").status, 404);
    let record = endpoint.last_record();
    assert_eq!(record.service, "s3");
    assert_eq!(record.operation, "GetObject");
    assert_eq!(record.status, 404);
    assert_eq!(record.error_code.as_deref(), Some("NoSuchBucket"));
    assert_eq!(record.session_token.as_deref(), Some("array-1/7"));
    assert_eq!(record.resource.as_deref(), Some("bucket/some/key"));
    client.s3("HEAD", "/bucket/some/key");
    assert_eq!(endpoint.last_record().status, 404);

    client.sqs("GetQueueUrl", &json!({ "QueueName": "absent" }));
    let record = endpoint.last_record();
    assert_eq!(
        record.error_code.as_deref(),
        Some("AWS.SimpleQueueService.NonExistentQueue")
    );
    assert_eq!(record.session_token.as_deref(), Some("array-1/7"));
    assert_eq!(record.resource.as_deref(), Some("absent"));
}

#[test]
fn a_presigned_url_reads_without_headers() {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};

    let endpoint = Endpoint::start();
    let client = &endpoint.client;
    client.s3("PUT", "/bkt").ok();
    client.put("/bkt/k", b"shared").ok();
    let timestamp = client::amz_date(SystemTime::now());
    let date = &timestamp[..8];
    let scope = format!("{date}/us-east-1/s3/aws4_request");
    let credential = client::encode(&format!("{}/{scope}", client.credentials.access_key_id), "");
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={timestamp}\
         &X-Amz-Expires=60&X-Amz-Security-Token=tok%2Fen&X-Amz-SignedHeaders=host"
    );
    let canonical = format!(
        "GET\n/bkt/k\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD",
        client.address
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mac = |key: &[u8], data: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(data.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let mut key = mac(
        format!("AWS4{}", client.credentials.secret_access_key).as_bytes(),
        date,
    );
    for part in ["us-east-1", "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &to_sign));
    let host = [("host".to_owned(), client.address.to_string())];
    let target = format!("/bkt/k?{query}&X-Amz-Signature={signature}");
    assert_eq!(
        client.exchange("GET", &target, &host, b"").ok().text(),
        "shared"
    );
    assert_eq!(
        endpoint.last_record().session_token.as_deref(),
        Some("tok/en")
    );
    let target = format!("/bkt/other?{query}&X-Amz-Signature={signature}");
    assert_eq!(client.exchange("GET", &target, &host, b"").status, 403);
}

#[test]
fn nothing_is_opened_before_the_first_connection() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("endpoint");
    let config = || EndpointConfig {
        dir: dir.clone(),
        credentials: Credentials::load_or_create(&home.path().join("credentials")).unwrap(),
        on_request: None,
    };
    let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = start(listener(), config()).unwrap();
    assert!(handle.last_request().is_none());
    assert!(spawn_endpoint::existing_buckets(&dir).unwrap().is_empty());
    handle.stop();
    assert!(!dir.exists());

    let handle = start(listener(), config()).unwrap();
    let client = Client::new(handle.address(), config().credentials);
    client.sqs("ListQueues", &json!({})).ok();
    assert!(handle.last_request().is_some());
    let names = || {
        let entries = std::fs::read_dir(&dir).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|e| e.file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
        names.sort();
        names
    };
    assert_eq!(names(), ["lock", "sqs.sqlite"], "only what was asked for");
    handle.stop();
}

#[test]
fn a_directory_is_served_once() {
    let endpoint = Endpoint::start();
    endpoint.client.s3("PUT", "/bkt").ok();
    let second = start(
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        EndpointConfig {
            dir: endpoint.dir.clone(),
            credentials: endpoint.client.credentials.clone(),
            on_request: None,
        },
    )
    .unwrap();
    let client = Client::new(second.address(), endpoint.client.credentials.clone());
    let refused = client.s3("GET", "/");
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("another process already serves"),
        "{}",
        refused.text()
    );
    endpoint.handle.stop();
    client.s3("GET", "/").ok();
}
