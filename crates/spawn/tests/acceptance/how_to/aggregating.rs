//! Workers write results, and a job of its own brings them together.

use serde_json::{Value, json};

use super::{example, page, shell};
use crate::support::World;

#[test]
fn the_summary_of_all_workers_is_exact() {
    let world = World::new();
    world.write("aggregate-results.sh", example("aggregate-results.sh"));
    // The page's line, after a result to upload.
    let upload = page::block_after("**Workers output to S3:**");
    let result = r#"
        n=$TASK_ARRAY_INDEX
        echo "{\"processed\": $((100 + n)), \"errors\": $n, \"duration\": $((n == 1 ? 90 : 10))}" > /tmp/result.json
        "#;
    world.write("worker.sh", format!("set -e\n{result}\n{upload}"));
    shell(&world, "aws s3 mb s3://bucket");
    let id = world.launch(["--array", "3", "--ttl", "1h", "--user-data", "@worker.sh"]);

    let lines = page::block_after("**Launch aggregation after array:**");
    assert_eq!(lines.matches("array-xxx").count(), 1);
    let out = shell(&world, &lines.replace("array-xxx", &id));
    assert!(out.contains("3 succeeded"), "{out}");
    world.wait("last").expect_code(0);
    assert!(
        world
            .ok(["logs", "last", "--task", "0"])
            .ends_with("Aggregation complete\n")
    );
    let summary = shell(&world, "aws s3 cp --quiet s3://bucket/summary.json -");
    assert_eq!(
        serde_json::from_str::<Value>(&summary).unwrap(),
        json!({"total_processed": 303, "total_errors": 3, "max_duration": 90, "workers": 3})
    );
}

#[test]
fn waiting_for_an_array_with_a_failure_stops_the_aggregation() {
    let world = World::new();
    world.write("aggregate-results.sh", example("aggregate-results.sh"));
    let id = world.launch(["--array", "3", "--", "bash", "-c", "exit $TASK_ARRAY_INDEX"]);
    let lines = page::block_after("**Launch aggregation after array:**");
    let script = format!("set -e\n{}", lines.replace("array-xxx", &id));
    let mut command = super::shell_command(&world, &script);
    let out = crate::support::Output::of(&mut command).expect_code(1);
    assert!(out.out().contains("2 failed"), "{out}");
    assert_eq!(world.json(["list"]).as_array().unwrap().len(), 1, "{out}");
}
