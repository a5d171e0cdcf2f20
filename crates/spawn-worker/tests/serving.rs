//! Workers over one ledger, each with a real agent that runs real scripts.

mod scene;

use scene::{FakeMachine, Group, Weather, now, until};
use spawn_core::budgets::Budgets;
use spawn_core::max_failures::MaxFailures;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_ports::ledger::Ledger;
use spawn_ports::machine::{Leave, Outlook};
use spawn_worker::{End, output};

fn no_wait() -> Budgets {
    Budgets {
        exit: 3,
        backoff_millis: 0,
        ..Budgets::default()
    }
}

#[test]
fn workers_share_the_tasks_keep_what_they_print_and_leave_for_good() {
    let group = Group::new(12, no_wait(), "echo \"task $TASK_ARRAY_INDEX\"");
    let machines = [FakeMachine::new(), FakeMachine::new(), FakeMachine::new()];
    std::thread::scope(|scope| {
        for (slot, machine) in (0..).zip(&machines) {
            let group = &group;
            scope.spawn(move || assert_eq!(group.serve(slot, machine).unwrap(), End::Retired));
        }
    });
    let record = group.record();
    assert_eq!(record.counts.succeeded, 12);
    let left: Vec<_> = machines.iter().map(|m| *m.left.lock().unwrap()).collect();
    assert_eq!(left, [Some(Leave::Retire); 3]);
    let removed: u32 = machines
        .iter()
        .map(|m| *m.array_ended.lock().unwrap())
        .sum();
    assert!(removed >= 1, "somebody saw the end of the array");
    // What each task printed is where its row says, in what was carried away.
    let mut ledger = group.ledger.clone();
    for position in 0..12 {
        let row = ledger.task(&group.array, position).unwrap().unwrap();
        let log = output::assemble(&mut group.objects.clone(), &group.array, row.agent.unwrap());
        let (log, span) = (log.unwrap(), row.log.unwrap());
        let region = &log[span.offset as usize..(span.offset + span.len) as usize];
        let text = String::from_utf8_lossy(region);
        assert!(
            text.contains(&format!("task {position}\n")),
            "{position}: {text:?}"
        );
    }
}

#[test]
fn a_notice_of_the_end_stops_the_script_and_another_machine_goes_on_where_it_was() {
    let script = "trap 'echo \"saved $TASK_ATTEMPT\" >> $MARKS; exit 0' TERM\n\
         echo \"began $TASK_ATTEMPT\" >> $MARKS\n[ $TASK_ATTEMPT = 1 ] || exit 0\nwhile :; do sleep 0.05; done";
    let group = Group::new(1, Budgets::default(), script);
    let first = FakeMachine::new();
    std::thread::scope(|scope| {
        let (group, machine) = (&group, &first);
        let worker = scope.spawn(move || group.serve(0, machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        *machine.outlook.lock().unwrap() = Outlook::Ending {
            at: now().plus_millis(60_000),
        };
        assert_eq!(worker.join().unwrap(), End::Yielded);
    });
    assert_eq!(*first.left.lock().unwrap(), Some(Leave::Yield));
    assert_eq!(group.marks(), ["began 1", "saved 1"]);
    let row = group.ledger.clone().task(&group.array, 0).unwrap().unwrap();
    assert_eq!(row.state, TaskState::Pending);
    assert_eq!(row.ending.unwrap().cause, Cause::Interrupted);

    let second = FakeMachine::new();
    assert_eq!(group.serve(1, &second).unwrap(), End::Retired);
    assert_eq!(group.marks(), ["began 1", "saved 1", "began 2"]);
    assert_eq!(group.record().counts.succeeded, 1);
}

#[test]
fn a_machine_at_risk_finishes_its_task_and_claims_no_other() {
    let script = "echo began >> $MARKS; while [ ! -e $MARKS.go ]; do sleep 0.02; done";
    let group = Group::new(2, Budgets::default(), script);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        *machine.outlook.lock().unwrap() = Outlook::AtRisk;
        // It has been looked at once the heartbeat after it has been written.
        let beat = || group.ledger.clone().live_agents().unwrap()[0].last_update;
        let before = beat();
        until("the next heartbeat", || beat() != before);
        std::fs::write(group.dir.path().join("marks.go"), "").unwrap();
        assert_eq!(worker.join().unwrap(), End::Yielded);
    });
    let counts = group.record().counts;
    assert_eq!((counts.succeeded, counts.pending), (1, 1));
}

#[test]
fn an_idle_worker_stays_for_a_task_in_backoff() {
    let budgets = Budgets {
        exit: 1,
        backoff_millis: 700,
        backoff_max_millis: 700,
        ..Budgets::default()
    };
    let group = Group::new(1, budgets, "[ $TASK_ATTEMPT -gt 1 ]");
    let machine = FakeMachine::new();
    assert_eq!(group.serve(0, &machine).unwrap(), End::Retired);
    let row = group.ledger.clone().task(&group.array, 0).unwrap().unwrap();
    assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 2));
}

#[test]
fn a_cancelled_array_is_seen_and_its_script_stopped() {
    let script = "trap 'echo bye >> $MARKS; exit 0' TERM\necho began >> $MARKS\nwhile :; do sleep 0.05; done";
    let group = Group::new(100, Budgets::default(), script);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        let mut ledger = group.ledger.clone();
        ledger.close(&group.array, Intent::Cancel, now()).unwrap();
        assert_eq!(worker.join().unwrap(), End::Retired);
    });
    assert_eq!(group.marks(), ["began", "bye"]);
    assert_eq!(group.record().counts.cancelled, 100);
    assert_eq!(*machine.array_ended.lock().unwrap(), 1);
}

#[test]
fn a_worker_that_vanished_is_given_up_by_another_and_its_task_runs_again() {
    let group = Group::new(
        1,
        Budgets::default(),
        "echo \"ran $TASK_ATTEMPT\" >> $MARKS",
    );
    // One that claims and is never heard again.
    let mut ledger = group.ledger.clone();
    let gone = spawn_ports::ledger::NewAgent {
        array: group.array.clone(),
        slot: 9,
        lane: 0,
        pid: 1,
        pid_started: 0,
        boot: String::new(),
        hostname: "gone".to_owned(),
    };
    let id = ledger.enroll(&gone, now()).unwrap();
    assert_eq!(ledger.claim(id, 1, now()).unwrap().tasks.len(), 1);

    let mut machine = FakeMachine::new();
    // An outage of whoever knows the machine's future is no news of its end.
    machine.is_mute = true;
    assert_eq!(group.serve(0, &machine).unwrap(), End::Retired);
    assert_eq!(group.marks(), ["ran 2"]);
    let record = group.record();
    assert_eq!((record.counts.succeeded, record.workers_lost), (1, 1));
}

#[test]
fn a_worker_that_was_given_up_stops_its_script_and_commits_nothing() {
    let script =
        "trap 'exit 0' TERM; echo \"began $TASK_ATTEMPT\" >> $MARKS\nwhile :; do sleep 0.05; done";
    let group = Group::new(1, Budgets::default(), script);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        let mut ledger = group.ledger.clone();
        let id = ledger.live_agents().unwrap()[0].id;
        ledger.end_agent(id, now()).unwrap();
        assert_eq!(worker.join().unwrap(), End::Yielded);
    });
    let row = group.ledger.clone().task(&group.array, 0).unwrap().unwrap();
    assert_eq!((row.state, row.attempt), (TaskState::Pending, 1));
    assert_eq!(row.ending.unwrap().cause, Cause::WorkerLost);
}

const WAITS: &str = "echo began >> $MARKS; while [ ! -e $MARKS.go ]; do sleep 0.02; done";

#[test]
fn an_outage_is_borne_and_the_script_runs_on() {
    let group = Group::new(2, Budgets::default(), WAITS);
    let mut machine = FakeMachine::new();
    machine.is_mute = true;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        *group.weather.lock().unwrap() = Weather::Out;
        // The outcome is there before the ledger is.
        std::fs::write(group.dir.path().join("marks.go"), "").unwrap();
        let log = || std::fs::read_dir(group.dir.path().join("logs")).is_ok();
        until("the log is there", log);
        assert_eq!(group.marks(), ["began"], "nothing new is claimed");
        assert_eq!(group.record().counts.succeeded, 0);
        *group.weather.lock().unwrap() = Weather::Fair;
        assert_eq!(worker.join().unwrap(), End::Retired);
    });
    assert_eq!(group.marks(), ["began", "began"]);
    assert_eq!(group.record().counts.succeeded, 2);
    assert_eq!(group.record().workers_lost, 0);
}

#[test]
fn a_commit_whose_answer_was_lost_counts_once() {
    let group = Group::new(1, Budgets::default(), "echo began >> $MARKS");
    let machine = FakeMachine::new();
    *group.weather.lock().unwrap() = Weather::LostAnswers;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("it is committed", || group.record().counts.succeeded == 1);
        *group.weather.lock().unwrap() = Weather::Fair;
        assert_eq!(worker.join().unwrap(), End::Retired);
    });
    assert_eq!(group.marks(), ["began"]);
    let row = group.ledger.clone().task(&group.array, 0).unwrap().unwrap();
    assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 1));
}

#[test]
fn the_end_of_the_arrays_time_ends_it_for_all() {
    let mut group = Group::new(2, Budgets::default(), WAITS);
    group.ends_in(1_500);
    let machine = FakeMachine::new();
    assert_eq!(group.serve(0, &machine).unwrap(), End::Retired);
    let record = group.record();
    assert_eq!((record.intent, record.counts.failed), (Intent::Expired, 2));
    let row = group.ledger.clone().task(&group.array, 0).unwrap().unwrap();
    assert_eq!(row.ending.unwrap().cause, Cause::Ttl);
    assert_eq!(*machine.array_ended.lock().unwrap(), 1);
}

#[test]
fn the_end_of_the_arrays_time_ends_the_script_and_the_machine_though_the_ledger_is_out() {
    let mut group = Group::new(1, Budgets::default(), WAITS);
    group.ends_in(2_000);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        *group.weather.lock().unwrap() = Weather::Out;
        assert_eq!(worker.join().unwrap(), End::Retired);
    });
    assert_eq!(*machine.left.lock().unwrap(), Some(Leave::Retire));
    // Whether the array has ended is not known.
    assert_eq!(*machine.array_ended.lock().unwrap(), 0);
}

#[test]
fn a_worker_whose_own_time_is_over_makes_room_for_another() {
    let mut group = Group::new(9, Budgets::default(), "sleep 0.3");
    group.worker_ttl_ms = Some(1_800);
    let machine = FakeMachine::new();
    assert_eq!(group.serve(0, &machine).unwrap(), End::Yielded);
    let counts = group.record().counts;
    assert!(counts.pending > 0 && counts.running == 0, "{counts:?}");
}

#[test]
fn a_machine_that_comes_when_all_is_over_goes() {
    let group = Group::new(3, Budgets::default(), "echo began >> $MARKS");
    let mut ledger = group.ledger.clone();
    ledger.close(&group.array, Intent::Cancel, now()).unwrap();
    let machine = FakeMachine::new();
    assert_eq!(group.serve(0, &machine).unwrap(), End::Retired);
    assert_eq!(group.marks(), [""; 0]);
    assert_eq!(*machine.array_ended.lock().unwrap(), 1);
}

#[test]
fn a_halted_array_finishes_what_runs_and_no_more() {
    let group = Group::new(5, Budgets::default(), WAITS);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        until("the task runs", || !group.marks().is_empty());
        let mut ledger = group.ledger.clone();
        ledger.close(&group.array, Intent::Halted, now()).unwrap();
        std::fs::write(group.dir.path().join("marks.go"), "").unwrap();
        assert_eq!(worker.join().unwrap(), End::Retired);
    });
    assert_eq!(group.record().counts.succeeded, 1);
    assert_eq!(group.marks(), ["began"]);
}

#[test]
fn what_runs_can_be_seen_until_it_has_ended() {
    let group = Group::new(1, Budgets::default(), WAITS);
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
        let shown = || {
            let all = group.objects.0.lock().unwrap();
            let found = all.iter().find(|(name, _)| name.contains("/running/"));
            found.map(|(_, content)| content.clone())
        };
        until("it is shown", || shown().is_some());
        let task: spawn_local::wire::client::RunningTask =
            serde_json::from_slice(&shown().unwrap()).unwrap();
        assert_eq!((task.position, task.attempt), (0, 1));
        std::fs::write(group.dir.path().join("marks.go"), "").unwrap();
        assert_eq!(worker.join().unwrap(), End::Retired);
        assert_eq!(shown(), None);
    });
}

#[test]
fn a_notice_while_nothing_runs_is_followed_at_once() {
    let budgets = Budgets {
        exit: 1,
        backoff_millis: 600_000,
        backoff_max_millis: 600_000,
        ..Budgets::default()
    };
    for recommended in [true, false] {
        let group = Group::new(1, budgets.clone(), "echo began >> $MARKS; exit 1");
        let machine = FakeMachine::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
            let mut ledger = group.ledger.clone();
            let mut failed = || ledger.task(&group.array, 0).unwrap().unwrap().spent.exit == 1;
            until("it waits for its next attempt", &mut failed);
            *machine.outlook.lock().unwrap() = match recommended {
                true => Outlook::AtRisk,
                false => Outlook::Ending {
                    at: now().plus_millis(120_000),
                },
            };
            assert_eq!(worker.join().unwrap(), End::Yielded);
        });
        assert_eq!(group.marks(), ["began"]);
    }
}

#[test]
fn too_many_failures_halt_the_array() {
    let mut group = Group::new(9, Budgets::default(), "echo began >> $MARKS; exit 1");
    group.max_failures = Some(MaxFailures::Tasks(1));
    let machine = FakeMachine::new();
    assert_eq!(group.serve(0, &machine).unwrap(), End::Retired);
    let record = group.record();
    assert_eq!(record.intent, Intent::Halted);
    assert_eq!(record.counts.failed, 2);
    assert_eq!(group.marks(), ["began", "began"]);
}

#[test]
fn nobody_need_stand_in_once_enough_serve_or_nothing_waits() {
    for (wanted, tasks, said) in [
        (Some(1), 3, 1), // as many as were asked for
        (Some(2), 1, 1), // nothing waits
        (Some(2), 3, 0), // one is missing, and tasks wait
        (None, 3, 0),    // nobody would stand in
    ] {
        let script = "echo began >> $MARKS; until [ -e $MARKS.go ]; do sleep 0.05; done";
        let mut group = Group::new(tasks, Budgets::default(), script);
        group.wanted = wanted;
        let machine = FakeMachine::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| group.serve(0, &machine).unwrap());
            let mut ledger = group.ledger.clone();
            let mut beat = || ledger.agents(&group.array, 9).unwrap()[0].last_update;
            until("it runs", || !group.marks().is_empty());
            // Two heartbeats later it has been seen so.
            for _ in 0..2 {
                let before = beat();
                until("a heartbeat", || beat() != before);
            }
            // Those at the end see it otherwise.
            let told = *machine.completed.lock().unwrap();
            std::fs::write(group.dir.path().join("marks.go"), "").unwrap();
            assert_eq!(worker.join().unwrap(), End::Retired);
            assert_eq!(told, said, "{wanted:?} of {tasks}");
        });
    }
}

/// Stops a process, as a debugger would.
fn stop(pid: u32) {
    let stopped = std::process::Command::new("kill")
        .args(["-STOP", &pid.to_string()])
        .status();
    assert!(stopped.unwrap().success());
}

#[test]
fn an_agent_that_is_stopped_is_ended_and_the_machine_goes() {
    let group = Group::new(
        1,
        no_wait(),
        "echo \"began $TASK_ATTEMPT\" >> $MARKS; sleep 1000",
    );
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| group.serve(0, &machine));
        until("the task runs", || !group.marks().is_empty());
        let agents = group.ledger.clone().agents(&group.array, 10).unwrap();
        stop(agents[0].enrolled.pid);
        assert_eq!(serving.join().unwrap().unwrap(), End::Yielded);
    });
    assert_eq!(*machine.left.lock().unwrap(), Some(Leave::Yield));
    // What it ran is claimable again, at once.
    assert_eq!(group.record().counts.pending, 1);
    assert_eq!(group.record().workers_lost, 1);
}

#[test]
fn an_agent_that_does_not_stop_its_script_when_the_array_is_cancelled_does_not_keep_the_machine() {
    let group = Group::new(
        1,
        no_wait(),
        "echo \"began $TASK_ATTEMPT\" >> $MARKS; sleep 1000",
    );
    let machine = FakeMachine::new();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| group.serve(0, &machine));
        until("the task runs", || !group.marks().is_empty());
        let agents = group.ledger.clone().agents(&group.array, 10).unwrap();
        let agent = agents[0].enrolled.pid;
        let children = format!("/proc/{agent}/task/{agent}/children");
        let init = std::fs::read_to_string(children).unwrap();
        stop(init.trim().parse().unwrap());
        let mut ledger = group.ledger.clone();
        ledger.close(&group.array, Intent::Cancel, now()).unwrap();
        assert_eq!(serving.join().unwrap().unwrap(), End::Retired);
    });
    assert_eq!(*machine.left.lock().unwrap(), Some(Leave::Retire));
    assert_eq!(group.record().counts.cancelled, 1);
}
