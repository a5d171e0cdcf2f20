//! The statements of the hot path find what they want by an index, however many tasks there are.

use rusqlite::Connection;
use spawn_core::task::{Intent, TaskState};

use super::{reads, reopen, schema, transitions};

/// How SQLite would run `sql`.
fn plan(sql: &str) -> String {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn).unwrap();
    let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Unbound parameters are NULL; the plan does not depend on them.
    let mut rows = explained.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps.join("\n")
}

fn walks(plan: &str) -> bool {
    plan.lines().any(|step| step.starts_with("SCAN"))
}

#[test]
fn claims_find_handed_back_tasks_sorted() {
    for sql in [
        transitions::DUE,
        transitions::BEYOND_ANY_WAIT,
        transitions::NEXT_DUE,
    ] {
        let plan = plan(sql);
        let index = "INDEX tasks_handed_back (array=? AND not_before";
        assert!(plan.contains(index), "{plan}");
        assert!(!walks(&plan) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn commits_find_their_task_by_its_key() {
    let plan = plan(transitions::SAVE);
    let key = "SEARCH tasks USING PRIMARY KEY (array=? AND position=?)";
    assert_eq!(plan, key);
}

#[test]
fn the_end_of_an_agent_finds_its_leases_sorted() {
    let plan = plan(transitions::RUNNING_BY_AGENT);
    let index = "INDEX tasks_running (array=? AND agent=?)";
    assert!(plan.contains(index), "{plan}");
    assert!(!walks(&plan) && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn failures_are_found_newest_first() {
    let plan = plan(reads::RECENT_FAILURES);
    assert!(plan.contains("INDEX tasks_failed (array=?)"), "{plan}");
    assert!(!walks(&plan) && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn doubtful_successes_are_found_in_order() {
    let plan = plan(reads::DOUBTFUL_SUCCESSES);
    let index = "INDEX tasks_marked (array=? AND state=?)";
    assert!(plan.contains(index), "{plan}");
    assert!(!walks(&plan) && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn reopening_what_failed_does_not_walk_what_did_not() {
    let plan_of_failed = plan(reopen::FAILED);
    for index in ["tasks_failed", "tasks_marked", "tasks_handed_back"] {
        assert!(plan_of_failed.contains(index), "{plan_of_failed}");
    }
    for plan in [plan_of_failed, plan(reopen::MARK_CLOSED)] {
        assert!(!walks(&plan), "{plan}");
    }
}

#[test]
fn pages_of_tasks_never_walk_other_arrays() {
    for intent in Intent::ALL {
        for state in TaskState::ALL.map(Some).into_iter().chain([None]) {
            let Some(sql) = reads::tasks_sql(state, intent) else {
                continue;
            };
            let plan = plan(&sql);
            assert!(
                !walks(&plan) && plan.contains("array=?"),
                "{state:?}: {plan}"
            );
        }
    }
}

#[test]
fn the_unfinished_and_the_living_are_found_among_many() {
    let plan_of_arrays = plan(reads::UNFINISHED);
    assert!(
        plan_of_arrays.contains("progress_unfinished"),
        "{plan_of_arrays}"
    );
    let plan_of_agents = plan(reads::LIVE_AGENTS);
    assert!(plan_of_agents.contains("agents_live"), "{plan_of_agents}");
    for plan in [plan_of_arrays, plan_of_agents] {
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        // A partial index is walked whole: it holds just what is asked for.
        assert_eq!(plan.matches("SCAN").count(), 1, "{plan}");
    }
}
