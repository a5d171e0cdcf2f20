//! What `--env` says, and which names tasks get from spawn itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{SpecError, SpecErrorKind};

/// Every `TASK_*` and `JOB_*` variable that a task gets.
pub const TASK_VARIABLES: [&str; 10] = [
    "TASK_ARRAY_INDEX",
    "TASK_ARRAY_SIZE",
    "TASK_ARRAY_ID",
    "TASK_ARRAY_NAME",
    "TASK_ATTEMPT",
    "TASK_WORKER",
    "JOB_ARRAY_INDEX",
    "JOB_ARRAY_SIZE",
    "JOB_ARRAY_ID",
    "JOB_ARRAY_NAME",
];

const SET_BY_SPAWN: &str = "spawn sets the variables that start so";
const RESERVED: [(&str, &str); 4] = [
    ("TASK_", SET_BY_SPAWN),
    ("JOB_", SET_BY_SPAWN),
    ("SPAWN_", SET_BY_SPAWN),
    (
        "AWS_ENDPOINT_URL",
        "spawn says where `aws` calls of a task go",
    ),
];

/// Reads the values of `--env` against the launching shell's variables.
pub(crate) fn parse_env(
    values: &[String],
    shell: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, SpecError> {
    let mut seen = BTreeSet::new();
    let mut parsed = Vec::with_capacity(values.len());
    for text in values {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        if !is_identifier(name) {
            return Err(SpecErrorKind::EnvName { name: name.into() }.into());
        }
        if let Some((_, reason)) = RESERVED.iter().find(|(start, _)| name.starts_with(start)) {
            let name = name.to_owned();
            return Err(SpecErrorKind::EnvReserved { name, reason }.into());
        }
        if !seen.insert(name) {
            return Err(SpecErrorKind::EnvTwice { name: name.into() }.into());
        }
        let value = match value {
            Some(value) => value,
            None => shell
                .get(name)
                .ok_or_else(|| SpecErrorKind::EnvUnset { name: name.into() })?,
        };
        parsed.push((name.to_owned(), value.to_owned()));
    }
    Ok(parsed)
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Vec<(String, String)>, SpecError> {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        parse_env(&values, &BTreeMap::from([("TOKEN".into(), "s=1".into())]))
    }

    #[test]
    fn values_are_given_or_taken_from_the_shell() {
        let env = parse(&["MODEL=a=b", "TOKEN", "EMPTY="]).unwrap();
        let pairs: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("MODEL", "a=b"), ("TOKEN", "s=1"), ("EMPTY", "")]);
    }

    #[test]
    fn each_refusal_names_the_variable() {
        for (values, message) in [
            (
                &["NOPE"][..],
                "`--env NOPE` takes its value from this shell, where it is not set",
            ),
            (
                &["1A=x"],
                "`--env`: `1A` cannot name a variable; expected `NAME=VALUE` or `NAME`",
            ),
            (
                &["=x"],
                "`--env`: `` cannot name a variable; expected `NAME=VALUE` or `NAME`",
            ),
            (
                &["A-B=x"],
                "`--env`: `A-B` cannot name a variable; expected `NAME=VALUE` or `NAME`",
            ),
            (&["A=1", "A=2"], "`--env A` is given twice"),
            (
                &["TASK_ARRAY_INDEX=1"],
                "`--env TASK_ARRAY_INDEX`: spawn sets the variables that start so",
            ),
            (
                &["JOB_X=1"],
                "`--env JOB_X`: spawn sets the variables that start so",
            ),
            (
                &["SPAWN_HOME=1"],
                "`--env SPAWN_HOME`: spawn sets the variables that start so",
            ),
            (
                &["AWS_ENDPOINT_URL_S3=x"],
                "`--env AWS_ENDPOINT_URL_S3`: spawn says where `aws` calls of a task go",
            ),
        ] {
            assert_eq!(parse(values).unwrap_err().to_string(), message);
        }
    }
}
