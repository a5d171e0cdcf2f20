//! What runs a script: its shebang, read as the kernel reads it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::ScriptProblem;

/// What runs a script without a shebang.
const DEFAULT: &str = "/bin/bash";
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// The interpreter of a script's first line: a path and at most one argument.
pub(crate) fn of_script(bytes: &[u8]) -> Result<Vec<String>, ScriptProblem> {
    let Some(rest) = bytes.strip_prefix(b"#!") else {
        return Ok(vec![DEFAULT.into()]);
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t', '\r']);
    let (path, argument) = match line.split_once([' ', '\t']) {
        Some((path, argument)) => (path, argument.trim_start_matches([' ', '\t'])),
        None => (line, ""),
    };
    if path.is_empty() {
        return Err(ScriptProblem::NoInterpreter);
    }
    let words = [path, argument].into_iter().filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}

/// Refuses an interpreter that this machine lacks.
pub(crate) fn check_present(
    interpreter: &[String],
    launch_dir: &Path,
    env: &BTreeMap<String, String>,
) -> Result<(), ScriptProblem> {
    let missing = |name: &str| ScriptProblem::InterpreterMissing { name: name.into() };
    let Some(path) = interpreter.first() else {
        return Ok(());
    };
    if !is_executable(&launch_dir.join(path)) {
        return Err(missing(path));
    }
    let (true, Some(argument)) = (is_env(path), interpreter.get(1)) else {
        return Ok(());
    };
    if !argument.starts_with('-') && argument.contains(char::is_whitespace) {
        return Err(ScriptProblem::EnvNeedsSplit {
            words: argument.clone(),
        });
    }
    match program_of_env(argument) {
        // Tasks get a `python` where a machine has only `python3`.
        Some("python") if find_on_path("python3", env).is_some() => Ok(()),
        Some(name) if name.contains('/') && is_executable(&launch_dir.join(name)) => Ok(()),
        Some(name) if find_on_path(name, env).is_some() => Ok(()),
        Some(name) => Err(missing(name)),
        None => Ok(()),
    }
}

/// Whether a shell reads the script.
pub(crate) fn is_shell(interpreter: &[String]) -> bool {
    let [path, arguments @ ..] = interpreter else {
        return false;
    };
    let program = match arguments.first() {
        Some(argument) if is_env(path) => program_of_env(argument),
        _ => Some(path.as_str()),
    };
    let base = program.and_then(|program| program.rsplit('/').next());
    base.is_some_and(|base| SHELLS.contains(&base))
}

/// The file that a name without `/` stands for on PATH.
pub(crate) fn find_on_path(name: &str, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let path = env.get("PATH")?;
    path.split(':')
        .filter(|dir| !dir.is_empty() && !name.is_empty())
        .map(|dir| Path::new(dir).join(name))
        .find(|file| is_executable(file))
}

/// Whether it is a file that anybody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn is_env(path: &str) -> bool {
    path.rsplit('/').next() == Some("env")
}

/// The program in an argument of `env`: `python3`, `-S python3 -u`, `-S A=1 sh`.
fn program_of_env(argument: &str) -> Option<&str> {
    let argument = argument
        .strip_prefix("-S")
        .or_else(|| argument.strip_prefix("--split-string="))
        .unwrap_or(argument);
    argument
        .split_whitespace()
        .find(|word| !word.starts_with('-') && !word.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebangs_are_read_as_the_kernel_does() {
        for (script, expected) in [
            ("echo", &["/bin/bash"][..]),
            ("#!/bin/sh", &["/bin/sh"]),
            ("#! /bin/bash -e \necho", &["/bin/bash", "-e"]),
            ("#!/usr/bin/env python3\n", &["/usr/bin/env", "python3"]),
            (
                "#!/usr/bin/env -S python3 -u\n",
                &["/usr/bin/env", "-S python3 -u"],
            ),
        ] {
            assert_eq!(of_script(script.as_bytes()).unwrap(), expected, "{script}");
        }
        for script in ["#!", "#! \t\necho"] {
            let found = of_script(script.as_bytes());
            assert_eq!(found, Err(ScriptProblem::NoInterpreter));
        }
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
        let check = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            check_present(&words, Path::new("/"), &env)
        };
        assert_eq!(check(&["/bin/sh"]), Ok(()));
        assert_eq!(check(&["/usr/bin/env", "sh"]), Ok(()));
        assert_eq!(check(&["/usr/bin/env", "-S A=1 sh -e"]), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        for (words, name) in [
            (&["/no/such/python"][..], "/no/such/python"),
            (&["/usr/bin/env", "no-such-python"], "no-such-python"),
            (&["/usr/bin/env", "-S no-such-python -u"], "no-such-python"),
        ] {
            let name = name.to_owned();
            assert_eq!(
                check(words),
                Err(ScriptProblem::InterpreterMissing { name })
            );
        }
        let words = "sh -e".to_owned();
        let unsplit = check(&["/usr/bin/env", "sh -e"]);
        assert_eq!(unsplit, Err(ScriptProblem::EnvNeedsSplit { words }));
    }

    #[test]
    fn shells_are_known() {
        for (words, shell) in [
            (&["/bin/bash"][..], true),
            (&["/usr/bin/env", "bash"], true),
            (&["/usr/bin/env", "-S bash -e"], true),
            (&["/usr/bin/env", "python3"], false),
            (&["/usr/bin/perl"], false),
            (&[], false),
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(is_shell(&words), shell, "{words:?}");
        }
    }
}
