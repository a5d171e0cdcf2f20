//! Calls against scripted answers.

use std::sync::Mutex;
use std::time::Duration;

use super::scripted::{Scripted, client, client_of, ec2_error, lost, status, with_header};
use super::*;
use crate::credentials::{Credentials, CredentialsError, CredentialsProvider};
use crate::services::ec2::{RunInstances, run_instances, terminate_instances};
use crate::services::{autoscaling, dynamodb, s3, sts};

const STARTED: &str = "<RunInstancesResponse><instancesSet><item><instanceId>i-1</instanceId>\
                       </item></instancesSet></RunInstancesResponse>";

fn token_of(body: &str) -> &str {
    let after = body.split("ClientToken=").nth(1).unwrap();
    after.split('&').next().unwrap()
}

#[test]
fn a_lost_answer_is_asked_again_with_the_same_token() {
    let (aws, transport, clock) = client([
        lost(true),
        ec2_error(503, "Unavailable"),
        status(200, STARTED),
    ]);
    let started = run_instances(
        &aws,
        &RunInstances {
            min_count: 1,
            max_count: 1,
            ..Default::default()
        },
    )
    .unwrap();
    assert_eq!(started[0].instance_id, "i-1");
    let bodies = transport.bodies();
    assert_eq!(bodies.len(), 3);
    assert_eq!(token_of(&bodies[0]).len(), 32);
    assert!(
        bodies.iter().all(|b| b == &bodies[0]),
        "the very same request"
    );
    assert_eq!(clock.slept().len(), 2);

    let (aws, transport, _) = client([status(200, STARTED), status(200, STARTED)]);
    for _ in 0..2 {
        run_instances(&aws, &RunInstances::default()).unwrap();
    }
    let bodies = transport.bodies();
    assert_ne!(token_of(&bodies[0]), token_of(&bodies[1]), "another intent");
}

#[test]
fn what_must_not_run_twice_is_sent_again_only_if_it_surely_did_not_run() {
    let gone = |aws| autoscaling::terminate_instance(aws, "i-1", true);
    let (aws, transport, _) = client([lost(true)]);
    let error = gone(&aws).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Network);
    assert!(error.maybe_executed);
    assert_eq!(transport.requests().len(), 1);

    let throttle = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
    let (aws, transport, _) = client([lost(false), status(400, throttle), status(200, "<R/>")]);
    assert!(gone(&aws).unwrap());
    assert_eq!(transport.requests().len(), 3);

    let (aws, _, _) = client([status(500, "")]);
    let error = gone(&aws).unwrap_err();
    assert_eq!(
        (error.kind, error.maybe_executed),
        (ErrorKind::Unavailable, true)
    );
}

#[test]
fn errors_that_stay_are_not_asked_again() {
    for (code, http, kind) in [
        ("InsufficientInstanceCapacity", 500, ErrorKind::Capacity),
        ("VcpuLimitExceeded", 400, ErrorKind::Quota),
        ("UnauthorizedOperation", 403, ErrorKind::Denied),
        ("InvalidParameterValue", 400, ErrorKind::Validation),
        ("DryRunOperation", 412, ErrorKind::WouldSucceed),
    ] {
        let (aws, transport, _) = client([ec2_error(http, code)]);
        let error = run_instances(&aws, &RunInstances::default()).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        assert_eq!((error.status, error.attempts), (http, 1));
        assert_eq!(error.request_id.as_deref(), Some("r"));
        assert!(!error.maybe_executed);
        assert_eq!(transport.requests().len(), 1);
        assert_eq!(
            error.to_string(),
            format!("EC2 RunInstances: words ({code})")
        );
    }
}

#[test]
fn throttles_rest_longer_and_end() {
    let (aws, transport, clock) = client((0..6).map(|_| ec2_error(503, "RequestLimitExceeded")));
    let error = run_instances(&aws, &RunInstances::default()).unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::Throttled, 6));
    assert!(!error.maybe_executed);
    assert_eq!(transport.requests().len(), 6);
    // Half of 1, 2, 4, ... seconds: the fake clock's chance is even.
    let slept: Duration = clock.slept().iter().sum();
    assert!(slept > Duration::from_secs(10), "{slept:?}");
}

#[test]
fn a_call_ends_at_its_deadline() {
    let transport = Scripted::new([lost(true), lost(true), lost(true)]);
    let (aws, _) = client_of(&transport, Credentials::fixed("A", "B"));
    let mut call = Call::new(&DYNAMODB, "GetItem", Safety::Read);
    call.deadline = Some(Duration::from_millis(200));
    let error = aws.send(&call).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Network);
    let asked = transport.asked.lock().unwrap();
    assert!(asked.len() <= 3);
    for (_, timeout) in &*asked {
        assert!(
            *timeout <= Duration::from_millis(200),
            "an attempt has no longer than the call"
        );
    }
}

#[test]
fn bursts_of_changing_calls_are_paced() {
    let done = "<R><instancesSet/></R>";
    let (aws, _, clock) = client((0..9).map(|_| status(200, done)));
    for _ in 0..9 {
        terminate_instances(&aws, &["i-1"]).unwrap();
    }
    let slept: Duration = clock.slept().iter().sum();
    assert_eq!(clock.slept().len(), 4, "five at once, then two a second");
    assert_eq!(slept, Duration::from_secs(2));
}

#[test]
fn the_clock_is_corrected_once() {
    let skewed = with_header(
        ec2_error(400, "RequestExpired"),
        "date",
        "Wed, 25 Nov 2026 15:00:00 GMT",
    );
    let (aws, transport, clock) = client([skewed, status(200, STARTED), status(200, STARTED)]);
    for _ in 0..2 {
        run_instances(&aws, &RunInstances::default()).unwrap();
    }
    let dates: Vec<String> = transport
        .requests()
        .iter()
        .map(|r| {
            r.headers
                .iter()
                .find(|(n, _)| n == "x-amz-date")
                .unwrap()
                .1
                .clone()
        })
        .collect();
    assert_eq!(
        dates,
        ["20261125T120000Z", "20261125T150000Z", "20261125T150000Z"]
    );
    assert!(clock.slept().is_empty());

    // A clock that is right is not why a signature was refused.
    let refused = with_header(
        ec2_error(403, "SignatureDoesNotMatch"),
        "date",
        "Wed, 25 Nov 2026 12:00:30 GMT",
    );
    let (aws, transport, _) = client([refused]);
    let error = run_instances(&aws, &RunInstances::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert_eq!(transport.requests().len(), 1);
}

#[derive(Debug)]
struct Renewing(Mutex<u32>);

impl CredentialsProvider for Renewing {
    fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        Ok(Credentials::fixed(&format!("KEY{count}"), "s"))
    }
}

#[test]
fn expired_credentials_are_renewed_once() {
    let expired = || ec2_error(400, "ExpiredToken");
    let transport = Scripted::new([expired(), status(200, STARTED)]);
    let (aws, _) = client_of(&transport, Renewing(Mutex::new(0)));
    run_instances(&aws, &RunInstances::default()).unwrap();
    let keys: Vec<bool> = transport
        .requests()
        .iter()
        .map(|r| {
            r.headers
                .iter()
                .any(|(_, v)| v.contains("Credential=KEY2/"))
        })
        .collect();
    assert_eq!(keys, [false, true]);

    let transport = Scripted::new([expired(), expired()]);
    let (aws, _) = client_of(&transport, Renewing(Mutex::new(0)));
    assert_eq!(
        run_instances(&aws, &RunInstances::default())
            .unwrap_err()
            .kind,
        ErrorKind::Expired
    );

    // Credentials that do not change are not tried again.
    let (aws, transport, _) = client([expired()]);
    assert_eq!(
        run_instances(&aws, &RunInstances::default())
            .unwrap_err()
            .kind,
        ErrorKind::Expired
    );
    assert_eq!(transport.requests().len(), 1);
}

#[test]
fn another_patience_shares_the_credentials() {
    let transport = Scripted::new([status(200, STARTED), ec2_error(503, "RequestLimitExceeded")]);
    let (aws, _) = client_of(&transport, Renewing(Mutex::new(0)));
    run_instances(&aws, &RunInstances::default()).unwrap();
    let hasty = aws.with_patience(Patience {
        attempts: 1,
        attempt: Duration::from_secs(1),
        ..Patience::default()
    });
    let error = run_instances(&hasty, &RunInstances::default()).unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::Throttled, 1));
    for request in transport.requests() {
        let signature = request.headers.iter().find(|(n, _)| n == "authorization");
        assert!(signature.unwrap().1.contains("Credential=KEY1/"));
    }
    assert_eq!(transport.asked.lock().unwrap()[1].1, Duration::from_secs(1));
}

#[test]
fn embedded_credentials_never_go_to_aws() {
    let transport = Scripted::new([]);
    let (aws, _) = client_of(&transport, Credentials::fixed("SPAWNLOCALABCDEFGHIJ", "s"));
    let error = sts::get_caller_identity(&aws).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("spawn env --off"), "{error}");
}

#[test]
fn secrets_are_in_no_error_and_no_debug_text() {
    let repeated = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>The canonical \
                    string was x-amz-security-token:SESSION and SECRET</Message></Error></ErrorResponse>";
    let (aws, transport, _) = client([status(403, repeated)]);
    let error = sts::get_caller_identity(&aws).unwrap_err();
    for text in [
        error.to_string(),
        format!("{error:?}"),
        format!("{aws:?}"),
        format!("{:?}", transport.requests()),
    ] {
        assert!(
            !text.contains("SECRET") && !text.contains("SESSION"),
            "{text}"
        );
    }
    assert!(error.message.contains("(hidden)"));
}

#[test]
fn json_errors_are_read_and_lost_conditions_marked() {
    let failed = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message":"The conditional request failed","Item":{"id":{"S":"x"}}}"#;
    let (aws, _, _) = client([lost(true), status(400, failed)]);
    let item = dynamodb::Item::new();
    let condition = dynamodb::Expression::new("attribute_not_exists(#i)").name("#i", "id");
    let error = dynamodb::put_item(&aws, "t", &item, Some(&condition)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert_eq!(error.code, "ConditionalCheckFailedException");
    assert!(
        error.maybe_executed,
        "perhaps it is our own item that is there"
    );
    assert_eq!(dynamodb::failed_item(&error).unwrap()["id"]["S"], "x");

    let canceled = |code: &str| {
        status(
            400,
            &format!(
                r#"{{"__type":"x#TransactionCanceledException","CancellationReasons":[{{"Code":"None"}},{{"Code":"{code}"}}]}}"#
            ),
        )
    };
    let (aws, _, _) = client([
        canceled("ConditionalCheckFailed"),
        canceled("TransactionConflict"),
    ]);
    let error = dynamodb::transact_write_items(&aws, &[], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert_eq!(
        error.cancellation_reasons(),
        ["None", "ConditionalCheckFailed"]
    );
    let error = dynamodb::transact_write_items(&aws, &[], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[test]
fn an_answer_that_cannot_be_read_says_so() {
    let (aws, _, _) = client([status(200, "<html>captive portal"), status(200, "{")]);
    let error = run_instances(&aws, &RunInstances::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Malformed);
    assert!(error.maybe_executed);
    let error = dynamodb::describe_table(&aws, "t").unwrap_err();
    assert_eq!(
        (error.kind, error.maybe_executed),
        (ErrorKind::Malformed, false)
    );
}

#[test]
fn lists_are_read_to_their_end() {
    let page = |id: &str, next: &str| {
        status(
            200,
            &format!(
                "<R><reservationSet><item><instancesSet><item><instanceId>{id}</instanceId></item></instancesSet></item></reservationSet>{next}</R>"
            ),
        )
    };
    let (aws, transport, _) = client([
        page("i-1", "<nextToken>a+b</nextToken>"),
        page("i-2", "<nextToken/>"),
    ]);
    let found = crate::services::ec2::describe_instances(&aws, &[]).unwrap();
    assert_eq!(found.len(), 2);
    assert!(transport.bodies()[1].contains("&NextToken=a%2Bb"));

    let listing = |key: &str, more: &str| {
        status(
            200,
            &format!(
                "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>{key}</Key><Size>3</Size><ETag>&quot;e&quot;</ETag></Contents>{more}</ListBucketResult>"
            ),
        )
    };
    let (aws, transport, _) = client([
        listing(
            "a+b%2Fc",
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken>",
        ),
        listing("d", "<IsTruncated>false</IsTruncated>"),
    ]);
    let found = s3::list_objects(&aws, &s3::Bucket::named("b"), "p", None, Some("a")).unwrap();
    let keys: Vec<_> = found.objects.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(keys, ["a b/c", "d"]);
    assert_eq!(found.objects[0].etag, "\"e\"");
    let urls: Vec<String> = transport.requests().into_iter().map(|r| r.url).collect();
    assert_eq!(
        urls,
        [
            "https://b.s3.eu-west-1.amazonaws.com/?list-type=2&encoding-type=url&prefix=p&start-after=a",
            "https://b.s3.eu-west-1.amazonaws.com/?list-type=2&encoding-type=url&prefix=p&continuation-token=t%3D",
        ]
    );

    let items = |more: &str| status(200, &format!(r#"{{"Items":[{{"id":{{"S":"x"}}}}]{more}}}"#));
    let (aws, _, _) = client([items(r#","LastEvaluatedKey":{"id":{"S":"x"}}"#), items("")]);
    assert_eq!(
        dynamodb::query(&aws, &dynamodb::Query::default())
            .unwrap()
            .len(),
        2
    );

    let left = r#"{"Responses":{"t":[{"id":{"S":"1"}}]},"UnprocessedKeys":{"t":{"Keys":[{"id":{"S":"2"}}]}}}"#;
    let (aws, transport, _) = client([
        status(200, left),
        status(200, r#"{"Responses":{"t":[{}]}}"#),
    ]);
    let keys = vec![dynamodb::Item::new(); 2];
    assert_eq!(
        dynamodb::batch_get_item(&aws, "t", &keys, true)
            .unwrap()
            .len(),
        2
    );
    assert!(transport.bodies()[1].contains(r#""S":"2""#));
}

#[test]
fn buckets_go_into_the_host_or_the_path() {
    let url = |name: &str, region: &str, at: Option<&str>| {
        let transport = Scripted::new([status(200, "")]);
        let clock = FakeClock::at(std::time::UNIX_EPOCH);
        let aws = Client::new(Config {
            region: region.to_owned(),
            credentials: std::sync::Arc::new(Credentials::fixed("A", "B")),
            endpoints: at.map(Overrides::everything_at).unwrap_or_default(),
            transport: transport.clone(),
            clock: std::sync::Arc::new(clock),
            patience: Patience::default(),
        });
        s3::put_object(
            &aws,
            &s3::Bucket::named(name),
            "k/ü +.txt",
            vec![],
            &s3::PutOptions::default(),
        )
        .unwrap();
        transport.requests()[0].url.clone()
    };
    let key = "k/%C3%BC%20%2B.txt";
    assert_eq!(
        url("b", "cn-north-1", None),
        format!("https://b.s3.cn-north-1.amazonaws.com.cn/{key}")
    );
    assert_eq!(
        url("b.c", "eu-west-1", None),
        format!("https://s3.eu-west-1.amazonaws.com/b.c/{key}")
    );
    assert_eq!(
        url("b", "eu-west-1", Some("http://127.0.0.1:9/")),
        format!("http://127.0.0.1:9/b/{key}")
    );
}

#[test]
fn other_answers_of_heads_and_regions() {
    let elsewhere = with_header(status(301, ""), "x-amz-bucket-region", "us-west-2");
    let (aws, _, _) = client([elsewhere, status(403, ""), status(404, "")]);
    let state = || s3::head_bucket(&aws, &s3::Bucket::named("b")).unwrap();
    assert_eq!(state(), s3::BucketState::Elsewhere("us-west-2".into()));
    assert_eq!(state(), s3::BucketState::Denied);
    assert_eq!(state(), s3::BucketState::Absent);
}

#[test]
fn a_missing_group_is_not_found_though_aws_calls_it_invalid() {
    let said = "<ErrorResponse><Error><Code>ValidationError</Code><Message>AutoScalingGroup name not found - null</Message></Error></ErrorResponse>";
    let (aws, _, _) = client([status(400, said), status(400, said)]);
    assert!(!autoscaling::delete_group(&aws, "g", true).unwrap());
    let error = autoscaling::set_desired_capacity(&aws, "g", 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn roles_are_assumed() {
    let said = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
        <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
        <Expiration>2026-11-25T13:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let (aws, transport, clock) = client([status(200, said)]);
    let got = sts::assume_role(
        &aws,
        &sts::AssumeRole {
            role_arn: "arn:aws:iam::1:role/r".into(),
            role_session_name: "n".into(),
            external_id: None,
            duration_seconds: Some(900),
        },
    )
    .unwrap();
    assert_eq!(got.access_key_id, "ASIA");
    assert_eq!(got.expires, Some(clock.wall() + Duration::from_secs(3600)));
    let body = &transport.bodies()[0];
    assert!(
        body.contains("&DurationSeconds=900") && !body.contains("ExternalId"),
        "{body}"
    );
    assert_eq!(
        transport.requests()[0].url,
        "https://sts.eu-west-1.amazonaws.com/"
    );
}

#[test]
fn a_configuration_is_found_in_the_environment() {
    use crate::environment::Environment;
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let error = Config::from_environment(&Environment::of([("HOME", home)]), None, None);
    assert!(error.unwrap_err().to_string().contains("AWS_REGION"));
    let environment = Environment::of([("HOME", home), ("AWS_DEFAULT_REGION", "eu-west-1")]);
    let config = Config::from_environment(&environment, None, None).unwrap();
    assert_eq!(config.region, "eu-west-1");
    let config = Config::from_environment(&environment, Some("us-east-2"), None).unwrap();
    assert_eq!(config.region, "us-east-2");
}
