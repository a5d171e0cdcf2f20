//! Where machines are put: subnets and security groups, those that were asked for or the account's.

use std::collections::BTreeSet;

use spawn_spec::Ec2Choices;

use crate::facts::{Facts, SubnetFacts};
use crate::preflight::{Finding, fatal, warning};

/// The subnets that machines may be put into.
pub(crate) fn usable<'a>(facts: &'a Facts, asked: &Ec2Choices) -> Vec<&'a SubnetFacts> {
    let is_asked = |s: &&SubnetFacts| asked.zones.is_empty() || asked.zones.contains(&s.zone);
    facts.subnets.iter().filter(is_asked).collect()
}

/// The security groups of the machines: those asked for, or the one without inbound rules.
pub(crate) fn security_groups(facts: &Facts) -> Vec<String> {
    match facts.security_groups.is_empty() {
        true => facts.security_group.iter().cloned().collect(),
        false => facts.security_groups.clone(),
    }
}

/// What is wrong with the network.
pub(crate) fn check(facts: &Facts, asked: &Ec2Choices, found: &mut Vec<Finding>) {
    subnets(facts, asked, found);
    groups(facts, asked, found);
}

fn subnets(facts: &Facts, asked: &Ec2Choices, found: &mut Vec<Finding>) {
    let region = &facts.region;
    let is_there = |id: &&String| facts.subnets.iter().any(|s| s.id == **id);
    let missing: Vec<&String> = asked.subnets.iter().filter(|id| !is_there(id)).collect();
    for id in &missing {
        found.push(fatal(
            format!("there is no subnet `{id}` that can be used in {region}"),
            "it is of another region or account, or is not available",
            format!(
                "`aws ec2 describe-subnets --region {region}` lists them; name one with `--subnet`"
            ),
        ));
    }
    for subnet in facts
        .subnets
        .iter()
        .filter(|s| asked.subnets.contains(&s.id))
    {
        if let Some(vpc) = asked.vpc.as_ref().filter(|vpc| **vpc != subnet.vpc) {
            found.push(fatal(
                format!("subnet `{}` is not in `{vpc}`", subnet.id),
                format!("it is in {}", subnet.vpc),
                format!("leave out `--vpc`, or name subnets of it: `aws ec2 describe-subnets --filters Name=vpc-id,Values={vpc}`"),
            ));
        }
    }
    let vpcs: BTreeSet<&str> = facts.subnets.iter().map(|s| s.vpc.as_str()).collect();
    if vpcs.len() > 1 {
        let list: Vec<&str> = vpcs.into_iter().collect();
        found.push(fatal(
            "the subnets are of several networks",
            format!(
                "they are in {}, and a group of machines is in one",
                list.join(", ")
            ),
            "name subnets of one network with `--subnet`",
        ));
    }
    let usable = usable(facts, asked);
    if facts.subnets.is_empty() && missing.is_empty() {
        found.push(match &asked.vpc {
            Some(vpc) => fatal(
                format!("there is no subnet in `{vpc}`"),
                format!("{region} has no such network, or it has no subnet"),
                format!(
                    "`aws ec2 describe-vpcs --region {region}` lists them; name one with `--vpc`"
                ),
            ),
            None => fatal(
                format!("there is no subnet in {region}"),
                "the account has no default network there",
                "make one with `aws ec2 create-default-vpc`, or name another `--region`",
            ),
        });
    } else if usable.is_empty() && !facts.subnets.is_empty() {
        let have: BTreeSet<&str> = facts.subnets.iter().map(|s| s.zone.as_str()).collect();
        let have: Vec<&str> = have.into_iter().collect();
        found.push(fatal(
            format!("no subnet is in {}", asked.zones.join(", ")),
            format!("there are subnets in {}", have.join(", ")),
            "name one of these zones with `--az`, or make a subnet: `aws ec2 create-subnet`",
        ));
    } else if !usable.is_empty() && usable.iter().all(|s| !s.is_public) {
        found.push(warning(
            "the machines may not reach AWS",
            "no subnet gives them a public address",
            "see that the subnets have a NAT gateway, or use public ones",
        ));
    }
}

fn groups(facts: &Facts, asked: &Ec2Choices, found: &mut Vec<Finding>) {
    for id in &asked.security_groups {
        let Some(group) = facts.group_facts.get(id) else {
            found.push(fatal(
                format!("there is no security group `{id}` in {}", facts.region),
                "it is of another region or account, or was deleted",
                "`aws ec2 describe-security-groups` lists them; name one with `--security-group`",
            ));
            continue;
        };
        if let Some(vpc) = facts.vpc.as_ref().filter(|vpc| **vpc != group.vpc) {
            found.push(fatal(
                format!("security group `{id}` is not in the machines' network"),
                format!("it is in {}, and the subnets are in {vpc}", group.vpc),
                format!("name one of that network: `aws ec2 describe-security-groups --filters Name=vpc-id,Values={vpc}`"),
            ));
        }
        if group.is_open {
            found.push(warning(
                format!("security group `{id}` lets the whole internet in"),
                "it has inbound rules for every address",
                format!("the machines need none; `aws ec2 describe-security-groups --group-ids {id}` shows them"),
            ));
        }
    }
    if facts.security_group.is_none() && facts.vpc.is_none() && asked.security_groups.is_empty() {
        found.push(fatal(
            "there is no security group for the machines",
            "one without inbound rules is needed, and the network's default lets its own members in",
            "make one with `aws ec2 create-security-group`",
        ));
    }
}
