//! What runs: the script or command that was given, read and checked, with the
//! files that go along.

use std::path::{Path, PathBuf};

use crate::error::{ScriptProblem, SpecError, SpecErrorKind};
use crate::interpreter::{self, find_on_path, is_executable};
use crate::mentions::{self, Mentions};
use crate::origin::{Origin, Sourced};
use crate::resolve::{LaunchContext, stdin_failed};
use crate::script::{self, Script};
use crate::settings::ProgramGiven;
use crate::shipping::{Shipment, relative_name};
use crate::spec::{Program, Provider};

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

/// What goes along with the program.
#[derive(Clone, Copy)]
pub(crate) struct Along<'a> {
    pub include: Option<&'a Sourced<Vec<PathBuf>>>,
    pub no_auto_include: bool,
}

/// Reads and checks the program, and gathers what it ships.
///
/// A program that this machine lacks cannot run here. Machines of another provider may have it, so
/// that there it is only warned about.
pub(crate) fn read<'a>(
    given: &Sourced<ProgramGiven>,
    along: Along<'_>,
    provider: Provider,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let origin = &given.origin;
    let script = match &given.value {
        ProgramGiven::Command(argv) => return read_command(argv, origin, along, provider, ctx),
        ProgramGiven::File(path) => script::from_file(path, origin, &ctx.launch_dir)?,
        ProgramGiven::Stdin => {
            let bytes = (ctx.stdin)().map_err(|error| stdin_failed(&error))?;
            script::from_bytes(bytes, "the script on standard input")?
        }
        ProgramGiven::Inline(text) => {
            refuse_file_name(text, origin, &ctx.launch_dir)?;
            let label = match origin {
                Origin::File(origin) => format!("the script in `{}`", origin.file),
                _ => format!("the script in {origin}"),
            };
            script::from_bytes(text.as_str().into(), &label)?
        }
    };
    read_script(script, along, provider, ctx)
}

/// `--user-data process.sh` would run a command of that name, which nobody means.
fn refuse_file_name(text: &str, origin: &Origin, launch_dir: &Path) -> Result<(), SpecError> {
    let one_word = !text.contains(char::is_whitespace) && !text.is_empty();
    // A path in a file starts from that file's directory.
    let base = match origin {
        Origin::File(origin) => launch_dir.join(&*origin.file),
        _ => launch_dir.join("-"),
    };
    match one_word && base.with_file_name(text).is_file() {
        true => {
            let (origin, text) = (origin.clone(), text.to_owned());
            Err(SpecErrorKind::ForgottenAt { origin, text }.into())
        }
        false => Ok(()),
    }
}

fn read_script<'a>(
    script: Script,
    along: Along<'_>,
    provider: Provider,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let Script {
        bytes,
        label,
        file_name,
        path,
    } = script;
    let elf = script::is_elf(&bytes);
    let refused = |problem| script::refused(&label, problem);
    let mut warnings = Vec::new();
    let interpreter = match elf {
        true => Vec::new(),
        false => interpreter::of_script(&bytes).map_err(refused)?,
    };
    match interpreter::check_present(&interpreter, &ctx.launch_dir, &ctx.env) {
        Err(ScriptProblem::InterpreterMissing { name }) if provider == Provider::Ec2 => {
            warnings.push(format!(
                "{label} needs the interpreter `{name}`, which is not on this machine; see that the workers' image has it"
            ));
        }
        checked => checked.map_err(refused)?,
    }
    let text = String::from_utf8_lossy(if elf { &[] } else { &bytes });
    let mentions = match interpreter::is_shell(&interpreter) {
        true => mentions::in_shell(&text),
        false => mentions::in_other_language(&text),
    };
    let shipment = gather(along, ctx, &mentions, path.as_deref())?;
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
        warnings,
        label,
    })
}

fn read_command<'a>(
    argv: &[String],
    origin: &Origin,
    along: Along<'_>,
    provider: Provider,
    ctx: &'a LaunchContext,
) -> Result<Work<'a>, SpecError> {
    let mentions = mentions::in_argv(argv);
    let shipment = gather(along, ctx, &mentions, None)?;
    let word = argv.first().map_or("", String::as_str);
    let mut warnings = unexpanded(argv);
    let checked = check_command(word, origin, &shipment, ctx);
    // A relative path is a file beside the task, and several words are no program anywhere.
    let may_be_there = word.starts_with('/') || !word.contains('/');
    let may_be_there = may_be_there && !word.contains(char::is_whitespace) && !word.is_empty();
    match checked.as_ref().map_err(|error| &error.kind) {
        Err(SpecErrorKind::CommandMissing { .. }) if provider == Provider::Ec2 && may_be_there => {
            warnings.push(format!(
                "there is no program `{word}` on this machine; see that the workers' image has it"
            ));
        }
        _ => checked?,
    }
    let base = word.rsplit('/').next().unwrap_or(word);
    Ok(Work {
        program: Program::Command {
            argv: argv.to_vec(),
        },
        script: None,
        shipment,
        default_name: crate::name::derive(base),
        mentions,
        warnings,
        label: "the command".into(),
    })
}

fn gather<'a>(
    along: Along<'_>,
    ctx: &'a LaunchContext,
    mentions: &Mentions,
    script: Option<&Path>,
) -> Result<Shipment<'a>, SpecError> {
    let mut shipment = Shipment::new(&ctx.launch_dir);
    if !along.no_auto_include {
        shipment.add_mentioned(&mentions.words, script);
    }
    if let Some(Sourced { value, origin }) = along.include {
        for path in value {
            shipment.include(path, origin)?;
        }
    }
    shipment.check_limits()?;
    Ok(shipment)
}

/// The program of a command must be on this machine, or go along. The task's
/// directory is last on PATH, so a shipped `run.sh` needs no `./`.
fn check_command(
    word: &str,
    origin: &Origin,
    shipment: &Shipment<'_>,
    ctx: &LaunchContext,
) -> Result<(), SpecError> {
    let shipped = relative_name(word).and_then(|name| shipment.get(&name));
    let found = match (word.contains('/'), shipped) {
        (false, _) if find_on_path(word, &ctx.env).is_some() => true,
        (false, _) if word == "python" && find_on_path("python3", &ctx.env).is_some() => true,
        (_, Some(file)) if !file.executable => {
            let (origin, word) = (origin.clone(), word.into());
            return Err(SpecErrorKind::CommandNotExecutable { origin, word }.into());
        }
        (_, Some(_)) => true,
        (_, None) => word.starts_with('/') && is_executable(Path::new(word)),
    };
    // `spored` is put on PATH for each task.
    match found || word == "spored" {
        true => Ok(()),
        false => {
            let (origin, word) = (origin.clone(), word.into());
            Err(SpecErrorKind::CommandMissing { origin, word }.into())
        }
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
