//! The examples are the page's text, and the patches fill in only what it leaves out.

use std::process::Command;

use super::{example, examples, patched};
use crate::support::Output;

const PAGE: &str = include_str!("page.md");

/// The files that the page shows whole.
const WHOLE: [&str; 10] = [
    "process-chunk.sh",
    "worker.sh",
    "worker-with-retry.sh",
    "worker-tracked.sh",
    "monitor-progress.sh",
    "spot-worker.sh",
    "conditional-worker.sh",
    "small-tasks.yaml",
    "large-tasks.yaml",
    "aggregate-results.sh",
];

/// Each patch: the file, the lines of the page that go, and those that come.
const PATCHES: [(&str, &[&str], &[&str]); 8] = [
    ("process-chunk.sh", &["CHUNK_SIZE=100"], &["CHUNK_SIZE=2"]),
    (
        "worker-with-retry.sh",
        &["  MESSAGE=$(aws sqs receive-message --queue-url $QUEUE_URL ...)"],
        &[
            "  MESSAGE=$(aws sqs receive-message --queue-url $QUEUE_URL \\",
            "    --visibility-timeout 20 --query 'Messages[0]' --output json)",
        ],
    ),
    (
        "worker-tracked.sh",
        &["  # ... process task ..."],
        &["  bash process-task.sh $COMPLETED || break"],
    ),
    (
        "monitor-progress.sh",
        &[],
        &[r#"  [ "$RUNNING" -eq 0 ] && [ "$COMPLETED" -gt 0 ] && break"#],
    ),
    (
        "spot-worker.sh",
        &["CHUNK_SIZE=100"],
        &[
            r#"process_file() { bash process-item.sh "$1"; }"#,
            "",
            "CHUNK_SIZE=20",
        ],
    ),
    (
        "conditional-worker.sh",
        &["CHUNK_SIZE=100"],
        &["CHUNK_SIZE=2"],
    ),
    (
        "small-tasks.yaml",
        &["  # ... 100 small tasks"],
        &["  - name: small-003", "    task_type: small"],
    ),
    (
        "large-tasks.yaml",
        &["  # ... 20 large tasks"],
        &["  - name: large-003", "    task_type: large"],
    ),
];

/// The first fenced block of the page after a text.
pub fn block_after(text: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(text)
        .unwrap_or_else(|| panic!("the page has no {text:?}"));
    let (_, rest) = rest.split_once("\n```").expect("a block follows");
    let (_, rest) = rest.split_once('\n').expect("a block has lines");
    rest.split_once("```").expect("a block ends").0
}

#[test]
fn every_script_is_the_pages_byte_for_byte() {
    let blocks: Vec<&str> = PAGE.split("```").skip(1).step_by(2).collect();
    for name in WHOLE {
        let file = example(name);
        let whole = |language: &str| blocks.contains(&format!("{language}\n{file}").as_str());
        assert!(
            whole("bash") || whole("yaml"),
            "{name} is not a block of the page"
        );
    }
    let loop_only = example("profile.sh");
    assert!(loop_only.ends_with("\ndone\n") && PAGE.contains(&format!("```bash\n{loop_only}")));
}

#[test]
fn no_script_of_the_page_is_missing() {
    let named = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| !line.contains(' ') && (line.ends_with(".sh") || line.ends_with(".yaml")));
    assert_eq!(named.collect::<Vec<_>>(), WHOLE);
}

#[test]
fn every_script_is_good_bash() {
    let mut scripts = Vec::new();
    for file in examples().read_dir().unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "sh") {
            Output::of(Command::new("bash").arg("-n").arg(&path)).expect_code(0);
            scripts.push(path);
        }
    }
    assert_eq!(scripts.len(), 10, "{scripts:?}");
    for (name, _, _) in PATCHES.iter().filter(|(name, ..)| name.ends_with(".sh")) {
        Output::of(Command::new("bash").args(["-n", "-c", &patched(name)])).expect_code(0);
    }
}

#[test]
fn each_patch_changes_the_lines_it_says_and_no_others() {
    let patches = examples().join("patches").read_dir().unwrap().count();
    assert_eq!(patches, PATCHES.len());
    for (name, gone, new) in PATCHES {
        // It applies: exactly, no line of context may differ.
        patched(name);
        let patch = example(&format!("patches/{name}.patch"));
        let changes = |sign: char, header: &str| {
            patch
                .lines()
                .filter(|line| !line.starts_with(header))
                .filter_map(|line| line.strip_prefix(sign))
                .collect::<Vec<_>>()
        };
        assert_eq!(changes('-', "---"), gone, "{name}");
        assert_eq!(changes('+', "+++"), new, "{name}");
        for line in gone {
            let elided = line.contains("...") || line.starts_with("CHUNK_SIZE=");
            assert!(elided, "{name}: the page does not leave out {line:?}");
        }
    }
}
