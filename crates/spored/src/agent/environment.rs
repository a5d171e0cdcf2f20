//! The environment contract: what a task finds in its variables.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use spawn_local::rows::Row;
use spawn_local::sandbox::path_trees::PathTrees;
use spawn_local::sandbox::world::find_program;
use spawn_local::sandbox::{BorrowedPipe, Program, World};
use spawn_local::wire::agent::{Isolation, Job};
use spawn_local::worker_name;

use crate::task_files::{CONTROL, TIMEOUT, TTL_END};

/// The tasks' PATH, and what of it they would not see in their places.
pub fn find_path(job: &Job) -> PathTrees {
    match job.isolation {
        Isolation::Shared => PathTrees::unmoved(&job.path),
        Isolation::Full | Isolation::Mounts => {
            PathTrees::find(&job.path, job.argv.first().map(String::as_str))
        }
    }
}

/// Gives tasks a `python` where the machine has only `python3`: the directory with it, if so.
pub fn make_shims(job: &Job, path: &PathTrees) -> io::Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    if find_program("python", &job.path).is_some() {
        return Ok(None);
    }
    let Some(python3) = find_program("python3", &job.path) else {
        return Ok(None);
    };
    let shims = Path::new(&job.worker_dir).join("shims");
    std::fs::create_dir_all(&shims)?;
    let target = Path::new(std::ffi::OsStr::from_bytes(python3.as_bytes()));
    let moved = path.place_of_program(target);
    symlink(moved.as_deref().unwrap_or(target), shims.join("python"))?;
    Ok(Some(shims))
}

/// The PATH of tasks: spawn's programs, the launching shell's, stand-ins, and last the working
/// directory, where shipped files lie.
pub fn task_path(world: &World) -> String {
    let show = |dir: &PathBuf| dir.display().to_string();
    let shims = world.shims.as_ref().map(show).unwrap_or_default();
    let path = world.path.path().to_owned();
    let parts = [show(&world.bin), path, shims, show(&world.work)];
    let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    parts.join(":")
}

/// What every task of the array runs, or why it cannot.
pub fn program(job: &Job, world: &World, stdout: i32, stderr: i32) -> Result<Program, String> {
    let path = task_path(world);
    let mut words = job.argv.clone();
    if let (Some(first), Some(moved)) = (words.first_mut(), world.path.program()) {
        *first = moved.to_owned();
    }
    if let Some(name) = &job.script {
        let script: PathBuf = world.job.join("script").join(name);
        words.push(script.display().to_string());
    }
    let first = words.first().ok_or("there is nothing to run")?;
    let program = find_program(first, &path)
        .ok_or_else(|| format!("no program `{first}` on the tasks' PATH"))?;
    let argv = words.into_iter().map(c_string).collect::<Result<_, _>>()?;

    let size = job.total.to_string();
    let mut vars: Vec<(String, String)> = Vec::with_capacity(job.env.len() + 16);
    let mut set = |name: &str, value: &str| {
        vars.retain(|(n, _)| n != name);
        vars.push((name.to_owned(), value.to_owned()));
    };
    // What comes later wins: `--env` over the shell's own.
    for (name, value) in &job.env {
        set(name, value);
    }
    if let Some(home) = &world.home {
        set("HOME", &home.display().to_string());
    }
    set("PATH", &path);
    set("PWD", &world.work.display().to_string());
    set(CONTROL, &world.control.display().to_string());
    for prefix in ["TASK", "JOB"] {
        set(&format!("{prefix}_ARRAY_SIZE"), &size);
        set(&format!("{prefix}_ARRAY_ID"), job.array.as_str());
        set(&format!("{prefix}_ARRAY_NAME"), &job.name);
    }
    let env = vars
        .into_iter()
        .map(|(name, value)| c_string(format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    Ok(Program {
        path: program,
        argv,
        env,
        directory: c_string(world.work.display().to_string())?,
        first_to_go: job.group.is_some(),
        stdout: BorrowedPipe(stdout),
        stderr: BorrowedPipe(stderr),
    })
}

fn c_string(text: String) -> Result<CString, String> {
    CString::new(text).map_err(|e| {
        format!(
            "a zero byte in `{}`",
            String::from_utf8_lossy(&e.into_vec())
        )
    })
}

/// The variables that differ from task to task, each ended by a zero byte.
///
/// The session token takes no part in authentication: it tells the embedded endpoint which task
/// calls, so that calls that failed can be shown beside the task's outcome.
pub fn task_vars(
    index: u64,
    attempt: u32,
    worker: &str,
    caller: &str,
    ttl_end_ms: i64,
    timeout_ms: Option<u64>,
    row: &Row,
) -> Vec<u8> {
    let mut vars = format!(
        "TASK_ARRAY_INDEX={index}\0JOB_ARRAY_INDEX={index}\0TASK_ATTEMPT={attempt}\0TASK_WORKER={worker}\0AWS_SESSION_TOKEN={caller}\0{TTL_END}={ttl_end_ms}\0"
    );
    if let Some(ms) = timeout_ms {
        vars.push_str(&format!("{TIMEOUT}={ms}\0"));
    }
    for (name, value) in &row.vars {
        vars.push_str(name);
        vars.push('=');
        vars.push_str(value);
        vars.push('\0');
    }
    vars.into_bytes()
}

/// The host name of the worker that runs a task, also what `TASK_WORKER` says.
pub fn worker_name(job: &Job, index: u64) -> String {
    match job.fresh {
        true => worker_name::of_task(&job.name, index),
        false => worker_name::of_slot(&job.name, job.slot),
    }
}
