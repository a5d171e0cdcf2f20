//! Prices asked of the test bed over the wire. Without the bed's packages it says so and passes;
//! where `CI` is set they are installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spawn_aws::client::{Client, Config, HttpRequest, HttpTransport, Method, Transport};
use spawn_aws::environment::Environment;
use spawn_aws::services::{ec2, sts};
use spawn_core::moment::UnixMicros;
use spawn_ec2::facts::{Facts, SubnetFacts};
use spawn_ec2::prices::{Cache, FILE, Prices, Source, look_up};

struct Bed {
    program: PathBuf,
    directory: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    control: HttpTransport,
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A test that failed says why; that the bed does not end is no news beside it.
        let _ = self.command("stop").output();
    }
}

impl Bed {
    fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let is_installed = root.join(".tools/testbed/installed").exists();
        if !is_installed && std::env::var_os("CI").is_none() {
            eprintln!("SKIPPED: the test bed is not installed; run testbed/install");
            return None;
        }
        let mut bed = Self {
            program: root.join("testbed/bed"),
            directory: tempfile::tempdir().unwrap(),
            environment: BTreeMap::new(),
            control: HttpTransport::for_aws(None).unwrap(),
        };
        let until = std::process::id().to_string();
        bed.run("start", &["--until", &until]);
        let text = std::fs::read(bed.directory.path().join("env.json")).unwrap();
        bed.environment = serde_json::from_slice(&text).unwrap();
        Some(bed)
    }

    fn run(&self, what: &str, options: &[&str]) {
        let done = self.command(what).args(options).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([what, "--dir"]).arg(self.directory.path());
        command
    }

    fn client(&self) -> Client {
        let environment = Environment::of(self.environment.clone());
        Client::new(Config::from_environment(&environment, None, None).unwrap())
    }

    fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = HttpRequest {
            method,
            url: format!("{}/bed/{path}", self.environment["BED_URL"]),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes().into(),
        };
        let answer = self
            .control
            .send(&request, Duration::from_secs(30))
            .unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn fault(&self, fault: &Value) {
        self.control(Method::Post, "faults", fault);
    }

    fn heal(&self) {
        self.control(Method::Delete, "faults", &Value::Null);
    }

    /// How often prices were asked, on demand and spot.
    fn asked(&self) -> [u64; 2] {
        let counts = &self.control(Method::Get, "counts", &Value::Null)["calls"];
        ["pricing:GetProducts", "ec2:DescribeSpotPriceHistory"]
            .map(|operation| counts[operation].as_u64().unwrap_or(0))
    }
}

/// What the bed's own list says.
fn listed(name: &str, region: &str) -> (f64, f64) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read(root.join("testbed/fixtures/prices.json")).unwrap();
    let list: Value = serde_json::from_slice(&text).unwrap();
    let kind = &list["types"][name];
    let usd = kind["usd"].as_f64().unwrap() * list["region_factor"][region].as_f64().unwrap();
    (usd, usd * kind["spot"].as_f64().unwrap())
}

fn facts(aws: &Client) -> Facts {
    let subnets = ec2::describe_subnets(aws, &[]).unwrap();
    Facts {
        account: sts::get_caller_identity(aws).unwrap().account,
        subnets: subnets
            .into_iter()
            .map(|subnet| SubnetFacts {
                zone: subnet.availability_zone,
                ..SubnetFacts::default()
            })
            .collect(),
        ..Facts::default()
    }
}

const NOW: UnixMicros = UnixMicros(1_795_608_000_000_000);

fn usd(prices: &Prices, name: &str) -> [Option<f64>; 2] {
    [false, true].map(|spot| prices[&(name.to_owned(), spot)].map(|p| p.usd_per_hour))
}

#[test]
fn prices_of_the_test_bed() {
    let Some(bed) = Bed::start() else {
        return;
    };
    let wanted: Vec<(String, bool)> = ["m5.large", "c5.xlarge", "x9.large"]
        .iter()
        .flat_map(|name| [false, true].map(|spot| ((*name).to_owned(), spot)))
        .collect();
    let us = bed.client();
    for (aws, region) in [
        (us.clone(), "us-east-1"),
        (us.in_region("eu-west-1"), "eu-west-1"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let facts = facts(&aws);
        let fresh = |wanted: &[(String, bool)]| {
            let mut cache = Cache::in_directory(home.path());
            look_up(&aws, &facts, &mut cache, wanted, NOW)
        };
        let before = bed.asked();
        let prices = fresh(&wanted);
        let once = bed.asked();
        assert_eq!([once[0] - before[0], once[1] - before[1]], [3, 1]);
        // The bed's zones differ by two hundredths, the last is the dearest.
        let zones = facts.subnets.iter().map(|s| s.zone.as_bytes());
        let last = zones.map(|zone| zone[zone.len() - 1] - b'a').max().unwrap();
        for name in ["m5.large", "c5.xlarge"] {
            let (on_demand, spot) = listed(name, region);
            let expected = [on_demand, spot * (1.0 + 0.02 * f64::from(last))];
            let [Some(a), Some(b)] = usd(&prices, name) else {
                panic!("{name}: {prices:?}");
            };
            assert!((a - expected[0]).abs() < 1e-6, "{a} is not {expected:?}");
            assert!((b - expected[1]).abs() < 2e-6, "{b} is not {expected:?}");
        }
        assert_eq!(usd(&prices, "x9.large"), [None, None]);
        let spot = prices[&("m5.large".to_owned(), true)].unwrap();
        assert_eq!((spot.source, spot.as_of), (Source::SpotHistory, NOW));

        // What was found is kept; of the type without a price it is asked again.
        assert_eq!(fresh(&wanted), prices);
        assert_eq!(bed.asked(), [once[0] + 1, once[1] + 1]);
        fresh(&wanted[..4]);
        assert_eq!(bed.asked(), [once[0] + 1, once[1] + 1]);
    }
    refused(&bed, &us, &wanted[..2]);
    silent(&bed, &us, &wanted[..4]);
    for wrong in ["violations", "errors"] {
        assert_eq!(bed.control(Method::Get, wrong, &Value::Null), json!([]));
    }
}

fn refused(bed: &Bed, aws: &Client, wanted: &[(String, bool)]) {
    let home = tempfile::tempdir().unwrap();
    let facts = facts(aws);
    for (operation, code, status) in [
        ("pricing:*", "AccessDeniedException", 400),
        ("ec2:DescribeSpotPriceHistory", "UnauthorizedOperation", 403),
    ] {
        bed.fault(&json!({
            "operation": operation, "kind": "error-before", "times": 0,
            "code": code, "message": "not allowed", "status": status,
        }));
    }
    let before = bed.asked();
    let mut cache = Cache::in_directory(home.path());
    let prices = look_up(aws, &facts, &mut cache, wanted, NOW);
    assert_eq!(usd(&prices, "m5.large"), [None, None]);
    let after = bed.asked();
    let times = [after[0] - before[0], after[1] - before[1]];
    assert_eq!(times, [1, 1], "a refusal is not asked again");
    assert!(!home.path().join(FILE).exists(), "nothing to keep");
    bed.heal();
    let prices = look_up(aws, &facts, &mut cache, wanted, NOW);
    assert!(usd(&prices, "m5.large").iter().all(Option::is_some));
}

fn silent(bed: &Bed, aws: &Client, wanted: &[(String, bool)]) {
    let home = tempfile::tempdir().unwrap();
    let facts = facts(aws);
    bed.fault(&json!({ "operation": "pricing:*", "kind": "delay", "seconds": 15, "times": 0 }));
    let started = Instant::now();
    let mut cache = Cache::in_directory(home.path());
    let prices = look_up(aws, &facts, &mut cache, wanted, NOW);
    assert!(started.elapsed() < Duration::from_secs(10));
    for name in ["m5.large", "c5.xlarge"] {
        let [on_demand, spot] = usd(&prices, name);
        assert!(on_demand.is_none() && spot.is_some(), "{prices:?}");
    }
    bed.heal();
}
