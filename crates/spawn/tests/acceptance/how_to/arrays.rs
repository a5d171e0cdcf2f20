//! The chunked and the queue array.

use std::fs;

use super::{csv, example, patched, shell};
use crate::support::World;

#[test]
fn the_chunked_array_processes_every_file_exactly() {
    let world = World::new();
    world.write("process-chunk.sh", patched("process-chunk.sh"));
    world.write("process.py", example("process.py"));
    for i in 0..8 {
        world.write(&format!("input/file-{i:05}.csv"), csv(i).0);
    }
    shell(
        &world,
        "aws s3 mb s3://my-bucket\naws s3 cp --quiet --recursive input s3://my-bucket/input/",
    );

    // The how-to's line, with four workers for its hundred. All four run at once.
    let launch = world
        .run([
            "launch",
            "--instance-type",
            "c7i.large",
            "--array",
            "4",
            "--max-concurrent",
            "4",
            "--ttl",
            "4h",
            "--iam-policy",
            "s3:FullAccess",
            "--on-complete",
            "terminate",
            "--user-data",
            "@process-chunk.sh",
        ])
        .expect_code(0);
    assert!(launch.err().contains("ships process.py"), "{launch}");
    let status = world.wait("last").expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 4);

    shell(
        &world,
        "aws s3 cp --quiet --recursive s3://my-bucket/output output",
    );
    for i in 0..8 {
        let got = fs::read_to_string(world.work.join(format!("output/file-{i:05}-processed.csv")))
            .unwrap();
        assert_eq!(got, csv(i).1, "file {i}");
    }
    assert_eq!(fs::read_dir(world.work.join("output")).unwrap().count(), 8);
    let log = world.ok(["logs", "last", "--task", "3"]);
    assert!(
        log.contains("Processing files 6 to 7") && log.contains("Completed chunk 3"),
        "{log}"
    );
}

#[test]
fn the_queue_array_processes_every_message_once_and_ends_by_itself() {
    let world = World::new();
    world.write("worker.sh", example("worker.sh"));
    world.write("process.py", example("process.py"));
    for i in 1..=6 {
        world.write(&format!("input/file-{i:05}.csv"), csv(i).0);
    }
    shell(
        &world,
        r#"
        aws s3 mb s3://my-bucket
        aws s3 cp --quiet --recursive input s3://my-bucket/input/
        QUEUE_URL=$(aws sqs create-queue --queue-name spawn-tasks --query 'QueueUrl' --output text)
        for i in {1..6}; do
          aws sqs send-message --queue-url $QUEUE_URL \
            --message-body "file-$(printf "%05d" $i).csv"
        done
        "#,
    );
    world
        .run([
            "launch",
            "--instance-type",
            "c7i.large",
            "--array",
            "2",
            "--ttl",
            "8h",
            "--iam-policy",
            "sqs:FullAccess,s3:FullAccess",
            "--on-complete",
            "terminate",
            "--user-data",
            "@worker.sh",
        ])
        .expect_code(0);
    let status = world.wait("last").expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2);

    let logs = world.ok(["logs", "last"]);
    let mut seen: Vec<&str> = logs
        .lines()
        .filter_map(|l| Some(l.split_once("Processing: ")?.1))
        .collect();
    seen.sort_unstable();
    let expected: Vec<String> = (1..=6).map(|i| format!("file-{i:05}.csv")).collect();
    assert_eq!(seen, expected, "each message once");
    let left = shell(
        &world,
        r#"
        aws s3 cp --quiet --recursive s3://my-bucket/output output
        aws sqs get-queue-attributes --queue-url "$(aws sqs get-queue-url --queue-name spawn-tasks --query QueueUrl --output text)" \
          --attribute-names ApproximateNumberOfMessages ApproximateNumberOfMessagesNotVisible \
          --query 'Attributes.[ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible]' --output text
        "#,
    );
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["0", "0"]);
    for i in 1..=6 {
        let got = fs::read_to_string(world.work.join(format!("output/file-{i:05}.csv"))).unwrap();
        assert_eq!(got, csv(i).1, "message {i}");
    }
}

#[test]
fn an_aws_call_brings_back_a_host_that_went_idle() {
    let world = World::new();
    let listed = shell(
        &world,
        r#"
        aws s3 mb s3://kept > made
        spawn local stop --yes > stopped
        spawn -o json local status > status
        aws s3 ls
        "#,
    );
    let status = std::fs::read_to_string(world.work.join("status")).unwrap();
    assert!(status.contains("\"running\": false"), "{status}");
    assert!(listed.trim_end().ends_with(" kept"), "{listed}");
}

#[test]
fn a_bucket_that_the_script_names_and_that_is_not_there_is_told_at_launch() {
    let world = World::new();
    world.write("up.sh", "aws s3 cp x s3://no-such-bucket/x || true\n");
    let launch = world
        .run(["launch", "--user-data", "@up.sh"])
        .expect_code(0);
    assert!(
        launch.err().contains("aws s3 mb s3://no-such-bucket"),
        "{launch}"
    );
    world.wait("last").expect_code(0);
}
