//! What is in an account: machines, groups, templates; and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::world::World;

/// The type of machine that tests use: of this machine's own processor.
pub fn instance_type() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "c7g.large",
        _ => "c7i.large",
    }
}

/// Bash for tasks: says that this attempt has come this far, and waits until the gate is opened.
const AT_GATE: &str = r#"
URL=$(aws sqs get-queue-url --queue-name gate --query QueueUrl --output text)
echo "$TASK_WORKER" | aws s3 cp --quiet - "s3://gate/at/$TASK_ARRAY_INDEX.$TASK_ATTEMPT"
# The message stays in sight for all others.
until aws sqs receive-message --queue-url "$URL" --wait-time-seconds 20 --visibility-timeout 0 \
  --query 'Messages[0].Body' --output text | grep -q open; do :; done
"#;

/// What tasks at the gate may do.
pub const AT_GATE_POLICIES: &str = "s3:FullAccess,sqs:FullAccess";

impl World {
    /// A closed gate, and the bash with which tasks wait there.
    pub fn gate(&self) -> &'static str {
        self.shell("aws s3 mb s3://gate\naws sqs create-queue --queue-name gate");
        AT_GATE
    }

    /// Who is at the gate or was there: index and attempt.
    pub fn at_gate(&self) -> BTreeSet<(u64, u64)> {
        let place = |key: &String| {
            let (_, place) = key.rsplit_once('/').expect("a key below at/");
            let (index, attempt) = place.split_once('.').expect("index.attempt");
            (
                index.parse().expect("an index"),
                attempt.parse().expect("an attempt"),
            )
        };
        self.keys("gate", "at/").iter().map(place).collect()
    }

    /// Waits until so many attempts are or were at the gate.
    #[track_caller]
    pub fn await_at_gate(&self, attempts: usize) -> BTreeSet<(u64, u64)> {
        self.until("attempts at the gate", || {
            Some(self.at_gate()).filter(|there| there.len() >= attempts)
        })
    }

    /// Lets all through who wait at the gate or come later.
    pub fn open_gate(&self) {
        self.shell(
            "aws sqs send-message --message-body open --queue-url \
             $(aws sqs get-queue-url --queue-name gate --query QueueUrl --output text)",
        );
    }

    /// All machines that the account knows, those too that are gone.
    pub fn machines(&self) -> Vec<Value> {
        let machines = self.bed.get("machines");
        machines.as_array().expect("a list").clone()
    }

    /// Ids of the machines in a state, oldest first.
    pub fn machines_in(&self, state: &str) -> Vec<String> {
        self.machines()
            .iter()
            .filter(|machine| machine["state"] == state)
            .map(|machine| machine["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// The groups that there are.
    pub fn groups(&self) -> Vec<Value> {
        self.bed.get("state")["groups"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// The machine that runs a task, as `spawn connect` finds it.
    #[track_caller]
    pub fn machine_of(&self, id: &str, index: u64) -> String {
        let index = index.to_string();
        let command = self.ok(["connect", id, "--task", &index, "--print"]);
        let (_, machine) = command.trim().rsplit_once(" --target ").expect("a target");
        machine.to_owned()
    }

    /// What happens to a machine: `interrupt`, `crash`, `metadata`.
    pub fn happens(&self, machine: &str, what: &str, how: Value) {
        self.bed.post(&format!("machines/{machine}/{what}"), &how);
    }

    /// Moves the account's clock forward.
    pub fn advance(&self, seconds: u64) {
        self.bed.post("advance", &json!({ "seconds": seconds }));
    }

    /// Waits until all machines are gone; none may come after that.
    #[track_caller]
    pub fn all_machines_gone(&self) {
        self.until("all machines are gone", || {
            let machines = self.machines();
            let gone = |machine: &Value| machine["state"] == "terminated";
            let settled = self.groups().iter().all(|group| group["desired"] == 0);
            (!machines.is_empty() && settled && machines.iter().all(gone)).then_some(())
        });
    }

    /// Waits until nothing of an array is left that costs or starts anything.
    #[track_caller]
    pub fn all_gone(&self) {
        self.until("the groups are gone", || {
            self.groups().is_empty().then_some(())
        });
        self.all_machines_gone();
        assert_eq!(self.templates(), Vec::<String>::new());
    }

    /// The launch templates that there are.
    pub fn templates(&self) -> Vec<String> {
        let names = self.shell(
            "aws ec2 describe-launch-templates --query 'LaunchTemplates[].[LaunchTemplateName]' --output text",
        );
        names.lines().map(str::to_owned).collect()
    }

    /// How often each operation was called since the counts were cleared.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.bed.get("counts");
        serde_json::from_value(counts["calls"].clone()).expect("numbers by name")
    }
}
