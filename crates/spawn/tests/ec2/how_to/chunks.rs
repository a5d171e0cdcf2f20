//! `process-chunk.sh`: a range of files for each machine.

use std::collections::BTreeSet;
use std::fs;

use super::{csv, example, patched};
use crate::account::instance_type;
use crate::world::World;

/// Twenty machines, three files each.
const MACHINES: u64 = 20;
const FILES: u64 = 3;

#[test]
fn twenty_machines_process_every_file_once_and_leave_nothing() {
    let Some(world) = World::with_machines() else {
        return;
    };
    // So many at once are slow here; none is to be given up for that.
    let world = world.with("SPAWN_LEASE", "60s");
    let id = launch(&world, MACHINES, FILES);
    world.wait(&id).expect_code(0);
    check_outputs(&world, MACHINES * FILES);
    world.all_gone();
    assert_eq!(world.machines().len() as u64, MACHINES);

    // With every machine gone, the ledger and the bucket still answer.
    let status = world.json(["status", &id]);
    assert_eq!(status["state"], "succeeded");
    assert_eq!(status["counts"]["succeeded"], MACHINES);
    assert_eq!(status["workers"], serde_json::json!([]));
    let once = (0..MACHINES).map(|index| (index, "succeeded".to_owned(), 1));
    assert_eq!(world.tasks(&id), once.collect::<Vec<_>>());
    for index in [0, 7, MACHINES - 1] {
        let log = world.ok(["logs", &id, "--task", &index.to_string()]);
        let first = format!(
            "Processing files {} to {}\n",
            index * FILES,
            index * FILES + FILES - 1
        );
        assert!(log.starts_with(&first), "{log}");
        assert!(
            log.ends_with(&format!("Completed chunk {index}\n")),
            "{log}"
        );
    }
}

/// The how-to's line, for so many machines with so many files each.
pub fn launch(world: &World, machines: u64, files: u64) -> String {
    let script = patched("process-chunk.sh");
    assert!(script.contains("CHUNK_SIZE=2\n"));
    let script = script.replace("CHUNK_SIZE=2\n", &format!("CHUNK_SIZE={files}\n"));
    world.write("process-chunk.sh", script);
    world.write("process.py", example("process.py"));
    for i in 0..machines * files {
        world.write(&format!("input/file-{i:05}.csv"), csv(i).0);
    }
    world.shell(
        "aws s3 mb s3://my-bucket\naws s3 cp --quiet --recursive input s3://my-bucket/input/",
    );
    let array = machines.to_string();
    world.launch([
        "--instance-type",
        instance_type(),
        "--array",
        &array,
        "--ttl",
        "4h",
        "--iam-policy",
        "s3:FullAccess",
        "--on-complete",
        "terminate",
        "--user-data",
        "@process-chunk.sh",
    ])
}

/// Every output is there and exact, and nothing else is.
pub fn check_outputs(world: &World, files: u64) {
    world.shell("aws s3 cp --quiet --recursive s3://my-bucket/output output");
    let output = world.work.join("output");
    let names: BTreeSet<_> = fs::read_dir(&output)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = (0..files).map(|i| format!("file-{i:05}-processed.csv"));
    assert_eq!(names, expected.collect());
    for i in 0..files {
        let got = fs::read_to_string(output.join(format!("file-{i:05}-processed.csv"))).unwrap();
        assert_eq!(got, csv(i).1, "file {i}");
    }
}
