//! What is read of arrays on EC2, against the test bed.

mod bed;

use bed::Bed;
use bed::launched::{ID, Launched, now, refusal};
use serde_json::json;
use spawn_aws::services::autoscaling;
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::observed::Progress;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_ec2::desk::Desk;
use spawn_ec2::names;
use spawn_local::wire::client::{
    Answer, Interrupted, Refusal, Request, RunningTask, Story, TaskLine, Waiting,
};
use spawn_ports::ledger::{AgentId, Ledger, NewArray, TaskQuery};
use spawn_worker::output;

fn id() -> ArrayId {
    ID.parse().unwrap()
}

fn resolve(desk: &mut Desk, typed: &str) -> Vec<ArrayId> {
    let typed = typed.to_owned();
    match desk.answer(Request::Resolve { typed }).unwrap() {
        Answer::Matches(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_nothing_was_launched_there_is_no_array_and_no_table_is_made() {
    let Some(bed) = Bed::start() else { return };
    let mut desk = Desk::new(bed.client(4), "123456789012");
    for typed in ["last", ID, "demo"] {
        assert_eq!(resolve(&mut desk, typed), []);
    }
    let arrays = desk.answer(Request::Arrays { limit: 10 }).unwrap();
    assert_eq!(arrays, Answer::Arrays(vec![]));
    let query = TaskQuery {
        from: 0,
        limit: 10,
        state: None,
    };
    for request in [
        Request::Status { id: id() },
        Request::Wait { id: id() },
        Request::Tasks { id: id(), query },
        Request::Attempts {
            id: id(),
            position: 0,
        },
        Request::Explain {
            id: id(),
            position: 0,
        },
        Request::Extend {
            id: id(),
            by_ms: 1000,
        },
    ] {
        let said = refusal(desk.answer(request).unwrap());
        assert_eq!(said, (Refusal::NotFound, format!("no array `{ID}`")));
    }
    let logs = tempfile::tempdir().unwrap();
    desk.sync_logs(&id(), logs.path()).unwrap();
    assert_eq!(std::fs::read_dir(logs.path()).unwrap().count(), 0);
    let calls = bed.calls();
    assert!(calls.contains_key("dynamodb:DescribeTable"), "{calls:?}");
    assert!(!calls.contains_key("dynamodb:CreateTable"), "{calls:?}");
    bed.assert_clean();
}

#[test]
fn what_only_a_host_can_do_is_refused_in_words() {
    let Some(bed) = Bed::start() else { return };
    let client = bed.client(4);
    spawn_aws::services::s3::create_bucket(&client, "there-it-is").unwrap();
    let mut desk = Desk::new(client, "123456789012");
    let before = bed.count();
    for (request, word) in [
        (Request::Host, "no host"),
        (Request::Shutdown, "no host"),
        (
            Request::Interrupt {
                id: Some(id()),
                which: Interrupted::Position(0),
                notice_ms: 0,
            },
            "aws fis",
        ),
    ] {
        let (kind, message) = refusal(desk.answer(request).unwrap());
        assert_eq!(kind, Refusal::Failed);
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(bed.count(), before);
    let names = vec!["there-it-is".to_owned(), "not-there-at-all".to_owned()];
    let missing = desk.answer(Request::MissingBuckets { names }).unwrap();
    assert_eq!(
        missing,
        Answer::Buckets(vec!["not-there-at-all".to_owned()])
    );
}

fn story(world: &mut Launched, position: u64) -> Story {
    let id = world.id.clone();
    match world.ask(Request::Explain { id, position }) {
        Answer::Story(story) => *story,
        other => panic!("{other:?}"),
    }
}

fn lines(world: &mut Launched, state: Option<TaskState>) -> Vec<TaskLine> {
    let query = TaskQuery {
        from: 0,
        limit: 100,
        state,
    };
    let id = world.id.clone();
    match world.ask(Request::Tasks { id, query }) {
        Answer::Tasks(lines) => lines,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_array_is_seen_from_its_first_machine_to_its_failures() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    for typed in ["last", ID, "array-2026", "20260127", "demo"] {
        assert_eq!(resolve(&mut world.desk, typed), [id()], "{typed}");
    }
    assert_eq!(resolve(&mut world.desk, "nothing"), []);
    world.settled();
    let status = world.status();
    assert_eq!(status.workers, []);
    assert_eq!(status.held_up.unwrap(), "4 machines are starting");

    // One that says what it does, one that does not, one that is done.
    let (a, b, c) = (world.enroll(0, 0), world.enroll(1, 0), world.enroll(2, 1));
    let of_a = world.claim(a, 2);
    let of_b = world.claim(b, 1);
    let of_c = world.claim(c, 1);
    world.commit(c, of_c.token, 4, Cause::Exit);
    let told = RunningTask {
        position: 1,
        attempt: 1,
        log_offset: 77,
        since: now().0,
        progress: Some(Progress {
            done: 3,
            total: Some(10),
        }),
        load: None,
        stopping: None,
    };
    world.put(
        &names::running_key(&world.id, a),
        &serde_json::to_vec(&told).unwrap(),
    );
    // What it wrote of a task that it holds no more is old.
    let old = RunningTask {
        position: 0,
        ..told
    };
    world.put(
        &names::running_key(&world.id, b),
        &serde_json::to_vec(&old).unwrap(),
    );
    assert_eq!((of_a.tasks.len(), of_b.tasks.len()), (2, 1));
    let status = world.status();
    let seen: Vec<(AgentId, Option<(u64, u64)>)> = status
        .workers
        .iter()
        .map(|w| (w.agent.id, w.running.map(|r| (r.position, r.log_offset))))
        .collect();
    assert_eq!(
        seen,
        [(a, Some((1, 77))), (b, Some((2, 0))), (c, None)],
        "what is told, else the first that is held"
    );
    assert_eq!(status.held_up.unwrap(), "1 machine is starting");
    assert_eq!(status.failures.len(), 1);
    assert_eq!(status.failures[0].slot, Some(2));
    assert_eq!(status.failure_groups.len(), 1);

    let running = lines(&mut world, Some(TaskState::Running));
    let slots: Vec<_> = running.iter().map(|l| (l.row.position, l.slot)).collect();
    assert_eq!(slots, [(0, Some(0)), (1, Some(0)), (2, Some(1))]);
    assert_eq!(story(&mut world, 1).running, Some(told));
    assert_eq!(story(&mut world, 2).running.unwrap().log_offset, 0);
    assert_eq!(story(&mut world, 4).attempts.len(), 1);
    let why = "1 machine is starting".to_owned();
    assert_eq!(story(&mut world, 5).waiting, Some(Waiting::HeldUp { why }));
    let beyond = Request::Explain {
        id: id(),
        position: 6,
    };
    assert_eq!(refusal(world.ask(beyond)).0, Refusal::NotFound);

    // All four at work: nothing is held up.
    world.enroll(3, 1);
    assert_eq!(world.status().held_up, None);
    assert_eq!(
        story(&mut world, 5).waiting,
        Some(Waiting::Workers {
            at_work: 4,
            queued: None,
        })
    );
    world.bed.assert_clean();
}

#[test]
fn why_nothing_starts_is_named() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    world.settled();
    // Auto Scaling finds no more of them.
    let none = json!({ "type": "c5.large", "capacity": 0 });
    world.bed.post("/bed/capacity", &none);
    let group = names::lane(&world.id, 0);
    let update = autoscaling::UpdateGroup {
        auto_scaling_group_name: group.clone(),
        min_size: Some(0),
        max_size: Some(4),
        desired_capacity: Some(4),
        new_instances_protected_from_scale_in: None,
    };
    autoscaling::update_group(&world.client, &update).unwrap();
    let said = bed::until("a launch fails", || {
        let said = world.status().held_up.unwrap();
        said.contains("AWS has no").then_some(said)
    });
    assert!(said.contains("spot c5.large"), "{said}");
    assert!(said.contains("Capacity"), "{said}");
    assert!(said.ends_with("the group keeps trying"), "{said}");

    // Machines that could not get ready, and nobody who launches more.
    for machine in ["i-1", "i-2"] {
        let key = format!("{}{machine}", names::boot_failures_prefix(&world.id));
        world.put(&key, b"cannot fetch s3://bucket/bundle: 403\n");
    }
    let said = world.status().held_up.unwrap();
    assert_eq!(
        said,
        "2 machines could not get ready: cannot fetch s3://bucket/bundle: 403"
    );
    autoscaling::suspend_processes(&world.client, &group, &["Launch"]).unwrap();
    let said = world.status().held_up.unwrap();
    assert!(said.ends_with("403; no more are launched"), "{said}");

    // Where nothing waits nothing is held up.
    world.run_all(0, Cause::Succeeded);
    world.run_all(1, Cause::Succeeded);
    assert_eq!(world.status().held_up, None);
    world.bed.assert_clean();
}

#[test]
fn a_status_takes_as_many_calls_for_a_million_tasks_as_for_ten() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    // The table is looked for once, whatever is asked.
    assert_eq!(resolve(&mut world.desk, "last"), [id()]);
    let mut calls = Vec::new();
    for (n, total) in [10, 1_000_000].into_iter().enumerate() {
        world.id = format!("array-20260128-abc12{n}").parse().unwrap();
        let array = NewArray {
            id: world.id.clone(),
            name: "many".to_owned(),
            spec: "{}".to_owned(),
            total,
            budgets: Budgets::default(),
            deadline: now().plus_millis(3_600_000),
            lanes: vec![],
        };
        world.desk.ledger().submit(&array, now()).unwrap();
        let agent = world.enroll(0, 0);
        let claim = world.claim(agent, 5);
        world.commit(agent, claim.token, claim.tasks[0].position, Cause::Exit);
        let told = world.enroll(1, 0);
        world.claim(told, 1);
        let before = world.bed.count();
        let status = world.status();
        calls.push(world.bed.count() - before);
        assert_eq!(status.record.counts.total(), total);
        assert_eq!(status.workers.len(), 2);
        assert!(status.workers.iter().all(|w| w.running.is_some()));
        assert!(status.held_up.unwrap().contains("no group"));
    }
    assert_eq!(calls[0], calls[1]);
    assert!(calls[0] <= 16, "{calls:?}");
}

#[test]
fn logs_are_brought_as_they_grow() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (AgentId(1), AgentId(2));
    let path = dir.path().join("deep/1.log");
    let read = || std::fs::read_to_string(&path).unwrap();
    let id = world.id.clone();
    world.desk.sync_log(&id, a, &path).unwrap();
    assert_eq!(read(), "");
    world.put(&output::piece(&id, a, 0), b"one ");
    world.desk.sync_log(&id, a, &path).unwrap();
    assert_eq!(read(), "one ");
    // The first piece was carried again, longer, and another came.
    world.put(&output::piece(&id, a, 0), b"one two ");
    world.put(&output::piece(&id, a, 8), b"three");
    world.put(&output::piece(&id, a, 99), b"behind a gap");
    world.desk.sync_log(&id, a, &path).unwrap();
    assert_eq!(read(), "one two three");
    let before = world.bed.count();
    world.desk.sync_log(&id, a, &path).unwrap();
    assert_eq!(world.bed.count(), before + 1, "nothing came");

    world.put(&output::piece(&id, b, 0), b"other");
    world.put(&output::piece(&id, a, 13), b" four");
    let all = dir.path().join("deep");
    world.desk.sync_logs(&id, &all).unwrap();
    assert_eq!(read(), "one two three four");
    let other = std::fs::read_to_string(all.join("2.log")).unwrap();
    assert_eq!(other, "other");
    world.bed.assert_clean();
}
