//! An array that was launched in the test bed, with its plan in the bucket.

use sha2::{Digest, Sha256};
use spawn_aws::client::Client;
use spawn_aws::services::autoscaling::{self, Group};
use spawn_aws::services::s3::{self, Bucket, PutOptions};
use spawn_aws::services::{ec2, sts};
use spawn_core::array_id::ArrayId;
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Report};
use spawn_core::task::{Intent, TaskState, Token};
use spawn_ec2::desk::Desk;
use spawn_ec2::journal::Journal;
use spawn_ec2::launch::launch;
use spawn_ec2::plan::{LaunchPlan, Request as Asked, plan};
use spawn_ec2::{firewall, gather, names, setup};
use spawn_local::wall_clock;
use spawn_local::wire::client::{Answer, ArrayStatus, Refusal, Request};
use spawn_ports::ledger::{
    AgentId, Claim, Commit, Ledger, LogSpan, NewAgent, Reopen, TaskQuery, TaskRow,
};
use spawn_spec::LaunchSpec;

use super::{Bed, until};

pub const HOUR: i64 = 3_600_000_000;
pub const ID: &str = "array-20260127-abc123";

/// An account, one array in it, and the desk.
pub struct Launched {
    pub bed: Bed,
    pub client: Client,
    pub account: String,
    pub desk: Desk,
    pub id: ArrayId,
    pub plan: LaunchPlan,
}

/// Spot machines for four tasks, two at a time; and on demand, for half as long, for two.
pub fn two_lanes() -> LaunchSpec {
    let lane = |from: u64, to: u64, kind: &str, spot: bool, ttl_ms: u64| {
        let indices = IndexSet::from_indices(from..to).unwrap();
        serde_json::json!({
            "indices": indices, "instance_type": kind, "spot": spot, "ttl_ms": ttl_ms
        })
    };
    serde_json::from_value(serde_json::json!({
        "name": "demo",
        "indices": IndexSet::first(6).unwrap(),
        "program": { "command": { "argv": ["true"] } },
        "ttl_ms": 7_200_000,
        "workers": 4,
        "lanes": [
            lane(0, 4, "c5.large", true, 7_200_000),
            lane(4, 6, "m5.large", false, 3_600_000),
        ],
    }))
    .unwrap()
}

pub fn now() -> UnixMicros {
    wall_clock::now()
}

/// Makes and records everything that the plan says.
fn carry_out(client: &Client, desk: &mut Desk, id: &ArrayId) -> LaunchPlan {
    let spec = two_lanes();
    let mut facts = gather::gather(client, &spec).unwrap();
    let missing = setup::look(client, &facts, &[]).unwrap();
    setup::make(client, desk.ledger(), &mut facts, &missing).unwrap();
    let digest = Sha256::digest(b"bundle");
    let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    let user_data = vec!["#!/bin/sh\n".to_owned(); 2];
    let request = Asked {
        id,
        spec: &spec,
        launched: now(),
        token: "mark",
        bundle_sha256: &digest,
        bundle_size: 6,
        user_data: &user_data,
    };
    let mut plan = plan(&request, &facts).unwrap();
    spawn_ec2::furnish::record(&mut plan, &spec, 0o022).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(&home.path().join("journal"), &plan).unwrap();
    launch(client, desk.ledger(), &mut journal, b"bundle").unwrap();
    plan
}

impl Launched {
    /// Nothing where there is no bed.
    pub fn new() -> Option<Launched> {
        let bed = Bed::start()?;
        let client = bed.client(4);
        let account = sts::get_caller_identity(&client).unwrap().account;
        let default = [ec2::Filter::new("is-default", ["true"])];
        let vpcs = ec2::describe_vpcs(&client, &default).unwrap();
        firewall::ensure(&client, &vpcs[0].vpc_id).unwrap();
        let id: ArrayId = ID.parse().unwrap();
        let mut desk = Desk::new(client.clone(), &account);
        let plan = carry_out(&client, &mut desk, &id);
        // The bed has not all that a launch reads to check itself; that is not tested here.
        bed.delete("/bed/errors");
        let launched = Launched {
            desk,
            id,
            plan,
            account,
            client,
            bed,
        };
        Some(launched)
    }

    /// Another array in the same account, which is meant from now on.
    pub fn again(&mut self, id: &str) {
        self.id = id.parse().unwrap();
        self.plan = carry_out(&self.client, &mut self.desk, &self.id);
        self.bed.delete("/bed/errors");
    }

    /// A desk that sends each call once, so that one fault is enough.
    pub fn frail(&self) -> Desk {
        Desk::new(self.bed.client(1), &self.account)
    }

    pub fn bucket(&self) -> Bucket {
        Bucket::named(&self.plan.bucket)
    }

    pub fn put(&self, key: &str, content: &[u8]) {
        let options = PutOptions::default();
        s3::put_object(
            &self.client,
            &self.bucket(),
            key,
            content.to_vec(),
            &options,
        )
        .unwrap();
    }

    pub fn ask(&mut self, request: Request) -> Answer {
        self.desk.answer(request).unwrap()
    }

    pub fn status(&mut self) -> ArrayStatus {
        let id = self.id.clone();
        match self.ask(Request::Status { id }) {
            Answer::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn enroll(&mut self, slot: u32, lane: u32) -> AgentId {
        let agent = NewAgent {
            array: self.id.clone(),
            slot,
            lane,
            pid: 1,
            pid_started: 0,
            boot: "boot".to_owned(),
            hostname: format!("i-{slot}"),
        };
        self.desk.ledger().enroll(&agent, now()).unwrap()
    }

    pub fn claim(&mut self, agent: AgentId, want: u32) -> Claim {
        self.desk.ledger().claim(agent, want, now()).unwrap()
    }

    pub fn commit(&mut self, agent: AgentId, token: Token, position: u64, cause: Cause) {
        let at = now();
        let commit = Commit {
            position,
            token,
            report: Report::of(cause),
            started_at: at,
            ended_at: at,
            log: LogSpan::default(),
            usage: None,
            failed_calls: Vec::new(),
        };
        let done = self.desk.ledger().commit(agent, &[commit], at).unwrap();
        done[0].unwrap();
    }

    /// Has an agent of a lane run all that is left of it.
    pub fn run_all(&mut self, lane: u32, cause: Cause) {
        let agent = self.enroll(90 + lane, lane);
        loop {
            let claim = self.claim(agent, 10);
            if claim.tasks.is_empty() {
                break;
            }
            for task in claim.tasks {
                self.commit(agent, claim.token, task.position, cause);
            }
        }
        self.desk.ledger().end_agent(agent, now()).unwrap();
    }

    pub fn rows(&mut self, state: Option<TaskState>) -> Vec<TaskRow> {
        let query = TaskQuery {
            from: 0,
            limit: 100,
            state,
        };
        self.desk.ledger().tasks(&self.id, query).unwrap()
    }

    pub fn deadline(&mut self) -> UnixMicros {
        let record = self.desk.ledger().array(&self.id).unwrap().unwrap();
        record.submitted.deadline
    }

    pub fn groups(&self) -> Vec<Group> {
        autoscaling::describe_groups_tagged(&self.client, names::TAG_ARRAY, self.id.as_str())
            .unwrap()
    }

    /// When a lane's machines end by themselves, in seconds since 1970.
    pub fn end_of(&self, lane: u32) -> i64 {
        let group = names::lane(&self.id, lane);
        let actions = autoscaling::describe_scheduled_actions(&self.client, &group).unwrap();
        assert_eq!(actions.len(), 1, "{actions:?}");
        let action = &actions[0];
        assert_eq!(action.scheduled_action_name, names::backstop(&group));
        assert_eq!(
            (action.min_size, action.max_size, action.desired_capacity),
            (Some(0), Some(0), Some(0))
        );
        action
            .start_time
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_second()
    }

    /// All machines that the groups want are there.
    pub fn settled(&self) {
        until("the groups have their machines", || {
            let groups = self.groups();
            let full = |group: &Group| {
                let machines = group.instances.iter();
                let there = machines.filter(|m| m.lifecycle_state == "InService");
                there.count() == group.desired_capacity as usize
            };
            groups.iter().all(full).then_some(())
        });
    }

    pub fn until_gone(&self) {
        until("the groups are gone", || {
            self.groups().is_empty().then_some(())
        });
    }

    pub fn close(&self, notice_ms: u64) -> Request {
        Request::Close {
            id: self.id.clone(),
            intent: Intent::Cancel,
            notice_ms,
        }
    }

    pub fn retry(&self, ttl_ms: Option<u64>) -> Request {
        Request::Retry {
            id: self.id.clone(),
            which: Reopen::Failed,
            ttl_ms,
        }
    }
}

/// The words of a refusal.
pub fn refusal(answer: Answer) -> (Refusal, String) {
    match answer {
        Answer::Refused { kind, message } => (kind, message),
        other => panic!("{other:?}"),
    }
}

/// The time in whole seconds as AWS is told it.
pub fn seconds(at: UnixMicros) -> i64 {
    at.0.div_euclid(1_000_000) + i64::from(at.0.rem_euclid(1_000_000) > 0)
}
