//! Why nothing is started for an array, in one line that its user understands.

use std::collections::BTreeMap;

use spawn_aws::services::autoscaling::Activity;

/// One group of machines, and who serves its lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSeen {
    /// Its name.
    pub name: String,
    /// How many machines it wants.
    pub desired: u32,
    /// Machines that it has and that are not on their way out.
    pub machines: u32,
    /// It launches nothing at present.
    pub is_suspended: bool,
    /// It is of spot machines.
    pub is_spot: bool,
    /// The type that is started first, if it is known.
    pub kind: Option<String>,
    /// What it did last, newest first.
    pub activities: Vec<Activity>,
}

/// What is seen of an array that has tasks which wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its groups, those that are being deleted left out.
    pub groups: Vec<GroupSeen>,
    /// Machines that it was launched with in no group; nothing where it has groups.
    pub standing: Option<u32>,
    /// Agents that have not ended.
    pub agents: u32,
    /// Machines that wrote down that they could not get ready.
    pub failed_boots: u32,
    /// What some of them wrote.
    pub reasons: Vec<String>,
    /// The region, for where a message names no zone.
    pub region: String,
}

/// The longest reason that is quoted, in characters.
const REASON: usize = 160;

/// Why nothing more is started; nothing if there is no reason to name.
pub fn held_up(seen: &Seen) -> Option<String> {
    if let Some(machines) = seen.standing {
        let missing = machines.saturating_sub(seen.agents);
        return (missing > 0).then(|| {
            format!("{} of {machines} machines are at work; the others are starting, or were lost and are not replaced", seen.agents)
        });
    }
    let Some(first) = seen.groups.first() else {
        return Some(
            "no group starts machines for it: its launch was cut off, or its time is over"
                .to_owned(),
        );
    };
    let machines: u32 = seen.groups.iter().map(|g| g.machines).sum();
    let desired: u32 = seen.groups.iter().map(|g| g.desired).sum();
    if seen.agents >= desired.max(machines) && seen.agents > 0 {
        // Everything that was asked for is at work.
        return None;
    }
    let suspended = seen.groups.iter().find(|g| g.is_suspended);
    if seen.failed_boots > 0 {
        let stop = suspended.map_or("", |_| "; no more are launched");
        return Some(format!("{}{stop}", failed_boots(seen)));
    }
    let short = seen.groups.iter().filter(|g| g.machines < g.desired);
    if let Some(why) = short
        .filter(|g| !g.is_suspended)
        .find_map(|g| why_short(g, &seen.region))
    {
        return Some(why);
    }
    if let Some(group) = suspended {
        return Some(format!(
            "no more machines are launched: launching is suspended in the group {}",
            group.name
        ));
    }
    let starting = machines.max(desired).saturating_sub(seen.agents);
    match (starting, seen.agents) {
        (0, 0) => Some(format!(
            "the group {} has room for no machine: they have left, or their time is over",
            first.name
        )),
        (0, _) => None,
        (1, _) => Some("1 machine is starting".to_owned()),
        (n, _) => Some(format!("{n} machines are starting")),
    }
}

fn failed_boots(seen: &Seen) -> String {
    let machines = match seen.failed_boots {
        1 => "1 machine".to_owned(),
        n => format!("{n} machines"),
    };
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in &seen.reasons {
        let line = reason.lines().find(|line| !line.trim().is_empty());
        if let Some(line) = line {
            *counted.entry(line.trim()).or_default() += 1;
        }
    }
    let most = counted.into_iter().max_by_key(|(_, n)| *n);
    match most {
        None => format!("{machines} could not get ready"),
        Some((reason, _)) => format!("{machines} could not get ready: {}", cut(reason)),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Why a group has fewer machines than it wants, if its newest launches failed.
fn why_short(group: &GroupSeen, region: &str) -> Option<String> {
    let newest = group
        .activities
        .iter()
        .find(|a| matches!(a.status_code.as_str(), "Failed" | "Successful") && is_launch(a))?;
    if newest.status_code != "Failed" {
        return None;
    }
    let said = newest.status_message.as_deref().unwrap_or_default();
    let said = if said.is_empty() {
        newest.description.as_str()
    } else {
        said
    };
    let market = if group.is_spot { "spot " } else { "" };
    let kind = type_in(said).or_else(|| group.kind.clone());
    let kind = kind.unwrap_or_else(|| "machine of this type".to_owned());
    let place = zone_in(said).unwrap_or_else(|| region.to_owned());
    Some(match cause_of(said) {
        Cause::Capacity(code) => {
            format!("AWS has no {market}{kind} in {place} now ({code}); the group keeps trying")
        }
        Cause::Price => format!(
            "{kind} costs more in {place} now than the highest spot price that was set; the group keeps trying"
        ),
        Cause::Quota(code) => format!(
            "the account's quota of vCPUs for {market}{kind} in {region} is used up ({code}); ask for more in Service Quotas, or wait until other machines end"
        ),
        Cause::Other => format!("AWS starts no {market}{kind}: {}", cut(without_tail(said))),
    })
}

fn is_launch(activity: &Activity) -> bool {
    activity.description.starts_with("Launching")
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Capacity(&'static str),
    Price,
    Quota(&'static str),
    Other,
}

/// What a message of a failed launch is about: its code if there is one, else the words that AWS
/// writes without.
fn cause_of(said: &str) -> Cause {
    let capacity = [
        "InsufficientInstanceCapacity",
        "UnfulfillableCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
    ];
    let quota = [
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "InstanceLimitExceeded",
    ];
    if let Some(code) = capacity.into_iter().find(|code| said.contains(code)) {
        return Cause::Capacity(code);
    }
    if let Some(code) = quota.into_iter().find(|code| said.contains(code)) {
        return Cause::Quota(code);
    }
    let lower = said.to_ascii_lowercase();
    let has = |words: &str| lower.contains(words);
    if has("spotmaxpricetoolow") || has("your spot request price") {
        Cause::Price
    } else if has("vcpu limit") || has("vcpu capacity than your current") {
        Cause::Quota("VcpuLimitExceeded")
    } else if has("max spot instance count exceeded") {
        Cause::Quota("MaxSpotInstanceCountExceeded")
    } else if has("do not have sufficient") || has("no spot capacity available") {
        Cause::Capacity("InsufficientInstanceCapacity")
    } else {
        Cause::Other
    }
}

/// What every such message ends with says nothing.
fn without_tail(said: &str) -> &str {
    let said = said.trim();
    said.strip_suffix("Launching EC2 instance failed.")
        .unwrap_or(said)
        .trim_end()
}

fn words(said: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
    said.split(part).map(|word| word.trim_matches('.'))
}

/// The first word that is a zone: `eu-west-1a`.
fn zone_in(said: &str) -> Option<String> {
    let is_zone = |word: &&str| {
        let mut parts = word.rsplitn(2, '-');
        let (Some(last), Some(rest)) = (parts.next(), parts.next()) else {
            return false;
        };
        let mut last = last.chars();
        let number = last.next().is_some_and(|c| c.is_ascii_digit());
        let letter = last.next().is_some_and(|c| c.is_ascii_lowercase());
        let names = rest.split('-');
        let named = |part: &str| part.len() >= 2 && part.chars().all(|c| c.is_ascii_lowercase());
        number
            && letter
            && last.next().is_none()
            && names.clone().count() >= 2
            && names.clone().all(named)
    };
    words(said).find(is_zone).map(str::to_owned)
}

/// The first word that is a type: `c7i.large`.
fn type_in(said: &str) -> Option<String> {
    let is_type = |word: &&str| {
        let Some((family, size)) = word.split_once('.') else {
            return false;
        };
        let begins = family.starts_with(|c: char| c.is_ascii_lowercase());
        let has_number = family.contains(|c: char| c.is_ascii_digit());
        let sizes = ["nano", "micro", "small", "medium", "large", "metal"];
        begins && has_number && sizes.iter().any(|known| size.contains(known))
    };
    words(said).find(is_type).map(str::to_owned)
}

#[cfg(test)]
#[path = "held_up_tests.rs"]
mod tests;
