//! Programs that print credentials: `credential_process`, and the AWS CLI for the rest.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::credentials::{Credentials, CredentialsError};
use crate::environment::Environment;

/// How long such a program may take; a browser may be part of it.
const PATIENCE: Duration = Duration::from_secs(60);

fn refused(profile: &str, reason: impl Into<String>) -> CredentialsError {
    CredentialsError::Profile {
        profile: profile.to_owned(),
        reason: reason.into(),
    }
}

/// Runs the profile's `credential_process`. Neither the command nor its output is repeated in errors.
pub(super) fn credential_process(
    environment: &Environment,
    profile: &str,
    line: &str,
) -> Result<Credentials, CredentialsError> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]);
    let (status, out, _) = run(environment, command)
        .map_err(|e| refused(profile, format!("its `credential_process` failed: {e}")))?;
    if !status {
        return Err(refused(profile, "its `credential_process` failed"));
    }
    Credentials::parse(&out)
        .map_err(|e| refused(profile, format!("the answer of `credential_process`: {e}")))
}

/// Asks the AWS CLI for what this client does not do itself (`what`: single sign-on and the like).
pub(super) fn aws_cli(
    environment: &Environment,
    profile: &str,
    in_files: bool,
    what: &str,
) -> Result<Credentials, CredentialsError> {
    let mut command = Command::new("aws");
    command.args(["configure", "export-credentials", "--format", "process"]);
    if in_files {
        command.args(["--profile", profile]);
    }
    match run(environment, command) {
        Err(e) => Err(refused(
            profile,
            format!("{what} needs the AWS CLI version 2 on PATH, which did not run: {e}"),
        )),
        Ok((true, out, _)) => Credentials::parse(&out)
            .map_err(|e| refused(profile, format!("the answer of the AWS CLI: {e}"))),
        Ok((false, _, said)) => {
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().rev().find(|l| !l.trim().is_empty());
            Err(refused(
                profile,
                format!(
                    "{what}: `aws configure export-credentials` failed: {}",
                    last.unwrap_or("it said nothing").trim()
                ),
            ))
        }
    }
}

type Said = (bool, Vec<u8>, Vec<u8>);

fn run(environment: &Environment, mut command: Command) -> Result<Said, String> {
    let mut child = command
        .env_clear()
        .envs(environment.vars())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut out = child.stdout.take().expect("it is piped");
    let mut err = child.stderr.take().expect("it is piped");
    let collect = |stream: &mut dyn Read| {
        let mut bytes = Vec::new();
        stream
            .take(1 << 20)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
            .unwrap_or_default()
    };
    let out = std::thread::spawn(move || collect(&mut out));
    let err = std::thread::spawn(move || collect(&mut err));
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer in {} seconds", PATIENCE.as_secs()));
            }
            Err(e) => return Err(e.to_string()),
        }
    };
    let lost = |_| "its output was lost".to_owned();
    Ok((
        status.success(),
        out.join().map_err(lost)?,
        err.join().map_err(lost)?,
    ))
}
