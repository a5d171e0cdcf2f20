//! What would go wrong with a launch, and what to do about it, before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use spawn_core::moment::UnixMicros;
use spawn_spec::{Lane, OnComplete};

use crate::facts::{Facts, GivenRole, quota_of};
use crate::grants::{CALLER_ACTIONS, ROLE_ACTIONS};
use crate::kinds;
use crate::network;
use crate::plan::{MAX_USER_DATA, PlanError, Request, machines_of, memory_gib};
use crate::policy_documents::{MAX_INLINE, Place};
use crate::role_plan;

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

pub(crate) fn fatal(
    what: impl Into<String>,
    why: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding {
        what: what.into(),
        why: why.into(),
        fix: fix.into(),
        is_fatal: true,
    }
}

pub(crate) fn warning(
    what: impl Into<String>,
    why: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
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
    network::check(facts, &request.spec.ec2, &mut found);
    image(request, facts, &mut found);
    let mut seen: Vec<(Vec<&str>, bool)> = Vec::new();
    for lane in &lanes {
        let asked = (kinds::named(lane), lane.spot);
        if !seen.contains(&asked) {
            instance_types(request, facts, lane, &mut found);
            seen.push(asked);
        }
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
    let role = role_plan::of(place, request.spec);
    let size: usize = role.policies.iter().map(|(_, text)| text.len()).sum();
    if size > MAX_INLINE {
        found.push(fatal(
            "the grants do not fit a role",
            format!("they take {size} characters of {MAX_INLINE}"),
            "name fewer templates with `--iam-policy`, or put more into a managed policy",
        ));
    }
    for policy in &facts.missing_policies {
        found.push(fatal(
            format!("there is no managed policy `{policy}`"),
            "`--iam-managed-policies` takes ARNs, or names of AWS's own policies",
            "`aws iam list-policies --query 'Policies[*].Arn'` lists them",
        ));
    }
    if let Some(given) = facts.given_role.as_ref().filter(|_| role.is_given) {
        given_role(&role.name, given, found);
    }
}

/// What is in the way of using the user's own role.
fn given_role(name: &str, given: &GivenRole, found: &mut Vec<Finding>) {
    if !given.is_there {
        found.push(fatal(
            format!("there is no role `{name}`"),
            "`--iam-role` names a role that is there already",
            format!(
                "make it, or leave `--iam-role` out; `aws iam get-role --role-name {name}` looks"
            ),
        ));
        return;
    }
    if !given.trusts_ec2 {
        found.push(fatal(
            format!("machines cannot take the role `{name}`"),
            "its trust policy does not name ec2.amazonaws.com",
            format!("allow it with `aws iam update-assume-role-policy --role-name {name} ...`"),
        ));
    }
    if given.profile.is_none() {
        found.push(fatal(
            format!("no instance profile carries the role `{name}`"),
            "EC2 gives roles to machines by a profile",
            format!(
                "`aws iam create-instance-profile --instance-profile-name {name}`, then `aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name {name}`"
            ),
        ));
    }
    let lacks = |actions: &[&str]| -> Vec<String> {
        let denied = given.denied.iter();
        denied
            .filter(|d| actions.contains(&d.as_str()))
            .cloned()
            .collect()
    };
    let vital = lacks(&role_plan::VITAL);
    if vital.len() == role_plan::VITAL.len() {
        found.push(fatal(
            format!("the role `{name}` cannot serve"),
            format!(
                "the agent needs {}, and it has none of them",
                vital.join(", ")
            ),
            "give it the policy that docs/security.md shows",
        ));
        return;
    }
    let lacking = [vital, lacks(&role_plan::USEFUL)].concat();
    if !lacking.is_empty() {
        found.push(warning(
            format!("the role `{name}` may not be enough"),
            format!(
                "it seems to lack {}, which the agent uses",
                lacking.join(", ")
            ),
            "give it the policy that docs/security.md shows",
        ));
    }
}

/// What is wrong with the image that was asked for, and with the disk.
fn image(request: &Request<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    let asked = &request.spec.ec2;
    if let (Some(id), true) = (&asked.ami, facts.images.is_empty()) {
        found.push(fatal(
            format!(
                "there is no image `{id}` that can be used in {}",
                facts.region
            ),
            "it is of another region, is not shared with this account, or is not ready",
            format!("see `aws ec2 describe-images --image-ids {id}`; name another with `--ami`"),
        ));
    }
    let images = facts.images.values();
    let largest = images.max_by_key(|image| image.own_gib);
    if let (Some(gib), Some(image)) = (asked.volume_gib, largest)
        && gib < image.own_gib
    {
        found.push(fatal(
            format!("{gib} GiB are too little for image {}", image.id),
            format!("it takes {} GiB", image.own_gib),
            format!("give `--volume-size {}` or more", image.own_gib),
        ));
    }
}

fn instance_types(request: &Request<'_>, facts: &Facts, lane: &Lane, found: &mut Vec<Finding>) {
    let named = kinds::named(lane);
    let types = kinds::offered(lane, facts);
    let list = |names: &[&str]| format!("`{}`", names.join("`, `"));
    if types.is_empty() {
        found.push(fatal(
            format!("{} cannot be had in {}", list(&named), facts.region),
            "the region does not offer it in any zone",
            "name another `--instance-type` or `--region`",
        ));
        return;
    }
    for name in named.iter().filter(|name| !types.contains(name)) {
        found.push(warning(
            format!("`{name}` is left out"),
            format!("{} does not offer it in any zone", facts.region),
            "leave it out of `--instance-type`, or name another `--region`",
        ));
    }
    match kinds::kinds(lane, facts) {
        Err(PlanError::Architectures(which)) => found.push(fatal(
            "the types of a lane do not run one image",
            format!("they run different architectures: {which}"),
            "name types of one family, or give each its own tasks in a parameter file",
        )),
        // That the image is not there is said once.
        Err(_) if facts.images.is_empty() && request.spec.ec2.ami.is_some() => {}
        Err(_) => found.push(no_image(request, facts, types[0])),
        Ok(kinds) => {
            let image = &facts.images[&kinds.architecture];
            if image.architecture != kinds.architecture {
                found.push(fatal(
                    format!("image {} does not run on {}", image.id, list(&types)),
                    format!(
                        "it is for {}, and the type is {}",
                        image.architecture, kinds.architecture
                    ),
                    "name the image of the type's architecture",
                ));
            }
        }
    }
    for name in types
        .iter()
        .filter(|name| lane.spot && !facts.types[**name].has_spot)
    {
        found.push(fatal(
            format!("`{name}` cannot be had as spot capacity"),
            "AWS sells it on demand only",
            "leave out `--spot`, or name another type",
        ));
    }
    if request.spec.on_complete == OnComplete::Hibernate {
        hibernation(request, facts, &types, found);
    }
    zones(request, facts, lane, &types, found);
}

/// A machine that is to sleep must be able to, and have room for its memory on its disk.
fn hibernation(request: &Request<'_>, facts: &Facts, types: &[&str], found: &mut Vec<Finding>) {
    for name in types {
        if !facts.types[*name].hibernates {
            found.push(fatal(
                format!("`{name}` cannot hibernate"),
                "AWS offers it for some types only",
                "name another `--instance-type`, or launch with `--on-complete stop`",
            ));
        }
        let memory = memory_gib(facts, name);
        let own = facts.images.values().map(|image| image.own_gib).max();
        let least = own.unwrap_or_default() + memory;
        if request.spec.ec2.volume_gib.is_some_and(|gib| gib < least) {
            found.push(fatal(
                format!("the disk is too small for `{name}` to hibernate"),
                format!("its memory of {memory} GiB goes onto the disk, beside the image"),
                format!("give `--volume-size {least}` or more, or leave it out"),
            ));
        }
    }
}

fn no_image(request: &Request<'_>, facts: &Facts, name: &str) -> Finding {
    let have: Vec<&str> = facts.images.keys().map(String::as_str).collect();
    let have = match have.is_empty() {
        true => "nothing".to_owned(),
        false => have.join(", "),
    };
    fatal(
        format!("there is no image for `{name}`"),
        format!(
            "it runs {}, and there are images for {have}",
            facts.types[name].architectures.join(", ")
        ),
        match request.spec.ec2.ami {
            Some(_) => "name a type that runs the image of `--ami`, or leave the image out",
            None => "name a type of another family",
        },
    )
}

fn zones(
    request: &Request<'_>,
    facts: &Facts,
    lane: &Lane,
    types: &[&str],
    found: &mut Vec<Finding>,
) {
    let usable = network::usable(facts, &request.spec.ec2);
    let ours: BTreeSet<&str> = usable.iter().map(|s| s.zone.as_str()).collect();
    let zones: BTreeSet<&str> = types
        .iter()
        .flat_map(|name| &facts.offered[*name])
        .map(String::as_str)
        .collect();
    let shared = zones.intersection(&ours).count();
    let names = types.join("`, `");
    let list = zones.into_iter().collect::<Vec<_>>().join(", ");
    if shared == 0 && !ours.is_empty() {
        found.push(fatal(
            format!("no subnet is where `{names}` is"),
            format!("it is offered in {list}"),
            "make a subnet in one of these zones, or name another type",
        ));
    } else if shared == 1 && lane.spot {
        found.push(warning(
            format!("`{names}` comes from one zone only"),
            format!("it is offered in {list}; spot capacity of one zone is lost together"),
            "name a type that more zones offer",
        ));
    }
}

/// How many machines of a lane are on demand, and how many are spot capacity.
fn parts(request: &Request<'_>, lane: &Lane, machines: u32) -> [(bool, u32); 2] {
    let on_demand = match lane.spot {
        true => request.spec.ec2.on_demand_base.min(machines),
        false => machines,
    };
    [(false, on_demand), (true, machines - on_demand)]
}

fn quotas(request: &Request<'_>, facts: &Facts, lanes: &[Lane], found: &mut Vec<Finding>) {
    let mut wanted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut smallest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut addresses: u64 = 0;
    for (lane, machines) in lanes.iter().zip(machines_of(request.spec, lanes)) {
        addresses += u64::from(machines);
        for (spot, machines) in parts(request, lane, machines) {
            if machines == 0 {
                continue;
            }
            for (quota, vcpus) in kinds::largest(lane, facts, |name| quota_of(name, spot)) {
                *wanted.entry(quota).or_default() += u64::from(machines) * u64::from(vcpus);
            }
            for name in kinds::offered(lane, facts) {
                if let Some((code, _)) = quota_of(name, spot) {
                    let vcpus = u64::from(facts.types[name].vcpus);
                    let least = smallest.entry(code).or_insert(vcpus);
                    *least = vcpus.min(*least);
                }
            }
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
        let why = format!(
            "{wanted} vCPUs are wanted and {left} are left of {} (`{name}`)",
            quota.limit
        );
        let fix = format!(
            "use fewer `--workers`, or ask for more: `aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} --desired-value {}`",
            wanted + u64::from(quota.used)
        );
        // A group starts what it can and tries for the rest.
        found.push(match smallest.get(code).is_some_and(|one| *one <= left) {
            true => warning("not all machines can run at once", why, fix),
            false => fatal("no machine can be started", why, fix),
        });
    }
    let subnets = network::usable(facts, &request.spec.ec2);
    let free: u64 = subnets.iter().map(|s| u64::from(s.free_addresses)).sum();
    if free < addresses && !subnets.is_empty() {
        found.push(warning(
            "not all machines can run at once",
            format!("{addresses} addresses are wanted and the subnets have {free} left"),
            "use fewer `--workers`, or larger subnets",
        ));
    }
}

fn grants(facts: &Facts, found: &mut Vec<Finding>) {
    let needed = CALLER_ACTIONS
        .iter()
        .chain(match facts.has_role || facts.given_role.is_some() {
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
