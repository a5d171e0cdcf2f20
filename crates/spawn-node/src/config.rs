//! What the boot script tells the program: a JSON file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;

/// A machine's place in its array. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The array it serves.
    pub array: ArrayId,
    /// Which of the array's lanes, 0-based.
    #[serde(default)]
    pub lane: u32,
    /// The ledger's table.
    pub table: String,
    /// The bucket that outputs go to, and that the programs came from.
    pub bucket: String,
    /// What the keys in the bucket begin with; empty, or with a `/` at its end.
    #[serde(default)]
    pub prefix: String,
    /// The region of all of it, and of the tasks.
    pub region: String,
    /// Everything that was made for the array and goes with it, this machine's own group first.
    #[serde(default)]
    pub made: Vec<Made>,
    /// Machines that were asked for in its lane, if others stand in for those that do not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// The machine is in no group, and outlives its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Where the bundle lies on this machine.
    pub bundle: PathBuf,
    /// The bundle's SHA-256, in hexadecimal digits.
    pub bundle_sha256: String,
    /// Where the program keeps the job, its workers and its logs; on a disk.
    pub dir: PathBuf,
    /// How long a worker may be silent before others give it up, in milliseconds.
    #[serde(default = "usual_lease")]
    pub lease_ms: u64,
    /// How often the machine's future is looked at, in milliseconds.
    #[serde(default = "usual_look")]
    pub look_ms: u64,
    /// How long an idle worker waits before it asks again, in milliseconds.
    #[serde(default = "usual_ask")]
    pub ask_ms: u64,
}

/// A group of machines, and the template they are started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The Auto Scaling group's name.
    pub group: String,
    /// The launch template's name.
    pub template: String,
    /// The action that gives it room later, where it stands in for machines that another group
    /// could not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<String>,
}

/// A machine that is in no group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it does when nothing is left for it.
    pub at_end: AtEnd,
    /// The schedule that ends it and its like, which the launch writes.
    pub schedule: String,
    /// The schedule that it writes for itself where that one is missing, without its own id at the
    /// end.
    pub own_schedule: String,
    /// The role in whose name a schedule ends machines, as an ARN.
    pub role_arn: String,
    /// When it is ended at the latest: microseconds since 1970.
    pub ends: i64,
}

/// What a machine does when nothing is left for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// It is switched off; its disk stays.
    Stop,
    /// It sleeps, its memory on its disk.
    Hibernate,
    /// It keeps running, until its end.
    Run,
}

/// Three heartbeats of 30 s.
fn usual_lease() -> u64 {
    90_000
}

/// As AWS recommends for spot notices.
fn usual_look() -> u64 {
    5_000
}

fn usual_ask() -> u64 {
    10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_is_enough() {
        let text = r#"{"array":"array-20260127-abc123","table":"spawn","bucket":"b","region":"eu-west-1",
            "bundle":"/opt/spawn/bundle","bundle_sha256":"00","dir":"/var/lib/spawn"}"#;
        let config: NodeConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.lane, config.lease_ms), (0, 90_000));
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NodeConfig>(&again).unwrap(), config);
    }
}
