//! `spawn env`: this shell talks to the embedded endpoint, until `--off`.
//!
//! What a variable was before goes to `SPAWN_OLD_NAME`; one that was not set leaves no such
//! trace. So `--off` needs nothing but the environment to put everything back.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::ValueEnum;
use spawn_local::endpoint_env;
use spawn_local::home::Home;

use super::Exit;
use crate::error::CliError;
use crate::render::Output;
use crate::session::{Session, home};

const OLD: &str = "SPAWN_OLD_";
/// Says that the environment is ours.
const MARK: &str = "SPAWN_ENV";

/// Variables that would lead AWS tools away from the endpoint.
const IN_THE_WAY: [&str; 14] = [
    "AWS_CA_BUNDLE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_OUTPUT",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Proxies that a request to this machine must not go through.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXIES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Let this shell use the S3, SQS and DynamoDB that tasks see
///
/// Prints lines for the shell to read: the local endpoint for the AWS CLI and
/// SDKs, and a PATH with `spored`. Nothing of it reaches AWS or costs money.
/// `--off` puts everything back as it was.
///
/// Examples:
///
///   eval "$(spawn env)"
///   aws s3 mb s3://my-bucket
///   eval "$(spawn env --off)"
///   spawn env --shell fish | source
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Put everything back as it was
    #[arg(long)]
    off: bool,

    /// Whose language to print; the login shell's if not given
    #[arg(
        long,
        value_enum,
        value_name = "bash|fish",
        hide_possible_values = true
    )]
    shell: Option<Shell>,
}

/// Shells whose language is known; bash stands for all of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    #[value(aliases = ["sh", "zsh", "dash", "ksh"])]
    Bash,
    Fish,
}

/// The environment as it is, and what becomes of it.
type Variables = BTreeMap<OsString, OsString>;
type Changes = Vec<(OsString, Option<OsString>)>;

/// Runs `spawn env`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let shell = args.shell.unwrap_or_else(login_shell);
    let now: Variables = std::env::vars_os().collect();
    let changes = match args.off {
        true => turned_off(&now, &home()?),
        false => {
            let session = Session::open()?;
            let key = read_key(session.home())?;
            let port = session.info().map_or(0, |info| info.endpoint_port);
            turned_on(&now, session.home(), port, &key)
        }
    };
    if output.json {
        let changes = changes.iter().map(|(name, value)| {
            let text = |text: &OsStr| text.to_string_lossy().into_owned();
            (text(name), value.as_deref().map(text))
        });
        output.write_json(&changes.collect::<BTreeMap<_, _>>())?;
        return Ok(Exit::Ok);
    }
    if args.off && changes.is_empty() {
        output.note("there is nothing to put back");
    }
    output.write(|out| {
        changes
            .iter()
            .try_for_each(|(name, value)| write_change(out, shell, name, value.as_deref()))
    })?;
    if io::stdout().is_terminal() {
        let off = if args.off { " --off" } else { "" };
        output.note(&match shell {
            Shell::Bash => format!("nothing has changed yet; run `eval \"$(spawn env{off})\"`"),
            Shell::Fish => format!("nothing has changed yet; run `spawn env{off} | source`"),
        });
    }
    Ok(Exit::Ok)
}

fn login_shell() -> Shell {
    let shell = std::env::var_os("SHELL").unwrap_or_default();
    match shell.as_bytes().ends_with(b"/fish") {
        true => Shell::Fish,
        false => Shell::Bash,
    }
}

/// The endpoint's key pair: a file as AWS tools keep theirs.
fn read_key(home: &Home) -> Result<(String, String), CliError> {
    let path = home.credentials();
    let failed = |source| CliError::File {
        verb: "read",
        path: path.clone(),
        source,
    };
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    value("aws_access_key_id")
        .zip(value("aws_secret_access_key"))
        .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

fn turned_on(now: &Variables, home: &Home, port: u16, key: &(String, String)) -> Changes {
    let mut wanted: Vec<(OsString, Option<OsString>)> = Vec::new();
    for (name, value) in endpoint_env::variables(port, &key.0, &key.1) {
        wanted.push((name.into(), Some(value.into())));
    }
    for name in now.keys() {
        let is_in_the_way = name.to_str().is_some_and(|name| {
            IN_THE_WAY.contains(&name) || name.starts_with("AWS_ENDPOINT_URL_")
        });
        if is_in_the_way {
            wanted.push((name.clone(), None));
        }
    }
    if PROXIES
        .iter()
        .any(|name| now.contains_key(OsStr::new(name)))
    {
        for name in NO_PROXIES {
            wanted.push((name.into(), Some(without_proxy(now.get(OsStr::new(name))))));
        }
    }
    wanted.push((
        "PATH".into(),
        Some(with_bin(now.get(OsStr::new("PATH")), home)),
    ));

    let mut changes = Changes::new();
    // What was saved when it was turned on first is what it was before.
    if !now.contains_key(OsStr::new(MARK)) {
        for (name, _) in &wanted {
            if let Some(old) = now.get(name) {
                changes.push((old_name(name), Some(old.clone())));
            }
        }
    }
    changes.extend(wanted);
    changes.push((MARK.into(), Some("1".into())));
    changes
}

fn turned_off(now: &Variables, home: &Home) -> Changes {
    let mut changes = Changes::new();
    if !now.contains_key(OsStr::new(MARK)) {
        return changes;
    }
    let is_ours = |name: &OsStr, value: &OsStr| {
        endpoint_env::variables(0, "", "")
            .iter()
            .any(|(ours, _)| name == OsStr::new(ours))
            || NO_PROXIES.iter().any(|ours| name == OsStr::new(ours)) && value == "127.0.0.1"
    };
    for (name, value) in now {
        if is_ours(name, value) && !now.contains_key(&old_name(name)) {
            changes.push((name.clone(), None));
        }
    }
    for (saved, old) in now {
        let Some(name) = saved.as_bytes().strip_prefix(OLD.as_bytes()) else {
            continue;
        };
        let name = OsStr::from_bytes(name);
        let value = match name.to_str() {
            Some("PATH") => without_bin(now.get(name), old, home),
            _ => old.clone(),
        };
        changes.push((name.to_owned(), Some(value)));
        changes.push((saved.clone(), None));
    }
    changes.push((MARK.into(), None));
    changes
}

fn old_name(name: &OsStr) -> OsString {
    let mut old = OsString::from(OLD);
    old.push(name);
    old
}

fn without_proxy(old: Option<&OsString>) -> OsString {
    let here = "127.0.0.1";
    match old.filter(|old| !old.is_empty()) {
        None => here.into(),
        Some(old) if old.to_string_lossy().split(',').any(|host| host == here) => old.clone(),
        Some(old) => {
            let mut more = OsString::from(here);
            more.push(",");
            more.push(old);
            more
        }
    }
}

fn with_bin(path: Option<&OsString>, home: &Home) -> OsString {
    let bin = home.bin();
    let mut front = bin.clone().into_os_string();
    match path.filter(|path| !path.is_empty()) {
        None => front,
        Some(path) if std::env::split_paths(path).any(|dir| dir == bin) => path.clone(),
        Some(path) => {
            front.push(":");
            front.push(path);
            front
        }
    }
}

/// The old PATH, unless it was changed meanwhile: then that stays, without our directory.
fn without_bin(path: Option<&OsString>, old: &OsStr, home: &Home) -> OsString {
    if path == Some(&with_bin(Some(&old.to_owned()), home)) {
        return old.to_owned();
    }
    let bin = home.bin();
    let path = path.map_or(OsStr::new(""), OsString::as_os_str);
    let dirs: Vec<&[u8]> = path
        .as_bytes()
        .split(|byte| *byte == b':')
        .filter(|dir| *dir != bin.as_os_str().as_bytes())
        .collect();
    OsString::from_vec(dirs.join(&b':'))
}

fn write_change(
    out: &mut impl Write,
    shell: Shell,
    name: &OsStr,
    value: Option<&OsStr>,
) -> io::Result<()> {
    // The environment may hold names that no shell takes.
    let Some(name) = name.to_str().filter(|name| is_shell_name(name)) else {
        return Ok(());
    };
    match (shell, value) {
        (Shell::Bash, Some(value)) => {
            write!(out, "export {name}=")?;
            out.write_all(&quoted(value.as_bytes(), shell))?;
            writeln!(out, ";")
        }
        (Shell::Bash, None) => writeln!(out, "unset {name};"),
        (Shell::Fish, Some(value)) => {
            write!(out, "set -gx {name} ")?;
            out.write_all(&quoted(value.as_bytes(), shell))?;
            writeln!(out, ";")
        }
        (Shell::Fish, None) => writeln!(out, "set -e {name};"),
    }
}

fn is_shell_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Within single quotes nothing means anything, but for what ends them.
fn quoted(value: &[u8], shell: Shell) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in value {
        match (byte, shell) {
            (b'\'', Shell::Bash) => out.extend_from_slice(b"'\\''"),
            (b'\'' | b'\\', Shell::Fish) => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    fn apply(mut now: Variables, changes: Changes) -> Variables {
        for (name, value) in changes {
            match value {
                Some(value) => now.insert(name, value),
                None => now.remove(&name),
            };
        }
        now
    }

    fn on(now: &Variables) -> Variables {
        let key = ("K".to_owned(), "S".to_owned());
        apply(now.clone(), turned_on(now, &Home::at("/h"), 1, &key))
    }

    fn off(now: &Variables) -> Variables {
        apply(now.clone(), turned_off(now, &Home::at("/h")))
    }

    #[test]
    fn off_takes_back_what_on_did() {
        for before in [
            vars(&[("PATH", "/bin"), ("X", "1")]),
            vars(&[("PATH", "/bin"), ("AWS_REGION", ""), ("AWS_PROFILE", "p")]),
            vars(&[("PATH", "/h/bin:/bin"), ("AWS_ENDPOINT_URL_S3", "u")]),
            vars(&[("PATH", "/bin"), ("http_proxy", "p"), ("NO_PROXY", "a,b")]),
        ] {
            assert_eq!(off(&on(&before)), before);
            assert_eq!(off(&on(&on(&before))), before, "twice on");
            assert_eq!(off(&before), before, "never on");
        }
    }

    #[test]
    fn what_leads_away_from_the_endpoint_is_gone_while_on() {
        let on = on(&vars(&[
            ("PATH", "/bin"),
            ("AWS_PROFILE", "p"),
            ("AWS_SESSION_TOKEN", "t"),
        ]));
        assert!(!on.contains_key(OsStr::new("AWS_PROFILE")));
        assert!(!on.contains_key(OsStr::new("AWS_SESSION_TOKEN")));
        assert_eq!(on[OsStr::new("PATH")], "/h/bin:/bin");
    }

    #[test]
    fn a_path_that_changed_meanwhile_stays() {
        let mut now = on(&vars(&[("PATH", "/bin")]));
        now.insert("PATH".into(), "/venv/bin:/h/bin:/bin".into());
        assert_eq!(off(&now)[OsStr::new("PATH")], "/venv/bin:/bin");
    }

    #[test]
    fn values_survive_the_shell() {
        assert_eq!(quoted(b"a'b\\$c", Shell::Bash), b"'a'\\''b\\$c'");
        assert_eq!(quoted(b"a'b\\$c", Shell::Fish), b"'a\\'b\\\\$c'");
    }
}
