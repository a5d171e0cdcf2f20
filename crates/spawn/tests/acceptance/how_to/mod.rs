//! The how-to, pattern by pattern: its own scripts and commands with the real AWS CLI.
//!
//! `page.md` is the page. What it leaves out (`...`) and the sizes that a test cannot afford are
//! filled in by the patches beside the scripts, see [`page`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Output, World};

mod aggregating;
mod arrays;
mod conditional;
mod interrupting;
mod page;
mod param_files;
mod profiling;
mod progress;
mod retrying;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/how-to")
}

/// A file of the how-to as it is.
fn example(name: &str) -> String {
    let path = examples().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of the how-to with what the page leaves out.
fn patched(name: &str) -> String {
    let patch = format!("patches/{name}.patch");
    Output::of(
        Command::new("patch")
            .args(["--silent", "--fuzz=0", "--output=-", name, &patch])
            .current_dir(examples()),
    )
    .expect_code(0)
    .out()
}

/// A bash script as a user would run it who has `spawn` on PATH and typed `eval "$(spawn env)"`.
fn shell_command(world: &World, script: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_spawn")).parent().unwrap();
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let script = format!("set -euo pipefail\neval \"$(spawn env)\"\n{script}");
    let mut command = world.program("bash");
    command
        .env("PATH", path)
        .env("TERM", "xterm")
        .args(["-c", &script]);
    command
}

/// Runs such a script, which must succeed, and gives what it printed.
fn shell(world: &World, script: &str) -> String {
    Output::of(&mut shell_command(world, script))
        .expect_code(0)
        .out()
}

/// A CSV file with one number in each of two rows, and what `process.py` makes of it.
fn csv(i: u64) -> (String, String) {
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
