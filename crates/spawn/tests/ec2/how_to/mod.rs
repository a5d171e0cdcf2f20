//! The how-to's own scripts and commands, on machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Output;

mod aggregating;
pub mod chunks;
mod conditional;
mod param_files;
mod sharing;
mod spot;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/how-to")
}

/// A file of the how-to as it is.
pub fn example(name: &str) -> String {
    let path = examples().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of the how-to with what the page leaves out.
pub fn patched(name: &str) -> String {
    let patch = format!("patches/{name}.patch");
    let mut command = Command::new("patch");
    command.args(["--silent", "--fuzz=0", "--output=-", name, &patch]);
    Output::of(command.current_dir(examples()))
        .expect_code(0)
        .out()
}

/// The first block of code after a line of the page.
pub fn block_after(line: &str) -> &'static str {
    const PAGE: &str = include_str!("../../acceptance/how_to/page.md");
    let (_, rest) = PAGE.split_once(line).expect("a line of the page");
    let (_, rest) = rest.split_once("```bash\n").expect("a block of bash");
    rest.split_once("```").expect("an end of the block").0
}

/// A CSV file with one number in each of two rows, and what `process.py` makes of it.
pub fn csv(i: u64) -> (String, String) {
    let (a, b) = (i, i * 3);
    let input = format!("x,y\n{a},1\n{b},2\n");
    let output = format!(
        "x,y,total\r\n{a},1,{}\r\n{b},2,{}\r\n{},3,{}\r\n",
        a + 1,
        b + 2,
        a + b,
        a + b + 3
    );
    (input, output)
}
