//! `spored-node`: serves an array on an EC2 machine until the machine leaves its group.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use lexopt::prelude::*;
use nix::sys::stat::{Mode, umask};
use spawn_node::node;

const HELP: &str = "\
spored-node: serves an array on an EC2 machine

Usage: spored-node --config FILE

Exit codes: 0 the machine has left its group, 1 it cannot serve, 2 wrong usage.
";

fn main() {
    // Of the job, its logs and whatever else is made here; tasks have the umask that was launched with.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let path = match config_path() {
        Ok(Some(path)) => path,
        Ok(None) => return,
        Err(e) => {
            eprintln!("spored-node: {e}");
            eprintln!("  hint: `spored-node --help` shows the usage");
            std::process::exit(2);
        }
    };
    match node::read_config(&path).and_then(|config| node::serve(&config)) {
        Ok(end) => println!("spored-node: {end:?}"),
        Err(e) => {
            eprintln!("spored-node: {e}");
            std::process::exit(1);
        }
    }
}

/// `None`: all was said.
fn config_path() -> Result<Option<PathBuf>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut config = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("spored-node {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    config
        .map(Some)
        .ok_or_else(|| "`--config FILE` is missing".into())
}
