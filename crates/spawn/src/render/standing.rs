//! What stands in the way of an array: others that have the cores, processes that do not go, less
//! isolation than was asked for.

use spawn_local::wire::agent::Isolation;
use spawn_local::wire::client::{Lessened, Queued};

use super::counted;

/// `the 2 cores run big (2 slots); 3 other arrays wait as well`.
pub fn queued(queued: &Queued) -> String {
    let cores = match (queued.one_at_a_time, queued.cores) {
        (true, _) => "tasks run one at a time here, now those of".to_owned(),
        (false, 1) => "the one core runs".to_owned(),
        (false, n) => format!("the {n} cores run"),
    };
    let mut holders: Vec<String> = queued
        .holders
        .iter()
        .map(|h| match queued.one_at_a_time {
            true => format!("{} ({})", h.name, h.array),
            false => format!(
                "{} ({}, {})",
                h.name,
                h.array,
                counted(h.slots.into(), "slot")
            ),
        })
        .collect();
    if queued.more_holders > 0 {
        holders.push(counted(queued.more_holders.into(), "more array"));
    }
    let holders = match holders.is_empty() {
        true => "other tasks".to_owned(),
        false => holders.join(", "),
    };
    let also = match queued.also_waiting {
        0 => String::new(),
        1 => "; 1 other array waits as well".to_owned(),
        n => format!("; {n} other arrays wait as well"),
    };
    format!("{cores} {holders}{also}")
}

/// What tasks have of their own.
pub fn isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Full => "own /tmp, mounts, host name and process ids",
        Isolation::Mounts => "own /tmp, mounts and host name; process ids are shared",
        Isolation::Shared => {
            "nothing of their own: /tmp is shared, and they run one at a time unless launched with --allow-shared-tmp"
        }
    }
}

/// That tasks are kept apart less than was asked for.
pub fn lessened(less: &Lessened) -> String {
    format!(
        "tasks have {}; more cannot be had here ({})",
        isolation(less.reached),
        less.why
    )
}
