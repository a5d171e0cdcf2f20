//! Parameter files: one task a row, on machines of the row's own kind.

use std::collections::BTreeMap;

use super::patched;
use crate::world::World;

/// How many machines of each type and market there were.
fn machines(world: &World) -> BTreeMap<(String, String), usize> {
    let mut counted = BTreeMap::new();
    for machine in world.machines() {
        let of = |name: &str| machine[name].as_str().unwrap().to_owned();
        *counted.entry((of("type"), of("market"))).or_default() += 1;
    }
    counted
}

fn kinds<const N: usize>(kinds: [(&str, &str, usize); N]) -> BTreeMap<(String, String), usize> {
    let kinds = kinds.into_iter();
    kinds
        .map(|(kind, market, n)| ((kind.to_owned(), market.to_owned()), n))
        .collect()
}

#[test]
#[cfg_attr(
    not(target_arch = "x86_64"),
    ignore = "the page's types are of x86_64, and so must be this machine"
)]
fn rows_run_on_machines_of_their_own_kind() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("task.sh", "echo \"$NAME $PARAM_task_type\"\n");
    for size in ["small", "large"] {
        let file = format!("{size}-tasks.yaml");
        world.write(&file, patched(&file));
    }
    let launch = |file: &str| world.launch(["--param-file", file, "--user-data", "@task.sh"]);
    let (small, large) = (launch("small-tasks.yaml"), launch("large-tasks.yaml"));
    for (id, size) in [(&small, "small"), (&large, "large")] {
        let status = world.wait(id).expect_code(0).json();
        assert_eq!(status["counts"]["succeeded"], 3);
        let lines = (0..3).map(|i| format!("[{i}] {size}-00{} {size}\n", i + 1));
        assert_eq!(world.ok(["logs", id]), lines.collect::<String>());
    }
    world.all_gone();
    let expected = [("m7i.2xlarge", "spot", 3), ("t3.medium", "spot", 3)];
    assert_eq!(machines(&world), kinds(expected));

    // Two kinds in one file are two groups of one array.
    world.write(
        "mixed.yaml",
        "params:\n\
         - {name: a, task_type: x, instance_type: c7i.large}\n\
         - {name: b, task_type: y, instance_type: t3.medium, spot: true}\n\
         - {name: c, task_type: z, instance_type: c7i.large}\n",
    );
    world.bed.delete("counts");
    let id = launch("mixed.yaml");
    world.wait(&id).expect_code(0);
    let logs = world.ok(["logs", &id]);
    let mut lines: Vec<&str> = logs.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0] a x", "[1] b y", "[2] c z"]);
    world.all_gone();
    assert_eq!(world.counts()["autoscaling:CreateAutoScalingGroup"], 2);
    let expected = [
        ("c7i.large", "on-demand", 2),
        ("m7i.2xlarge", "spot", 3),
        ("t3.medium", "spot", 4),
    ];
    assert_eq!(machines(&world), kinds(expected));
}
