//! The pages that are read along with a shell: every command of theirs runs, from top to bottom.
//!
//! Each page is one bash session, which ends at the first command that fails. A block marked
//! `bash no-run` is left out. A `text` block shows output of the commands before it: each line of
//! it is there, in this order, `…` standing for anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Output, World};

/// What is printed before each block, so that outputs can be told apart.
const MARK: &str = "== docs, line";

struct Block {
    /// What follows the fence.
    info: String,
    /// The line of the page that the fence is on.
    line: usize,
    text: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The fenced blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (i, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(info), None) => {
                open = Some(Block {
                    info: info.to_owned(),
                    line: i + 1,
                    text: String::new(),
                });
            }
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: the last block does not end");
    blocks
}

/// Runs a page in a world that has the examples, as a clone of the repository does.
fn run(page: &str) {
    let world = World::new();
    Output::of(
        Command::new("cp")
            .arg("-r")
            .arg(repository().join("examples"))
            .arg(&world.work),
    )
    .expect_code(0);
    let blocks = blocks(page);
    // As on a terminal: both streams in one place.
    let mut script = String::from("set -euo pipefail\nexec 2>&1\n");
    for block in blocks.iter().filter(|block| block.info == "bash") {
        script += &format!("echo '{MARK} {}'\n", block.line);
        script += &block.text;
    }
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_spawn")).with_file_name("");
    path.as_mut_os_string().push(":");
    path.as_mut_os_string()
        .push(std::env::var_os("PATH").unwrap());
    let mut shell = world.program("bash");
    shell.env("PATH", path).env("TERM", "xterm");
    let output = Output::of(shell.args(["-c", &script])).expect_code(0);

    let printed = output.out();
    let mut shown = None;
    for block in &blocks {
        match block.info.as_str() {
            "bash" => {
                let start = format!("{MARK} {}\n", block.line);
                let (_, rest) = printed.split_once(&start).unwrap();
                shown = rest.split(MARK).next();
            }
            "text" => {
                if let Some(shown) = shown {
                    assert_shows(shown, block, page);
                }
            }
            _ => shown = None,
        }
    }
}

/// Fails unless each line of a block is in an output, in this order.
#[track_caller]
fn assert_shows(output: &str, block: &Block, page: &str) {
    let mut printed = output.lines();
    for line in block.text.lines().map(str::trim_end) {
        assert!(
            printed.any(|p| matches(line, p.trim_end())),
            "{page}, block of line {}: no `{line}` where it should be in\n{output}",
            block.line
        );
    }
}

/// Whether a line is as a pattern says, in which `…` is any text.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(start) else {
        return false;
    };
    (0..=line.len())
        .filter(|at| line.is_char_boundary(*at))
        .any(|at| matches(rest, &line[at..]))
}

#[test]
fn the_how_to_runs_from_top_to_bottom() {
    run("how-to.md");
}

#[test]
fn the_tutorial_runs_from_top_to_bottom() {
    run("tutorial.md");
}

#[test]
fn few_blocks_are_not_run() {
    for (page, most) in [("how-to.md", 0), ("tutorial.md", 0)] {
        let blocks = blocks(page);
        let count = |info: &str| blocks.iter().filter(|block| block.info == info).count();
        let (run, not_run) = (count("bash"), count("bash no-run"));
        assert_eq!(not_run, most, "{page}");
        assert!(run > 2 * not_run, "{page}: {run} blocks run");
        // What is marked in another way is neither run nor counted.
        let known = ["bash", "bash no-run", "text", "yaml"];
        for block in &blocks {
            let info = block.info.as_str();
            assert!(
                known.contains(&info),
                "{page}, line {}: {info:?}",
                block.line
            );
        }
    }
}

#[test]
fn an_ellipsis_is_any_text() {
    assert!(matches("array-…  hello …", "array-1-x  hello  succeeded"));
    assert!(matches("…", "") && matches("a", "a"));
    assert!(!matches("a…b", "a c") && !matches("a", "ab"));
}

#[test]
fn the_page_on_parameter_files_runs_from_top_to_bottom() {
    run("parameter-files.md");
}
