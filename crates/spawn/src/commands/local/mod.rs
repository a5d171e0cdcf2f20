//! `spawn local`: the background host itself.

mod check;

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use spawn_core::moment::UnixMicros;
use spawn_local::host_client::{HostClient, HostError};
use spawn_local::wire::agent::Isolation;
use spawn_local::wire::client::Refusal;

use super::{Exit, confirm::confirm};
use crate::error::CliError;
use crate::read_model::Stamp;
use crate::render::{Output, counted, standing};
use crate::session::home;

/// How long a host may take to end its agents.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Look at the background host of this machine, check its ledger, or stop it
///
/// The host starts by itself when a command needs it and ends by itself when
/// it has been idle for a while.
///
/// Examples:
///
///   spawn local status
///   spawn local check
///   spawn local stop
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Status(StatusArgs),
    Check(check::CheckArgs),
    Stop(StopArgs),
}

/// Show whether the host runs, and where its state is
///
/// Starts nothing.
///
/// Examples:
///
///   spawn local status
///   spawn local status -o json | jq -r .endpoint
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
struct StatusArgs {}

/// Stop the host and its workers
///
/// Running tasks go back to the ledger; they run again when any command that
/// needs the host starts it. To end them for good, use `spawn cancel`.
///
/// Examples:
///
///   spawn local stop
///   spawn local stop --yes
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
struct StopArgs {
    /// Do not ask, even if arrays are unfinished
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct HostView<'a> {
    home: &'a Path,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(flatten)]
    host: Option<Running>,
}

#[derive(Debug, Serialize)]
struct Running {
    pid: u32,
    version: String,
    started_at: Stamp,
    endpoint: String,
    workers: u32,
    unfinished_arrays: u32,
    isolation: Option<Isolation>,
}

/// Runs `spawn local`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    match &args.action {
        Action::Status(_) => status(output),
        Action::Check(args) => check::run(args, output),
        Action::Stop(args) => stop(args, output),
    }
}

fn status(output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let host = HostClient::connect(&home)?.map(|client| {
        let info = client.info;
        for warning in &info.warnings {
            output.warn(warning);
        }
        Running {
            pid: info.pid,
            version: info.version,
            started_at: Stamp(UnixMicros(info.started_at)),
            endpoint: format!("http://127.0.0.1:{}", info.endpoint_port),
            workers: info.agents,
            unfinished_arrays: info.unfinished,
            isolation: info.isolation,
        }
    });
    let view = HostView {
        home: home.root(),
        running: host.is_some(),
        host,
    };
    if output.json {
        output.write_json(&view)?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        let style = output.style;
        match &view.host {
            None => writeln!(out, "no host runs; the next launch starts it")?,
            Some(host) => {
                let unfinished = counted(host.unfinished_arrays.into(), "unfinished array");
                let workers = counted(host.workers.into(), "worker");
                writeln!(out, "{}, pid {}", style.good("the host runs"), host.pid)?;
                writeln!(out, "  since     {}", host.started_at)?;
                writeln!(out, "  work      {unfinished}, {workers}")?;
                writeln!(out, "  endpoint  {}", host.endpoint)?;
                if let Some(isolation) = host.isolation {
                    writeln!(out, "  workers   {}", standing::isolation(isolation))?;
                }
            }
        }
        writeln!(out, "  home      {}", view.home.display())
    })?;
    Ok(Exit::Ok)
}

fn stop(args: &StopArgs, output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let running = match HostClient::connect(&home) {
        Ok(None) => None,
        Ok(Some(client)) => {
            if client.info.unfinished > 0 {
                let what = format!(
                    "{} would stop until a command starts the host again",
                    counted(client.info.unfinished.into(), "unfinished array")
                );
                confirm(&what, args.yes, "spawn local stop --yes".to_owned())?;
            }
            Some(client.info.pid)
        }
        // A host of another version: its process id cannot be asked for.
        Err(
            HostError::Protocol
            | HostError::Refused {
                kind: Refusal::Protocol,
                ..
            },
        ) => Some(0),
        Err(e) => return Err(e.into()),
    };
    if let Some(pid) = running {
        HostClient::shut_down(&home)?;
        await_end(pid)?;
    }
    #[derive(Serialize)]
    struct Stopped {
        stopped: bool,
    }
    let stopped = running.is_some();
    match (output.json, stopped) {
        (true, _) => output.write_json(&Stopped { stopped })?,
        (false, true) => output.write(|out| writeln!(out, "the host has stopped"))?,
        (false, false) => output.write(|out| writeln!(out, "no host runs"))?,
    }
    Ok(Exit::Ok)
}

/// Waits until the process is gone, so that its files may be removed.
fn await_end(pid: u32) -> Result<(), CliError> {
    let proc = Path::new("/proc").join(pid.to_string());
    let limit = Instant::now() + END_LIMIT;
    while pid != 0 && proc.exists() && !is_zombie(&proc) {
        if Instant::now() > limit {
            return Err(CliError::System {
                what: "stop the host",
                source: std::io::ErrorKind::TimedOut.into(),
            });
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Ended, and not yet noticed by whoever started it.
fn is_zombie(proc: &Path) -> bool {
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}
