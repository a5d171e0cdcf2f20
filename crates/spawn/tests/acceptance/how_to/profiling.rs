//! The loop over instance types.

use serde_json::json;

use super::{example, shell};
use crate::support::{Output, World};

/// What the ledger has of each array, in the order of their launches.
const RECORDED: &str = r#"
import json, sqlite3, sys
ledger = sqlite3.connect(sys.argv[1] + "/ledger.db")
specs = [json.loads(spec)["launch"] for spec, in ledger.execute("SELECT spec FROM arrays ORDER BY created_at")]
print(json.dumps([[s["instance_type"], s["on_complete"], s["ttl_ms"]] for s in specs]))
"#;

#[test]
fn the_loop_profiles_one_task_on_each_instance_type() {
    let world = World::new();
    world.write("benchmark.sh", example("benchmark.sh"));
    world.write("process.py", example("process.py"));
    let out = shell(&world, &example("profile.sh"));
    let types = ["t3.medium", "m7i.large", "c7i.xlarge"];
    let tested: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("Testing ")?.strip_suffix("..."))
        .collect();
    assert_eq!(tested, types);

    let arrays = world.json(["list"]);
    let ids: Vec<&str> = arrays
        .as_array()
        .unwrap()
        .iter()
        .map(|array| array["array_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "{arrays}");
    for id in ids {
        let status = world.wait(id).expect_code(0).json();
        assert_eq!(status["counts"]["succeeded"], 1);
        let log = world.ok(["logs", id, "--task", "0", "--stdout"]);
        assert!(log.ends_with(" ms per task\n"), "{log}");
    }

    // No --on-complete there: what is recorded is that machines are deleted.
    let recorded = Output::of(
        world
            .program("python3")
            .args(["-c", RECORDED])
            .arg(&world.home),
    )
    .expect_code(0)
    .json();
    let expected = types.map(|name| json!([name, "terminate", 1_800_000]));
    assert_eq!(recorded, json!(expected));
}
