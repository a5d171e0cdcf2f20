//! The `aws` on a worker's PATH and in a shell that used `eval "$(spawn env)"`.
//!
//! Runs the real `aws` of the machine. Two things are mended on the way: version 1 of the AWS
//! CLI ignores `AWS_ENDPOINT_URL` for SQS in nearly every region, and older ones know no such
//! variable at all, so `--endpoint-url` is put on the command line of the embedded services; and
//! a host that went idle is started again.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use spawn_local::home::Home;
use spawn_local::host_client::{HostClient, HostError};

/// Replaces this process by the real `aws`. Comes back only to say why it cannot: the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    let own = std::env::current_exe().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(real) = real_aws(&path, &own) else {
        eprintln!("aws: the AWS CLI is not on PATH");
        eprintln!("  hint: install it, for instance with `python3 -m pip install awscli`");
        return 127;
    };
    let endpoint = std::env::var_os("AWS_ENDPOINT_URL").filter(|e| !e.is_empty());
    if endpoint.is_some()
        && std::env::var_os("SPAWN_CONTROL").is_none()
        && std::env::var_os("SPAWN_ENV").is_some()
        && let Ok(home) = Home::locate(|name| std::env::var_os(name))
        && let Err(e) = start_host(&home)
    {
        eprintln!("aws: {e}");
        return 1;
    }
    let mut command = Command::new(real);
    if let Some(endpoint) = endpoint.filter(|_| needs_endpoint(&args)) {
        command.arg("--endpoint-url").arg(endpoint);
    }
    let error = command.args(args).exec();
    eprintln!("aws: cannot run the AWS CLI: {error}");
    126
}

fn start_host(home: &Home) -> Result<(), HostError> {
    if home.secure()? {
        eprintln!("aws: {}", home.closed_note());
    }
    for warning in HostClient::connect_or_start(home)?.info.warnings {
        eprintln!("aws: {warning}");
    }
    Ok(())
}

/// The services that the embedded endpoint serves, as the AWS CLI calls them.
const SERVED: [&str; 5] = ["s3", "s3api", "sqs", "dynamodb", "sts"];

fn needs_endpoint(args: &[OsString]) -> bool {
    let names = |flag: &OsStr| {
        flag == "--endpoint-url" || flag.to_string_lossy().starts_with("--endpoint-url=")
    };
    args.iter().any(|a| SERVED.iter().any(|s| a == s)) && !args.iter().any(|a| names(a))
}

/// The first `aws` on PATH that is not this program under another name.
fn real_aws(path: &OsStr, own: &Path) -> Option<PathBuf> {
    let is_own = |p: &Path| {
        let (Ok(a), Ok(b)) = (p.canonicalize(), own.canonicalize()) else {
            return false;
        };
        a == b || a.file_name() == Some(OsStr::new("spored"))
    };
    std::env::split_paths(path)
        .map(|dir| dir.join("aws"))
        .find(|p| p.is_file() && !is_own(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_embedded_services_are_mended() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(needs_endpoint(&args("sqs create-queue --queue-name q")));
        assert!(needs_endpoint(&args("--output text sqs list-queues")));
        assert!(!needs_endpoint(&args(
            "sqs list-queues --endpoint-url http://x"
        )));
        assert!(!needs_endpoint(&args(
            "--endpoint-url=http://x sqs list-queues"
        )));
        assert!(needs_endpoint(&args("s3 ls")));
        assert!(!needs_endpoint(&args("ec2 describe-instances")));
        assert!(!needs_endpoint(&args("configure list")));
    }

    #[test]
    fn the_wrapper_never_finds_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        for d in [&ours, &theirs] {
            std::fs::create_dir(d).unwrap();
        }
        std::fs::write(ours.join("spored"), "").unwrap();
        std::os::unix::fs::symlink("spored", ours.join("aws")).unwrap();
        std::fs::write(theirs.join("aws"), "").unwrap();
        let path = std::env::join_paths([&ours, &theirs]).unwrap();
        assert_eq!(
            real_aws(&path, &ours.join("spored")),
            Some(theirs.join("aws"))
        );
        assert_eq!(real_aws(ours.as_os_str(), &ours.join("spored")), None);
    }
}
