//! `spawn launch`: check everything, put the files in place, submit.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_local::home::Home;
use spawn_local::submission::{SHELL_VARIABLES, Submission, own_umask};
use spawn_ports::ledger::NewArray;
use spawn_spec::{LaunchArgs, LaunchContext, LaunchSpec, Provider, Resolved, resolve};

use super::{Exit, status};
use crate::bundle;
use crate::error::CliError;
use crate::read_model::{ArrayView, PlanView};
use crate::render::{Output, write_plan};
use crate::session::{Session, home};

/// Where a local launch runs and what it costs: the first line of every launch.
const WHERE: &str = "local: runs on this machine in sandboxes; costs nothing";

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
    let home = home()?;
    let args = &args.launch;
    let resolved = resolve(args, &context()?)?;
    if resolved.provider == Provider::Ec2 {
        return Err(CliError::Usage {
            message: "`--provider ec2` is not part of this build".into(),
            hint: Some("use `--provider local`".into()),
        });
    }
    let path = task_path(&home);
    let plan = PlanView::new(&resolved);
    if args.dry_run {
        return dry_run(&resolved, &plan, &path, output);
    }
    let output_id = args.output_id.as_deref().map(IdFile::open).transpose()?;
    let is_plain = !output.json && !args.quiet;
    if is_plain {
        output.write(|out| writeln!(out, "{WHERE}"))?;
    }
    if !args.quiet {
        advise(&resolved, &path, output);
    }

    let launched = start(&home, &resolved, path);
    let (mut session, id) = match launched {
        Ok(launched) => launched,
        Err(e) => {
            if let Some(file) = output_id {
                file.discard();
            }
            return Err(e);
        }
    };
    if let Some(file) = output_id {
        file.write(&id)?;
    }
    if !args.quiet {
        if resolved.bounds_workers() && !session.info().limits {
            output.note(
                "control groups cannot be made here, so `--instance-type` does not bound the workers",
            );
        }
        for bucket in session.missing_buckets(&resolved.buckets)? {
            output.warn(&format!(
                "there is no bucket `{bucket}` yet; make it with `aws s3 mb s3://{bucket}`, after `eval \"$(spawn env)\"`"
            ));
        }
    }
    if args.quiet && !output.json {
        output.write(|out| writeln!(out, "{id}"))?;
    } else if is_plain {
        output.write(|out| next_steps(out, &id, &plan, args.wait, output))?;
    }

    let mut exit = Exit::Ok;
    let mut ended = None;
    if args.wait {
        let limit = resolved.wait_timeout.map(|span| span.as_duration());
        let (view, how) = status::wait(&mut session, &id, limit, output, args.quiet)?;
        exit = how;
        if is_plain {
            status::show(&view, output)?;
        }
        ended = Some(view);
    }
    if output.json {
        output.write_json(&Launched {
            array_id: &id,
            plan: &plan,
            status: ended,
        })?;
    }
    Ok(exit)
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

/// The shell's PATH, without what `spawn env` put before it: tasks get that anyway.
fn task_path(home: &Home) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = home.bin();
    let parts = std::env::split_paths(&path).filter(|part| *part != bin);
    let joined = std::env::join_paths(parts).unwrap_or_default();
    joined.to_string_lossy().into_owned()
}

fn dry_run(
    resolved: &Resolved,
    plan: &PlanView,
    path: &str,
    output: &Output,
) -> Result<Exit, CliError> {
    if output.json {
        output.write_json(plan)?;
    } else {
        output.write(|out| {
            writeln!(out, "{WHERE}")?;
            write_plan(out, plan, output.style)
        })?;
    }
    advise(resolved, path, output);
    Ok(Exit::Ok)
}

/// Notes and warnings, on standard error.
fn advise(resolved: &Resolved, path: &str, output: &Output) {
    for note in &resolved.notes {
        output.note(note);
    }
    if !resolved.unused.is_empty() {
        let flags: Vec<String> = resolved
            .unused
            .iter()
            .map(|flag| format!("`{flag}`"))
            .collect();
        output.note(&format!(
            "recorded, without effect on this machine: {}",
            flags.join(", ")
        ));
    }
    for warning in &resolved.warnings {
        output.warn(warning);
    }
    for tool in &resolved.tools {
        if let Some(warning) = missing_tool(tool, path) {
            output.warn(&warning);
        }
    }
}

fn missing_tool(tool: &str, path: &str) -> Option<String> {
    let is_there = |name: &str| {
        std::env::split_paths(path).any(|dir| {
            fs::metadata(dir.join(name)).is_ok_and(|file| {
                use std::os::unix::fs::PermissionsExt;
                file.is_file() && file.permissions().mode() & 0o111 != 0
            })
        })
    };
    // Tasks get a `python` where there is a `python3`.
    let is_served = is_there(tool) || tool == "python" && is_there("python3");
    let install = match tool {
        "aws" => "the AWS CLI",
        "python" => "python3",
        other => other,
    };
    (!is_served).then(|| format!("the tasks run `{tool}`, which is not on PATH; install {install}"))
}

/// Puts the files in place and submits the array.
fn start(home: &Home, resolved: &Resolved, path: String) -> Result<(Session, ArrayId), CliError> {
    let mut session = Session::open()?;
    let (id, now) = new_id()?;
    let spec = Submission {
        launch: resolved.spec.clone(),
        umask: own_umask(),
        shell_env: SHELL_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect(),
        path,
    };
    let spec = serde_json::to_string(&spec).map_err(|e| CliError::System {
        what: "write the launch down",
        source: e.into(),
    })?;
    bundle::place(home, &id, resolved)?;
    let submitted = session.submit(NewArray {
        id: id.clone(),
        name: resolved.spec.name.clone(),
        spec,
        total: resolved.spec.indices.len(),
        budgets: resolved.spec.budgets.clone(),
        lanes: lanes(&resolved.spec),
        deadline: now.plus_millis(resolved.spec.ttl_ms),
    });
    if let Err(e) = submitted {
        bundle::remove(home, &id);
        return Err(e);
    }
    Ok((session, id))
}

/// How many tasks each kind of worker has, where there are several.
fn lanes(spec: &LaunchSpec) -> Vec<u64> {
    spec.lanes.iter().map(|lane| lane.indices.len()).collect()
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

/// The file of `--output-id`, known to be writable before anything starts.
struct IdFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl IdFile {
    fn open(path: &Path) -> Result<IdFile, CliError> {
        let is_new = !path.exists();
        // What is in it stays until there is an id to put there.
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|e| CliError::Usage {
            message: format!("`--output-id {}` cannot be written: {e}", path.display()),
            hint: None,
        })?;
        Ok(IdFile {
            path: path.to_owned(),
            file,
            is_new,
        })
    }

    fn write(mut self, id: &ArrayId) -> Result<(), CliError> {
        // Devices cannot be cut, and need not be.
        let _ = self.file.set_len(0);
        writeln!(self.file, "{id}").map_err(|source| CliError::File {
            verb: "write",
            path: self.path,
            source,
        })
    }

    fn discard(self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}
