use super::*;

fn activity(status: &str, message: &str) -> Activity {
    Activity {
        description: "Launching a new EC2 instance".to_owned(),
        status_code: status.to_owned(),
        status_message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        ..Activity::default()
    }
}

fn group(desired: u32, machines: u32) -> GroupSeen {
    GroupSeen {
        name: "spawn-array-20260127-abc123-0".to_owned(),
        desired,
        machines,
        is_spot: true,
        kind: Some("c7i.large".to_owned()),
        ..GroupSeen::default()
    }
}

fn seen(groups: Vec<GroupSeen>, agents: u32) -> Seen {
    Seen {
        groups,
        agents,
        region: "eu-west-1".to_owned(),
        ..Seen::default()
    }
}

fn short(message: &str) -> String {
    let mut group = group(4, 0);
    group.activities = vec![activity("Failed", message)];
    held_up(&seen(vec![group], 0)).unwrap()
}

#[test]
fn all_that_was_asked_for_at_work_holds_nothing_up() {
    assert_eq!(held_up(&seen(vec![group(4, 4)], 4)), None);
    let mut failed_before = group(4, 4);
    failed_before.activities = vec![activity("Failed", "InsufficientInstanceCapacity")];
    assert_eq!(held_up(&seen(vec![failed_before], 4)), None);
}

#[test]
fn machines_that_have_not_reported_are_starting() {
    let say = |desired, machines, agents| held_up(&seen(vec![group(desired, machines)], agents));
    assert_eq!(say(8, 8, 0).unwrap(), "8 machines are starting");
    assert_eq!(say(8, 8, 7).unwrap(), "1 machine is starting");
    assert_eq!(say(8, 0, 0).unwrap(), "8 machines are starting");
    // Wanted less since, and still there.
    assert_eq!(say(2, 3, 2).unwrap(), "1 machine is starting");
}

#[test]
fn want_of_capacity_is_named_with_type_market_and_place() {
    // As Auto Scaling words them, with and without a code.
    assert_eq!(
        short(
            "We currently do not have sufficient c7i.xlarge capacity in the Availability Zone you requested (eu-west-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed."
        ),
        "AWS has no spot c7i.xlarge in eu-west-1a now (InsufficientInstanceCapacity); the group keeps trying"
    );
    assert_eq!(
        short(
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration. Launching EC2 instance failed."
        ),
        "AWS has no spot c7i.large in eu-west-1 now (UnfulfillableCapacity); the group keeps trying"
    );
    assert_eq!(
        short("There is no Spot capacity available that matches your request."),
        "AWS has no spot c7i.large in eu-west-1 now (InsufficientInstanceCapacity); the group keeps trying"
    );
}

#[test]
fn a_quota_comes_with_what_to_do() {
    let expected = "the account's quota of vCPUs for spot c7i.large in eu-west-1 is used up";
    for message in [
        "VcpuLimitExceeded - too many",
        "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket",
        "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded.",
    ] {
        let said = short(message);
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("Service Quotas"), "{said}");
    }
}

#[test]
fn a_spot_price_and_other_causes_are_said_in_words() {
    assert!(
        short("SpotMaxPriceTooLow - Your Spot request price of 0.01 is lower")
            .contains("highest spot price")
    );
    assert_eq!(
        short("Authentication Failure. Launching EC2 instance failed."),
        "AWS starts no spot c7i.large: Authentication Failure."
    );
}

#[test]
fn only_the_newest_launch_counts() {
    let mut group = group(4, 2);
    group.activities = vec![
        activity("InProgress", ""),
        activity("Successful", ""),
        activity("Failed", "InsufficientInstanceCapacity"),
    ];
    assert_eq!(
        held_up(&seen(vec![group.clone()], 2)).unwrap(),
        "2 machines are starting"
    );
    // A failure that is no launch says nothing of launches.
    let mut other = activity("Failed", "InsufficientInstanceCapacity");
    other.description = "Terminating EC2 instance: i-1".to_owned();
    group.activities = vec![other];
    assert_eq!(
        held_up(&seen(vec![group], 2)).unwrap(),
        "2 machines are starting"
    );
}

#[test]
fn boots_that_failed_come_first_with_their_commonest_reason() {
    let mut seen = seen(vec![group(4, 1)], 0);
    seen.failed_boots = 3;
    seen.reasons = [
        "cannot fetch the bundle\nmore",
        "disk full",
        "cannot fetch the bundle",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(
        held_up(&seen).unwrap(),
        "3 machines could not get ready: cannot fetch the bundle"
    );
    seen.groups[0].is_suspended = true;
    assert_eq!(
        held_up(&seen).unwrap(),
        "3 machines could not get ready: cannot fetch the bundle; no more are launched"
    );
    seen.failed_boots = 1;
    seen.reasons.clear();
    assert_eq!(
        held_up(&seen).unwrap(),
        "1 machine could not get ready; no more are launched"
    );
    // They were replaced, and all are at work now.
    seen.agents = 4;
    assert_eq!(held_up(&seen), None);
}

#[test]
fn long_reasons_are_cut_between_characters() {
    let mut seen = seen(vec![group(1, 0)], 0);
    seen.failed_boots = 1;
    seen.reasons = vec!["ü".repeat(500)];
    let said = held_up(&seen).unwrap();
    assert!(said.ends_with("ü…") && said.chars().count() < 220);
}

#[test]
fn no_group_suspended_groups_and_groups_without_room_are_told_apart() {
    assert!(held_up(&seen(vec![], 0)).unwrap().contains("no group"));
    let mut stopped = group(4, 0);
    stopped.is_suspended = true;
    assert_eq!(
        held_up(&seen(vec![stopped], 0)).unwrap(),
        "no more machines are launched: launching is suspended in the group spawn-array-20260127-abc123-0"
    );
    assert!(
        held_up(&seen(vec![group(0, 0)], 0))
            .unwrap()
            .contains("room for no machine")
    );
}

#[test]
fn one_group_that_is_short_speaks_for_all() {
    let mut poor = group(2, 0);
    poor.is_spot = false;
    poor.activities = vec![activity("Failed", "InsufficientInstanceCapacity - none")];
    let said = held_up(&seen(vec![group(2, 2), poor], 2)).unwrap();
    assert!(
        said.starts_with("AWS has no c7i.large in eu-west-1 now"),
        "{said}"
    );
}

#[test]
fn zones_and_types_are_found_in_prose() {
    assert_eq!(zone_in("in (eu-west-1a)."), Some("eu-west-1a".to_owned()));
    assert_eq!(
        zone_in("us-gov-west-1b, or"),
        Some("us-gov-west-1b".to_owned())
    );
    for none in ["", "eu-west-1", "t-1a", "i-0abc", "re-try 1a", "two-1ab"] {
        assert_eq!(zone_in(none), None, "{none}");
    }
    assert_eq!(
        type_in("no u7i-12tb.224xlarge."),
        Some("u7i-12tb.224xlarge".to_owned())
    );
    for none in ["", "large", "example.com", "v1.2", "Zone.large"] {
        assert_eq!(type_in(none), None, "{none}");
    }
}
