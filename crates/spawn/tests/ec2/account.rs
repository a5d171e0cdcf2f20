//! What is in an account: machines, groups, templates; and what becomes of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::World;

/// The type of machine that tests use: of this machine's own processor.
pub fn instance_type() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "c7g.large",
        _ => "c7i.large",
    }
}

impl World {
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
