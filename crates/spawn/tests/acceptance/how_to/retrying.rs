//! `worker-with-retry.sh`: one task that fails once, and one that always fails.

use std::fs;

use super::{csv, example, patched, shell};
use crate::shared;
use crate::support::World;

/// `process.py`, but it writes down when it is run, and fails where the test wants it to.
const UNRELIABLE: &str = r#"
import os, runpy, sys, time
text = open(sys.argv[1]).read()
kind = next((k for k in ("flaky", "broken") if k in text), "good")
with open(os.environ["JOURNAL"], "a") as journal:
    journal.write(f"{kind} {time.monotonic()}\n")
runs = [line for line in open(os.environ["JOURNAL"]) if line.startswith(kind)]
if kind == "broken" or kind == "flaky" and len(runs) == 1:
    sys.exit(f"{kind}: run {len(runs)} fails")
runpy.run_path("reliable.py", run_name="__main__")
"#;

#[test]
fn a_transient_failure_is_retried_and_a_permanent_one_stays_in_the_queue() {
    let world = World::new();
    let outside = shared::directory();
    let journal = outside.path().join("journal");
    world.write("worker-with-retry.sh", patched("worker-with-retry.sh"));
    world.write("process.py", UNRELIABLE);
    world.write("reliable.py", example("process.py"));
    // The names of columns say how it goes.
    let input = |kind| csv(1).0.replace("x,y", &format!("{kind},y"));
    world.write("input/flaky.csv", input("flaky"));
    world.write("input/broken.csv", input("broken"));
    let url = shell(
        &world,
        r#"
        aws s3 mb s3://bucket >&2
        aws s3 cp --quiet --recursive input s3://bucket/input/
        QUEUE_URL=$(aws sqs create-queue --queue-name spawn-tasks --query 'QueueUrl' --output text)
        aws sqs send-message --queue-url $QUEUE_URL --message-body broken.csv >&2
        aws sqs send-message --queue-url $QUEUE_URL --message-body flaky.csv >&2
        echo $QUEUE_URL
        "#,
    );
    // The script takes the queue from its environment.
    let queue = format!("QUEUE_URL={}", url.trim());
    let journal_env = format!("JOURNAL={}", journal.display());
    let id = world.launch([
        "--array",
        "2",
        "--max-concurrent",
        "2",
        "--ttl",
        "8h",
        "--env",
        &queue,
        "--env",
        &journal_env,
        "--user-data",
        "@worker-with-retry.sh",
        "--include",
        "reliable.py",
    ]);
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2);

    let logs = world.ok(["logs", &id]);
    let said = |text: &str| logs.lines().filter(|line| line.contains(text)).count();
    assert_eq!(said("Processing flaky.csv (attempt 1/3)"), 1, "{logs}");
    assert_eq!(said("Processing flaky.csv (attempt 2/3)"), 1, "{logs}");
    assert_eq!(said("Success on attempt 2"), 1, "{logs}");
    // A worker that was slow may have got the broken one a second time.
    assert!(said("Processing broken.csv (attempt 3/3)") >= 1, "{logs}");
    assert_eq!(
        said("Processing broken.csv (attempt 3/3)"),
        said("Task failed, leaving in queue for retry"),
        "{logs}"
    );

    // The waits of the script: two seconds after the first failure, four after the second.
    let journal = fs::read_to_string(&journal).unwrap();
    let times = |kind: &str| -> Vec<f64> {
        journal
            .lines()
            .filter_map(|line| line.strip_prefix(kind)?.trim().parse().ok())
            .collect()
    };
    let (flaky, broken) = (times("flaky"), times("broken"));
    assert_eq!(flaky.len(), 2, "{journal}");
    assert!(flaky[1] - flaky[0] >= 2.0, "{journal}");
    assert!(broken[1] - broken[0] >= 2.0, "{journal}");
    assert!(broken[2] - broken[1] >= 4.0, "{journal}");

    // It is delivered again once it is visible again; the other is gone.
    let again = shell(
        &world,
        &format!(
            r#"
            aws sqs receive-message --queue-url {url} --wait-time-seconds 20 \
              --message-system-attribute-names ApproximateReceiveCount \
              --query 'Messages[*].[Body, Attributes.ApproximateReceiveCount]' --output text
            aws s3 cp --quiet s3://bucket/output/flaky.csv output.csv
            aws s3 ls s3://bucket/output/ | wc -l
            "#,
            url = url.trim()
        ),
    );
    let words: Vec<&str> = again.split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("broken.csv", "1"), "{again}");
    assert!(words[1].parse::<u32>().unwrap() >= 2, "{again}");
    let output = fs::read_to_string(world.work.join("output.csv")).unwrap();
    assert_eq!(output, csv(1).1.replace("x,y", "flaky,y"));
}
