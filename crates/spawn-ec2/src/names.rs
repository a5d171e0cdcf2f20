//! What everything is called: per account and region, per array, per lane.
//!
//! Names follow from what they name, so that a second attempt at making a thing meets the first.

use spawn_core::array_id::ArrayId;
use spawn_ports::ledger::AgentId;

/// The tag that says which array a thing belongs to.
pub const TAG_ARRAY: &str = "spawn:array";
/// The tag with the array's name.
pub const TAG_NAME: &str = "spawn:name";
/// The tag with the lane, 0-based.
pub const TAG_LANE: &str = "spawn:lane";
/// The tag with the launch's own mark: tells one launch from another of the same id.
pub const TAG_LAUNCH: &str = "spawn:launch";
/// The tag with the role of the machines.
pub const TAG_ROLE: &str = "spawn:role";

/// The tag on everything that is shared by all arrays.
pub const TAG_TOOL: &str = "spawn:tool";

/// What shared things are tagged with.
pub fn tool_tag() -> spawn_aws::services::Tag {
    spawn_aws::services::Tag::new(TAG_TOOL, "spawn")
}

/// The table of the ledger, one in an account and region.
pub const TABLE: &str = "spawn-ledger";
/// The inline policy with what the agent needs.
pub const AGENT_POLICY: &str = "spawn-agent";
/// The inline policy with what the tasks may do.
pub const TASK_POLICY: &str = "spawn-tasks";

/// The inline policy of the user's own words.
pub const CUSTOM_POLICY: &str = "spawn-custom";
/// The inline policy with what machines need that outlive their tasks.
pub const STANDING_POLICY: &str = "spawn-standing";

/// The longest name of a launch template.
pub const MAX_TEMPLATE: usize = 128;
/// The longest name of a group.
pub const MAX_GROUP: usize = 255;
/// The longest name of a role.
pub const MAX_ROLE: usize = 64;
/// The longest name of a schedule.
pub const MAX_SCHEDULE: usize = 64;
/// The longest name of a bucket.
pub const MAX_BUCKET: usize = 63;

/// The bucket: names of buckets are the world's, so it says whose and where.
pub fn bucket(account: &str, region: &str) -> String {
    format!("spawn-{account}-{region}")
}

/// The launch template and the group of a lane, which are called the same.
pub fn lane(array: &ArrayId, lane: u32) -> String {
    format!("spawn-{array}-{lane}")
}

/// The array and the lane that a template's or group's name says.
pub fn parse_lane(name: &str) -> Option<(ArrayId, u32)> {
    let (array, lane) = name.strip_prefix("spawn-")?.rsplit_once('-')?;
    let number: u32 = lane.parse().ok()?;
    // `+1` and `01` are numbers, but no name has them.
    (number.to_string() == lane).then_some((array.parse().ok()?, number))
}

/// The group whose on-demand machines stand in for spot machines of a lane that did not come.
pub fn fallback(array: &ArrayId, number: u32) -> String {
    format!("{}-od", lane(array, number))
}

/// The action that gives such a group room.
pub fn raise(group: &str) -> String {
    format!("{group}-raise")
}

/// The action that ends a group's machines; says whose, though it need be unique in its group only.
pub fn backstop(group: &str) -> String {
    format!("{group}-ttl")
}

/// The role in whose name schedules end machines, one in a region.
pub fn scheduler_role(region: &str) -> String {
    format!("spawn-{region}-scheduler")
}

/// The schedule that ends all machines of a lane which are in no group.
pub fn lane_schedule(array: &ArrayId, lane: u32) -> String {
    format!("{}{lane}-ttl", schedule_prefix(array))
}

/// The array that a schedule's name says, whatever it ends.
pub fn array_of_schedule(name: &str) -> Option<ArrayId> {
    let rest = name.strip_prefix("spawn-")?;
    // Ids have one length.
    let id = rest.get(.."array-20260127-abc123".len())?;
    rest[id.len()..].starts_with('-').then(|| id.parse().ok())?
}

/// What the names of an array's schedules begin with.
pub fn schedule_prefix(array: &ArrayId) -> String {
    format!("spawn-{array}-")
}

/// The schedule that ends one machine which is in no group.
pub fn schedule(array: &ArrayId, instance: &str) -> String {
    format!("{}{instance}", schedule_prefix(array))
}

/// The array and the machine that a schedule's name says.
pub fn parse_schedule(name: &str) -> Option<(ArrayId, String)> {
    let rest = name.strip_prefix("spawn-")?;
    let (array, instance) = rest.split_once("-i-")?;
    Some((array.parse().ok()?, format!("i-{instance}")))
}

/// The role of machines, and its instance profile: roles are the account's, their grants a
/// region's. `digest` is of the grants.
pub fn role(region: &str, digest: &str) -> String {
    format!("spawn-{region}-{digest}")
}

/// Where an array's bundle is in the bucket.
pub fn bundle_key(array: &ArrayId, sha256: &str) -> String {
    format!("arrays/{array}/bundle-{sha256}")
}

/// What all keys of an array begin with.
pub fn array_prefix(array: &ArrayId) -> String {
    format!("arrays/{array}/")
}

/// What the keys begin with under which workers say what they run; an agent's number follows.
pub fn running_prefix(array: &ArrayId) -> String {
    format!("arrays/{array}/running/")
}

/// Where one worker says what it runs: JSON, `RunningTask` of spawn-local.
pub fn running_key(array: &ArrayId, agent: AgentId) -> String {
    format!("{}{}", running_prefix(array), agent.0)
}

/// What the keys begin with under which machines say why they could not get ready; the machine's
/// id follows.
pub fn boot_failures_prefix(array: &ArrayId) -> String {
    format!("arrays/{array}/boot-failures/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ArrayId {
        "array-20260127-abc123".parse().unwrap()
    }

    #[test]
    fn names_say_what_they_name() {
        assert_eq!(
            bucket("123456789012", "eu-west-1"),
            "spawn-123456789012-eu-west-1"
        );
        assert_eq!(lane(&id(), 3), "spawn-array-20260127-abc123-3");
        assert_eq!(
            schedule(&id(), "i-0123456789abcdef0"),
            "spawn-array-20260127-abc123-i-0123456789abcdef0"
        );
        assert_eq!(
            bundle_key(&id(), "ff"),
            "arrays/array-20260127-abc123/bundle-ff"
        );
    }

    #[test]
    fn names_read_back() {
        for n in [0, 1, 10, u32::MAX] {
            assert_eq!(parse_lane(&lane(&id(), n)), Some((id(), n)));
        }
        let machine = "i-0123456789abcdef0";
        for name in [lane_schedule(&id(), 12), schedule(&id(), machine)] {
            assert_eq!(array_of_schedule(&name), Some(id()), "{name}");
            assert!(name.len() <= MAX_SCHEDULE);
        }
        assert_eq!(array_of_schedule("spawn-array-20260127-abc1234"), None);
        assert_eq!(
            parse_schedule(&schedule(&id(), machine)),
            Some((id(), machine.to_owned()))
        );
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "",
            "spawn-",
            "spawn-0",
            "spawn-array-20260127-abc123",
            "spawn-array-20260127-abc123-",
            "spawn-array-20260127-abc123-x",
            "spawn-array-20260127-abc123-01",
            "spawn-array-20260127-abc123-0-od",
            "spawn-array-20260127-abc123-+1",
            "spawn-array-20260127-abc123-4294967296",
            "spawn-array-20261327-abc123-0",
            "web-array-20260127-abc123-0",
        ] {
            assert_eq!(parse_lane(name), None, "{name}");
        }
        assert_eq!(parse_schedule("spawn-array-20260127-abc123-0"), None);
        assert_eq!(parse_schedule("backup-i-1"), None);
    }

    #[test]
    fn the_longest_names_fit_their_services() {
        // The longest names of regions today.
        for region in ["ap-northeast-1", "ap-southeast-5", "us-gov-west-1"] {
            let bucket = bucket("123456789012", region);
            assert!(bucket.len() <= MAX_BUCKET && bucket.len() >= 3);
            assert!(role(region, "0123456789abcdef").len() <= MAX_ROLE);
        }
        let longest = lane(&id(), u32::MAX);
        assert!(longest.len() <= MAX_TEMPLATE && longest.len() <= MAX_GROUP);
        assert!(longest.len() >= 3, "a template's name has 3 at least");
        assert!(schedule(&id(), "i-0123456789abcdef0").len() <= MAX_SCHEDULE);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(longest.chars().all(allowed));
    }
}
