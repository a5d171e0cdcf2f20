//! What `--env` says, and which names tasks get from spawn itself.

use std::collections::BTreeMap;

use crate::error::{SpecError, SpecErrorKind};
use crate::origin::{Origin, Sourced};
use crate::settings::EnvGiven;

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

/// Refuses a name that no variable can have, or that spawn sets.
pub(crate) fn check_name(name: &str, origin: &Origin) -> Result<(), SpecError> {
    let (origin, owned) = (|| origin.clone(), || name.to_owned());
    if !is_identifier(name) {
        let (origin, name) = (origin(), owned());
        return Err(SpecErrorKind::EnvName { origin, name }.into());
    }
    match RESERVED.iter().find(|(start, _)| name.starts_with(start)) {
        None => Ok(()),
        Some((_, reason)) => Err(SpecErrorKind::EnvReserved {
            origin: origin(),
            name: owned(),
            reason,
        }
        .into()),
    }
}

/// Takes from the launching shell what was given without a value.
pub(crate) fn complete(
    given: &[Sourced<EnvGiven>],
    shell: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, SpecError> {
    let variables = given.iter().map(|Sourced { value: env, origin }| {
        let value = match &env.value {
            Some(value) => value,
            None => shell
                .get(&env.name)
                .ok_or_else(|| SpecErrorKind::EnvUnset {
                    origin: origin.clone(),
                    name: env.name.clone(),
                })?,
        };
        Ok((env.name.clone(), value.clone()))
    });
    variables.collect()
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::LaunchArgs;

    fn parse(values: &[&str]) -> Result<Vec<(String, String)>, SpecError> {
        let args = LaunchArgs {
            env: values.iter().map(ToString::to_string).collect(),
            ..LaunchArgs::default()
        };
        let given = crate::settings_of_flags::env(&args)?;
        complete(&given, &BTreeMap::from([("TOKEN".into(), "s=1".into())]))
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
