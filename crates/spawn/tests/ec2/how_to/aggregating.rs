//! Machines write results, and a job of its own brings them together.

use serde_json::{Value, json};

use super::{block_after, example};
use crate::account::instance_type;
use crate::world::World;

#[test]
fn the_summary_of_all_machines_is_exact() {
    let Some(world) = World::with_machines() else {
        return;
    };
    let world = world.with("SPAWN_PROVIDER", "ec2");
    world.write("aggregate-results.sh", example("aggregate-results.sh"));
    // The page's line, after a result to upload.
    let upload = block_after("**Workers output to S3:**");
    let result = r#"
        n=$TASK_ARRAY_INDEX
        echo "{\"processed\": $((100 + n)), \"errors\": $n, \"duration\": $((n == 1 ? 90 : 10))}" > /tmp/result.json
        "#;
    world.write("worker.sh", format!("set -e\n{result}\n{upload}"));
    world.shell("aws s3 mb s3://bucket");
    let flags =
        "--array 3 --ttl 1h --iam-policy s3:FullAccess --user-data @worker.sh --instance-type";
    let id = world.launch(flags.split_whitespace().chain([instance_type()]));

    let lines = block_after("**Launch aggregation after array:**");
    assert_eq!(lines.matches("array-xxx").count(), 1);
    let own = format!("--instance-type {}", instance_type());
    let lines = lines.replace("array-xxx", &id);
    let out = world.shell(&lines.replace("--instance-type t3.medium", &own));
    assert!(out.contains("3 succeeded"), "{out}");
    world.wait("last").expect_code(0);
    assert!(
        world
            .ok(["logs", "last", "--task", "0"])
            .ends_with("Aggregation complete\n")
    );
    let summary = world.shell("aws s3 cp --quiet s3://bucket/summary.json -");
    assert_eq!(
        serde_json::from_str::<Value>(&summary).unwrap(),
        json!({"total_processed": 303, "total_errors": 3, "max_duration": 90, "workers": 3})
    );
    world.all_gone();
}
