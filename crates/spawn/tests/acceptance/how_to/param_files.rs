//! Parameter files: one task a row, each file with machines of its own.

use super::{patched, shell};
use crate::support::World;

/// The lines of the page, and what every task printed, in order.
fn sweep(size: &str) -> (World, serde_json::Value, String) {
    let world = World::new();
    let file = format!("{size}-tasks.yaml");
    world.write(&file, patched(&file));
    world.write("spawn.toml", "[launch]\nuser_data = \"@task.sh\"\n");
    world.write("task.sh", "echo \"$NAME $PARAM_task_type\"\n");
    let lines = super::page::block_after("# ... 20 large tasks\n```\n\n**Launch:**");
    let line = lines
        .lines()
        .find(|line| line.starts_with("spawn") && line.ends_with(&file))
        .unwrap();
    shell(&world, line);
    let status = world.wait("last").expect_code(0).json();
    let logs = world.ok(["logs", "last"]);
    (world, status, logs)
}

#[test]
fn small_tasks_have_a_task_for_each_row() {
    let (_world, status, logs) = sweep("small");
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        logs,
        "[0] small-001 small\n[1] small-002 small\n[2] small-003 small\n"
    );
}

#[test]
fn large_tasks_are_launched_beside_them() {
    let (_world, status, logs) = sweep("large");
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        logs,
        "[0] large-001 large\n[1] large-002 large\n[2] large-003 large\n"
    );
}

/// The key of the page begins as the variables of tasks do, which parameters must not replace.
#[test]
fn the_key_of_the_page_is_in_param_and_the_launch_says_so() {
    let world = World::new();
    world.write("small-tasks.yaml", patched("small-tasks.yaml"));
    let launch = "launch --wait --param-file small-tasks.yaml --user-data";
    let words = ["echo \"$PARAM_task_type/${TASK_TYPE:-none}\""];
    let launched = world.run(launch.split(' ').chain(words)).expect_code(0);
    assert!(
        launched.err().contains("`PARAM_task_type` only"),
        "{launched}"
    );
    assert_eq!(world.ok(["logs", "last", "--task", "0"]), "small/none\n");
}
