//! `worker.sh` and `worker-tracked.sh`: machines that share a queue, and a table of progress.

use std::fs;

use super::{block_after, csv, example, patched};
use crate::account::instance_type;
use crate::world::World;

#[test]
fn the_queue_is_worked_off_each_message_once() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("worker.sh", example("worker.sh"));
    world.write("process.py", example("process.py"));
    for i in 1..=6 {
        world.write(&format!("input/file-{i:05}.csv"), csv(i).0);
    }
    world.shell(
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
    let flags = "--array 2 --ttl 8h --iam-policy sqs:FullAccess,s3:FullAccess \
                 --on-complete terminate --user-data @worker.sh --instance-type";
    let id = world.launch(flags.split_whitespace().chain([instance_type()]));
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2);
    world.all_gone();

    let logs = world.ok(["logs", &id]);
    let mut seen: Vec<&str> = logs
        .lines()
        .filter_map(|line| Some(line.split_once("Processing: ")?.1))
        .collect();
    seen.sort_unstable();
    let expected: Vec<String> = (1..=6).map(|i| format!("file-{i:05}.csv")).collect();
    assert_eq!(seen, expected, "each message once");
    let left = world.shell(
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
fn every_machine_tells_the_table_how_far_it_is() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("worker-tracked.sh", patched("worker-tracked.sh"));
    // Ten tasks for each worker, and as many more as its index says.
    world.write("process-task.sh", "[ $1 -lt $((10 + TASK_ARRAY_INDEX)) ]\n");
    world.shell(block_after("### Solution: DynamoDB Progress Table"));
    let flags = "--array 3 --ttl 1h --iam-policy dynamodb:FullAccess \
                 --user-data @worker-tracked.sh --instance-type";
    let id = world.launch(flags.split_whitespace().chain([instance_type()]));
    world.wait(&id).expect_code(0);
    let rows = world.shell(
        "aws dynamodb scan --table-name spawn-progress --output text --query \
         'Items[*].[array_id.S, task_index.N, status.S, tasks_completed.N, hostname.S]' | sort",
    );
    let expected: String = (0..3)
        .map(|i| {
            let done = 10 + i;
            format!("array-20260127-abc123\t{i}\tcompleted\t{done}\tworker-tracked-{i}\n")
        })
        .collect();
    assert_eq!(rows, expected);
    world.all_gone();
}
