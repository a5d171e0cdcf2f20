//! Who runs it and from where: an ordinary user, and a clone that lies wholly under `/tmp`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Output, World};

fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_spawn")).parent().unwrap()
}

#[test]
fn an_ordinary_user_gets_the_same_sandboxes() {
    let me = Command::new("id").arg("-u").output().unwrap().stdout;
    if me != b"0\n" {
        // Every other test of this suite is run by an ordinary user then.
        return;
    }
    let root = tempfile::Builder::new()
        .prefix("spawn-user-")
        .tempdir()
        .unwrap();
    let open =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(root.path(), 0o755);
    std::os::unix::fs::chown(root.path(), Some(65534), Some(65534)).unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["spawn", "spored", "spawn-host"] {
        fs::copy(programs().join(name), bin.join(name)).unwrap();
    }
    open(&bin, 0o755);
    let script = "id -u; ls -A /tmp; touch /tmp/x; hostname; [ $$ != 1 ] && echo not-one\n\
                  touch /etc/passwd 2>/dev/null && echo root; (setsid sleep 86431.25 &)\nspored complete --status success\n";
    fs::write(root.path().join("job.sh"), script).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ])
            .arg(bin.join("spawn"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", root.path())
            .env("SPAWN_HOME", root.path().join("home"))
            .current_dir(root.path());
        Output::of(&mut command)
    };
    run(&["launch", "--array", "2", "--user-data", "@job.sh", "--wait"]).expect_code(0);
    let isolation = run(&["-o", "json", "local", "status"])
        .expect_code(0)
        .json()["isolation"]
        .clone();
    let logs = run(&["logs", "last", "--task", "1"]).expect_code(0);
    run(&["local", "stop", "--yes"]).expect_code(0);
    let left = Command::new("pgrep")
        .args(["-f", "sleep 86431.25"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "what a task left running is gone");
    if isolation != "full" {
        eprintln!(
            "SKIPPED: this machine gives ordinary users no namespaces; isolation is {isolation}"
        );
        return;
    }
    assert_eq!(logs.out(), "65534\njob-1\nnot-one\n", "{logs}");
}

/// Runs an array of six, four at once, inside a shell that has less than this machine gives. What
/// the tasks' `/tmp` held when each began, and the isolation that was reached.
fn six_tasks_with(less: &str, mark: &str) -> Option<(String, String)> {
    let world = World::new();
    let script = format!(
        "{less} \"$0\" launch --array 6 --max-concurrent 4 --wait -- bash -c 'ls -A /tmp; (setsid sleep {mark} &)'"
    );
    let mut nested = world.program("unshare");
    nested.args([
        "-Ur",
        "-m",
        "bash",
        "-c",
        &script,
        env!("CARGO_BIN_EXE_spawn"),
    ]);
    let out = Output::of(&mut nested);
    if out.err().contains("unshare") {
        eprintln!("SKIPPED: no namespaces can be had here to take some away in: {out}");
        return None;
    }
    let out = out.expect_code(0);
    assert!(out.out().contains("6 succeeded"), "{out}");
    assert!(out.err().contains("warning: tasks have"), "{out}");
    let status = world.json(["status", "last"]);
    let lessened = status["lessened"].clone();
    let left = Command::new("pgrep")
        .args(["-fx", &format!("sleep {mark}")])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "what a task left running is gone");
    let isolation = world.json(["local", "status"])["isolation"]
        .as_str()
        .unwrap()
        .to_owned();
    // The host that ran them may have ended; another finds the machine as it is.
    if lessened.is_object() {
        assert_eq!(lessened["wanted"], "full", "{status}");
        assert_eq!(lessened["reached"], isolation.as_str(), "{status}");
    }
    Some((world.ok(["logs", "last"]), isolation))
}

#[test]
fn where_proc_is_masked_tmp_is_private_all_the_same() {
    // As in a container: a new /proc is refused, so there are no process ids of one's own.
    let less = "mount -t tmpfs none /proc/bus && exec unshare -Ur -m";
    if let Some((tmp, isolation)) = six_tasks_with(less, "86432.25") {
        if isolation == "full" {
            eprintln!("SKIPPED: another /proc is visible here, so a new one is not refused");
            return;
        }
        assert_eq!((tmp.as_str(), isolation.as_str()), ("", "mounts"));
    }
}

#[test]
fn where_there_are_no_namespaces_the_array_runs_all_the_same() {
    let less = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all";
    if let Some((_, isolation)) = six_tasks_with(less, "86433.75") {
        assert_eq!(isolation, "shared");
    }
}

/// Clones, builds and runs below `/tmp`. What the registry gave is taken from this build, so that
/// only the workspace itself is compiled again.
#[test]
fn a_clone_under_tmp_builds_and_runs_there() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !source.join(".git").exists() {
        eprintln!("SKIPPED: not a git checkout");
        return;
    }
    let world = World::new();
    assert!(world.work.starts_with("/tmp") || std::env::var_os("TMPDIR").is_some());
    let clone = world.work.join("spawn");
    let run = |command: &mut Command| Output::of(command).expect_code(0);
    run(Command::new("git")
        .args(["clone", "--quiet"])
        .arg(&source)
        .arg(&clone));
    let target = clone.join("target/debug");
    fs::create_dir_all(&target).unwrap();
    for dir in ["deps", "build", ".fingerprint"] {
        run(Command::new("cp")
            .arg("-al")
            .arg(programs().join(dir))
            .arg(&target));
    }
    run(Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "--offline",
            "--quiet",
            "-p",
            "spawn",
            "-p",
            "spored",
            "-p",
            "spawn-host",
        ])
        .env("CARGO_TARGET_DIR", clone.join("target"))
        .env_remove("CARGO_MANIFEST_DIR")
        .current_dir(&clone));
    let built = |args: &[&str]| {
        Output::of(
            world
                .program(target.join("spawn"))
                .args(args)
                .current_dir(&clone),
        )
    };
    fs::write(
        clone.join("job.sh"),
        "python3 process.py in.csv out.csv && cat out.csv; ls /tmp\n",
    )
    .unwrap();
    fs::write(clone.join("in.csv"), "a\n1\n").unwrap();
    fs::copy(
        clone.join("examples/how-to/process.py"),
        clone.join("process.py"),
    )
    .unwrap();
    built(&["launch", "--user-data", "@job.sh", "--wait"]).expect_code(0);
    let logs = built(&["logs", "last", "--task", "0"]).expect_code(0);
    assert_eq!(logs.out(), "a,total\r\n1,1\r\n1,1\r\n", "{logs}");
    built(&["local", "stop", "--yes"]).expect_code(0);
}

#[test]
fn where_nothing_can_be_installed_the_demo_says_what_is_missing_and_builds_nothing() {
    let bin = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for name in ["bash", "dirname", "id", "env"] {
        let mut places = std::env::split_paths(&path).map(|dir| dir.join(name));
        let program = places.find(|p| p.is_file()).expect("it is everywhere");
        symlink(program, bin.path().join(name)).unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for script in ["demo", "check"] {
        let mut command = Command::new(bin.path().join("bash"));
        command.arg(root.join(script)).env("PATH", bin.path());
        let out = Output::of(&mut command).expect_code(1);
        assert!(out.err().contains("cannot install jq python3 "), "{out}");
        assert!(out.err().contains("there is no apt-get here"), "{out}");
        assert_eq!(out.out(), "", "{out}");
    }
}
