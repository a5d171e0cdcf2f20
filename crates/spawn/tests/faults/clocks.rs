//! Somebody sets the clock while an array runs.
//!
//! The host of these tests is the real one behind a clock that can be set: a library that the loader
//! puts before the C library's, as `faketime` is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::processes::until;
use crate::support::{Gate, World};

/// Adds the seconds that a file says to the wall clock, and to no other.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, which, time);
    if (failed == 0 && which == CLOCK_REALTIME) {
        char text[32] = {0};
        int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
            close(file);
        }
    }
    return failed;
}
"#;

const DAY: i64 = 86_400;

/// The clock that a world's host looks at.
struct Clock(PathBuf);

impl Clock {
    /// A world whose host has such a clock. `None`, and why, where it cannot be made.
    fn of_a_world() -> Option<(Clock, World)> {
        let world = World::new();
        let dir = world.work.join("programs");
        let real = dir.join("real");
        fs::create_dir_all(&real).unwrap();
        world.write("clock.c", CLOCK);
        let library = dir.join("clock.so");
        let mut compile = world.program("cc");
        compile
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg("clock.c");
        match compile.output() {
            Ok(out) if out.status.success() => {}
            other => {
                eprintln!("SKIPPED: no C compiler makes a clock here: {other:?}");
                return None;
            }
        }
        let built = PathBuf::from(env!("CARGO_BIN_EXE_spawn")).with_file_name("");
        let take = |name: &str, to: PathBuf| {
            let from = built.join(name);
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .unwrap();
        };
        take("spawn", dir.join("spawn"));
        for name in ["spawn", "spored", "spawn-host"] {
            take(name, real.join(name));
        }
        let clock = Clock(dir.join("offset"));
        clock.set(0);
        let script = format!(
            "#!/bin/sh\nexec env LD_PRELOAD={} CLOCK_OFFSET={} {}/spawn-host \"$@\"\n",
            library.display(),
            clock.0.display(),
            real.display()
        );
        let host = dir.join("spawn-host");
        fs::write(&host, script).unwrap();
        fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).unwrap();
        Some((clock, world.with_programs(dir)))
    }

    /// Sets it this many seconds from the right time.
    fn set(&self, seconds: i64) {
        let draft = self.0.with_extension("new");
        fs::write(&draft, seconds.to_string()).unwrap();
        fs::rename(draft, &self.0).unwrap();
    }
}

/// The host has seen that its clock was set.
fn await_step(world: &World) {
    until("the host sees it", || {
        world.json(["list"]);
        world.host_log().contains("the clock was set")
    });
}

#[test]
fn a_clock_set_forward_ends_no_array_before_its_time() {
    let Some((clock, world)) = Clock::of_a_world() else {
        return;
    };
    let mut gate = Gate::new();
    world.write("job.sh", format!("{}\n", gate.script()));
    let id = world.launch([
        "--ttl",
        "1h",
        "--array",
        "3",
        "--workers",
        "1",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    clock.set(DAY);
    await_step(&world);
    let status = world.json(["status", &id]);
    assert_eq!(status["counts"]["running"], 1, "{status}");
    gate.open();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["workers_lost"], 0, "{status}");
}

#[test]
fn a_clock_set_back_keeps_no_array_past_its_time() {
    let Some((clock, world)) = Clock::of_a_world() else {
        return;
    };
    world.write(
        "job.sh",
        "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
    );
    let launched = Instant::now();
    let id = world.launch(["--ttl", "6s", "--array", "50%1", "--user-data", "@job.sh"]);
    clock.set(-DAY);
    await_step(&world);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 50, "{status}");
    assert!(
        launched.elapsed() >= Duration::from_secs(4),
        "nor before it"
    );
}

#[test]
fn a_clock_set_back_keeps_nothing_waiting_for_it() {
    let Some((clock, world)) = Clock::of_a_world() else {
        return;
    };
    let mut gate = Gate::new();
    world.write("job.sh", format!("[ $TASK_ATTEMPT = 1 ] || exit 0\ntrap 'exit 0' TERM\n{}\nwhile :; do sleep 0.05; done\n", gate.script()));
    let id = world.launch(["--array", "4", "--workers", "2", "--user-data", "@job.sh"]);
    gate.await_task();
    gate.await_task();
    gate.open();
    clock.set(-DAY);
    await_step(&world);
    for task in ["0", "1"] {
        world.ok(["interrupt", &id, "--task", task]);
    }
    until("the first two have run again", || {
        world.json(["status", &id])["interrupted"] == 2
    });
    for task in ["2", "3"] {
        until("it runs", || {
            world.json(["tasks", &id, "--from", task])[0]["state"] == "running"
        });
        world.ok(["interrupt", &id, "--task", task]);
    }
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 4, "{status}");
}
