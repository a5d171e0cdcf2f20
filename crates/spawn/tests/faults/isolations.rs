//! One list of scenarios, in every world that a machine may give: with all privileges, as an ordinary
//! user, without process namespaces, without any.

use std::process::Command;

use crate::processes::{of_array, until_nothing_is_left};
use crate::support::{Gate, Output, World};

/// The ordinary user.
const NOBODY: u32 = 65_534;

/// A world with whatever whoever runs the tests can have.
fn own() -> Option<World> {
    Some(World::new())
}

/// The world of an ordinary user.
fn of_nobody() -> Option<World> {
    if Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        eprintln!("SKIPPED: whoever runs the tests is an ordinary user already");
        return None;
    }
    Some(World::new().of_user(NOBODY))
}

/// The world of an ordinary user where the kernel gives them no namespaces.
fn of_nobody_without_namespaces() -> Option<World> {
    Some(of_nobody()?.with("SPAWN_SANDBOX", "none"))
}

fn with_mounts() -> Option<World> {
    Some(World::new().with("SPAWN_SANDBOX", "mounts"))
}

fn without_namespaces() -> Option<World> {
    Some(World::new().with("SPAWN_SANDBOX", "none"))
}

/// Each scenario in each world, under a name of its own.
macro_rules! in_every_world {
    ($($scenario:ident),* $(,)?) => {
        in_every_world!(@ as_oneself own: $($scenario)*);
        in_every_world!(@ as_an_ordinary_user of_nobody: $($scenario)*);
        in_every_world!(@ as_an_ordinary_user_without_namespaces of_nobody_without_namespaces: $($scenario)*);
        in_every_world!(@ without_process_namespaces with_mounts: $($scenario)*);
        in_every_world!(@ without_any_namespace without_namespaces: $($scenario)*);
    };
    (@ $name:ident $world:ident: $($scenario:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    if let Some(world) = super::$world() {
                        super::$scenario(world);
                    }
                }
            )*
        }
    };
}

in_every_world!(
    outcomes_are_what_scripts_say,
    an_interrupted_script_saves_and_goes_on,
    a_timeout_ends_all_that_a_script_started,
    failures_are_retried_when_asked,
    tasks_reach_the_endpoint,
    nothing_is_left_behind,
    working_directories_are_fresh,
);

fn outcomes_are_what_scripts_say(world: World) {
    world.write("data.txt", "shipped\n");
    let script = "cat data.txt\ncase $TASK_ARRAY_INDEX in\n1) exit 3 ;;\n2) spored complete --status success; exit 4 ;;\n\
                  3) spored complete --status skipped ;;\n4) spored complete --status failed --message why ;;\n5) kill -KILL $$ ;;\nesac\n";
    world.write("job.sh", script);
    let id = world.launch(["--array", "6", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    let tasks = world.json(["tasks", &id]);
    let ends: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["state"].as_str().unwrap())
        .collect();
    let expected = [
        "succeeded",
        "failed",
        "succeeded",
        "skipped",
        "failed",
        "failed",
    ];
    assert_eq!(ends, expected, "{tasks}");
    assert_eq!(
        (&tasks[1]["exit_code"], &tasks[5]["signal"]),
        (&3.into(), &9.into())
    );
    assert_eq!(tasks[4]["message"], "why");
    for task in 0..6 {
        assert_eq!(
            world.ok(["logs", &id, "--task", &task.to_string()]),
            "shipped\n"
        );
    }
}

fn an_interrupted_script_saves_and_goes_on(world: World) {
    let mut gate = Gate::new();
    let script = format!(
        "trap 'echo saved; exit 0' TERM\n[ $TASK_ATTEMPT = 1 ] || {{ echo went on; exit 0; }}\n{}\nwhile :; do sleep 0.05; done\n",
        gate.script()
    );
    world.write("job.sh", script);
    let id = world.launch(["--user-data", "@job.sh"]);
    gate.await_task();
    world.ok(["interrupt", &id, "--task", "0"]);
    gate.open();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["interrupted"], 1, "{status}");
    assert_eq!(status["workers_lost"], 0, "{status}");
    assert_eq!(
        world.ok(["logs", &id, "--task", "0", "--attempt", "1"]),
        "saved\n"
    );
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "went on\n");
}

fn a_timeout_ends_all_that_a_script_started(world: World) {
    world.write(
        "job.sh",
        "trap 'echo asked' TERM\n(setsid bash -c 'trap \"\" TERM; sleep 86481.25; sleep 86481.25' &)\nsleep 86481.25; sleep 86481.25\n",
    );
    let id = world.launch(["--timeout", "1s", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    assert_eq!(world.json(["tasks", &id])[0]["cause"], "timeout");
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "asked\n");
    assert_eq!(of_array(&id), []);
}

fn failures_are_retried_when_asked(world: World) {
    world.write(
        "job.sh",
        "echo attempt $TASK_ATTEMPT; [ $TASK_ATTEMPT = 2 ]\n",
    );
    let id = world.launch(["--array", "3", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    world.ok(["retry", &id]);
    world.wait(&id).expect_code(0);
    for task in ["0", "1", "2"] {
        assert_eq!(world.ok(["logs", &id, "--task", task]), "attempt 2\n");
    }
}

/// With the AWS CLI, or with `curl`, which can sign as it does, for a user who has no CLI.
fn tasks_reach_the_endpoint(world: World) {
    let has_cli = Output::of(world.program("sh").args(["-c", "aws --version"])).code == 0;
    let with_curl = "set -e\ncall() { curl -sS --fail --aws-sigv4 aws:amz:us-east-1:s3 \\\n\
        --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \"$@\"; }\n\
        call -X PUT $AWS_ENDPOINT_URL/mine\necho \"by $(id -u)\" > x\ncall -T x $AWS_ENDPOINT_URL/mine/x\ncall $AWS_ENDPOINT_URL/mine/x\n";
    let with_cli = "set -e\naws s3 mb s3://mine\necho \"by $(id -u)\" | aws s3 cp - s3://mine/x\naws s3 cp s3://mine/x -\n";
    world.write("job.sh", if has_cli { with_cli } else { with_curl });
    let id = world.launch(["--user-data", "@job.sh"]);
    world.wait(&id).expect_code(0);
    let logs = world.ok(["logs", &id, "--task", "0"]);
    assert!(logs.lines().any(|line| line.starts_with("by ")), "{logs}");
}

fn nothing_is_left_behind(world: World) {
    world.write(
        "job.sh",
        "for n in 1 2 3; do (setsid sleep 86482.25 > /dev/null 2>&1 &); done\nmkdir -p a/b; touch a/b/c; chmod 0 a/b a\n",
    );
    for kind in [["--workers", "2"], ["--max-concurrent", "2"]] {
        let mut args = vec!["--array", "6", "--user-data", "@job.sh"];
        args.extend(kind);
        let id = world.launch(args);
        let status = world.wait(&id).expect_code(0).json();
        assert_eq!(status["workers_lost"], 0, "{status}");
        assert_eq!(of_array(&id), []);
        world.ok(["local", "stop", "--yes"]);
        until_nothing_is_left(&world, &id);
    }
}

fn working_directories_are_fresh(world: World) {
    let script = "[ \"$(ls -A | wc -l)\" = 0 ] || exit 9\ntouch left; mkdir -m 0 locked; rm -rf \"$PWD\" 2> /dev/null\nid -u\n";
    world.write("job.sh", script);
    let id = world.launch(["--array", "4", "--workers", "1", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(0);
    let first = world.ok(["logs", &id, "--task", "0"]);
    for task in ["1", "2", "3"] {
        assert_eq!(world.ok(["logs", &id, "--task", task]), first);
    }
}
