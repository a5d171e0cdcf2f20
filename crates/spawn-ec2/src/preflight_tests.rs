use serde_json::json;
use spawn_spec::LaunchSpec;

use super::*;
use crate::facts::{GroupFacts, QuotaFacts};
use crate::plan::plan;
use crate::plan::tests::{facts, spec, with_request};

const NOW: UnixMicros = UnixMicros(1_769_515_201_000_000);

/// What is found; holds that the plan agrees on whether the launch can work.
fn found(spec: &LaunchSpec, facts: &Facts) -> Vec<Finding> {
    let user_data = vec!["#!/bin/sh"; spec.all_lanes().len()];
    with_request(spec, &user_data, |request| {
        let found = preflight(request, facts, NOW);
        if found.iter().all(|f| !f.is_fatal) {
            plan(request, facts).unwrap();
        }
        for finding in &found {
            assert!(!finding.why.is_empty() && !finding.fix.is_empty());
        }
        found
    })
}

/// The one finding's text, and whether it is fatal.
fn one(fields: serde_json::Value, facts: &Facts) -> (String, bool) {
    let found = found(&spec(fields), facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    (found[0].to_string(), found[0].is_fatal)
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(found(&spec(json!({})), &facts()), []);
}

#[test]
fn without_credentials_nothing_else_is_said() {
    let (text, is_fatal) = one(json!({}), &Facts::default());
    assert!(is_fatal && text.contains("aws configure"), "{text}");
}

#[test]
fn a_region_that_is_none_is_said() {
    let nowhere = Facts {
        partition: String::new(),
        region: "eu-west-9".to_owned(),
        ..facts()
    };
    let (text, is_fatal) = one(json!({}), &nowhere);
    assert!(is_fatal && text.contains("`eu-west-9`"), "{text}");
}

#[test]
fn types_are_checked() {
    let (text, is_fatal) = one(json!({ "instance_type": "p5.48xlarge" }), &facts());
    assert!(is_fatal && text.starts_with("`p5.48xlarge` cannot be had"));

    let mut some = facts();
    some.images.remove("arm64");
    let (text, is_fatal) = one(json!({ "instance_type": "m7g.large" }), &some);
    assert!(is_fatal && text.contains("it runs arm64, and there are images for x86_64"));

    let mut some = facts();
    some.images.get_mut("x86_64").unwrap().architecture = "arm64".to_owned();
    let (text, is_fatal) = one(json!({}), &some);
    assert!(is_fatal && text.contains("does not run on `c7i.large`"));

    let mut some = facts();
    some.types.get_mut("c7i.large").unwrap().has_spot = false;
    let (text, is_fatal) = one(json!({ "spot": true }), &some);
    assert!(is_fatal && text.contains("on demand only"));

    let mut some = facts();
    some.subnets.retain(|s| s.zone == "eu-west-1c");
    let (text, is_fatal) = one(json!({}), &some);
    assert!(is_fatal && text.contains("it is offered in eu-west-1a, eu-west-1b"));

    let mut some = facts();
    some.subnets.retain(|s| s.zone == "eu-west-1a");
    let (text, is_fatal) = one(json!({ "spot": true }), &some);
    assert!(!is_fatal && text.contains("one zone only"));
    assert_eq!(found(&spec(json!({})), &some), []);
}

#[test]
fn several_types_are_checked_together() {
    let (text, is_fatal) = one(json!({ "other_types": ["m7g.large"] }), &facts());
    assert!(is_fatal && text.contains("c7i.large (x86_64), m7g.large (arm64)"));
    let (text, is_fatal) = one(json!({ "other_types": ["p5.48xlarge"] }), &facts());
    assert!(!is_fatal && text.starts_with("`p5.48xlarge` is left out"));
}

#[test]
fn the_part_on_demand_counts_against_its_own_quota() {
    let mut some = facts();
    let quota = |limit| QuotaFacts { limit, used: 0 };
    some.quotas.insert("L-1216C47A".to_owned(), quota(8.0));
    some.quotas.insert("L-34B43A08".to_owned(), quota(12.0));
    let asked = |base| json!({ "spot": true, "workers": 10, "ec2": { "on_demand_base": base } });
    assert_eq!(found(&spec(asked(4)), &some), []);
    assert!(one(asked(5), &some).0.contains("10 vCPUs are wanted and 8"));
    assert!(
        one(asked(3), &some)
            .0
            .contains("14 vCPUs are wanted and 12")
    );
}

#[test]
fn a_quota_that_is_short_is_a_warning_and_one_that_is_used_up_is_fatal() {
    let with = |code: &str, limit: f64, used: u32| {
        let mut some = facts();
        some.quotas
            .insert(code.to_owned(), QuotaFacts { limit, used });
        some
    };
    assert_eq!(found(&spec(json!({})), &with("L-1216C47A", 200.0, 0)), []);
    let (text, is_fatal) = one(json!({}), &with("L-1216C47A", 200.0, 1));
    assert!(!is_fatal, "{text}");
    assert!(text.contains("200 vCPUs are wanted and 199 are left of 200"));
    assert!(text.contains("--quota-code L-1216C47A --desired-value 201"));
    let (text, is_fatal) = one(json!({}), &with("L-1216C47A", 5.0, 4));
    assert!(is_fatal && text.starts_with("no machine can be started"));
    // More in use than allowed, as after a quota was lowered.
    let (_, is_fatal) = one(json!({}), &with("L-1216C47A", 5.0, 40));
    assert!(is_fatal);
    // Spot capacity counts against a quota of its own.
    let spot = json!({ "spot": true });
    assert_eq!(found(&spec(spot.clone()), &with("L-1216C47A", 0.0, 0)), []);
    assert!(one(spot, &with("L-34B43A08", 0.0, 0)).1);
}

#[test]
fn networks_are_checked() {
    let mut some = facts();
    some.subnets.clear();
    assert!(one(json!({}), &some).0.contains("create-default-vpc"));
    let mut some = facts();
    some.security_group = None;
    assert!(one(json!({}), &some).1);
    let mut some = facts();
    some.subnets.iter_mut().for_each(|s| s.is_public = false);
    let (text, is_fatal) = one(json!({}), &some);
    assert!(!is_fatal && text.contains("NAT"));
    let mut some = facts();
    some.subnets.iter_mut().for_each(|s| s.free_addresses = 10);
    let (text, is_fatal) = one(json!({}), &some);
    assert!(!is_fatal && text.contains("100 addresses are wanted and the subnets have 30 left"));
}

#[test]
fn subnets_that_were_asked_for_are_checked() {
    let asked = |value: serde_json::Value| json!({ "ec2": value });
    let here = "subnet-eu-west-1a";
    let fine = asked(json!({ "vpc": "vpc-1", "subnets": [here], "zones": ["eu-west-1a"] }));
    assert_eq!(found(&spec(fine), &facts()), []);
    for (value, what) in [
        (json!({ "subnets": ["subnet-x"] }), "no subnet `subnet-x`"),
        (
            json!({ "vpc": "vpc-2", "subnets": [here] }),
            "is not in `vpc-2`",
        ),
        (
            json!({ "zones": ["eu-west-1z"] }),
            "no subnet is in eu-west-1z",
        ),
        (
            json!({ "zones": ["eu-west-1c"] }),
            "no subnet is where `c7i.large` is",
        ),
    ] {
        let (text, is_fatal) = one(asked(value), &facts());
        assert!(is_fatal && text.contains(what), "{text}");
    }
    let mut some = facts();
    some.subnets[1].vpc = "vpc-2".to_owned();
    let (text, is_fatal) = one(json!({}), &some);
    assert!(is_fatal && text.contains("vpc-1, vpc-2"), "{text}");
    some.subnets.clear();
    let (text, is_fatal) = one(asked(json!({ "vpc": "vpc-9" })), &some);
    assert!(is_fatal && text.contains("describe-vpcs"), "{text}");
}

#[test]
fn security_groups_that_were_asked_for_are_checked() {
    let asked = json!({ "ec2": { "security_groups": ["sg-a"] } });
    let with = |vpc: &str, is_open: bool| {
        let mut some = facts();
        some.vpc = Some("vpc-1".to_owned());
        some.security_groups = vec!["sg-a".to_owned()];
        let group = GroupFacts {
            vpc: vpc.to_owned(),
            is_open,
        };
        some.group_facts.insert("sg-a".to_owned(), group);
        some
    };
    assert_eq!(found(&spec(asked.clone()), &with("vpc-1", false)), []);
    let (text, is_fatal) = one(asked.clone(), &with("vpc-1", true));
    assert!(!is_fatal && text.contains("the whole internet"), "{text}");
    let (text, is_fatal) = one(asked.clone(), &with("vpc-2", false));
    assert!(is_fatal && text.contains("it is in vpc-2"), "{text}");
    let mut none = with("vpc-1", false);
    none.group_facts.clear();
    let (text, is_fatal) = one(asked, &none);
    assert!(
        is_fatal && text.contains("no security group `sg-a`"),
        "{text}"
    );
    // One of our own that is missing is made.
    let mut ours = facts();
    ours.security_group = None;
    ours.vpc = Some("vpc-1".to_owned());
    let launch = spec(json!({}));
    with_request(&launch, &["#!"], |r| {
        assert_eq!(preflight(r, &ours, NOW), [])
    });
}

#[test]
fn an_image_that_was_asked_for_is_checked() {
    let asked = json!({ "ec2": { "ami": "ami-9" } });
    let mut some = facts();
    some.images.remove("x86_64");
    let (text, is_fatal) = one(asked.clone(), &some);
    assert!(is_fatal && text.contains("runs x86_64, and there are images for arm64"));
    some.images.clear();
    let (text, is_fatal) = one(asked, &some);
    assert!(
        is_fatal && text.starts_with("there is no image `ami-9`"),
        "{text}"
    );
    let small = |gib| json!({ "ec2": { "volume_gib": gib } });
    assert_eq!(found(&spec(small(8)), &facts()), []);
    let (text, is_fatal) = one(small(7), &facts());
    assert!(is_fatal && text.contains("--volume-size 8"), "{text}");
}

#[test]
fn grants_that_are_lacking_are_named() {
    let mut some = facts();
    some.denied = vec!["iam:PassRole".to_owned(), "iam:CreateRole".to_owned()];
    let (text, is_fatal) = one(json!({}), &some);
    assert!(!is_fatal && text.contains("lack iam:PassRole;"), "{text}");
    some.has_role = false;
    let (text, _) = one(json!({}), &some);
    assert!(text.contains("iam:PassRole, iam:CreateRole"), "{text}");
}

#[test]
fn what_the_launch_itself_asks_is_checked() {
    assert!(one(json!({ "on_complete": "stop", "spot": true }), &facts()).1);
    assert!(found(&spec(json!({ "on_complete": "stop" })), &facts()).is_empty());
    assert!(one(json!({ "ttl_ms": 100 }), &facts()).0.contains("--ttl"));
    let launch = spec(json!({}));
    let found = with_request(&launch, &[], |r| preflight(r, &facts(), NOW));
    assert!(found[0].why.contains("there are 0"));
}

#[test]
fn the_worst_comes_first() {
    let mut some = facts();
    some.subnets.iter_mut().for_each(|s| s.is_public = false);
    let found = found(&spec(json!({ "ttl_ms": 100 })), &some);
    assert_eq!(
        found.iter().map(|f| f.is_fatal).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn actions_are_listed_once_and_sorted() {
    assert!(CALLER_ACTIONS.is_sorted() && ROLE_ACTIONS.is_sorted());
}

#[test]
fn managed_policies_and_the_users_role_are_looked_at() {
    let mut some = facts();
    some.missing_policies = vec!["arn:aws:iam::aws:policy/Nope".to_owned()];
    let (text, is_fatal) = one(json!({ "ec2": { "managed_policies": ["Nope"] } }), &some);
    assert!(is_fatal && text.contains("policy/Nope"), "{text}");

    let given = |given: GivenRole| Facts {
        given_role: Some(given),
        ..facts()
    };
    let role = json!({ "ec2": { "role": "mine" } });
    let good = GivenRole {
        is_there: true,
        trusts_ec2: true,
        profile: Some("mine".to_owned()),
        denied: Vec::new(),
    };
    assert!(found(&spec(role.clone()), &given(good.clone())).is_empty());
    for (wrong, says) in [
        (GivenRole::default(), "there is no role `mine`"),
        (
            GivenRole {
                trusts_ec2: false,
                ..good.clone()
            },
            "update-assume-role-policy",
        ),
        (
            GivenRole {
                profile: None,
                ..good.clone()
            },
            "create-instance-profile",
        ),
        (
            GivenRole {
                denied: crate::role_plan::VITAL.map(str::to_owned).into(),
                ..good.clone()
            },
            "cannot serve",
        ),
    ] {
        let (text, is_fatal) = one(role.clone(), &given(wrong));
        assert!(is_fatal && text.contains(says), "{text}");
    }
    let lacking = GivenRole {
        denied: vec!["s3:ListBucket".to_owned()],
        ..good
    };
    let (text, is_fatal) = one(role, &given(lacking));
    assert!(!is_fatal && text.contains("s3:ListBucket"), "{text}");
}

#[test]
fn machines_that_are_to_sleep_can_and_have_room_for_it() {
    let hibernate =
        |gib: Option<u32>| json!({ "on_complete": "hibernate", "ec2": { "volume_gib": gib } });
    assert!(found(&spec(hibernate(None)), &facts()).is_empty());
    let plan = |gib| {
        let spec = spec(hibernate(gib));
        with_request(&spec, &["#"], |request| plan(request, &facts()).unwrap())
    };
    // 4 GiB of memory beside 8 of the image.
    assert_eq!(plan(None).lanes[0].disk_gib, 12);
    assert_eq!(plan(Some(20)).lanes[0].disk_gib, 20);
    let mut some = facts();
    some.images.values_mut().for_each(|image| image.own_gib = 8);
    let (text, is_fatal) = one(hibernate(Some(11)), &some);
    assert!(is_fatal && text.contains("--volume-size 12"), "{text}");
    some.types.get_mut("c7i.large").unwrap().hibernates = false;
    let (text, is_fatal) = one(hibernate(None), &some);
    assert!(is_fatal && text.contains("--on-complete stop"), "{text}");
}
