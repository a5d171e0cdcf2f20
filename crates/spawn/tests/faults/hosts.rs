//! Faults around the host: another at its port, many that start it, launches cut short, a machine
//! that sleeps.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::processes::{agents, hosts, of_array, signal, until};
use crate::shared;
use crate::support::{Gate, World};

#[test]
fn where_its_port_is_taken_the_endpoint_moves_and_tasks_find_it() {
    let world = World::new();
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    let kept = || std::fs::read_to_string(world.home.join("endpoint.port")).unwrap();
    let before = kept();
    world.ok(["local", "stop", "--yes"]);
    let port: u16 = before.trim().parse().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let script = "set -e\naws s3 mb s3://moved\necho hello | aws s3 cp - s3://moved/x\naws s3 cp s3://moved/x -\n";
    world.write("job.sh", script);
    let id = world.launch(["--user-data", "@job.sh"]);
    world.wait(&id).expect_code(0);
    assert!(world.ok(["logs", &id, "--task", "0"]).ends_with("hello\n"));
    let after = kept();
    assert_ne!(before, after);
    let log = world.host_log();
    assert!(log.contains(&format!("port {port} is taken")), "{log}");
    drop(taken);
    // The new port is the one that is kept now.
    world.ok(["local", "stop", "--yes"]);
    world.ok(["list"]);
    assert_eq!(kept(), after);
}

#[test]
fn launches_that_race_start_one_host_and_all_their_arrays_run() {
    for racers in [2, 10] {
        let world = World::new();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let launch = || world.launch(["--array", "3", "--", "true"]);
            let racing: Vec<_> = (0..racers).map(|_| scope.spawn(launch)).collect();
            racing.into_iter().map(|r| r.join().unwrap()).collect()
        });
        assert_eq!(hosts(&world).len(), 1);
        for id in &ids {
            let status = world.wait(id).expect_code(0).json();
            assert_eq!(status["counts"]["succeeded"], 3);
        }
        assert_eq!(world.json(["list"]).as_array().unwrap().len(), racers);
    }
}

/// Whatever is listed is whole and comes to its end; whatever is not left nothing.
fn assert_whole_arrays(world: &World) -> usize {
    let listed = world.json(["list"]);
    let listed = listed.as_array().unwrap();
    for array in listed {
        let id = array["array_id"].as_str().unwrap();
        let status = world.wait(id).expect_code(0).json();
        assert_eq!(status["counts"]["total"], 5, "{status}");
        assert_eq!(status["counts"]["succeeded"], 5, "{status}");
    }
    listed.len()
}

#[test]
fn a_launch_that_is_killed_leaves_a_whole_array_or_none() {
    let world = World::new();
    world.write("job.sh", "cat data.txt\n");
    world.write("data.txt", "shipped\n");
    let launch = || {
        let mut launch = world.spawn([
            "launch",
            "--quiet",
            "--array",
            "5",
            "--user-data",
            "@job.sh",
        ]);
        launch
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        launch.spawn().unwrap()
    };
    launch().wait().unwrap();
    for cut in 0..40 {
        let mut launched = launch();
        // At another moment each time; which one it is does not matter.
        let end = Instant::now() + Duration::from_micros(cut * 400);
        while Instant::now() < end && launched.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = launched.kill();
        launched.wait().unwrap();
    }
    let whole = assert_whole_arrays(&world);
    assert!(whole >= 1);
    eprintln!("{whole} of 41 arrays were launched");
}

#[test]
fn a_host_that_is_killed_during_a_launch_has_a_whole_array_or_none() {
    let world = World::new();
    world.write("job.sh", "cat data.txt\n");
    world.write("data.txt", "shipped\n");
    world.ok([
        "launch",
        "--quiet",
        "--array",
        "5",
        "--user-data",
        "@job.sh",
    ]);
    let mut launched = 1;
    for cut in 0..20 {
        let mut launch = world.spawn([
            "launch",
            "--quiet",
            "--array",
            "5",
            "--user-data",
            "@job.sh",
        ]);
        launch
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let running = launch.spawn().unwrap();
        let end = Instant::now() + Duration::from_micros(cut * 500);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        signal("KILL", &hosts(&world));
        let out = running.wait_with_output().unwrap();
        // One that said it was launched was; one that fails says why.
        match out.status.success() {
            true => launched += 1,
            false => assert!(
                String::from_utf8_lossy(&out.stderr).contains("host"),
                "{out:?}"
            ),
        }
    }
    assert!(assert_whole_arrays(&world) >= launched);
}

/// Stops all that the world runs for longer than a lease, as a machine that sleeps does, and lets it
/// go on.
fn sleep_and_wake(world: &World, id: &str) {
    let mut all = hosts(world);
    all.extend(agents(world));
    all.extend(of_array(id).into_iter().map(|p| p.pid));
    signal("STOP", &all);
    let asleep = Instant::now();
    until("the lease is over", || {
        asleep.elapsed() > Duration::from_secs(6)
    });
    signal("CONT", &all);
}

#[test]
fn a_machine_that_slept_past_the_lease_repeats_nothing() {
    for kind in [["--workers", "3"], ["--max-concurrent", "3"]] {
        let world = World::new().with("SPAWN_LEASE_SECONDS", "4");
        let place = shared::directory();
        let script = "echo $TASK_ARRAY_INDEX >> $HERE/ran\nfor n in 1 2 3 4; do sleep 0.02; done\n";
        world.write("job.sh", script);
        let here = format!("HERE={}", place.path().display());
        let mut args = vec!["--array", "150", "--env", &here, "--user-data", "@job.sh"];
        args.extend(kind);
        let id = world.launch(args);
        let ran = || {
            let ran = std::fs::read_to_string(place.path().join("ran")).unwrap_or_default();
            ran.lines().count()
        };
        for n in 1..=2 {
            until("tasks go on", || ran() > n * 30);
            sleep_and_wake(&world, &id);
        }
        let status = world.wait(&id).expect_code(0).json();
        assert_eq!(status["counts"]["succeeded"], 150, "{status}");
        assert_eq!(status["workers_lost"], 0, "{status}");
        assert_eq!(ran(), 150, "nothing ran twice");
    }
}

#[test]
fn a_host_that_was_away_past_the_lease_blames_no_agent() {
    let world = World::new().with("SPAWN_LEASE_SECONDS", "4");
    let mut gate = Gate::new();
    world.write("job.sh", format!("{}\n", gate.script()));
    let id = world.launch([
        "--array",
        "2",
        "--max-concurrent",
        "2",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    gate.await_task();
    let host = hosts(&world);
    signal("STOP", &host);
    let asleep = Instant::now();
    until("the lease is over", || {
        asleep.elapsed() > Duration::from_secs(6)
    });
    signal("CONT", &host);
    // A few rounds of the host, in which it would give up whom it does not trust.
    let awake = Instant::now();
    until("it had time to judge", || {
        world.json(["status", &id]);
        awake.elapsed() > Duration::from_secs(3)
    });
    gate.open();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["workers_lost"], 0, "{status}");
}

#[test]
fn an_agent_alone_that_sleeps_past_its_lease_commits_nothing() {
    let world = World::new().with("SPAWN_LEASE_SECONDS", "4");
    let place = shared::directory();
    // The first attempt's script goes on and ends well while its agent sleeps.
    let script = "echo $TASK_ATTEMPT > $HERE/started-$TASK_ATTEMPT\n\
                  [ $TASK_ATTEMPT != 1 ] || until [ -e $HERE/go ]; do sleep 0.02; done\n\
                  echo \"attempt $TASK_ATTEMPT\"; touch $HERE/ended-$TASK_ATTEMPT\n";
    world.write("job.sh", script);
    let here = format!("HERE={}", place.path().display());
    let id = world.launch(["--workers", "1", "--env", &here, "--user-data", "@job.sh"]);
    let is_there = |name: &str| place.path().join(name).exists();
    until("the task runs", || is_there("started-1"));
    let asleep = agents(&world);
    signal("STOP", &asleep);
    std::fs::write(place.path().join("go"), "").unwrap();
    until("its script ends", || is_there("ended-1"));
    world.wait(&id).expect_code(0);
    signal("CONT", &asleep);
    let story = world.json(["explain", &id, "--task", "0"]);
    assert_eq!(story["attempt"], 2, "{story}");
    assert_eq!(story["attempts"][0]["cause"], "worker_lost", "{story}");
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "attempt 2\n");
}

#[test]
fn a_task_whose_workers_are_lost_again_and_again_fails_in_the_end() {
    let world = World::new();
    let id = world.launch(["--", "sleep", "86491.25"]);
    let mut last = 0;
    // An agent that takes over while its predecessor is being killed may be killed with it.
    while last < 11 {
        until("the task runs again, or has failed", || {
            let newest = of_array(&id).iter().map(|process| process.attempt).max();
            let goes_on = newest.is_some_and(|attempt| attempt > last);
            last = newest.unwrap_or(0).max(last);
            if world.json(["tasks", &id])[0]["state"] == "failed" {
                last = 11;
            }
            goes_on || last == 11
        });
        signal("KILL", &agents(&world));
    }
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["workers_lost"], 11, "{status}");
    let story = world.json(["explain", &id, "--task", "0"]);
    assert_eq!(story["cause"], "worker_lost", "{story}");
    assert_eq!(story["attempt"], 11, "{story}");
    let budgets = story["retries"].as_array().unwrap();
    let lost = budgets
        .iter()
        .find(|b| b["cause"] == "worker_lost")
        .unwrap();
    assert_eq!((&lost["spent"], &lost["allowed"]), (&10.into(), &10.into()));
    // None of it was the script's own failure.
    assert!(
        budgets
            .iter()
            .all(|b| b["cause"] == "worker_lost" || b["spent"] == 0)
    );
}
