//! The flags of retries become budgets.

use place::Place;
use spawn_core::budgets::Budgets;
use spawn_core::max_failures::MaxFailures;

mod place;

fn budgets(line: &str) -> Budgets {
    let found = Place::with(&[]).launch(&format!("{line} -- ls"));
    found.unwrap().spec.budgets
}

#[test]
fn each_cause_has_its_own_budget() {
    assert_eq!(budgets(""), Budgets::default());
    let found = budgets("--retries 3 --max-interruptions 7 --retry-on 75 --no-retry-on 1,2");
    assert_eq!(
        (
            found.exit,
            found.timeout,
            found.out_of_memory,
            found.launch_failed
        ),
        (3, 3, 3, 3)
    );
    assert_eq!((found.interrupted, found.worker_lost), (7, 7));
    assert_eq!(found.retry_on.unwrap().to_string(), "75");
    assert_eq!(found.no_retry_on.unwrap().to_string(), "1-2");
    let none = budgets("--max-interruptions 0");
    assert_eq!((none.interrupted, none.worker_lost, none.exit), (0, 0, 0));
}

#[test]
fn waits_make_room_for_each_other() {
    for (line, first, most) in [
        ("--retries 1", 2_000, 300_000),
        ("--retries 1 --backoff 10s", 10_000, 300_000),
        ("--retries 1 --backoff 10m", 600_000, 600_000),
        ("--retries 1 --backoff-max 1s", 1_000, 1_000),
        ("--retries 1 --backoff 0s", 0, 300_000),
        ("--retries 1 --backoff 0s --backoff-max 0s", 0, 0),
        ("--retries 1 --backoff 1s --backoff-max 1s", 1_000, 1_000),
    ] {
        let found = budgets(line);
        let waits = (found.backoff_millis, found.backoff_max_millis);
        assert_eq!(waits, (first, most), "{line}");
    }
}

#[test]
fn failures_are_counted_or_a_share() {
    let place = Place::with(&[]);
    let most = |line: &str| place.launch(line).unwrap().spec.max_failures;
    assert_eq!(most("-- ls"), None);
    assert_eq!(most("--max-failures 0 -- ls"), Some(MaxFailures::Tasks(0)));
    assert_eq!(
        most("--max-failures 5% -- ls"),
        Some(MaxFailures::Percent(5))
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = Place::with(&[(
        "spawn.toml",
        "[launch]\nbackoff_max = \"30s\"\nretry_on = 75\n",
    )]);
    for (line, message, hint) in [
        (
            "--retry-on 75",
            "`--retry-on` is only used with `--retries`",
            "add `--retries`, or leave out `--retry-on`",
        ),
        (
            "--retries 0 --no-retry-on 75",
            "`--no-retry-on` is only used with `--retries`",
            "add `--retries`, or leave out `--no-retry-on`",
        ),
        (
            "--backoff 1s",
            "`--backoff` is only used with `--retries`",
            "add `--retries`, or leave out `--backoff`",
        ),
        (
            "--backoff-max 1s",
            "`--backoff-max` is only used with `--retries`",
            "add `--retries`, or leave out `--backoff-max`",
        ),
        (
            "--retries 1 --backoff 2m --backoff-max 1m",
            "`--backoff 2m` is more than `--backoff-max 1m`",
            "",
        ),
        (
            "--retries 1 --backoff 1m",
            "`--backoff 1m` is more than spawn.toml:2:15: `backoff_max: 30s`",
            "",
        ),
        (
            "--retries 1 --backoff 5",
            "`--backoff`: `5` has no unit; did you mean `5s` or `5m`?",
            "",
        ),
        (
            "--retries 1 --backoff=-5s",
            "`--backoff`: `-5s` is negative; expected a time such as `90s`, `30m` or `2h`",
            "",
        ),
        (
            "--retries 1 --retry-on 0",
            "`--retry-on`: `0` is no exit code; expected numbers from 1 to 255, such as `75` or `1,100-110`",
            "",
        ),
        (
            "--max-failures 101%",
            "`--max-failures`: `101%` is no number of failures; expected a count such as `10`, or a share such as `5%`",
            "",
        ),
    ] {
        let error = place.launch(&format!("{line} -- ls")).unwrap_err();
        assert_eq!(error.to_string(), message, "{line}");
        assert_eq!(error.hint.unwrap_or_default(), hint, "{line}");
    }
    // A configuration speaks for launches with retries too.
    assert!(place.launch("-- ls").is_ok());
    let found = place.launch("--retries 2 -- ls").unwrap().spec.budgets;
    assert_eq!((found.exit, found.backoff_max_millis), (2, 30_000));
    assert_eq!(found.retry_on.unwrap().to_string(), "75");
}
