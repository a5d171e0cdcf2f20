//! Homes that are removed, moved away or replaced while a host runs in them.

use std::fs;
use std::process::Stdio;

use crate::processes::{agents, hosts, lives, of_array, until};
use crate::support::{Gate, Output, World};

/// Removes a home in which things still happen.
fn remove(home: &std::path::Path) {
    until("the home is removed", || {
        let _ = fs::remove_dir_all(home);
        !home.exists()
    });
}

#[test]
fn a_host_whose_home_is_removed_ends_with_all_that_it_runs() {
    for sandbox in ["full", "mounts", "none"] {
        let world = World::new().with("SPAWN_SANDBOX", sandbox);
        let id = world.launch([
            "--array",
            "3",
            "--max-concurrent",
            "3",
            "--allow-shared-tmp",
            "--",
            "sleep",
            "86493.25",
        ]);
        until("the tasks run", || of_array(&id).len() >= 3);
        let (host, agents) = (hosts(&world), agents(&world));
        let mut wait = world.spawn(["status", &id, "--wait"]);
        wait.stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = wait.spawn().unwrap();
        until("somebody waits", || {
            fs::read_dir(format!("/proc/{}/fd", waiting.id()))
                .is_ok_and(|fds| fds.flatten().any(|fd| is_socket(&fd.path())))
        });
        remove(&world.home);
        until("all have ended", || {
            let all = host.iter().chain(&agents);
            !all.copied().any(lives) && of_array(&id).is_empty()
        });
        let waited = waiting.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&waited.stderr);
        assert_eq!(waited.status.code(), Some(1), "{said}");
        assert!(said.contains("removed, moved or replaced"), "{said}");
        assert!(!world.home.exists(), "nothing makes it anew");
    }
}

fn is_socket(fd: &std::path::Path) -> bool {
    fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
}

#[test]
fn a_moved_home_goes_on_where_it_is_and_another_takes_its_place() {
    let world = World::new();
    let mut gate = Gate::new();
    world.write(
        "job.sh",
        format!("{}\necho \"done $TASK_ATTEMPT\"\n", gate.script()),
    );
    let first = world.launch(["--user-data", "@job.sh"]);
    gate.await_task();
    let old_host = hosts(&world);
    let moved = world.home.with_file_name("moved");
    fs::rename(&world.home, &moved).unwrap();
    // At once, while the first host may not have noticed.
    let second = world.launch(["--user-data", "@job.sh"]);
    gate.await_task();
    until("the first host has ended", || {
        !old_host.iter().copied().any(lives)
    });
    until("its task has ended", || of_array(&first).is_empty());
    let new_host = hosts(&world);
    assert_eq!(new_host.len(), 1);
    assert_ne!(new_host, old_host);
    assert!(world.home.join("host.sock").exists());
    assert_eq!(of_array(&second).iter().map(|p| p.attempt).max(), Some(1));

    let in_moved = |args: &[&str]| {
        let mut command = world.spawn(args);
        Output::of(command.env("SPAWN_HOME", &moved))
    };
    in_moved(&["status", &first]).expect_code(0);
    gate.await_task();
    gate.open();
    for run in [
        in_moved(&["-o", "json", "status", &first, "--wait"]),
        world.wait(&second),
    ] {
        let status = run.expect_code(0).json();
        assert_eq!(status["counts"]["succeeded"], 1, "{status}");
    }
    let told = in_moved(&["logs", &first, "--task", "0"]).expect_code(0);
    assert_eq!(told.out(), "done 2\n");
    assert_eq!(world.ok(["logs", &second, "--task", "0"]), "done 1\n");
    assert_eq!(hosts(&world), new_host, "the second host was not disturbed");
    in_moved(&["local", "stop", "--yes"]).expect_code(0);
    assert!(
        fs::read_dir(moved.join("workers"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn a_command_that_finds_the_old_host_in_a_moved_home_gets_a_new_one() {
    let world = World::new();
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    let old_host = hosts(&world);
    let moved = world.home.with_file_name("moved");
    fs::rename(&world.home, &moved).unwrap();
    let mut launch = world.spawn(["launch", "--quiet", "--wait", "--", "echo", "hello"]);
    Output::of(launch.env("SPAWN_HOME", &moved)).expect_code(0);
    assert!(!old_host.iter().copied().any(lives));
    assert!(!world.home.exists());
    let mut stop = world.spawn(["local", "stop", "--yes"]);
    Output::of(stop.env("SPAWN_HOME", &moved)).expect_code(0);
}
