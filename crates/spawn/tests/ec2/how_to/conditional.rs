//! `conditional-worker.sh`: what has its output already is left alone.

use super::{csv, example, patched};
use crate::account::instance_type;
use crate::world::World;

#[test]
fn a_second_run_skips_everything() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("conditional-worker.sh", patched("conditional-worker.sh"));
    world.write("process.py", example("process.py"));
    for i in 0..4 {
        world.write(&format!("input/file-{i:05}.csv"), csv(i).0);
    }
    world.shell(
        "aws s3 mb s3://my-bucket\naws s3 cp --quiet --recursive input s3://my-bucket/input/",
    );
    // The whole logs of a run, and the outputs after it: names, tags and times of writing.
    let run = || {
        let flags = "--array 2 --ttl 4h --iam-policy s3:FullAccess \
                     --user-data @conditional-worker.sh --instance-type";
        let id = world.launch(flags.split_whitespace().chain([instance_type()]));
        let status = world.wait(&id).expect_code(0).json();
        assert_eq!(status["counts"]["succeeded"], 2);
        let outputs = world.shell(
            "aws s3api list-objects-v2 --bucket my-bucket --prefix output/ \
             --query 'Contents[].[Key, ETag, LastModified]' --output text",
        );
        (world.ok(["logs", &id]), outputs)
    };
    let count = |log: &str, text: &str| log.lines().filter(|line| line.contains(text)).count();

    let (first, outputs) = run();
    assert_eq!(count(&first, "Processing: s3://my-bucket/input/"), 4);
    assert_eq!(count(&first, "Completed: s3://my-bucket/output/"), 4);
    assert_eq!(outputs.lines().count(), 4, "{outputs}");
    let (second, outputs_then) = run();
    assert_eq!(count(&second, "Output exists, skipping: "), 4, "{second}");
    assert_eq!(count(&second, "Processing: "), 0, "{second}");
    assert_eq!(outputs_then, outputs, "nothing is written again");
    world.all_gone();
}
