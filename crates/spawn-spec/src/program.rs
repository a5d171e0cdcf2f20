//! What runs: the one of `--user-data`, `--user-data-file` and `-- COMMAND`
//! that was given, read and checked, with the files that go along.

use std::path::{Path, PathBuf};

use crate::error::{SpecError, SpecErrorKind};
use crate::flags::LaunchArgs;
use crate::interpreter::{self, find_on_path, is_executable};
use crate::mentions::{self, Mentions};
use crate::resolve::{LaunchContext, stdin_failed};
use crate::script::{self, Script};
use crate::shipping::{Shipment, relative_name};
use crate::spec::Program;

/// Where the program comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    Inline(&'a str),
    File(PathBuf),
    Stdin,
    Command(&'a [String]),
}

/// A program that can run, and what was learned on the way.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub program: Program,
    pub script: Option<Vec<u8>>,
    pub shipment: Shipment<'a>,
    pub default_name: String,
    pub mentions: Mentions,
    pub warnings: Vec<String>,
    /// How messages call the program.
    pub label: String,
}

/// Finds the one source that was given.
pub(crate) fn choose(args: &LaunchArgs) -> Result<Source<'_>, SpecError> {
    let mut given = Vec::new();
    let mut source = None;
    if let Some(text) = args.user_data.as_deref() {
        given.push("--user-data");
        source = Some(match text.strip_prefix('@') {
            Some("-") => Source::Stdin,
            Some(file) => Source::File(file.into()),
            None => Source::Inline(text),
        });
    }
    if let Some(file) = &args.user_data_file {
        given.push("--user-data-file");
        source = Some(Source::File(file.clone()));
    }
    if !args.command.is_empty() {
        given.push("-- COMMAND");
        source = Some(Source::Command(&args.command));
    }
    match source {
        None => Err(SpecErrorKind::NoProgram.into()),
        Some(_) if given.len() > 1 => Err(SpecErrorKind::ManyPrograms { given }.into()),
        Some(source) => Ok(source),
    }
}

/// Reads and checks the program, and gathers what it ships.
pub(crate) fn read<'a>(
    source: Source<'_>,
    args: &LaunchArgs,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let script = match source {
        Source::Command(argv) => return read_command(argv, args, ctx),
        Source::File(path) => script::from_file(&path, &ctx.launch_dir)?,
        Source::Stdin => {
            let bytes = (ctx.stdin)().map_err(|error| stdin_failed(&error))?;
            script::from_bytes(bytes, "the script on standard input")?
        }
        Source::Inline(text) => {
            refuse_file_name(text, &ctx.launch_dir)?;
            script::from_bytes(text.into(), "the script in `--user-data`")?
        }
    };
    read_script(script, args, ctx)
}

/// `--user-data process.sh` would run a command of that name, which nobody means.
fn refuse_file_name(text: &str, launch_dir: &Path) -> Result<(), SpecError> {
    let one_word = !text.contains(char::is_whitespace) && !text.is_empty();
    match one_word && launch_dir.join(text).is_file() {
        true => Err(SpecErrorKind::ForgottenAt { text: text.into() }.into()),
        false => Ok(()),
    }
}

fn read_script<'a>(
    script: Script,
    args: &LaunchArgs,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let Script {
        bytes,
        label,
        file_name,
        path,
    } = script;
    let elf = script::is_elf(&bytes);
    let interpreter = match elf {
        true => Vec::new(),
        false => interpreter::of_script(&bytes)
            .and_then(|words| {
                interpreter::check_present(&words, &ctx.launch_dir, &ctx.env)?;
                Ok(words)
            })
            .map_err(|problem| script::refused(&label, problem))?,
    };
    let text = String::from_utf8_lossy(if elf { &[] } else { &bytes });
    let mentions = match interpreter::is_shell(&interpreter) {
        true => mentions::in_shell(&text),
        false => mentions::in_other_language(&text),
    };
    let shipment = gather(args, ctx, &mentions, path.as_deref())?;
    let default_name = crate::name::derive(&file_name);
    Ok(Work {
        program: Program::Script {
            file_name,
            interpreter,
        },
        script: Some(bytes),
        shipment,
        default_name,
        mentions,
        warnings: Vec::new(),
        label,
    })
}

fn read_command<'a>(
    argv: &[String],
    args: &LaunchArgs,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let mentions = mentions::in_argv(argv);
    let shipment = gather(args, ctx, &mentions, None)?;
    let word = argv.first().map_or("", String::as_str);
    check_command(word, &shipment, ctx)?;
    let base = word.rsplit('/').next().unwrap_or(word);
    Ok(Work {
        program: Program::Command {
            argv: argv.to_vec(),
        },
        script: None,
        shipment,
        default_name: crate::name::derive(base),
        mentions,
        warnings: unexpanded(argv),
        label: "the command".into(),
    })
}

fn gather<'a>(
    args: &LaunchArgs,
    ctx: &'a LaunchContext,
    mentions: &Mentions,
    script: Option<&Path>,
) -> Result<Shipment<'a>, SpecError> {
    let mut shipment = Shipment::new(&ctx.launch_dir);
    if !args.no_auto_include {
        shipment.add_mentioned(&mentions.words, script);
    }
    for path in &args.include {
        shipment.include(path)?;
    }
    shipment.check_limits()?;
    Ok(shipment)
}

/// The program of a command must be on this machine, or go along. The task's
/// directory is last on PATH, so a shipped `run.sh` needs no `./`.
fn check_command(
    word: &str,
    shipment: &Shipment<'_>,
    ctx: &LaunchContext,
) -> Result<(), SpecError> {
    let shipped = relative_name(word).and_then(|name| shipment.get(&name));
    let found = match (word.contains('/'), shipped) {
        (false, _) if find_on_path(word, &ctx.env).is_some() => true,
        (false, _) if word == "python" && find_on_path("python3", &ctx.env).is_some() => true,
        (_, Some(file)) if !file.executable => {
            return Err(SpecErrorKind::CommandNotExecutable { word: word.into() }.into());
        }
        (_, Some(_)) => true,
        (_, None) => word.starts_with('/') && is_executable(Path::new(word)),
    };
    // `spored` is put on PATH for each task.
    match found || word == "spored" {
        true => Ok(()),
        false => Err(SpecErrorKind::CommandMissing { word: word.into() }.into()),
    }
}

/// A command's `$NAME` stays as it is: no shell reads it, save behind `-c`.
fn unexpanded(argv: &[String]) -> Vec<String> {
    let texts = argv
        .iter()
        .enumerate()
        .filter(|(at, _)| *at == 0 || argv[at - 1] != "-c")
        .map(|(_, word)| word);
    crate::environment::TASK_VARIABLES
        .into_iter()
        .filter(|name| {
            let dollar = [format!("${name}"), format!("${{{name}")];
            texts
                .clone()
                .any(|text| dollar.iter().any(|read| text.contains(read.as_str())))
        })
        .map(|name| {
            format!(
                "`${name}` in a COMMAND is not expanded, since no shell reads it; try `-- bash -c '...'`"
            )
        })
        .collect()
}
