//! `spawn launch`: check everything, put the files in place, start.
//!
//! What is the same everywhere is here; [`local`] starts on this machine, [`ec2`] on EC2.

mod ec2;
mod id_file;
mod local;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_spec::{LaunchArgs, LaunchContext, Provider, Resolved, resolve};

use super::{Exit, status};
use crate::error::CliError;
use crate::read_model::{ArrayView, PlanView};
use crate::render::Output;
use crate::session::Session;
pub use ec2::{examine, ledger as ec2_ledger};
use id_file::IdFile;

/// Run a script, or a command, as an array of tasks
///
/// Returns as soon as the tasks are on their way; they go on without this
/// shell. Each task finds its index in TASK_ARRAY_INDEX.
///
///   spawn launch --array 100 --user-data @process.sh
///   spawn launch --array 10000 --workers 8 --timeout 10m --user-data @one.sh
///   spawn launch --array 0-9 --wait -- python3 simulate.py
///   id=$(spawn launch --quiet --user-data @nightly.sh)
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    launch: LaunchArgs,

    /// Go on with a launch on EC2 that broke off; no other flag says what to run
    #[arg(long, value_name = "ID", help_heading = "Machines")]
    resume: Option<String>,

    /// Do not ask, however many machines it is
    #[arg(short, long, help_heading = "Machines")]
    yes: bool,
}

/// A launch that is on its way.
#[derive(Serialize)]
struct Launched<'a> {
    array_id: &'a ArrayId,
    #[serde(flatten)]
    plan: &'a PlanView,
    /// How it ended, if it was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ArrayView>,
}

/// Runs `spawn launch`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    if let Some(typed) = &args.resume {
        return ec2::resume(typed, args, output);
    }
    let resolved = resolve(&args.launch, &context()?)?;
    match resolved.provider {
        Provider::Local => local::run(args, &resolved, output),
        Provider::Ec2 => ec2::run(args, &resolved, output),
    }
}

/// What a launch prints, and where its id goes.
struct Report<'a> {
    output: &'a Output,
    is_quiet: bool,
    is_waiting: bool,
    limit: Option<Duration>,
    id_file: Option<IdFile>,
}

impl<'a> Report<'a> {
    /// Opens the file of `--output-id`, so that nothing starts if it cannot be written.
    fn open(
        args: &LaunchArgs,
        limit: Option<Duration>,
        output: &'a Output,
    ) -> Result<Report<'a>, CliError> {
        Ok(Report {
            output,
            is_quiet: args.quiet,
            is_waiting: args.wait,
            limit,
            id_file: args.output_id.as_deref().map(IdFile::open).transpose()?,
        })
    }

    /// A line for people.
    fn line(&self, text: &str) -> Result<(), CliError> {
        match self.is_plain() {
            true => self.output.write(|out| writeln!(out, "{text}")),
            false => Ok(()),
        }
    }

    fn is_plain(&self) -> bool {
        !self.output.json && !self.is_quiet
    }

    /// Nothing was started.
    fn discard(&mut self) {
        if let Some(file) = self.id_file.take() {
            file.discard();
        }
    }

    /// The array is on its way, or may be: its id is what finds it.
    fn id_is(&mut self, id: &ArrayId) -> Result<(), CliError> {
        match self.id_file.take() {
            Some(file) => file.write(id),
            None => Ok(()),
        }
    }

    /// Says what was started and, if that was asked for, waits for its end.
    fn finish(
        self,
        session: &mut Session,
        id: &ArrayId,
        plan: &PlanView,
    ) -> Result<Exit, CliError> {
        let output = self.output;
        if self.is_quiet && !output.json {
            output.write(|out| writeln!(out, "{id}"))?;
        } else if self.is_plain() {
            output.write(|out| next_steps(out, id, plan, self.is_waiting, output))?;
        }
        let mut exit = Exit::Ok;
        let mut ended = None;
        if self.is_waiting {
            let (view, how) = status::wait(session, id, self.limit, output, self.is_quiet)?;
            exit = how;
            if self.is_plain() {
                status::show(&view, output)?;
            }
            ended = Some(view);
        }
        if output.json {
            output.write_json(&Launched {
                array_id: id,
                plan,
                status: ended,
            })?;
        }
        Ok(exit)
    }
}

/// Notes and warnings, on standard error; `place` is where some settings have no effect.
fn advise(resolved: &Resolved, place: &str, output: &Output) {
    for note in &resolved.notes {
        output.note(note);
    }
    if !resolved.unused.is_empty() {
        let flags: Vec<String> = resolved
            .unused
            .iter()
            .map(|flag| format!("`{flag}`"))
            .collect();
        let flags = flags.join(", ");
        output.note(&format!("recorded, without effect {place}: {flags}"));
    }
    for warning in &resolved.warnings {
        output.warn(warning);
    }
}

/// What a launch finds around it: the directory, the environment, standard input.
pub fn context() -> Result<LaunchContext, CliError> {
    let launch_dir = std::env::current_dir().map_err(|source| CliError::System {
        what: "find the current directory",
        source,
    })?;
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(LaunchContext {
        launch_dir,
        env,
        stdin: Box::new(|| {
            let mut script = Vec::new();
            // One byte more than allowed, so that too much is noticed and not read.
            let limit = spawn_spec::MAX_SCRIPT_BYTES as u64 + 1;
            io::stdin().lock().take(limit).read_to_end(&mut script)?;
            Ok(script)
        }),
    })
}

fn new_id() -> Result<(ArrayId, UnixMicros), CliError> {
    let failed = |what: &'static str| {
        move |e: Box<dyn std::error::Error + Send + Sync>| CliError::System {
            what,
            source: io::Error::other(e),
        }
    };
    let clock = failed("tell the date");
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| clock(e.into()))?;
    let now = i64::try_from(since.as_micros()).map_err(|e| clock(e.into()))?;
    let day = jiff::Timestamp::from_microsecond(now)
        .map_err(|e| clock(e.into()))?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|e| failed("get random numbers")(e.to_string().into()))?;
    let id = ArrayId::new(
        day.year().unsigned_abs(),
        day.month().unsigned_abs(),
        day.day().unsigned_abs(),
        random,
    )
    .map_err(|e| clock(e.into()))?;
    Ok((id, UnixMicros(now)))
}

fn next_steps(
    out: &mut impl Write,
    id: &ArrayId,
    plan: &PlanView,
    is_waiting: bool,
    output: &Output,
) -> io::Result<()> {
    let style = output.style;
    writeln!(out, "{}  {}", style.strong(id.as_str()), plan.summary())?;
    if is_waiting {
        return Ok(());
    }
    writeln!(out)?;
    for (command, what) in [
        (format!("spawn status {id} --wait"), "wait for the end"),
        (format!("spawn logs {id}"), "what the tasks print"),
        (format!("spawn cancel {id}"), "stop it"),
    ] {
        writeln!(out, "  {command:<44}  {}", style.faint(what))?;
    }
    Ok(())
}
