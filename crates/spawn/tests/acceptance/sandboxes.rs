//! What tasks see of each other and of the machine: nothing of the one, all of the other.

use crate::shared;
use crate::support::World;

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A script that meets three others at a barrier while its own file lies in `/tmp`.
const MEET: &str = r#"#!/bin/bash
echo $TASK_ARRAY_INDEX > /tmp/input.csv
touch "$MEETING/$TASK_ARRAY_INDEX"
until [ "$(ls "$MEETING" | wc -l)" = 4 ]; do sleep 0.01; done
[ "$(cat /tmp/input.csv)" = "$TASK_ARRAY_INDEX" ] || exit 9
[ "$(ls /tmp)" = input.csv ] || exit 8
echo "$(hostname) $TASK_WORKER $$"
"#;

#[test]
fn workers_at_once_never_mix_their_tmp_and_have_names_of_their_own() {
    let world = World::new();
    world.write("meet.sh", MEET);
    let meeting = shared::directory();
    let env = format!("MEETING={}", meeting.path().display());
    let id = world.launch([
        "--array",
        "4",
        "--max-concurrent",
        "4",
        "--env",
        &env,
        "--user-data",
        "@meet.sh",
    ]);
    world.wait(&id).expect_code(0);
    let mut names = Vec::new();
    for task in 0..4 {
        let line = world.ok(["logs", &id, "--task", &task.to_string()]);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], format!("meet-{task}"));
        assert_eq!(words[1], words[0], "TASK_WORKER is the host name");
        assert_ne!(words[2], "1", "the script is not process 1");
        names.push(words[0].to_owned());
    }
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[test]
fn a_fresh_sandbox_is_fresh_and_a_kept_one_has_a_fresh_working_directory() {
    let world = World::new();
    world.write("data.txt", "shipped\n");
    let script = "ls -A | tr '\\n' ' '; ls -A /tmp /var/tmp /dev/shm | tr '\\n' ' '; echo; cat data.txt >/dev/null || exit 9\n\
                  echo changed > data.txt; touch left; touch /tmp/left /var/tmp/left /dev/shm/left; mkdir -m 0 locked\n";
    world.write("job.sh", script);
    let fresh = world.launch([
        "--array",
        "3",
        "--max-concurrent",
        "1",
        "--user-data",
        "@job.sh",
    ]);
    world.wait(&fresh).expect_code(0);
    for task in ["0", "1", "2"] {
        let seen = world.ok(["logs", &fresh, "--task", task]);
        assert_eq!(
            seen.trim_end(),
            "data.txt /dev/shm:  /tmp:  /var/tmp:",
            "task {task}"
        );
    }
    let kept = world.launch(["--array", "3", "--workers", "1", "--user-data", "@job.sh"]);
    world.wait(&kept).expect_code(0);
    for task in ["0", "1", "2"] {
        let seen = world.ok(["logs", &kept, "--task", task]);
        let tmp = if task == "0" { "" } else { "left " };
        let expected = format!("data.txt /dev/shm: {tmp} /tmp: {tmp} /var/tmp: {tmp}");
        assert_eq!(seen.trim_end(), expected.trim_end(), "task {task}");
    }
}

#[test]
fn a_task_finds_the_contract_in_its_environment() {
    let world = World::new();
    world.write("tool.py", "#!/usr/bin/env python3\nprint('by its name')\n");
    let script = "env | grep -E '^(TASK|JOB)_' | sort; echo \"$MINE\"; pwd; python tool.py; \
                  echo \"${PATH##*:}\"; [ \"$HOME\" = /spawn/home ] && [ -d ~ ] && echo home; for s in Ign Blk; do m=$(sed -n \"s/^Sig$s:.//p\" /proc/self/status); echo $s $((0x$m & 0x7fffffff)); done\n";
    world.write("job.sh", script);
    let id = world.launch([
        "--array",
        "5,7,9",
        "--name",
        "named",
        "--env",
        "MINE=a b\"$(c)",
        "--user-data",
        "@job.sh",
    ]);
    world.wait(&id).expect_code(0);
    let seen = world.ok(["logs", &id, "--task", "7"]);
    let expected = format!(
        "JOB_ARRAY_ID={id}\nJOB_ARRAY_INDEX=7\nJOB_ARRAY_NAME=named\nJOB_ARRAY_SIZE=3\n\
         TASK_ARRAY_ID={id}\nTASK_ARRAY_INDEX=7\nTASK_ARRAY_NAME=named\nTASK_ARRAY_SIZE=3\nTASK_ATTEMPT=1\n\
         TASK_WORKER=named-7\na b\"$(c)\n/spawn/work\nby its name\n/spawn/work\nhome\n\
         Ign 0\nBlk 0\n"
    );
    assert_eq!(seen, expected);
}

#[test]
fn files_get_the_mask_of_the_shell_that_launched() {
    let world = World::new();
    world.launch(["--", "true"]);
    let launch = format!(
        "umask 027; {} launch --wait --quiet -- bash -c 'umask; touch f; stat -c %a f'",
        env!("CARGO_BIN_EXE_spawn")
    );
    crate::support::Output::of(world.program("bash").args(["-c", &launch])).expect_code(0);
    assert_eq!(world.ok(["logs", "last", "--task", "0"]), "0027\n640\n");
}

#[test]
fn a_misspelt_setting_of_the_host_is_refused() {
    let world = World::new();
    for (name, value) in [("SPAWN_SANDBOX", "nono"), ("SPAWN_IDLE_SECONDS", "soon")] {
        let mut launch = world.spawn(["launch", "--", "true"]);
        let out = crate::support::Output::of(launch.env(name, value)).expect_code(1);
        assert!(
            out.err().contains(name) && out.err().contains(value),
            "{out}"
        );
    }
}

#[test]
fn nothing_of_the_launching_shell_leaks_into_tasks() {
    let world = World::new();
    let mut launch = world.spawn(["launch", "--wait", "--", "env"]);
    launch
        .env("SECRET_OF_THE_SHELL", "leaked")
        .env("TMPDIR", "/nowhere")
        .env("BASH_ENV", "/nowhere");
    assert!(launch.output().unwrap().status.success());
    let seen = world.ok(["logs", "last", "--task", "0"]);
    assert!(
        !seen.contains("leaked") && !seen.contains("nowhere"),
        "{seen}"
    );
    assert!(
        seen.contains("LANG=C.UTF-8") && seen.contains("TZ=UTC"),
        "{seen}"
    );
}

#[test]
fn without_namespaces_tasks_take_turns_unless_allowed_otherwise() {
    let world = World::new();
    let host = |args: &[&str]| {
        let mut command = world.spawn(args);
        command.env("SPAWN_SANDBOX", "none");
        command
    };
    // Each task would find the other's file if they ran at once.
    let script =
        "[ ! -e $MARK ] || exit 9; touch $MARK; sleep 0.2; rm $MARK; (setsid sleep 86411.25 &)\n";
    world.write("job.sh", script);
    let mark = format!("MARK={}", world.user.join("mark").display());
    let out = host(&[
        "launch",
        "--array",
        "4",
        "--env",
        &mark,
        "--user-data",
        "@job.sh",
        "--wait",
    ])
    .output()
    .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(world.json(["local", "status"])["isolation"], "shared");
    let left = std::process::Command::new("pgrep")
        .args(["-f", "sleep 86411.25"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "what a task left running is gone");
}

#[test]
fn with_mounts_alone_tmp_is_private_and_nothing_outlives_a_task() {
    let world = World::new();
    world.write(
        "job.sh",
        "ls -A /tmp; touch /tmp/left; (setsid sleep 86412.25 &) ; hostname\n",
    );
    let mut launch = world.spawn(["launch", "--array", "3", "--user-data", "@job.sh", "--wait"]);
    let out = launch.env("SPAWN_SANDBOX", "mounts").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let seen = sorted(&world.ok(["logs", "last"]));
    assert_eq!(seen, ["[0] job-0", "[1] job-1", "[2] job-2"]);
    let left = std::process::Command::new("pgrep")
        .args(["-f", "sleep 86412.25"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "what a task left running is gone");
}

#[test]
fn memory_of_the_instance_type_is_a_limit_where_groups_can_be_made() {
    let world = World::new();
    world.ok(["list"]);
    world.launch(["--", "true"]);
    let limits = world.json(["local", "status"])["limits"].clone();
    if limits != true {
        eprintln!("SKIPPED: control groups cannot be made here, so workers have no limits");
        return;
    }
    // 700 MB in half a gigabyte.
    let code = "x = bytearray(700 << 20); print(len(x))";
    let small = world.launch(["--instance-type", "t3.nano", "--", "python3", "-c", code]);
    let status = world.wait(&small).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 1);
    let task = &world.json(["tasks", &small])[0];
    assert_eq!(task["cause"], "out_of_memory", "{task}");
    // Memory in files counts too, and it is the script that goes, not the agent.
    let shm = world.launch([
        "--instance-type",
        "t3.nano",
        "--",
        "bash",
        "-c",
        "head -c 700M /dev/zero > /dev/shm/x",
    ]);
    world.wait(&shm).expect_code(1);
    let task = &world.json(["tasks", &shm])[0];
    assert_eq!(
        (task["cause"].as_str(), task["attempt"].as_u64()),
        (Some("out_of_memory"), Some(1)),
        "{task}"
    );
    let large = world.launch(["--instance-type", "t3.medium", "--", "python3", "-c", code]);
    world.wait(&large).expect_code(0);
}

#[test]
fn what_a_task_does_to_its_directories_is_not_the_nexts() {
    let world = World::new();
    // Also the working directory itself, where it is no mount of its own.
    let script = "touch here || exit 9; [ \"$(ls | wc -l)\" = 1 ] || exit 8\n\
                  mkdir -m 0 locked; chmod 500 .; chmod 700 /tmp; [ -z \"$REMOVE\" ] || rm -rf \"$PWD\"\n";
    world.write("job.sh", script);
    let kept = world.launch(["--array", "3", "--workers", "1", "--user-data", "@job.sh"]);
    world.wait(&kept).expect_code(0);
    let modes = world.launch([
        "--array",
        "2",
        "--max-concurrent",
        "1",
        "--",
        "stat",
        "-c",
        "%a",
        "/tmp",
        ".",
    ]);
    world.wait(&modes).expect_code(0);
    assert_eq!(world.ok(["logs", &modes, "--task", "1"]), "1777\n700\n");
}

#[test]
fn a_working_directory_that_a_task_removed_is_made_again() {
    let world = World::new();
    world.write("job.sh", "touch here || exit 9; rm -rf \"$PWD\"\n");
    let mut launch = world.spawn(["launch", "--array", "3", "--user-data", "@job.sh", "--wait"]);
    let out = launch.env("SPAWN_SANDBOX", "none").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let tasks = world.json(["tasks", "last"]);
    assert!(
        tasks.as_array().unwrap().iter().all(|t| t["attempt"] == 1),
        "{tasks}"
    );
}

#[test]
fn the_host_keeps_nothing_of_the_shell_that_started_it() {
    let world = World::new();
    let spawn = env!("CARGO_BIN_EXE_spawn");
    // The lock must be free, and the pipe at its end, once the launch has returned.
    let script = format!(
        "( flock -n 9 || exit 9; {spawn} launch --quiet -- true ) 9>lock; flock -n lock true || exit 8\n\
         exec 3>&1; {spawn} launch --quiet -- true | cat; ulimit -n 256; {spawn} launch --quiet -- true"
    );
    crate::support::Output::of(world.program("bash").args(["-c", &script])).expect_code(0);
    let id = world.launch(["--", "bash", "-c", "ulimit -n"]);
    world.wait(&id).expect_code(0);
    let usual = crate::support::Output::of(world.program("bash").args(["-c", "ulimit -n"])).out();
    assert_eq!(
        world.ok(["logs", &id, "--task", "0"]),
        usual,
        "tasks have the shell's limit of open files"
    );
}
