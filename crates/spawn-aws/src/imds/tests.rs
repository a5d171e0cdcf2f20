//! The metadata client against a fake service.

use std::time::UNIX_EPOCH;

use super::*;
use crate::client::{FakeClock, HttpTransport};
use crate::loopback::{Server, instance, metadata, serve};

fn imds(server: &Server) -> (Imds, Arc<FakeClock>) {
    let environment = Environment::of([("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    let clock = Arc::new(FakeClock::at(UNIX_EPOCH));
    let transport = Arc::new(HttpTransport::for_metadata());
    (
        Imds::new(&environment, transport, Arc::clone(&clock) as _),
        clock,
    )
}

#[test]
fn an_instance_is_read_with_one_token() {
    let server = metadata(instance(), false);
    let (imds, clock) = imds(&server);
    assert_eq!(imds.instance_id().unwrap(), "i-0abc");
    assert_eq!(imds.instance_type().unwrap(), "m7g.large");
    assert_eq!(imds.region().unwrap(), "eu-west-1");
    assert_eq!(imds.availability_zone().unwrap(), "eu-west-1a");
    assert_eq!(imds.life_cycle().unwrap(), "spot");
    let tags = imds.tags().unwrap();
    assert_eq!(tags[1], ("spawn:array".to_owned(), "array-1".to_owned()));
    let role = imds.role_credentials().unwrap();
    assert_eq!(role.access_key_id, "ASIAROLE");
    assert_eq!(role.session_token.as_deref(), Some("t"));
    let tokens = |server: &Server| {
        let asked = server.asked.lock().unwrap();
        asked.iter().filter(|a| a.method == "PUT").count()
    };
    assert_eq!(tokens(&server), 1);

    // The token granted is for ten minutes and is renewed before its end.
    clock.pass(Duration::from_secs(299));
    imds.instance_id().unwrap();
    assert_eq!(tokens(&server), 1);
    clock.pass(Duration::from_secs(2));
    imds.instance_id().unwrap();
    assert_eq!(tokens(&server), 2);
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let server = metadata(instance(), false);
    let (first, _) = imds(&server);
    let (second, _) = imds(&server);
    first.instance_id().unwrap();
    // This fake knows the newest token only.
    second.instance_id().unwrap();
    assert_eq!(first.instance_id().unwrap(), "i-0abc");

    let always = serve(|asked| match asked.method.as_str() {
        "PUT" => (200, vec![], "T".to_owned()),
        _ => (401, vec![], String::new()),
    });
    let (refused, _) = imds(&always);
    assert_eq!(
        refused.instance_id(),
        Err(ImdsError::Refused { status: 401 })
    );
    assert_eq!(always.asked.lock().unwrap().len(), 4);
}

#[test]
fn notices() {
    let mut paths = instance();
    let server = metadata(paths.clone(), false);
    let (quiet, _) = imds(&server);
    assert_eq!(quiet.spot_instance_action(), Ok(None));
    assert_eq!(quiet.rebalance_recommendation(), Ok(None));
    assert_eq!(quiet.target_lifecycle_state(), Ok(None));

    paths.push((
        "meta-data/spot/instance-action",
        r#"{"action": "terminate", "time": "2026-11-25T12:02:00Z"}"#.into(),
    ));
    paths.push((
        "meta-data/events/recommendations/rebalance",
        r#"{"noticeTime": "2026-11-25T11:50:00Z"}"#.into(),
    ));
    paths.push((
        "meta-data/autoscaling/target-lifecycle-state",
        "Terminated".into(),
    ));
    let server = metadata(paths, false);
    let (warned, _) = imds(&server);
    let action = warned.spot_instance_action().unwrap().unwrap();
    assert_eq!(
        (action.action.as_str(), action.time.as_str()),
        ("terminate", "2026-11-25T12:02:00Z")
    );
    assert_eq!(
        warned.rebalance_recommendation().unwrap().as_deref(),
        Some("2026-11-25T11:50:00Z")
    );
    assert_eq!(
        warned.target_lifecycle_state().unwrap().as_deref(),
        Some("Terminated")
    );
}

#[test]
fn tags_that_are_not_in_the_metadata_are_none() {
    let server = metadata(vec![], false);
    let (imds, _) = imds(&server);
    assert_eq!(imds.tags(), Ok(vec![]));
    assert!(matches!(
        imds.role_credentials(),
        Err(ImdsError::Absent { .. })
    ));
}

#[test]
fn version_1_is_never_used() {
    let server = metadata(instance(), true);
    let (imds, _) = imds(&server);
    let error = imds.instance_id().unwrap_err();
    assert!(matches!(&error, ImdsError::Unavailable { reason } if reason.contains("version 1")));
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|a| a.method == "PUT"), "{asked:?}");
}

#[test]
fn outages_are_survived_or_typed() {
    let count = Mutex::new(0);
    let flaky = serve(move |asked| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match (*count % 2, asked.method.as_str()) {
            (1, _) => (503, vec![], String::new()),
            (_, "PUT") => (200, vec![], "T".to_owned()),
            _ => (200, vec![], "i-1".to_owned()),
        }
    });
    let (survives, clock) = imds(&flaky);
    assert_eq!(survives.instance_id().unwrap(), "i-1");
    assert_eq!(clock.slept().len(), 2);

    let dead = Server {
        url: "http://127.0.0.1:9".to_owned(),
        asked: Arc::default(),
    };
    let (gone, clock) = imds(&dead);
    assert!(matches!(
        gone.spot_instance_action(),
        Err(ImdsError::Unavailable { .. })
    ));
    assert_eq!(clock.slept().len(), 2);

    let environment = Environment::of([("AWS_EC2_METADATA_DISABLED", "TRUE")]);
    let transport = Arc::new(HttpTransport::for_metadata());
    let off = Imds::new(&environment, transport, clock);
    assert_eq!(off.region(), Err(ImdsError::Disabled));
}
