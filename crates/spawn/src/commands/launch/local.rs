//! A launch on this machine: the background host gets it.

use std::fs;
use std::io::Write;

use spawn_core::array_id::ArrayId;
use spawn_local::array_files;
use spawn_local::home::Home;
use spawn_local::submission::{SHELL_VARIABLES, Submission, own_umask};
use spawn_ports::ledger::NewArray;
use spawn_spec::{LaunchSpec, Resolved};

use super::{Args, Report, new_id};
use crate::bundle;
use crate::commands::Exit;
use crate::error::CliError;
use crate::read_model::PlanView;
use crate::render::{Output, standing, write_plan};
use crate::session::{Session, home};

/// Where a local launch runs and what it costs: the first line of every launch.
const WHERE: &str = "local: runs on this machine in sandboxes; costs nothing";

/// Starts it.
pub fn run(args: &Args, resolved: &Resolved, output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let path = task_path(&home);
    let plan = PlanView::new(resolved);
    let args = &args.launch;
    if args.dry_run {
        return dry_run(resolved, &plan, &path, output);
    }
    let limit = resolved.wait_timeout.map(|span| span.as_duration());
    let mut report = Report::open(args, limit, output)?;
    report.line(WHERE)?;
    if !args.quiet {
        advise(resolved, &path, output);
    }
    let (mut session, id) = start(&home, resolved, path).inspect_err(|_| report.discard())?;
    report.id_is(&id)?;
    if let Some(less) = session.info().and_then(|host| host.lessened.as_ref()) {
        output.warn(&standing::lessened(less));
    }
    if !args.quiet {
        if resolved.bounds_workers() && !session.bounds_workers() {
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
    report.finish(&mut session, &id, &plan)
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

fn advise(resolved: &Resolved, path: &str, output: &Output) {
    super::advise(resolved, "on this machine", output);
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
        machines: None,
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
    // Tells it from a launch that was killed, should the ledger ever lose it. That is not worth a failure.
    let _ = array_files::mark_launched(home, &id);
    Ok((session, id))
}

/// How many tasks each kind of worker has, where there are several.
fn lanes(spec: &LaunchSpec) -> Vec<u64> {
    spec.lanes.iter().map(|lane| lane.indices.len()).collect()
}
