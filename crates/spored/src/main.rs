//! `spored`: the agent on each worker, and the commands that scripts use inside a task.

mod agent;
mod aws_wrapper;
mod complete;
mod progress;
mod status;
mod task_files;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use lexopt::prelude::*;
use spawn_core::observed::{Progress, ProgressError};
use spawn_core::outcome::{Completion, Status};
use task_files::control_directory;

const HELP: &str = "\
spored: the agent of spawn, and the commands of a script inside a task

Usage: spored complete --status success|failed|skipped [--message TEXT]
       spored progress DONE[/TOTAL]
       spored status [--json]
       spored version

complete   say how this task ended. Without it the script's exit code says it.
           The first word stands: saying the same again does nothing, saying
           otherwise exits 1. The script goes on until it exits. A script may
           also write the file /tmp/SPAWN_COMPLETE: `success`, `failed: why`,
           or JSON such as {\"status\": \"failed\", \"message\": \"why\"}.
progress   say how far this task has come, such as `30` or `30/100`; shown by
           `spawn status` within a second. As often as you like.
status     show which task this is, what it said, how long it may still run,
           and whether it is being stopped.
version    print the version.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not inside a task.
";

fn main() {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|n| n == "aws") {
        std::process::exit(aws_wrapper::run(args.collect()));
    }
    let code = match run(args.collect()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("spored: {e}");
            eprintln!("  hint: `spored --help` shows the commands");
            2
        }
    };
    std::process::exit(code);
}

fn run(args: Vec<OsString>) -> Result<i32, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next()? {
        None => {
            eprint!("{HELP}");
            Ok(2)
        }
        Some(Short('h') | Long("help")) => {
            print!("{HELP}");
            Ok(0)
        }
        Some(Short('V') | Long("version")) => Ok(version()),
        Some(Value(command)) => match command.to_str() {
            Some("complete") => complete(parser),
            Some("progress") => progress(parser),
            Some("status") => status(parser),
            Some("version") => end(parser).map(|()| version()),
            Some("help") => {
                print!("{HELP}");
                Ok(0)
            }
            Some("agent") => end(parser).map(|()| agent()),
            Some("probe") => probe(parser),
            _ => Err(format!(
                "unknown command `{}`: expected `complete`, `progress`, `status` or `version`",
                command.display()
            )
            .into()),
        },
        Some(other) => Err(other.unexpected()),
    }
}

fn end(mut parser: lexopt::Parser) -> Result<(), lexopt::Error> {
    match parser.next()? {
        None => Ok(()),
        Some(arg) => Err(arg.unexpected()),
    }
}

fn version() -> i32 {
    println!("spored {}", env!("CARGO_PKG_VERSION"));
    0
}

fn agent() -> i32 {
    match agent::main() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("spored agent {}: {e}", std::process::id());
            1
        }
    }
}

/// For the host: `probe DIR ISOLATION`.
fn probe(mut parser: lexopt::Parser) -> Result<i32, lexopt::Error> {
    let dir = parser.value()?;
    let isolation = parser.value()?.string()?;
    let isolation = serde_json::from_value(isolation.into()).map_err(|e| e.to_string())?;
    end(parser)?;
    let probed = agent::probe::probe(Path::new(&dir), isolation);
    println!("{}", serde_json::to_string(&probed).unwrap_or_default());
    Ok(0)
}

fn complete(mut parser: lexopt::Parser) -> Result<i32, lexopt::Error> {
    let mut status = None;
    let mut message = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("status") | Short('s') => {
                let word = parser.value()?.string()?;
                let known = Status::from_word(&word).ok_or_else(|| {
                    format!("`--status {word}`: expected `success`, `failed` or `skipped`")
                })?;
                status = Some(known);
            }
            Long("message") | Short('m') => message = Some(parser.value()?.string()?),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    let status = status.ok_or("`spored complete` needs `--status success|failed|skipped`")?;
    let control = match control_directory() {
        Ok(control) => control,
        Err(e) => return Ok(failed(&e, 3)),
    };
    Ok(
        match complete::complete(&control, &Completion { status, message }) {
            Ok(()) => 0,
            Err(e) => failed(&e, 1),
        },
    )
}

fn progress(mut parser: lexopt::Parser) -> Result<i32, lexopt::Error> {
    let mut said: Option<Progress> = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Value(text) if said.is_none() => {
                let text = text.string()?;
                said = Some(text.parse().map_err(|e: ProgressError| e.to_string())?);
            }
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    let said = said.ok_or("`spored progress` needs `DONE` or `DONE/TOTAL`")?;
    let control = match control_directory() {
        Ok(control) => control,
        Err(e) => return Ok(failed(&e, 3)),
    };
    Ok(match progress::report(&control, said) {
        Ok(()) => 0,
        Err(e) => failed(&format!("cannot record the progress: {e}"), 1),
    })
}

fn status(mut parser: lexopt::Parser) -> Result<i32, lexopt::Error> {
    let mut json = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => json = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    let control = match control_directory() {
        Ok(control) => control,
        Err(e) => return Ok(failed(&e, 3)),
    };
    let Some(status) = status::TaskStatus::read(&control, |name| std::env::var(name).ok()) else {
        return Ok(failed(&"the variables of this task are not there", 3));
    };
    let text = match json {
        true => serde_json::to_string_pretty(&status).unwrap_or_default(),
        false => status.lines().join("\n"),
    };
    Ok(match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => 0,
        Err(e) => failed(&format!("cannot write the output: {e}"), 1),
    })
}

fn failed(why: &dyn Display, code: i32) -> i32 {
    eprintln!("spored: {why}");
    code
}
