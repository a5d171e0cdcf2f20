//! The whole way against `moto_server`, which knows AWS's wire formats better than a small cloud.
//! Where there is none, it says so and passes.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use spawn_aws::client::{Client, Config, HttpTransport, Overrides, Patience, SystemClock};
use spawn_aws::credentials::Credentials;
use spawn_aws::services::{autoscaling, ec2};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_ec2::journal::Journal;
use spawn_ec2::launch::launch;
use spawn_ec2::plan::{Request, plan};
use spawn_ec2::preflight::preflight;
use spawn_ec2::{cleanup, firewall, gather, names, setup};
use spawn_spec::LaunchSpec;
use spawn_testkit::MemoryLedger;

struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of its own; nothing where there is no such program.
fn moto() -> Option<Moto> {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let started = Command::new("moto_server")
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        eprintln!("SKIPPED: there is no `moto_server`; nothing was held against it");
        return None;
    };
    let mut moto = Moto {
        child,
        url: format!("http://127.0.0.1:{port}"),
    };
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if moto.child.try_wait().unwrap().is_some() {
            eprintln!("SKIPPED: `moto_server` does not start; nothing was held against it");
            return None;
        }
        assert!(Instant::now() < until, "moto_server listens");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(moto)
}

fn spec() -> LaunchSpec {
    let lane = |from: u64, to: u64, kind: &str, spot: bool| {
        let indices = spawn_core::index_set::IndexSet::from_indices(from..to).unwrap();
        serde_json::json!({
            "indices": indices, "instance_type": kind, "spot": spot, "ttl_ms": 3_600_000
        })
    };
    serde_json::from_value(serde_json::json!({
        "name": "demo",
        "indices": spawn_core::index_set::IndexSet::first(5).unwrap(),
        "program": { "command": { "argv": ["true"] } },
        "ttl_ms": 3_600_000,
        "iam_policies": ["s3:FullAccess", "sqs:ReadOnly"],
        "tags": { "owner": "ana" },
        "lanes": [lane(0, 3, "c5.large", false), lane(3, 5, "m6g.large", true)],
    }))
    .unwrap()
}

#[test]
fn a_launch_is_gathered_planned_carried_out_and_cleaned_up() {
    let Some(moto) = moto() else { return };
    let client = Client::new(Config {
        region: "eu-west-1".to_owned(),
        credentials: Arc::new(Credentials::fixed("AKIAIOSFODNN7EXAMPLE", "secret")),
        endpoints: Overrides::everything_at(&moto.url),
        transport: Arc::new(HttpTransport::for_aws(None).unwrap()),
        clock: Arc::new(SystemClock::default()),
        patience: Patience::default(),
    });
    let spec = spec();
    let before = gather::gather(&client, &spec).unwrap();
    assert!(before.security_group.is_none() && !before.has_role && !before.has_bucket);
    let vpcs = ec2::describe_vpcs(&client, &[ec2::Filter::new("is-default", ["true"])]).unwrap();
    let group = firewall::ensure(&client, &vpcs[0].vpc_id).unwrap();
    assert_eq!(firewall::ensure(&client, &vpcs[0].vpc_id).unwrap(), group);

    let mut ledger = MemoryLedger::new();
    let mut facts = gather::gather(&client, &spec).unwrap();
    let missing = setup::look(&client, &facts, &[]).unwrap();
    setup::make(&client, &mut ledger, &mut facts, &missing).unwrap();
    assert!(gather::gather(&client, &spec).unwrap().has_bucket);
    let id: ArrayId = "array-20260127-abc123".parse().unwrap();
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let now = UnixMicros(since.as_micros() as i64);
    let digest: String = Sha256::digest(b"bundle")
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let request = Request {
        id: &id,
        spec: &spec,
        launched: now,
        token: "mark",
        bundle_sha256: &digest,
        bundle_size: 6,
        user_data: &["#!/bin/sh\n".to_owned(), "#!/bin/sh\n".to_owned()],
    };
    let found = preflight(&request, &facts, now);
    assert!(found.iter().all(|f| !f.is_fatal), "{found:#?}");
    let plan = plan(&request, &facts).unwrap();

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    let mut journal = Journal::begin(&path, &plan).unwrap();
    launch(&client, &mut ledger, &mut journal, b"bundle").unwrap();
    assert!(journal.is_complete());
    let check = || {
        let groups = autoscaling::describe_groups_with_tag(&client, names::TAG_ARRAY).unwrap();
        let mut sizes: Vec<(u32, u32, usize)> = groups
            .iter()
            .map(|g| (g.desired_capacity, g.max_size, g.instances.len()))
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [(2, 2, 2), (3, 3, 3)]);
    };
    check();

    // Everything again, as if no step had been recorded.
    drop(journal);
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.split_inclusive('\n').next().unwrap();
    std::fs::write(&path, first).unwrap();
    let mut journal = Journal::open(&path).unwrap();
    launch(&client, &mut ledger, &mut journal, b"bundle").unwrap();
    check();
    assert!(gather::gather(&client, &spec).unwrap().has_role);

    let found = cleanup::find(&client, &id, &[]).unwrap();
    assert_eq!(found.len(), 5, "{found:#?}");
    check();
    cleanup::remove(&client, &found).unwrap();
    let left = cleanup::find(&client, &id, &[&plan.role.name]).unwrap();
    assert_eq!(left, []);
}
