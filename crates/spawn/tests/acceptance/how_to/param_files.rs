//! Parameter files: one task a row, each file with machines of its own.

use super::{patched, shell};
use crate::support::World;

/// The lines of the page, and what every task printed, in order.
fn sweep(size: &str) -> (World, serde_json::Value, String) {
    let world = World::new();
    let file = format!("{size}-tasks.yaml");
    world.write(&file, patched(&file));
    world.write("spawn.toml", "[launch]\nuser_data = \"@task.sh\"\n");
    world.write("task.sh", "echo \"$NAME $TASK_TYPE $PARAM_task_type\"\n");
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
#[ignore = "needs --param-file"]
fn small_tasks_have_a_task_for_each_row() {
    let (_world, status, logs) = sweep("small");
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        logs,
        "[0] small-001 small small\n[1] small-002 small small\n[2] small-003 small small\n"
    );
}

#[test]
#[ignore = "needs --param-file"]
fn large_tasks_are_launched_beside_them() {
    let (_world, status, logs) = sweep("large");
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        logs,
        "[0] large-001 large large\n[1] large-002 large large\n[2] large-003 large large\n"
    );
}
