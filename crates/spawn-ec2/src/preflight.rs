//! What would go wrong with a launch, and what to do about it, before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use spawn_core::moment::UnixMicros;
use spawn_spec::{Lane, OnComplete};

use crate::facts::{Facts, quota_of};
use crate::grants::{CALLER_ACTIONS, ROLE_ACTIONS};
use crate::plan::{MAX_USER_DATA, Request, machines_of, type_of};
use crate::policy_documents::{self, MAX_INLINE, Place};

/// Something that is in the way, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What will not work.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do, as a command where there is one.
    pub fix: String,
    /// The launch cannot work; otherwise it can, with less than was asked.
    pub is_fatal: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.fix)
    }
}

fn fatal(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        why: why.into(),
        fix: fix.into(),
        is_fatal: true,
    }
}

fn warning(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        is_fatal: false,
        ..fatal(what, why, fix)
    }
}

/// Everything that is in the way of a launch, the worst first. Without fatal ones,
/// [`crate::plan::plan`] gives a plan.
pub fn preflight(request: &Request<'_>, facts: &Facts, now: UnixMicros) -> Vec<Finding> {
    if facts.account.is_empty() {
        return vec![fatal(
            "nobody is signed in to AWS",
            "no credentials were found, or AWS does not know them",
            "sign in with `aws configure` or `aws sso login`, then `aws sts get-caller-identity`",
        )];
    }
    if facts.partition.is_empty() {
        return vec![fatal(
            format!("`{}` is not a region that can be used", facts.region),
            "its name is not known, or the account has not opted in",
            "name another with `--region`; `aws ec2 describe-regions` lists them",
        )];
    }
    let lanes = request.spec.all_lanes();
    let mut found = Vec::new();
    specification(request, facts, now, &lanes, &mut found);
    network(facts, &mut found);
    let kinds: BTreeSet<(&str, bool)> = lanes.iter().map(|l| (type_of(l), l.spot)).collect();
    for (name, spot) in kinds {
        instance_type(facts, name, spot, &mut found);
    }
    quotas(request, facts, &lanes, &mut found);
    grants(facts, &mut found);
    found.sort_by_key(|finding| !finding.is_fatal);
    found
}

fn specification(
    request: &Request<'_>,
    facts: &Facts,
    now: UnixMicros,
    lanes: &[Lane],
    found: &mut Vec<Finding>,
) {
    if request.spec.on_complete != OnComplete::Terminate && lanes.iter().any(|lane| lane.spot) {
        found.push(fatal(
            "spot machines cannot outlive their tasks",
            "AWS takes them away, and they cannot be switched off",
            "leave out `--spot`, or launch with `--on-complete terminate`",
        ));
    }
    if request.spec.on_complete != OnComplete::Terminate
        && lanes.iter().any(|lane| !lane.other_types.is_empty())
    {
        found.push(fatal(
            "machines that outlive their tasks are of one type",
            "they are started once and in no group, which could choose",
            "name one `--instance-type`, or launch with `--on-complete terminate`",
        ));
    }
    for (number, lane) in lanes.iter().enumerate() {
        let size = request.user_data.get(number).map_or(0, String::len);
        if size == 0 || size > MAX_USER_DATA {
            found.push(fatal(
                format!("the machines of lane {number} cannot be told what to run"),
                format!("EC2 takes 1 to {MAX_USER_DATA} bytes of user data, and there are {size}"),
                "move what is large into a shipped file",
            ));
        }
        if request.launched.plus_millis(lane.ttl_ms) <= now {
            found.push(fatal(
                format!("the time of lane {number} is over before it begins"),
                format!("its TTL of {} ms counts from the launch", lane.ttl_ms),
                "give a longer `--ttl`, and see that this machine's clock is right",
            ));
        }
    }
    let place = Place {
        partition: &facts.partition,
        account: &facts.account,
        region: &facts.region,
    };
    let (_, policies) = policy_documents::role(place, &request.spec.iam_policies);
    let size: usize = policies.iter().map(|(_, text)| text.len()).sum();
    if size > MAX_INLINE {
        found.push(fatal(
            "the grants do not fit a role",
            format!("they take {size} characters of {MAX_INLINE}"),
            "name fewer templates with `--iam-policy`",
        ));
    }
}

fn network(facts: &Facts, found: &mut Vec<Finding>) {
    if facts.subnets.is_empty() {
        found.push(fatal(
            format!("there is no subnet in {}", facts.region),
            "the account has no default network there",
            "make one with `aws ec2 create-default-vpc`, or name another `--region`",
        ));
    } else if facts.subnets.iter().all(|s| !s.is_public) {
        found.push(warning(
            "the machines may not reach AWS",
            "no subnet gives them a public address",
            "see that the subnets have a NAT gateway, or use public ones",
        ));
    }
    if facts.security_group.is_none() && facts.vpc.is_none() {
        found.push(fatal(
            "there is no security group for the machines",
            "one without inbound rules is needed, and the network's default lets its own members in",
            "make one with `aws ec2 create-security-group`",
        ));
    }
}

fn instance_type(facts: &Facts, name: &str, spot: bool, found: &mut Vec<Finding>) {
    let zones = facts.offered.get(name).filter(|zones| !zones.is_empty());
    let (Some(kind), Some(zones)) = (facts.types.get(name), zones) else {
        found.push(fatal(
            format!("`{name}` cannot be had in {}", facts.region),
            "the region does not offer it in any zone",
            "name another `--instance-type` or `--region`",
        ));
        return;
    };
    let image = kind
        .architectures
        .iter()
        .any(|a| facts.images.contains_key(a));
    if !image {
        let have: Vec<&str> = facts.images.keys().map(String::as_str).collect();
        found.push(fatal(
            format!("there is no image for `{name}`"),
            format!(
                "it runs {}, and there are images for {}",
                kind.architectures.join(", "),
                if have.is_empty() {
                    "nothing".to_owned()
                } else {
                    have.join(", ")
                }
            ),
            "name a type of another family",
        ));
    }
    let mismatched = kind
        .architectures
        .iter()
        .filter_map(|a| Some((a, facts.images.get(a)?)))
        .find(|(architecture, image)| **architecture != image.architecture);
    if let Some((architecture, image)) = mismatched {
        found.push(fatal(
            format!("image {} does not run on `{name}`", image.id),
            format!(
                "it is for {}, and the type is {architecture}",
                image.architecture
            ),
            "name the image of the type's architecture",
        ));
    }
    if spot && !kind.has_spot {
        found.push(fatal(
            format!("`{name}` cannot be had as spot capacity"),
            "AWS sells it on demand only",
            "leave out `--spot`, or name another type",
        ));
    }
    let ours: BTreeSet<&str> = facts.subnets.iter().map(|s| s.zone.as_str()).collect();
    let shared = zones
        .iter()
        .filter(|zone| ours.contains(zone.as_str()))
        .count();
    let list = zones
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if shared == 0 && !ours.is_empty() {
        found.push(fatal(
            format!("no subnet is where `{name}` is"),
            format!("it is offered in {list}"),
            "make a subnet in one of these zones, or name another type",
        ));
    } else if shared == 1 && spot {
        found.push(warning(
            format!("`{name}` comes from one zone only"),
            format!("it is offered in {list}; spot capacity of one zone is lost together"),
            "name a type that more zones offer",
        ));
    }
}

fn quotas(request: &Request<'_>, facts: &Facts, lanes: &[Lane], found: &mut Vec<Finding>) {
    let mut wanted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut addresses: u64 = 0;
    for (lane, machines) in lanes.iter().zip(machines_of(request.spec, lanes)) {
        addresses += u64::from(machines);
        let name = type_of(lane);
        if let (Some(quota), Some(kind)) = (quota_of(name, lane.spot), facts.types.get(name)) {
            *wanted.entry(quota).or_default() += u64::from(machines) * u64::from(kind.vcpus);
        }
    }
    for ((code, name), wanted) in wanted {
        let Some(quota) = facts.quotas.get(code) else {
            continue;
        };
        let left = (quota.limit - f64::from(quota.used)).max(0.0) as u64;
        if wanted <= left {
            continue;
        }
        let smallest = lanes
            .iter()
            .filter(|l| quota_of(type_of(l), l.spot).is_some_and(|q| q.0 == code))
            .filter_map(|l| Some(u64::from(facts.types.get(type_of(l))?.vcpus)))
            .min();
        let why = format!(
            "{wanted} vCPUs are wanted and {left} are left of {} (`{name}`)",
            quota.limit
        );
        let fix = format!(
            "use fewer `--workers`, or ask for more: `aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} --desired-value {}`",
            wanted + u64::from(quota.used)
        );
        // A group starts what it can and tries for the rest.
        found.push(match smallest.is_some_and(|one| one <= left) {
            true => warning("not all machines can run at once", why, fix),
            false => fatal("no machine can be started", why, fix),
        });
    }
    let free: u64 = facts
        .subnets
        .iter()
        .map(|s| u64::from(s.free_addresses))
        .sum();
    if free < addresses && !facts.subnets.is_empty() {
        found.push(warning(
            "not all machines can run at once",
            format!("{addresses} addresses are wanted and the subnets have {free} left"),
            "use fewer `--workers`, or larger subnets",
        ));
    }
}

fn grants(facts: &Facts, found: &mut Vec<Finding>) {
    let needed = CALLER_ACTIONS.iter().chain(match facts.has_role {
        true => &[][..],
        false => &ROLE_ACTIONS[..],
    });
    let lacking: Vec<&str> = needed
        .copied()
        .filter(|action| facts.denied.iter().any(|denied| denied == action))
        .collect();
    if !lacking.is_empty() {
        // No more than a warning: grants for some resources look like none when asked for all.
        found.push(warning(
            "you may not be allowed to launch in this account",
            format!("your credentials seem to lack {}", lacking.join(", ")),
            "ask the account's administrator for these actions",
        ));
    }
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
