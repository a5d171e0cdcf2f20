//! EventBridge Scheduler: one call of AWS's API at a set time, with no machine of ours.

use serde::{Deserialize, Serialize};

use crate::client::{
    AwsError, Call, Client, ErrorKind, Method, SCHEDULER, Safety, new_token, percent_encode,
    rest_json,
};
use crate::services::pages;

/// A one-time schedule that is gone once it has run.
#[derive(Debug, Clone)]
pub struct OneTimeSchedule {
    /// Unique in its group: up to 64 of letters, digits and `-_.`.
    pub name: String,
    /// The group; `default` if not said.
    pub group: Option<String>,
    /// When, in UTC and to the second: `2026-11-25T12:00:00`.
    pub at: String,
    /// What is called: `arn:aws:scheduler:::aws-sdk:ec2:terminateInstances`.
    pub target: String,
    /// The role that calls it.
    pub role_arn: String,
    /// The call's request as JSON text.
    pub input: String,
    /// Shown beside it.
    pub description: Option<String>,
}

/// A schedule in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduleSummary {
    /// Its name.
    pub name: String,
    /// Its group.
    #[serde(default, deserialize_with = "or_empty")]
    pub group_name: String,
    /// Its ARN.
    #[serde(default, deserialize_with = "or_empty")]
    pub arn: String,
    /// `ENABLED` or `DISABLED`.
    #[serde(default, deserialize_with = "or_empty")]
    pub state: String,
}

/// A text that may be said to be none.
fn or_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    client_token: String,
    schedule_expression: String,
    schedule_expression_timezone: &'a str,
    flexible_time_window: Window,
    action_after_completion: &'a str,
    target: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Target<'a> {
    arn: &'a str,
    role_arn: &'a str,
    input: &'a str,
}

fn path(name: &str) -> String {
    format!("/schedules/{}", percent_encode(name, b""))
}

/// `CreateSchedule`; carries a client token. [`ErrorKind::Conflict`]: a schedule of this name is
/// there. [`ErrorKind::Validation`] also where the role is too new to be assumed.
///
/// # Errors
/// See [`AwsError`].
pub fn create_schedule(client: &Client, schedule: &OneTimeSchedule) -> Result<String, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        schedule_arn: String,
    }
    let body = body(client, schedule);
    let mut call = Call::new(&SCHEDULER, "CreateSchedule", Safety::Repeatable);
    call.path = path(&schedule.name);
    rest_json::<Answer>(client, call, Some(&body)).map(|a| a.schedule_arn)
}

fn body<'a>(client: &Client, schedule: &'a OneTimeSchedule) -> Body<'a> {
    Body {
        client_token: new_token(client.clock()),
        schedule_expression: format!("at({})", schedule.at),
        schedule_expression_timezone: "UTC",
        flexible_time_window: Window { mode: "OFF" },
        action_after_completion: "DELETE",
        target: Target {
            arn: &schedule.target,
            role_arn: &schedule.role_arn,
            input: &schedule.input,
        },
        group_name: schedule.group.as_deref(),
        description: schedule.description.as_deref(),
    }
}

/// `UpdateSchedule`: replaces all of a schedule. [`ErrorKind::NotFound`]: it has run, or was deleted.
///
/// # Errors
/// See [`AwsError`].
pub fn update_schedule(client: &Client, schedule: &OneTimeSchedule) -> Result<(), AwsError> {
    let mut call = Call::new(&SCHEDULER, "UpdateSchedule", Safety::Repeatable);
    call.method = Method::Put;
    call.path = path(&schedule.name);
    let body = body(client, schedule);
    rest_json::<serde_json::Value>(client, call, Some(&body)).map(drop)
}

/// `GetSchedule`; nothing if it is not there, for one because it has run.
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::Malformed`] if it is no one-time schedule.
pub fn get_schedule(
    client: &Client,
    name: &str,
    group: Option<&str>,
) -> Result<Option<OneTimeSchedule>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Aim {
        arn: String,
        role_arn: String,
        #[serde(default)]
        input: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        name: String,
        group_name: Option<String>,
        schedule_expression: String,
        target: Aim,
        description: Option<String>,
    }
    let operation = "GetSchedule";
    let mut call = Call::new(&SCHEDULER, operation, Safety::Read);
    call.method = Method::Get;
    call.path = path(name);
    call.query
        .extend(group.map(|g| ("groupName".to_owned(), g.to_owned())));
    let found: Answer = match rest_json(client, call, None::<&()>) {
        Ok(found) => found,
        Err(e) if e.kind == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let expression = &found.schedule_expression;
    let at = expression
        .strip_prefix("at(")
        .and_then(|at| at.strip_suffix(')'));
    let Some(at) = at.map(str::to_owned) else {
        let message = format!("the schedule `{name}` is not for one time: {expression}");
        let kind = ErrorKind::Malformed;
        return Err(AwsError::new(SCHEDULER.name, operation, kind, message));
    };
    Ok(Some(OneTimeSchedule {
        name: found.name,
        group: found.group_name,
        at,
        target: found.target.arn,
        role_arn: found.target.role_arn,
        input: found.target.input,
        description: found.description,
    }))
}

/// `DeleteSchedule`; whether it was there.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_schedule(client: &Client, name: &str, group: Option<&str>) -> Result<bool, AwsError> {
    let mut call = Call::new(&SCHEDULER, "DeleteSchedule", Safety::Repeatable);
    call.method = Method::Delete;
    call.path = path(name);
    call.query
        .extend(group.map(|g| ("groupName".to_owned(), g.to_owned())));
    match rest_json::<serde_json::Value>(client, call, None::<&()>) {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// `ListSchedules`, all pages, of names that begin with `prefix`.
///
/// # Errors
/// See [`AwsError`].
pub fn list_schedules(client: &Client, prefix: &str) -> Result<Vec<ScheduleSummary>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        schedules: Vec<ScheduleSummary>,
        next_token: Option<String>,
    }
    let operation = "ListSchedules";
    let mut found = Vec::new();
    pages(
        |token| {
            let mut call = Call::new(&SCHEDULER, operation, Safety::Read);
            call.method = Method::Get;
            call.path = "/schedules".to_owned();
            let mut query = |name: &str, value: Option<String>| {
                call.query.extend(value.map(|v| (name.to_owned(), v)));
            };
            query("MaxResults", Some("100".to_owned()));
            query(
                "NamePrefix",
                Some(prefix.to_owned()).filter(|p| !p.is_empty()),
            );
            query("NextToken", token);
            let answer: Answer = rest_json(client, call, None::<&()>)?;
            found.extend(answer.schedules);
            Ok(answer.next_token)
        },
        || super::repeated(&SCHEDULER, operation),
    )?;
    Ok(found)
}
