//! `spawn doctor`: whether a launch on EC2 would work, before there is one.

use std::io::Write;

use serde::Serialize;
use spawn_spec::{LaunchArgs, Provider, resolve};

use super::Exit;
use super::launch;
use crate::error::CliError;
use crate::render::Output;

/// Check whether a launch on EC2 would work
///
/// Credentials, region, machines' programs, the types and where they are offered,
/// images, network, quotas and grants; and what a first launch would make. Asks
/// AWS, and changes nothing.
///
/// Examples:
///
///   spawn doctor
///   spawn doctor --policy > spawn-policy.json
///   spawn doctor --instance-type c7g.large --spot --workers 200 --region eu-west-1
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// AWS region [default: that of the environment or the profile]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,

    /// EC2 instance types, as `spawn launch` takes them
    #[arg(long, value_name = "TYPE,...")]
    instance_type: Vec<String>,

    /// As spot capacity
    #[arg(long)]
    spot: bool,

    /// Print the IAM policy that a person needs who launches, and check nothing
    #[arg(long, exclusive = true)]
    policy: bool,

    /// How many machines
    #[arg(long, value_name = "W", default_value_t = 1)]
    workers: u32,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    state: State,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Warning,
    Bad,
}

/// Runs `spawn doctor`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    if args.policy {
        output.write_json(&spawn_ec2::grants::policy())?;
        return Ok(Exit::Ok);
    }
    let asked = LaunchArgs {
        provider: Some(Provider::Ec2),
        region: args.region.clone(),
        instance_type: args.instance_type.clone(),
        spot: args.spot,
        workers: Some(args.workers),
        array: Some(args.workers.max(1).to_string()),
        command: vec!["true".to_owned()],
        ..LaunchArgs::default()
    };
    let resolved = resolve(&asked, &launch::context()?)?;
    let mut checks = Vec::new();
    let mut add = |state, what: String| checks.push(Check { state, what });
    match launch::examine(&resolved) {
        Ok(found) => {
            add(State::Good, found.who);
            for line in found.good {
                add(State::Good, line);
            }
            for line in found.warnings {
                add(State::Warning, line);
            }
        }
        Err(CliError::Preflight { found, .. }) => {
            for finding in found {
                add(State::Bad, finding.to_string());
            }
        }
        Err(e) => {
            let hint = e.hint().map(|hint| format!("; {hint}"));
            add(State::Bad, format!("{e}{}", hint.unwrap_or_default()));
        }
    }
    let is_well = checks.iter().all(|check| check.state != State::Bad);
    if output.json {
        output.write_json(&checks)?;
    } else {
        let style = output.style;
        output.write(|out| {
            for check in &checks {
                let word = match check.state {
                    State::Good => style.good("ok"),
                    State::Warning => style.warn("warning"),
                    State::Bad => style.bad("bad"),
                };
                writeln!(out, "{word}  {}", check.what)?;
            }
            Ok(())
        })?;
    }
    Ok(match is_well {
        true => Exit::Ok,
        false => Exit::TasksFailed,
    })
}
