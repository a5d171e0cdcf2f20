//! `spot-worker.sh` and a script that drains, interrupted half way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{patched, shell};
use crate::shared;
use crate::support::{Gate, World};

/// How often each item was processed, from a journal with the item at the start of each line.
fn executions(journal: &Path) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(journal).unwrap().lines() {
        let item = line.split(' ').next().unwrap().parse().unwrap();
        *counts.entry(item).or_default() += 1;
    }
    counts
}

fn interrupt(world: &World, id: &str, task: &str, notice: &str) {
    world.ok(["interrupt", id, "--task", task, "--notice", notice]);
}

/// State and newest attempt of each task.
fn attempts(world: &World, id: &str) -> Vec<(String, u64)> {
    let tasks = world.json(["tasks", id]);
    let tasks = tasks.as_array().unwrap().iter();
    let of = |task: &Value| {
        let state = task["state"].as_str().unwrap().to_owned();
        (state, task["attempt"].as_u64().unwrap())
    };
    tasks.map(of).collect()
}

#[test]
fn an_interrupted_spot_worker_resumes_from_its_checkpoint() {
    let world = World::new();
    let outside = shared::directory();
    let journal = outside.path().join("journal");
    let mut gate = Gate::new();
    world.write("spot-worker.sh", patched("spot-worker.sh"));
    // Task 1 has the items 20 to 39. Its first attempt gets no further than 33: 30 is the last one
    // whose checkpoint the loop writes, 32 the last one that is done.
    world.write(
        "process-item.sh",
        format!(
            "[ $1.$TASK_ATTEMPT != 33.1 ] || {}\necho \"$1 $TASK_ARRAY_INDEX $TASK_ATTEMPT\" >> $JOURNAL\n",
            gate.script()
        ),
    );
    shell(&world, "aws s3 mb s3://my-bucket");
    let env = format!("JOURNAL={}", journal.display());
    let launch = "--spot --array 2 --max-concurrent 2 --ttl 4h --user-data @spot-worker.sh --env";
    let id = world.launch(launch.split(' ').chain([env.as_str()]));
    gate.await_task();
    interrupt(&world, &id, "1", "120s");

    // The same index runs again by itself, and nothing has failed.
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2);
    assert_eq!(
        attempts(&world, &id),
        [("succeeded".into(), 1), ("succeeded".into(), 2)]
    );

    // The trap ran, and its upload was not killed: the second attempt reads what it wrote.
    let first = world.ok(["logs", &id, "--task", "1", "--attempt", "1"]);
    assert!(first.contains("Starting fresh\n"), "{first}");
    let (_, trap) = first
        .split_once("Spot interruption! Checkpointing...\n")
        .unwrap_or_else(|| panic!("no trap ran:\n{first}"));
    let upload = "to s3://my-bucket/checkpoints/worker-1.json";
    assert!(trap.contains(upload), "{first}");
    let second = world.ok(["logs", &id, "--task", "1", "--attempt", "2"]);
    assert!(second.contains("Resuming from task 32\n"), "{second}");

    // Every item is processed. What is repeated is what was done since the checkpoint: the item
    // that it names, with which the script begins again.
    let executions = executions(&journal);
    assert!(executions.keys().copied().eq(0..40), "{executions:?}");
    let repeated = executions.into_iter().filter(|(_, times)| *times > 1);
    assert_eq!(repeated.collect::<Vec<_>>(), [(32, 2)]);
    let last = shell(
        &world,
        "aws s3 cp --quiet s3://my-bucket/checkpoints/worker-1.json - | jq .last_completed",
    );
    assert_eq!(last, "39\n");
}

/// Finishes the item it is at when it is asked to stop, and leaves none half done.
const DRAIN: &str = r#"
trap 'STOP=1' TERM
NEXT=$(cat "$STATE" 2>/dev/null || echo 0)
while bash process-item.sh "$NEXT"; do
  NEXT=$((NEXT + 1))
  echo "$NEXT" > "$STATE"
  if [ "${STOP:-}" ]; then
    echo "stopped before item $NEXT"
    exit 0
  fi
done
spored complete --status success
"#;

#[test]
fn a_script_that_drains_finishes_its_item_and_repeats_none() {
    let world = World::new();
    let outside = shared::directory();
    let journal = outside.path().join("journal");
    let mut gate = Gate::new();
    world.write("drain.sh", DRAIN);
    // There is work until the script is stopped, and three items more.
    world.write(
        "process-item.sh",
        format!(
            "[ $1.$TASK_ATTEMPT != 2.1 ] || {}\n\
             [ $TASK_ATTEMPT = 1 ] || [ $(grep -c ' 2$' $JOURNAL) -lt 3 ] || exit 1\n\
             echo \"$1 $TASK_ATTEMPT\" >> $JOURNAL\n",
            gate.script()
        ),
    );
    let (at, state) = (journal.display(), outside.path().join("state"));
    let launch = format!(
        "--spot --ttl 4h --user-data @drain.sh --env JOURNAL={at} --env STATE={}",
        state.display()
    );
    let id = world.launch(launch.split(' '));
    gate.await_task();
    gate.open();
    interrupt(&world, &id, "0", "120s");

    world.wait(&id).expect_code(0);
    assert_eq!(attempts(&world, &id), [("succeeded".into(), 2)]);
    let executions = executions(&journal);
    let items = executions.len() as u64;
    assert!(executions.keys().copied().eq(0..items), "{executions:?}");
    assert!(executions.values().all(|times| *times == 1));
    assert_eq!(
        world.ok(["logs", &id, "--task", "0", "--attempt", "1"]),
        format!("stopped before item {}\n", items - 3)
    );
}
