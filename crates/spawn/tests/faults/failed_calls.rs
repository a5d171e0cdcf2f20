//! AWS calls that failed in tasks which said that all went well.

use crate::support::World;

#[test]
fn a_success_whose_upload_failed_is_shown_with_it() {
    let world = World::new();
    // Only tasks 0 and 1 hide what happened; task 2 fails, and task 3 calls nothing.
    let script = "echo result > result.txt\n[ $TASK_ARRAY_INDEX = 3 ] && exit 0\n\
        aws s3 cp result.txt s3://nobody-made-this/result-$TASK_ARRAY_INDEX.txt\n\
        [ $TASK_ARRAY_INDEX != 2 ] || exit 1\nspored complete --status success\n";
    world.write("job.sh", script);
    let id = world.launch(["--array", "4", "--user-data", "@job.sh"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["succeeded"], 3, "{status}");
    let calls = status["failed_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{status}");
    let call = &calls[0];
    assert_eq!(call["service"], "s3", "{call}");
    assert_eq!(call["operation"], "PutObject", "{call}");
    assert_eq!(call["code"], "NoSuchBucket", "{call}");
    assert_eq!(call["tasks"], 2, "{call}");
    let mut examples: Vec<u64> = call["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.as_u64().unwrap())
        .collect();
    examples.sort_unstable();
    assert_eq!(
        examples,
        [0, 1],
        "a task that failed is no doubtful success"
    );
    let text = world.ok(["status", &id]);
    assert!(text.contains("s3 PutObject: NoSuchBucket"), "{text}");
    assert!(
        text.contains("tasks 0, 1") || text.contains("tasks 1, 0"),
        "{text}"
    );
    // The failed task has its own story.
    let story = world.json(["explain", &id, "--task", "2"]);
    let calls = &story["attempts"][0]["failed_calls"];
    assert_eq!(calls[0]["code"], "NoSuchBucket", "{story}");
}
