//! `spot-worker.sh`, whose machine is taken away half way.

use std::collections::BTreeMap;

use serde_json::json;

use super::patched;
use crate::account::instance_type;
use crate::world::World;

#[test]
fn an_interrupted_index_resumes_from_its_checkpoint_on_another_machine() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("spot-worker.sh", patched("spot-worker.sh"));
    // Task 1 has the items 20 to 39. Its first attempt gets no further than 33: 30 is the last one
    // whose checkpoint the loop writes, 32 the last one that is done.
    world.write(
        "process-item.sh",
        "if [ $1.$TASK_ATTEMPT = 33.1 ]; then\n\
         echo 33 | aws s3 cp - s3://my-bucket/arrived\nsleep infinity\nfi\n\
         echo \"item $1\"\n",
    );
    world.shell("aws s3 mb s3://my-bucket");
    let flags = "--spot --array 2 --ttl 4h --iam-policy s3:FullAccess --retries 0 \
                 --user-data @spot-worker.sh --instance-type";
    let id = world.launch(flags.split_whitespace().chain([instance_type()]));
    world.object("s3://my-bucket/arrived");
    let machine = world.machine_of(&id, 1);
    assert!(world.machines().iter().all(|m| m["market"] == "spot"));
    world.happens(&machine, "interrupt", json!({ "notice": 120 }));

    // The same index runs again on a machine that was not there before, and nothing has failed:
    // an interruption spends no retry, and there is none to spend.
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2, "{status}");
    assert_eq!(
        (&status["interrupted"], &status["workers_lost"]),
        (&json!(1), &json!(0))
    );
    let expected = [
        (0, "succeeded".to_owned(), 1),
        (1, "succeeded".to_owned(), 2),
    ];
    assert_eq!(world.tasks(&id), expected);
    assert_eq!(world.machines().len(), 3);

    // The trap ran, and its upload was not killed: the second attempt reads what it wrote.
    let log = |attempt: &str| world.ok(["logs", &id, "--task", "1", "--attempt", attempt]);
    let (first, second) = (log("1"), log("2"));
    assert!(first.contains("Starting fresh\n"), "{first}");
    let (_, trap) = first
        .split_once("Spot interruption! Checkpointing...\n")
        .unwrap_or_else(|| panic!("no trap ran:\n{first}"));
    assert!(
        trap.contains("to s3://my-bucket/checkpoints/worker-1.json"),
        "{first}"
    );
    assert!(second.contains("Resuming from task 32\n"), "{second}");

    // Every item is processed; repeated is only the one that the checkpoint names.
    let mut executions: BTreeMap<u64, usize> = BTreeMap::new();
    for line in first.lines().chain(second.lines()) {
        if let Some(item) = line.strip_prefix("item ") {
            *executions.entry(item.parse().unwrap()).or_default() += 1;
        }
    }
    assert!(executions.keys().copied().eq(20..40), "{executions:?}");
    let repeated = executions.into_iter().filter(|(_, times)| *times > 1);
    assert_eq!(repeated.collect::<Vec<_>>(), [(32, 2)]);
    let last = world
        .shell("aws s3 cp --quiet s3://my-bucket/checkpoints/worker-1.json - | jq .last_completed");
    assert_eq!(last, "39\n");
    world.all_gone();
}
