//! Faults of the place where spawn keeps what it has: damaged, not writable, full.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::processes::{hosts, signal, until};
use crate::shared;
use crate::support::{Output, World};

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

#[test]
fn a_damaged_ledger_is_refused_and_the_advice_works() {
    let world = World::new();
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    world.ok(["local", "stop", "--yes"]);
    let ledger = world.home.join("ledger.db");
    for damage in [
        "no ledger at all, but long enough to be read as one\n".repeat(200),
        String::new(),
    ] {
        for name in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = fs::remove_file(world.home.join(name));
        }
        match damage.is_empty() {
            false => fs::write(&ledger, &damage).unwrap(),
            // Torn in the middle of a page.
            true => {
                let whole = fs::read(&ledger).unwrap();
                fs::write(&ledger, &whole[..whole.len() - 1000]).unwrap();
            }
        }
        for command in [
            &["list"][..],
            &["launch", "--", "true"],
            &["status", "last"],
        ] {
            let out = world.run(command).expect_code(1);
            for part in ["damaged", "spawn local check", ledger.to_str().unwrap()] {
                assert!(out.err().contains(part), "no `{part}` in {out}");
            }
        }
        let said = world.run(["list"]).err();
        let advice = said
            .split('`')
            .find(|part| part.ends_with("--salvage"))
            .expect("a command to type");
        let advice = advice.replace("spawn", world.spawn_program().to_str().unwrap());
        let saved = Output::of(world.program("sh").args(["-c", &advice]));
        assert!(saved.out().contains("is kept as"), "{saved}");
        let id = world.launch(["--", "true"]);
        world.wait(&id).expect_code(0);
        assert!(!world.json(["list"]).as_array().unwrap().is_empty());
        world.ok(["local", "stop", "--yes"]);
    }
}

#[test]
fn a_home_that_cannot_be_written_to_is_named() {
    let mut world = World::new();
    if is_root() {
        world = world.of_user(65534);
    }
    // It is closed by its owner.
    fs::create_dir(&world.home).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&world.home, Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(&world.home, fs::Permissions::from_mode(0o555)).unwrap();
    let out = world.run(["launch", "--", "true"]).expect_code(4);
    assert!(out.err().contains(world.home.to_str().unwrap()), "{out}");
    assert!(out.err().contains("Permission denied"), "{out}");
    assert_eq!(
        world
            .run(["list"])
            .expect_code(0)
            .out()
            .matches("array-")
            .count(),
        0
    );
}

/// A mount namespace that a world lives in, with a disk of its own as its home.
struct Disk {
    holder: Child,
    inside: std::path::PathBuf,
}

impl Disk {
    /// A world whose home is a file system of `megabytes` beside the programs in it. `None`, and why,
    /// where none can be mounted.
    fn small(megabytes: u64) -> Option<(Disk, World)> {
        let programs: u64 = ["spawn", "spored", "spawn-host"]
            .iter()
            .map(|name| {
                let dir = std::path::Path::new(env!("CARGO_BIN_EXE_spawn")).with_file_name("");
                fs::metadata(dir.join(name)).unwrap().len()
            })
            .sum();
        Disk::of(programs / 1024 + megabytes * 1024)
    }

    /// A world whose home is a file system of that many kilobytes.
    fn of(size: u64) -> Option<(Disk, World)> {
        let world = World::new();
        fs::create_dir(&world.home).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.arg(if is_root() { "-m" } else { "-rm" });
        let script =
            format!("mount -t tmpfs -o size={size}k none \"$0\" && echo mounted && read -r _");
        let holder = unshare
            .args(["sh", "-c", &script])
            .arg(&world.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(e) => {
                eprintln!("SKIPPED: `unshare` cannot be run: {e}");
                return None;
            }
        };
        let mut said = String::new();
        let mut out = BufReader::new(holder.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        if said != "mounted\n" {
            eprintln!("SKIPPED: no file system can be mounted here");
            let _ = holder.wait();
            return None;
        }
        let pid = holder.id().to_string();
        let mut enter = vec!["nsenter", "-t", &pid, "-m"];
        if !is_root() {
            enter.extend(["-U", "--preserve-credentials"]);
        }
        // Entering starts at the root.
        let work = world
            .work
            .to_str()
            .expect("directories are text")
            .to_owned();
        enter.extend(["--", "env", "-C", &work]);
        let home = world.home.strip_prefix("/").unwrap();
        let inside = std::path::Path::new("/proc")
            .join(&pid)
            .join("root")
            .join(home);
        Some((Disk { holder, inside }, world.through(enter)))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let filler = self.inside.join("filler");
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(filler)
            .unwrap();
        let mut piece = vec![1; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    /// Makes room again.
    fn free(&self) {
        fs::remove_file(self.inside.join("filler")).unwrap();
    }

    fn host_log(&self) -> String {
        fs::read_to_string(self.inside.join("host.log")).unwrap_or_default()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the host said:\n{}", self.host_log());
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_full_disk_holds_an_array_up_and_loses_nothing() {
    let Some((disk, world)) = Disk::small(16) else {
        return;
    };
    let place = shared::directory();
    let script = "echo \"$TASK_ARRAY_INDEX $TASK_ATTEMPT\" >> $HERE/ran\ncat data.txt > copy.txt\nsleep 0.02\necho done $TASK_ARRAY_INDEX\n";
    world.write("job.sh", script);
    world.write("data.txt", "x".repeat(100_000));
    let here = format!("HERE={}", place.path().display());
    let id = world.launch([
        "--array",
        "300",
        "--max-concurrent",
        "2",
        "--env",
        &here,
        "--user-data",
        "@job.sh",
    ]);
    let ran = || {
        fs::read_to_string(place.path().join("ran"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    until("tasks go on", || ran() > 30);
    disk.fill();
    let mut before = ran();
    until("nothing goes on", || {
        let now = std::time::Instant::now();
        while now.elapsed() < std::time::Duration::from_millis(1500) {
            std::thread::yield_now();
        }
        std::mem::replace(&mut before, ran()) == before
    });
    let status = world.run(["status", &id]);
    eprintln!("{status}");
    assert!(
        status.out().contains("space") || status.err().contains("space"),
        "the reason is told: {status}"
    );
    // What the ended workers held is room for a while.
    disk.fill();
    let launch = world.run(["launch", "--", "true"]);
    assert_ne!(launch.code, 0, "{launch}");
    assert!(launch.err().contains("space"), "{launch}");
    disk.free();
    for _ in 0..3 {
        let before = ran();
        until("tasks go on", || ran() > before + 20);
        disk.fill();
        until("it is held up again", || {
            world.json(["status", &id])["held_up"].is_string()
        });
        disk.free();
    }
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 300, "{status}");
    let text = fs::read_to_string(place.path().join("ran")).unwrap();
    let mut executions: Vec<&str> = text.lines().collect();
    executions.sort_unstable();
    let repeated = executions.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(repeated, None, "an attempt ran twice");
    for task in [0, 150, 299] {
        assert_eq!(
            world.ok(["logs", &id, "--task", &task.to_string()]),
            format!("done {task}\n")
        );
    }
    world.ok(["local", "stop", "--yes"]);
}

/// The programs are links there, not copies: three of these would not fit.
#[test]
fn a_home_that_is_smaller_than_the_programs_is_used_all_the_same() {
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_spawn"));
    if ["/tmp", "/var/tmp", "/dev/shm"]
        .iter()
        .any(|place| programs.starts_with(place))
    {
        eprintln!("SKIPPED: sandboxes hide where these programs lie");
        return;
    }
    let Some((disk, world)) = Disk::of(20 << 10) else {
        return;
    };
    world.write(
        "job.sh",
        "spored complete --status skipped --message small\naws --version\nspawn --version\n",
    );
    let id = world.launch(["--array", "3", "--user-data", "@job.sh"]);
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["skipped"], 3, "{status}");
    let said = world.run(["logs", &id, "--task", "0"]);
    assert!(said.out().contains("spawn "), "{said}");
    let spored = fs::symlink_metadata(disk.inside.join("bin/spored")).unwrap();
    assert!(spored.is_symlink());
    drop((world, disk));
}

#[test]
fn where_no_process_can_be_had_an_array_waits_and_loses_no_attempt() {
    if !is_root() {
        eprintln!("SKIPPED: only root can give another user a limit of processes");
        return;
    }
    // A user whom no other test is, since the limit counts all processes of one.
    let world = World::new().of_user(61_234);
    // The host, and whatever it starts, may not be more than these.
    let mut first = world.program("prlimit");
    first.args(["--nproc=25", "--"]).arg(world.spawn_program());
    Output::of(first.args(["launch", "--wait", "--", "true"])).expect_code(0);
    let mut others: Vec<Child> = (0..40)
        .map(|_| world.program("sleep").arg("86471.25").spawn().unwrap())
        .collect();
    let id = world.launch(["--", "true"]);
    let mut status = serde_json::Value::Null;
    until("it is held up", || {
        status = world.json(["status", &id]);
        status["held_up"].is_string()
    });
    let why = status["held_up"].as_str().unwrap();
    assert!(why.contains("temporarily unavailable"), "{why}");
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["held_up"], serde_json::Value::Null, "{status}");
    let story = world.json(["explain", &id, "--task", "0"]);
    assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story}");
}

#[test]
fn a_home_on_a_read_only_disk_is_read_and_works_again_when_it_is_not() {
    let Some((disk, world)) = Disk::small(16) else {
        return;
    };
    let id = world.launch(["--", "echo", "hello"]);
    world.wait(&id).expect_code(0);
    // As a crash leaves it, with most of the ledger in its log; and as the host leaves it.
    for is_crash in [true, false] {
        match is_crash {
            true => signal("KILL", &hosts(&world)),
            false => drop(world.ok(["local", "stop", "--yes"])),
        }
        until("the host has ended", || hosts(&world).is_empty());
        is_read_though_read_only(&world, &id);
        let more = world.launch(["--", "true"]);
        world.wait(&more).expect_code(0);
    }
    drop((world, disk));
}

fn is_read_though_read_only(world: &World, id: &str) {
    let remount = |how: &str| {
        let mut mount = world.program("mount");
        Output::of(mount.args(["-o", how]).arg(&world.home)).expect_code(0);
    };
    // Of the mount, not of the file system: that is what an ordinary user may do.
    remount("remount,bind,ro");
    for (command, shown) in [
        (&["list"][..], id),
        (&["status", id], id),
        (&["status", id, "--wait"], id),
        (&["tasks", id], "succeeded"),
        (&["explain", id], "succeeded"),
        (&["logs", id], "hello\n"),
        (&["logs", id, "--follow"], "hello\n"),
    ] {
        let out = world.run(command).expect_code(0);
        assert!(out.out().contains(shown), "{out}");
        assert!(out.err().contains("nothing runs from it"), "{out}");
        assert!(out.err().contains("Read-only file system"), "{out}");
    }
    for command in [
        &["launch", "--", "true"][..],
        &["retry", id, "--tasks", "0"],
        &["env"],
    ] {
        let out = world.run(command).expect_code(4);
        assert!(out.err().contains("cannot be written to"), "{out}");
        assert!(out.err().contains(world.home.to_str().unwrap()), "{out}");
        assert_eq!(out.err().matches("error: ").count(), 1, "{out}");
    }
    world.ok(["local", "check"]);
    remount("remount,bind,rw");
}

#[test]
fn a_home_that_its_owner_closed_is_read() {
    let mut world = World::new();
    if is_root() {
        world = world.of_user(65534);
    }
    let mut gate = crate::support::Gate::new();
    world.write(
        "job.sh",
        format!("echo $TASK_ARRAY_INDEX; {}\n", gate.script()),
    );
    let id = world.launch(["--array", "2", "--user-data", "@job.sh"]);
    gate.await_task();
    world.ok(["local", "stop", "--yes"]);
    let mode = |mode| fs::set_permissions(&world.home, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    let status = world.run(["-o", "json", "status", &id]).expect_code(0);
    assert_eq!(status.json()["counts"]["pending"], 2, "{status}");
    assert!(status.err().contains("Permission denied"), "{status}");
    let why = status.json()["held_up"].to_string();
    assert!(why.contains("cannot be written to"), "{status}");
    // Nothing would ever come of waiting.
    let wait = world.run(["status", &id, "--wait"]).expect_code(4);
    assert!(wait.err().contains("nothing runs from it"), "{wait}");
    mode(0o700);
    gate.open();
    world.wait(&id).expect_code(0);
}
