//! A machine that is in no group: it sees to it that something ends it, and does what it was told
//! when nothing is left for it.

use std::process::Command;

use serde_json::json;
use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::ec2;
use spawn_aws::services::scheduler::{self, OneTimeSchedule};

use crate::config::{AtEnd, Standing};

/// The schedule that ends `machines` when their time is over: those that were to be kept are switched
/// off, the others are gone.
pub fn schedule(standing: &Standing, name: String, machines: &[String]) -> OneTimeSchedule {
    let operation = match standing.at_end {
        AtEnd::Stop | AtEnd::Hibernate => "stopInstances",
        AtEnd::Run => "terminateInstances",
    };
    OneTimeSchedule {
        name,
        group: None,
        at: seconds(standing.ends),
        target: format!("arn:aws:scheduler:::aws-sdk:ec2:{operation}"),
        role_arn: standing.role_arn.clone(),
        input: json!({ "InstanceIds": machines }).to_string(),
        description: Some("Ends machines that spawn started, at their TTL".to_owned()),
    }
}

/// A time as schedules have it: UTC, whole seconds, never earlier.
fn seconds(micros: i64) -> String {
    let up = micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) > 0);
    let time = jiff::Timestamp::from_second(up).unwrap_or(jiff::Timestamp::MAX);
    time.to_string().trim_end_matches('Z').to_owned()
}

/// Has a schedule that ends this machine: that of the launch, if it names it, or one of its own.
///
/// # Errors
/// See [`AwsError`].
pub fn guard(client: &Client, standing: &Standing, instance: &str) -> Result<(), AwsError> {
    let found = scheduler::get_schedule(client, &standing.schedule, None)?;
    if found.is_some_and(|found| found.input.contains(instance)) {
        return Ok(());
    }
    let name = format!("{}{instance}", standing.own_schedule);
    let own = schedule(standing, name, &[instance.to_owned()]);
    match scheduler::create_schedule(client, &own) {
        Ok(_) => Ok(()),
        // Written when this machine started before.
        Err(e) if matches!(e.kind, ErrorKind::Conflict | ErrorKind::AlreadyExists) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Does what the machine was told for when nothing is left for it.
///
/// # Errors
/// What could not be done, in words.
pub fn end(client: &Client, at_end: AtEnd, instance: &str) -> Result<(), String> {
    // Whoever switches it on again wants to look around, not to have it switched off at once.
    run("systemctl", &["disable", "spored-node.service"])?;
    match at_end {
        AtEnd::Run => Ok(()),
        AtEnd::Stop => run("shutdown", &["-P", "now"]),
        AtEnd::Hibernate => match ec2::stop_instances(client, &[instance], true) {
            Ok(_) => Ok(()),
            // Not every machine can, and one that stays awake costs.
            Err(e) => run("shutdown", &["-P", "now"]).map_err(|why| format!("{e}; {why}")),
        },
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ended = Command::new(program).args(arguments).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(e) => Err(format!("{program}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(at_end: AtEnd) -> Standing {
        Standing {
            at_end,
            schedule: "spawn-array-20260127-abc123-0-ttl".to_owned(),
            own_schedule: "spawn-array-20260127-abc123-".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/r".to_owned(),
            // 2026-01-27T12:00:00Z and a microsecond.
            ends: 1_769_515_200_000_001,
        }
    }

    #[test]
    fn machines_that_are_kept_are_switched_off_the_others_are_gone() {
        for (at_end, operation) in [
            (AtEnd::Stop, "stopInstances"),
            (AtEnd::Hibernate, "stopInstances"),
            (AtEnd::Run, "terminateInstances"),
        ] {
            let machines = ["i-1".to_owned(), "i-2".to_owned()];
            let schedule = schedule(&standing(at_end), "name".to_owned(), &machines);
            assert!(schedule.target.ends_with(operation), "{schedule:?}");
            assert_eq!(schedule.at, "2026-01-27T12:00:01");
            assert_eq!(schedule.input, r#"{"InstanceIds":["i-1","i-2"]}"#);
        }
    }
}
