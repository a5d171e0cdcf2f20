//! Scripts that do what scripts should not.

use std::fs;

use serde_json::Value;

use crate::processes::{agents, of_array, peak_memory, until};
use crate::shared;
use crate::support::{Gate, World};

/// An agent never has more memory than this, whatever its scripts print.
const AGENT_MEMORY: u64 = 64 << 20;

/// Runs one task to its end and gives it as `spawn tasks` has it.
fn task(world: &World, script: &str, flags: &[&str]) -> (String, Value) {
    world.write("job.sh", script);
    let mut args = vec!["--user-data", "@job.sh"];
    args.extend(flags);
    let id = world.launch(args);
    world.wait(&id);
    let task = world.json(["tasks", &id])[0].clone();
    assert_eq!(of_array(&id), [], "nothing outlives the task");
    (id, task)
}

#[track_caller]
fn assert_end(task: &Value, state: &str, cause: &str) {
    let end = (task["state"].as_str(), task["cause"].as_str());
    assert_eq!(end, (Some(state), Some(cause)), "{task}");
}

/// How much `spawn logs` has of a stream of task 0, in bytes.
fn logged(world: &World, id: &str, stream: &str) -> u64 {
    let mut logs = world.spawn(["logs", id, "--task", "0", stream]);
    // Each stream of one task comes out where it went in.
    let (mut reader, writer) = std::io::pipe().unwrap();
    logs.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut running = logs.spawn().unwrap();
    drop(logs);
    let bytes = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert!(running.wait().unwrap().success());
    bytes
}

#[test]
fn one_that_ignores_term_is_interrupted_all_the_same() {
    let world = World::new();
    let mut gate = Gate::new();
    let wait = gate.script();
    let script = format!(
        "trap '' TERM\n[ $TASK_ATTEMPT = 1 ] || exit 0\n{wait}\nwhile :; do sleep 86451.25; done\n"
    );
    world.write("job.sh", script);
    let id = world.launch(["--user-data", "@job.sh"]);
    gate.await_task();
    world.ok(["interrupt", &id, "--task", "0", "--notice", "1s"]);
    gate.open();
    world.wait(&id).expect_code(0);
    let story = world.json(["explain", &id, "--task", "0"]);
    assert_eq!(story["attempts"][0]["cause"], "interrupted", "{story}");
    assert_eq!(story["attempts"][0]["signal"], 9, "{story}");
    assert_eq!(story["attempt"], 2, "{story}");
    assert_eq!(of_array(&id), []);
}

#[test]
fn one_that_daemonises_leaves_nothing_running() {
    let world = World::new();
    // The classical way: fork, a session of one's own, fork again, let go of everything.
    let script = "#!/usr/bin/env python3\nimport os, sys, time\n\
        r, w = os.pipe()\n\
        if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.chdir('/')\n        \
        for fd in range(3): os.close(fd)\n        os.write(w, b'x')\n        time.sleep(86452)\n    os._exit(0)\n\
        os.wait()\nos.read(r, 1)\nprint('left it')\n";
    for isolation in ["full", "mounts", "none"] {
        let world = World::new().with("SPAWN_SANDBOX", isolation);
        let (id, end) = task(&world, script, &[]);
        assert_end(&end, "succeeded", "succeeded");
        assert_eq!(world.ok(["logs", &id, "--task", "0"]), "left it\n");
    }
    drop(world);
}

#[test]
fn one_that_prints_200_megabytes_costs_the_agent_no_memory() {
    const BYTES: u64 = 200 << 20;
    let world = World::new();
    let mut gate = Gate::new();
    let script = format!(
        "head -c {BYTES} /dev/zero | tr '\\0' x\n{}\n",
        gate.script()
    );
    world.write("job.sh", script);
    let id = world.launch(["--workers", "1", "--user-data", "@job.sh"]);
    gate.await_task();
    let peaks: Vec<u64> = agents(&world).into_iter().map(peak_memory).collect();
    assert!(!peaks.is_empty());
    assert!(peaks.iter().all(|peak| *peak < AGENT_MEMORY), "{peaks:?}");
    gate.open();
    world.wait(&id).expect_code(0);
    assert_eq!(logged(&world, &id, "--stdout"), BYTES);
}

#[test]
fn one_that_floods_standard_error_and_fails_is_told_by_its_last_line() {
    let world = World::new();
    let script = "yes 'a line of noise' | head -c 52428800 >&2\necho >&2; echo 'the cause of it all' >&2; exit 4\n";
    let (id, end) = task(&world, script, &[]);
    assert_end(&end, "failed", "exit");
    assert_eq!(end["last_stderr"], "the cause of it all", "{end}");
    assert_eq!(logged(&world, &id, "--stderr"), 52_428_800 + 1 + 20);
}

#[test]
fn one_that_exits_137_has_not_run_out_of_memory() {
    let world = World::new();
    let (_, end) = task(&world, "exit 137", &["--instance-type", "t3.nano"]);
    assert_end(&end, "failed", "exit");
    assert_eq!(end["exit_code"], 137);
    let (_, end) = task(&world, "kill -9 $$", &["--instance-type", "t3.nano"]);
    assert_end(&end, "failed", "exit");
    assert_eq!(end["signal"], 9);
}

#[test]
fn one_that_fills_its_memory_says_so_and_spares_its_neighbour() {
    let world = World::new();
    world.launch(["--", "true"]);
    if world.json(["local", "status"])["limits"] != true {
        eprintln!("SKIPPED: control groups cannot be made here, so workers have no limits");
        return;
    }
    let script = "[ $TASK_ARRAY_INDEX = 1 ] || exec python3 -c 'x = bytearray(900 << 20)'\n\
                  python3 -c 'x = bytearray(100 << 20)' && echo enough\n";
    world.write("job.sh", script);
    let flags = [
        "--array",
        "2",
        "--max-concurrent",
        "2",
        "--instance-type",
        "t3.nano",
    ];
    let id = world.launch(flags.iter().copied().chain(["--user-data", "@job.sh"]));
    world.wait(&id).expect_code(1);
    let tasks = world.json(["tasks", &id]);
    assert_end(&tasks[0], "failed", "out_of_memory");
    assert_end(&tasks[1], "succeeded", "succeeded");
    assert_eq!(world.ok(["logs", &id, "--task", "1"]), "enough\n");
    let status = world.json(["status", &id]);
    assert_eq!(status["workers_lost"], 0, "{status}");
}

#[test]
fn one_that_closes_its_output_early_and_opens_it_again_loses_no_line() {
    let world = World::new();
    let (id, end) = task(&world, "echo one; exec >&- 2>&-; sleep 0.1; exit 0\n", &[]);
    assert_end(&end, "succeeded", "succeeded");
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "one\n");
    let script =
        "echo one; exec 3>&1 4>&2 >&- 2>&-; sleep 0.1; exec >&3 2>&4; echo two; echo three >&2\n";
    let (id, _) = task(&world, script, &[]);
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "one\ntwo\n");
    assert_eq!(world.ok(["logs", &id, "--task", "0", "--stderr"]), "");
    let both = world.run(["logs", &id, "--task", "0", "--stderr"]);
    assert_eq!(both.err(), "three\n", "{both}");
    // The next task of the worker has both streams.
    let script = "[ $TASK_ARRAY_INDEX = 0 ] && exec >&- 2>&-; echo out; echo err >&2; exit 0\n";
    let (id, _) = task(&world, script, &["--array", "2", "--workers", "1"]);
    assert_eq!(world.ok(["logs", &id, "--task", "1"]), "out\n");
}

#[test]
fn one_whose_child_keeps_its_output_open_ends_when_it_ends() {
    let world = World::new();
    let (id, end) = task(&world, "sleep 86453.25 & echo done\n", &[]);
    assert_end(&end, "succeeded", "succeeded");
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "done\n");
}

#[test]
fn one_that_exits_while_its_grandchild_writes_does_not_write_into_the_next_tasks_log() {
    let world = World::new();
    let script = "if [ $TASK_ARRAY_INDEX = 0 ]; then (setsid yes noise &) ; sleep 0.1; exit 0; fi; echo clean; sleep 0.1\n";
    world.write("job.sh", script);
    for flags in [["--workers", "1"], ["--max-concurrent", "1"]] {
        let mut args = vec!["--array", "3", "--user-data", "@job.sh"];
        args.extend(flags);
        let id = world.launch(args);
        world.wait(&id).expect_code(0);
        assert!(logged(&world, &id, "--stdout") > 0);
        for next in ["1", "2"] {
            assert_eq!(world.ok(["logs", &id, "--task", next]), "clean\n");
        }
        assert_eq!(of_array(&id), []);
    }
}

#[test]
fn one_that_starts_hundreds_of_processes_leaves_none() {
    let script =
        "for n in $(seq 300); do (setsid sleep 86454.25 > /dev/null 2>&1 &); done; echo started\n";
    for isolation in ["full", "mounts", "none"] {
        let world = World::new().with("SPAWN_SANDBOX", isolation);
        let (_, end) = task(&world, script, &["--workers", "1"]);
        assert_end(&end, "succeeded", "succeeded");
    }
}

#[test]
fn one_that_goes_on_forking_while_it_is_stopped_leaves_none() {
    let script = "trap '' TERM\nchain() { for n in 1 2 3 4; do (setsid sleep 86455.25 &); sleep 0.01; done; }\n\
                  while :; do (setsid bash -c \"trap '' TERM; $(declare -f chain); chain\" &); sleep 0.05; done\n";
    for isolation in ["full", "mounts", "none"] {
        let world = World::new().with("SPAWN_SANDBOX", isolation);
        let (_, end) = task(&world, script, &["--timeout", "1s"]);
        assert_end(&end, "failed", "timeout");
    }
}

#[test]
fn one_that_spoils_its_directories_spoils_none_of_the_nexts() {
    let world = World::new();
    let script = "[ -z \"$(ls -A)\" ] || exit 9\nmkdir -p a/b/c; touch a/b/c/d; chmod 0 a/b/c a/b a\n\
                  mkdir 'new\nline' -- '-rf'; ln -s / up; mkfifo pipe; [ $TASK_ARRAY_INDEX = 1 ] && rm -rf \"$PWD\"; exit 0\n";
    world.write("job.sh", script);
    for flags in [["--workers", "1"], ["--max-concurrent", "1"]] {
        let mut args = vec!["--array", "3", "--user-data", "@job.sh"];
        args.extend(flags);
        let id = world.launch(args);
        let status = world.wait(&id).expect_code(0).json();
        assert_eq!(status["workers_lost"], 0, "{status}");
    }
}

#[test]
fn one_whose_interpreter_vanishes_says_which() {
    let world = World::new();
    let place = shared::directory();
    let interpreter = place.path().join("interpreter");
    fs::copy("/bin/bash", &interpreter).unwrap();
    let script = format!("#!{0}\nrm {0}\necho removed\n", interpreter.display());
    world.write("job.sh", script);
    let id = world.launch(["--array", "2", "--workers", "1", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    let tasks = world.json(["tasks", &id]);
    assert_end(&tasks[0], "succeeded", "succeeded");
    assert_end(&tasks[1], "failed", "launch_failed");
    let message = tasks[1]["message"].as_str().unwrap();
    assert!(
        message.contains(interpreter.to_str().unwrap()) && message.contains("No such file"),
        "{message}"
    );
}

#[test]
fn one_that_kills_the_init_of_its_sandbox_costs_one_attempt() {
    let world = World::new();
    let place = shared::directory();
    // Each attempt says so; the first ends its own world if it can.
    let script = "echo $TASK_ATTEMPT >> $HERE/attempts\n[ $TASK_ATTEMPT = 1 ] && kill -9 $PPID && sleep 86456.25\nexit 0\n";
    world.write("job.sh", script);
    let here = format!("HERE={}", place.path().display());
    let mut launch = world.spawn([
        "launch",
        "--quiet",
        "--env",
        &here,
        "--user-data",
        "@job.sh",
    ]);
    // With process ids of its own, the kernel protects the first process from those below it.
    launch.env("SPAWN_SANDBOX", "mounts");
    let id = crate::support::Output::of(&mut launch).expect_code(0).out();
    let id = id.trim();
    world.wait(id).expect_code(0);
    let story = world.json(["explain", id, "--task", "0"]);
    assert_eq!(story["attempts"][0]["cause"], "worker_lost", "{story}");
    assert_eq!(
        fs::read_to_string(place.path().join("attempts")).unwrap(),
        "1\n2\n"
    );
    until("nothing of it runs", || of_array(id).is_empty());
}
