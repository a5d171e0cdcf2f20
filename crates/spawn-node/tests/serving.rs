//! `spored-node` processes serve arrays to their end, over HTTP to stand-ins of AWS.

mod world;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spawn_aws::services::s3;
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::index_set::IndexSet;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_dynamo::{DynamoLedger, DynamoOptions};
use spawn_local::submission::Submission;
use spawn_local::wall_clock::now;
use spawn_node::bundle;
use spawn_node::config::{Made, NodeConfig};
use spawn_node::dynamo_api::AwsDynamo;
use spawn_node::objects::S3Objects;
use spawn_ports::ledger::{ArrayRecord, Ledger, NewArray, TaskRow};
use spawn_spec::LaunchSpec;
use spawn_worker::output;
use world::{BUCKET, Metadata, REGION, World, program};

/// An array, as a launcher leaves it for its machines.
struct Launched {
    world: World,
    array: ArrayId,
    bundle_sha256: String,
}

impl Launched {
    fn new(total: u64, script: &str) -> Launched {
        let world = World::new();
        let job = world.dir.path().join("launch");
        fs::create_dir_all(job.join("script")).unwrap();
        fs::create_dir_all(job.join("files")).unwrap();
        fs::write(job.join("script/run.sh"), script).unwrap();
        fs::write(job.join("files/shipped.txt"), "was shipped").unwrap();
        let mut bytes = Vec::new();
        bundle::pack(&job, &mut bytes).unwrap();
        let bundle_sha256 = bundle::sha256(&bytes[..]).unwrap();
        fs::write(world.dir.path().join("bundle"), bytes).unwrap();
        let array: ArrayId = "array-20260127-abc123".parse().unwrap();
        let launched = Launched {
            world,
            array,
            bundle_sha256,
        };
        let new = NewArray {
            id: launched.array.clone(),
            name: "job".to_owned(),
            spec: serde_json::to_string(&launched.submission(total)).unwrap(),
            total,
            budgets: Budgets::default(),
            deadline: now().plus_millis(3_600_000),
            lanes: Vec::new(),
        };
        launched.ledger().submit(&new, now()).unwrap();
        launched
    }

    fn submission(&self, total: u64) -> Submission {
        let indices = serde_json::to_value(IndexSet::first(total).unwrap()).unwrap();
        // Tasks find the bucket as they would any service with an address of its own.
        let launch = serde_json::json!({
            "name": "job",
            "indices": indices,
            "program": { "script": { "file_name": "run.sh", "interpreter": ["/bin/bash"] } },
            "shipped": [{ "name": "shipped.txt", "size": 11, "executable": false }],
            "ttl_ms": 3_600_000,
            "workers": 3,
            "env": [
                ["S3", format!("{}/{BUCKET}", self.world.endpoint_url())],
                ["KEYS", format!("{}:{}", self.world.credentials.access_key_id, self.world.credentials.secret_access_key)],
            ],
        });
        let launch: LaunchSpec = serde_json::from_value(launch).unwrap();
        Submission {
            launch,
            shell_env: vec![("USER".to_owned(), "somebody".to_owned())],
            path: "/nowhere".to_owned(),
            umask: 0o022,
        }
    }

    fn ledger(&self) -> DynamoLedger<AwsDynamo> {
        DynamoLedger::new(AwsDynamo(self.world.client()), DynamoOptions::default())
    }

    fn record(&self) -> ArrayRecord {
        self.ledger().array(&self.array).unwrap().unwrap()
    }

    fn row(&self, position: u64) -> TaskRow {
        self.ledger().task(&self.array, position).unwrap().unwrap()
    }

    /// What the newest attempt of a task printed.
    fn printed(&self, position: u64) -> String {
        let row = self.row(position);
        let mut objects = S3Objects::new(self.world.client(), self.world.bucket(), "");
        let log = output::assemble(&mut objects, &self.array, row.agent.unwrap()).unwrap();
        let span = row.log.unwrap();
        let region = &log[span.offset as usize..(span.offset + span.len) as usize];
        String::from_utf8_lossy(region).into_owned()
    }

    fn object(&self, key: &str) -> Option<String> {
        let world = &self.world;
        let found = s3::get_object(&world.client(), &world.bucket(), key, None, None).unwrap();
        found.map(|object| String::from_utf8(object.body).unwrap())
    }

    /// A machine of the array's group.
    fn machine(&self, id: &str) -> Node {
        let metadata = self.world.instance(id);
        let dir = self.world.dir.path().join(id);
        fs::create_dir_all(&dir).unwrap();
        let config = NodeConfig {
            array: self.array.clone(),
            lane: 0,
            table: "spawn".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            region: REGION.to_owned(),
            made: vec![Made {
                group: "group".to_owned(),
                template: "template".to_owned(),
            }],
            bundle: self.world.dir.path().join("bundle"),
            bundle_sha256: self.bundle_sha256.clone(),
            dir: dir.clone(),
            lease_ms: 6_000,
            look_ms: 100,
            ask_ms: 200,
        };
        let file = dir.join("config.json");
        fs::write(&file, serde_json::to_string(&config).unwrap()).unwrap();
        let child = Command::new(program("spored-node"))
            .arg("--config")
            .arg(&file)
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_ENDPOINT_URL", self.world.endpoint_url())
            .env("AWS_ENDPOINT_URL_EC2", &self.world.scaling.url)
            .env("AWS_ENDPOINT_URL_AUTO_SCALING", &self.world.scaling.url)
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.server.url)
            .stdout(Stdio::piped())
            .spawn();
        Node {
            child: child.unwrap(),
            metadata,
        }
    }

    fn terminations(&self) -> Vec<(String, bool)> {
        let asked = self.world.scaling.asked();
        let of = |request: &world::Request| {
            let action = request.form("Action")?;
            (action == "TerminateInstanceInAutoScalingGroup").then_some(())?;
            let decrement = request.form("ShouldDecrementDesiredCapacity")?;
            Some((request.form("InstanceId")?, decrement == "true"))
        };
        asked.iter().filter_map(of).collect()
    }
}

/// A running `spored-node`; ended with the test.
struct Node {
    child: Child,
    metadata: Metadata,
}

impl Node {
    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the node does not end");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn three_machines_serve_an_array_to_its_end_and_take_down_what_was_made_for_it() {
    let script = "echo \"task $TASK_ARRAY_INDEX of $TASK_ARRAY_SIZE by $USER in $AWS_REGION\"\n\
        cat shipped.txt\nsleep 0.3\n[ -z \"${AWS_ENDPOINT_URL:-}${AWS_ACCESS_KEY_ID:-}\" ]";
    let launched = Launched::new(9, script);
    let mut nodes = ["i-1", "i-2", "i-3"].map(|id| launched.machine(id));
    for node in &mut nodes {
        node.wait();
    }
    assert_eq!(launched.record().counts.succeeded, 9);
    for position in 0..9 {
        let row = launched.row(position);
        assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 1));
        let printed = launched.printed(position);
        let line = format!("task {position} of 9 by root in {REGION}\n");
        assert!(
            printed.contains(&line) && printed.contains("was shipped"),
            "{printed:?}"
        );
    }
    // All went, none is replaced, and what was made for the array is gone: the group last.
    assert!(
        launched
            .terminations()
            .iter()
            .all(|(_, decrement)| *decrement)
    );
    let actions = launched.world.scaling.actions("ForceDelete");
    let at = |name: &str| actions.iter().position(|(action, _)| action == name);
    let order = [
        "SuspendProcesses",
        "DeleteLaunchTemplate",
        "DeleteAutoScalingGroup",
    ]
    .map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{actions:?}");
    let forced = |(_, force): &&(_, Option<String>)| force.as_deref() == Some("true");
    assert!(actions.iter().any(|action| forced(&action)));
}

#[test]
fn a_spot_notice_hands_the_task_to_another_machine_which_goes_on_from_the_checkpoint() {
    let script = r#"
        s3() { curl -fsS --aws-sigv4 "aws:amz:$AWS_REGION:s3" -u "$KEYS" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"; }
        at=$(s3 "$S3/checkpoint" 2> /dev/null || echo 0)
        save() { echo "$at" > at; s3 -X PUT -T at "$S3/checkpoint"; exit 0; }
        trap save TERM
        echo "attempt $TASK_ATTEMPT begins at $at"
        [ "$at" = 0 ] || exit 0
        at=41
        echo began > at; s3 -X PUT -T at "$S3/began"
        while :; do sleep 0.05; done"#;
    let launched = Launched::new(1, script);
    let mut first = launched.machine("i-first");
    until("the task has begun", || launched.object("began").is_some());
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let notice = format!(r#"{{"action": "terminate", "time": "{at:.0}"}}"#);
    first.metadata.set("spot/instance-action", &notice);
    first.wait();
    assert_eq!(launched.terminations(), [("i-first".to_owned(), false)]);
    let row = launched.row(0);
    assert_eq!(row.state, TaskState::Pending);
    assert_eq!(row.ending.unwrap().cause, Cause::Interrupted);
    assert_eq!(launched.object("checkpoint").as_deref(), Some("41\n"));
    assert!(launched.printed(0).contains("attempt 1 begins at 0"));

    let mut second = launched.machine("i-second");
    second.wait();
    let row = launched.row(0);
    assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 2));
    assert!(launched.printed(0).contains("attempt 2 begins at 41"));
    assert_eq!(
        launched
            .ledger()
            .attempts(&launched.array, 0)
            .unwrap()
            .len(),
        2
    );

    // A machine that comes too late finds nothing to do, and goes.
    launched.machine("i-late").wait();
    assert_eq!(launched.record().counts.succeeded, 1);
}

#[test]
fn a_service_that_is_ended_tells_its_script_and_wants_a_replacement() {
    let script = "trap 'echo saved; exit 0' TERM; echo began; while :; do sleep 0.05; done";
    let launched = Launched::new(1, script);
    let mut node = launched.machine("i-first");
    until("the task runs", || {
        launched.row(0).state == TaskState::Running
    });
    std::thread::sleep(Duration::from_millis(500));
    let pid = nix::unistd::Pid::from_raw(node.child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    node.wait();
    let row = launched.row(0);
    assert_eq!(row.ending.unwrap().cause, Cause::Interrupted);
    assert!(launched.printed(0).contains("saved"));
    assert_eq!(launched.terminations(), [("i-first".to_owned(), false)]);
}
