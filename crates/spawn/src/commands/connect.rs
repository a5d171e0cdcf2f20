//! `spawn connect`: a shell on the machine that runs a task.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use spawn_core::task::TaskState;

use super::Exit;
use crate::error::CliError;
use crate::render::Output;
use crate::session::Session;

/// Open a shell on the machine that runs a task
///
/// On EC2, by AWS's Session Manager: no port is open and no key is needed. Runs
/// `aws ssm start-session`, which needs the AWS CLI and its session-manager-plugin.
///
/// Examples:
///
///   spawn connect last --task 7
///   spawn connect array-20260127-abc123 --task 7 --print
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// The task whose machine it is
    #[arg(short, long, value_name = "INDEX")]
    task: Option<u64>,

    /// Print the command instead of running it
    #[arg(long)]
    print: bool,
}

/// Runs `spawn connect`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let Some(place) = session.place().cloned() else {
        return Err(CliError::Usage {
            message: format!("`{id}` runs on this machine"),
            hint: Some(
                "`spawn status` shows its workers, `spawn logs --follow` what they print"
                    .to_owned(),
            ),
        });
    };
    let status = session.status(&id)?;
    let position = match args.task {
        Some(index) => Some(session.position(&id, index)?),
        None if status.workers.is_empty() => {
            return Err(CliError::NoTask {
                array: id,
                what: "machine at work".to_owned(),
            });
        }
        None if status.workers.len() == 1 => None,
        None => {
            return Err(CliError::Usage {
                message: format!(
                    "`{id}` has {} machines at work; which one?",
                    status.workers.len()
                ),
                hint: Some(format!(
                    "name a task that runs: `spawn connect {id} --task INDEX`"
                )),
            });
        }
    };
    let machine = match position {
        None => status
            .workers
            .first()
            .map(|worker| worker.agent.enrolled.hostname.clone()),
        Some(position) => {
            let row = session.task(&id, position)?;
            let agent = row
                .filter(|row| row.state == TaskState::Running)
                .and_then(|row| row.agent);
            let worker = status
                .workers
                .iter()
                .find(|worker| Some(worker.agent.id) == agent);
            worker.map(|worker| worker.agent.enrolled.hostname.clone())
        }
    };
    let machine = machine.ok_or_else(|| CliError::NoTask {
        array: id.clone(),
        what: "machine that runs this task now".to_owned(),
    })?;
    let words = [
        "ssm",
        "start-session",
        "--region",
        &place.region,
        "--target",
        &machine,
    ];
    if args.print {
        output.write(|out| {
            use io::Write;
            writeln!(out, "aws {}", words.join(" "))
        })?;
        return Ok(Exit::Ok);
    }
    let source = Command::new("aws").args(words).exec();
    Err(CliError::Ec2 {
        what: "run `aws ssm start-session`",
        source: Box::new(source),
        hint: Some(
            "install the AWS CLI and its session-manager-plugin; `--print` shows the command"
                .to_owned(),
        ),
    })
}
