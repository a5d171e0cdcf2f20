//! An array, as a launcher leaves it for its machines, and the machines.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spawn_aws::services::s3;
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::index_set::IndexSet;
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

use super::{BUCKET, Metadata, REGION, Request, World, program};

/// An array, as a launcher leaves it for its machines.
pub struct Launched {
    pub world: World,
    pub array: ArrayId,
    pub bundle_sha256: String,
}

impl Launched {
    pub fn new(total: u64, script: &str) -> Launched {
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
            machines: None,
        }
    }

    pub fn ledger(&self) -> DynamoLedger<AwsDynamo> {
        DynamoLedger::new(AwsDynamo(self.world.client()), DynamoOptions::default())
    }

    pub fn record(&self) -> ArrayRecord {
        self.ledger().array(&self.array).unwrap().unwrap()
    }

    pub fn row(&self, position: u64) -> TaskRow {
        self.ledger().task(&self.array, position).unwrap().unwrap()
    }

    /// What the newest attempt of a task printed.
    pub fn printed(&self, position: u64) -> String {
        let row = self.row(position);
        let mut objects = S3Objects::new(self.world.client(), self.world.bucket(), "");
        let log = output::assemble(&mut objects, &self.array, row.agent.unwrap()).unwrap();
        let span = row.log.unwrap();
        let region = &log[span.offset as usize..(span.offset + span.len) as usize];
        String::from_utf8_lossy(region).into_owned()
    }

    pub fn object(&self, key: &str) -> Option<String> {
        let world = &self.world;
        let found = s3::get_object(&world.client(), &world.bucket(), key, None, None).unwrap();
        found.map(|object| String::from_utf8(object.body).unwrap())
    }

    /// What a machine is told.
    pub fn config(&self, dir: &Path) -> NodeConfig {
        NodeConfig {
            array: self.array.clone(),
            lane: 0,
            table: "spawn".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            region: REGION.to_owned(),
            made: vec![Made {
                group: "group".to_owned(),
                template: "template".to_owned(),
                raise: None,
            }],
            bundle: self.world.dir.path().join("bundle"),
            bundle_sha256: self.bundle_sha256.clone(),
            dir: dir.to_owned(),
            wanted: None,
            standing: None,
            lease_ms: 6_000,
            look_ms: 100,
            ask_ms: 200,
        }
    }

    /// A machine of the array's group.
    pub fn machine(&self, id: &str) -> Node {
        let metadata = self.world.instance(id);
        let dir = self.world.dir.path().join(id);
        fs::create_dir_all(&dir).unwrap();
        let config = self.config(&dir);
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

    pub fn terminations(&self) -> Vec<(String, bool)> {
        let asked = self.world.scaling.asked();
        let of = |request: &Request| {
            let action = request.form("Action")?;
            (action == "TerminateInstanceInAutoScalingGroup").then_some(())?;
            let decrement = request.form("ShouldDecrementDesiredCapacity")?;
            Some((request.form("InstanceId")?, decrement == "true"))
        };
        asked.iter().filter_map(of).collect()
    }
}

/// A running `spored-node`; ended with the test.
pub struct Node {
    pub child: Child,
    pub metadata: Metadata,
}

impl Node {
    pub fn wait(&mut self) {
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
