//! `kill -9` of an agent, of the host, of everything, in the middle of an array.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shared;
use crate::support::World;

const TASKS: usize = 120;

/// A task that leaves a daemon behind, and a line for each execution in a file all tasks share.
fn script(shared: &Path, mark: &str) -> String {
    let executions = shared.join("executions");
    let file = executions.display();
    format!(
        "#!/bin/bash\n(setsid sleep {mark} &)\necho \"start $TASK_ARRAY_INDEX $TASK_ATTEMPT\" >> {file}\nsleep 0.05\n\
         echo \"end $TASK_ARRAY_INDEX $TASK_ATTEMPT\" >> {file}\n"
    )
}

fn lines(shared: &Path, word: &str) -> Vec<(usize, u32)> {
    let text = fs::read_to_string(shared.join("executions")).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.strip_prefix(word))
        .map(|l| {
            let (index, attempt) = l.trim().split_once(' ').unwrap();
            (index.parse().unwrap(), attempt.parse().unwrap())
        })
        .collect()
}

/// Waits for something to be so; it must become so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < limit, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes whose command line holds all of `words`.
fn processes(words: &[&str]) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"))
                .unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            words.iter().all(|w| line.contains(w))
        })
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn hosts(world: &World) -> Vec<u32> {
    processes(&["spawn-host", world.home.to_str().unwrap()])
}

fn agents(world: &World) -> Vec<u32> {
    let hosts = hosts(world);
    let of_host = |pid: &u32| parent(*pid).is_some_and(|p| hosts.contains(&p));
    processes(&["spored", "agent"])
        .into_iter()
        .filter(of_host)
        .collect()
}

fn kill(pids: &[u32]) {
    for pid in pids {
        let status = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.is_ok());
    }
}

/// Launches the script `job.sh` as all the tasks, on workers of this kind.
fn launch(world: &World, kind: &str, how_many: &str) -> String {
    let tasks = TASKS.to_string();
    world.launch(["--array", &tasks, kind, how_many, "--user-data", "@job.sh"])
}

/// Every index has one outcome and ended once at least; more executions only where a worker was lost.
fn check(world: &World, shared: &Path, id: &str, mark: &str) {
    let status = world.wait(id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], TASKS);
    assert_eq!(status["counts"]["total"], TASKS);
    let tasks = world.json(["tasks", id]);
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), TASKS);
    let mut attempts: BTreeMap<usize, u32> = BTreeMap::new();
    for task in tasks {
        assert_eq!(task["state"], "succeeded", "{task}");
        attempts.insert(
            task["index"].as_u64().unwrap() as usize,
            task["attempt"].as_u64().unwrap() as u32,
        );
    }
    assert_eq!(attempts.len(), TASKS);
    let (starts, ends) = (lines(shared, "start"), lines(shared, "end"));
    for (index, committed) in &attempts {
        // No two executions share an attempt number, and the committed one is the last.
        let mut of_index: Vec<u32> = starts
            .iter()
            .filter(|(i, _)| i == index)
            .map(|(_, a)| *a)
            .collect();
        of_index.sort_unstable();
        let distinct = of_index.windows(2).all(|w| w[0] < w[1]);
        assert!(distinct, "task {index} ran an attempt twice: {of_index:?}");
        assert_eq!(of_index.last(), Some(committed), "task {index}");
        assert!(
            ends.contains(&(*index, *committed)),
            "task {index} committed before it ended"
        );
    }
    until("every daemon of a task is gone", || {
        processes(&["sleep", mark]).is_empty()
    });
    // One stays, without a sandbox, for the next launch.
    until("every agent with a task is gone", || {
        agents(world).len() <= 1
    });
    let left = || fs::read_dir(world.home.join("workers")).unwrap().count();
    until("every worker's directory is gone", || left() == 0);
}

#[test]
fn an_agent_killed_in_mid_array_costs_one_attempt_and_nothing_else() {
    let world = World::new();
    let shared = shared::directory();
    let mark = "86401.25";
    world.write("job.sh", script(shared.path(), mark));
    let id = launch(&world, "--max-concurrent", "3");
    for n in 1..=5 {
        until("tasks go on", || lines(shared.path(), "end").len() > n * 10);
        until("two agents are there", || agents(&world).len() > 1);
        // One of the two may be the spare.
        kill(&agents(&world)[..2]);
    }
    check(&world, shared.path(), &id, mark);
    let status = world.json(["status", &id]);
    assert_eq!(status["interrupted"], 0);
}

#[test]
fn a_host_killed_in_mid_array_is_replaced_by_the_next_command() {
    let world = World::new();
    let shared = shared::directory();
    let mark = "86402.25";
    world.write("job.sh", script(shared.path(), mark));
    let id = launch(&world, "--workers", "3");
    for n in 1..=2 {
        until("tasks go on", || lines(shared.path(), "end").len() > n * 20);
        kill(&hosts(&world));
        until("agents end with their host", || {
            processes(&["sleep", mark]).is_empty()
        });
        let before = lines(shared.path(), "start").len();
        world.ok(["list"]);
        until("tasks go on again", || {
            lines(shared.path(), "start").len() > before
        });
    }
    check(&world, shared.path(), &id, mark);
}

#[test]
fn everything_killed_at_once_loses_nothing() {
    let world = World::new();
    let shared = shared::directory();
    let mark = "86403.25";
    world.write("job.sh", script(shared.path(), mark));
    let id = launch(&world, "--max-concurrent", "3");
    until("tasks go on", || lines(shared.path(), "end").len() > 20);
    let mut all = agents(&world);
    all.extend(hosts(&world));
    kill(&all);
    until("nothing runs", || processes(&["sleep", mark]).is_empty());
    check(&world, shared.path(), &id, mark);
}

#[test]
fn a_waiting_command_survives_its_host() {
    let world = World::new();
    let shared = shared::directory();
    world.write("job.sh", script(shared.path(), "86404.25"));
    let id = launch(&world, "--max-concurrent", "3");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.wait(&id));
        until("tasks go on", || lines(shared.path(), "end").len() > 20);
        kill(&hosts(&world));
        waiting.join().unwrap().expect_code(0);
    });
}

#[test]
fn a_stalled_agent_is_replaced_and_cannot_commit_when_it_wakes() {
    let world = World::new();
    let shared = shared::directory();
    let mark = "86405.25";
    world.write("job.sh", script(shared.path(), mark));
    let id = launch(&world, "--workers", "2");
    until("tasks go on", || lines(shared.path(), "end").len() > 10);
    let stalled = agents(&world);
    for pid in &stalled {
        assert!(
            Command::new("kill")
                .args(["-STOP", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    kill(&hosts(&world));
    // The next host must not leave them to wake up later.
    check(&world, shared.path(), &id, mark);
    for pid in stalled {
        assert!(
            !Path::new("/proc").join(pid.to_string()).exists(),
            "agent {pid} still lives"
        );
    }
}

#[test]
fn without_process_namespaces_nothing_outlives_a_killed_host_either() {
    for (isolation, mark) in [("none", "86406.25"), ("mounts", "86407.25")] {
        let world = World::new();
        let mut launch = world.spawn(["launch", "--quiet", "--", "sleep", mark]);
        assert!(
            launch
                .env("SPAWN_SANDBOX", isolation)
                .status()
                .unwrap()
                .success()
        );
        until("the task runs", || processes(&["sleep", mark]).len() == 1);
        kill(&agents(&world));
        until("the task runs again, once", || {
            processes(&["sleep", mark]).len() == 1
        });
        kill(&hosts(&world));
        until("nothing runs", || processes(&["sleep", mark]).is_empty());
    }
}

#[test]
fn a_stopped_host_stays_stopped_though_somebody_waits() {
    let world = World::new();
    let id = world.launch(["--", "sleep", "86408.25"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.run(["status", &id, "--wait"]));
        until("the task runs", || {
            !processes(&["sleep", "86408.25"]).is_empty()
        });
        // The waiter may not be there yet; one that comes later starts a host, as any command does.
        until("it waits", || {
            processes(&["status", &id]).iter().any(|p| {
                fs::read_to_string(format!("/proc/{p}/wchan"))
                    .is_ok_and(|w| w.contains("unix") || w.contains("wait"))
                    || fs::read_to_string(format!("/proc/{p}/syscall"))
                        .is_ok_and(|s| !s.starts_with("running"))
            })
        });
        world.ok(["local", "stop", "--yes"]);
        let waited = waiting.join().unwrap().expect_code(1);
        assert!(waited.err().contains("the host was stopped"), "{waited}");
    });
    assert!(hosts(&world).is_empty());
}

#[test]
fn stopping_the_host_lets_scripts_save_what_they_have() {
    let world = World::new();
    let shared = shared::directory();
    let script = "trap 'echo saved; exit 0' TERM\ntouch $HERE/$TASK_ATTEMPT\n\
                  [ $TASK_ATTEMPT = 2 ] || while :; do sleep 0.05; done\n";
    world.write("job.sh", script);
    let env = format!("HERE={}", shared.path().display());
    let id = world.launch(["--env", &env, "--user-data", "@job.sh"]);
    until("the task runs", || shared.path().join("1").exists());
    world.ok(["local", "stop", "--yes"]);
    assert!(hosts(&world).is_empty());
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(
        (
            status["interrupted"].as_u64(),
            status["workers_lost"].as_u64()
        ),
        (Some(1), Some(0))
    );
    assert_eq!(
        world.ok(["logs", &id, "--task", "0", "--attempt", "1"]),
        "saved\n"
    );
}
