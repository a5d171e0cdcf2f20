//! What another user of this machine reaches of a home, and what one may put in its way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spawn_local::wire::client::Request;
use spawn_local::wire::frames;

use crate::processes::hosts;
use crate::support::{Gate, Output, World};

/// The other user.
const NOBODY: u32 = 65_534;

/// A world on whose way nothing is closed, so that all depends on its home. `None` where there
/// cannot be another user.
fn world() -> Option<World> {
    if Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        eprintln!("SKIPPED: only root can be another user as well");
        return None;
    }
    let world = World::new();
    open(world.home.parent().unwrap(), 0o755);
    Some(world)
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A program run by the other user.
fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    command.arg(program).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// A directory with all that is in it.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut at = 0;
    while at < found.len() {
        if fs::symlink_metadata(&found[at]).is_ok_and(|meta| meta.is_dir()) {
            let entries = fs::read_dir(&found[at]).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()));
        }
        at += 1;
    }
    found
}

/// What the other user may do with any of these.
fn may(paths: &[PathBuf]) -> String {
    let script = "while IFS= read -r path; do for way in r w x; do\n\
                  if [ -$way \"$path\" ]; then echo \"$way $path\"; fi; done; done";
    let mut shell = as_nobody("sh");
    shell.args(["-c", script]).stdin(Stdio::piped());
    let mut shell = shell.stdout(Stdio::piped()).spawn().unwrap();
    let mut list = shell.stdin.take().unwrap();
    for path in paths {
        writeln!(list, "{}", path.display()).unwrap();
    }
    drop(list);
    let said = shell.wait_with_output().unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap()
}

/// What a process listens on: TCP ports, and names of Unix sockets.
fn listens(pid: u32) -> (Vec<u16>, Vec<String>) {
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| {
            let target = fs::read_link(fd.ok()?.path()).ok()?;
            let target = target.to_str()?;
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for line in fs::read_to_string(format!("/proc/net/{table}"))
            .unwrap_or_default()
            .lines()
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_listening = fields
                .get(3)
                .is_some_and(|state| ["0A", "07"].contains(state));
            if is_listening && inodes.iter().any(|inode| inode == fields[9]) {
                let port = fields[1].rsplit(':').next().unwrap();
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    let names = fs::read_to_string("/proc/net/unix").unwrap();
    let names = names.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_its = inodes.iter().any(|inode| inode == fields[6]);
        fields
            .get(7)
            .filter(|_| is_its)
            .map(|name| (*name).to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    (ports, names)
}

#[test]
fn nothing_of_a_running_home_is_open_to_another_user() {
    for mask in ["002", "000"] {
        let Some(world) = world() else { return };
        let with_mask = format!("umask {mask}; exec \"$0\" \"$@\"");
        let world = world.through(["bash", "-c", &with_mask]);
        // As a directory of a project that a group shares, the other user among it.
        fs::create_dir(&world.home).unwrap();
        chown(&world.home, None, Some(NOBODY)).unwrap();
        open(&world.home, 0o2775);

        let mut gate = Gate::new();
        let script = format!(
            "set -e\n\
             call() {{ service=$1; shift; curl -sS --fail -o /dev/null --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \\\n\
             --aws-sigv4 \"aws:amz:us-east-1:$service\" \"$@\"; }}\n\
             call s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT $AWS_ENDPOINT_URL/bucket$TASK_ARRAY_INDEX\n\
             call s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -T data.txt $AWS_ENDPOINT_URL/bucket$TASK_ARRAY_INDEX/x\n\
             call sqs -d 'Action=CreateQueue&QueueName=q' $AWS_ENDPOINT_URL/\n\
             call dynamodb -H 'X-Amz-Target: DynamoDB_20120810.ListTables' -H 'Content-Type: application/x-amz-json-1.0' -d '{{}}' $AWS_ENDPOINT_URL/\n\
             umask; stat -c '%a %n' data.txt tool.sh; ./tool.sh\n{}\n",
            gate.script()
        );
        world.write("job.sh", script);
        world.write("data.txt", "x".repeat(300_000));
        world.write_program("tool.sh", "#!/bin/sh\necho \"printed $SECRET\"\n");
        world.write("rows.csv", "value\n1\n2\n");
        let first = world.run([
            "launch",
            "--quiet",
            "--max-concurrent",
            "2",
            "--param-file",
            "rows.csv",
            "--env",
            "SECRET=x1y2z3",
            "--user-data",
            "@job.sh",
        ]);
        let first = first.expect_code(0).expect_err("was open to other users");
        let id = first.out().trim().to_owned();
        gate.await_task();
        gate.await_task();
        let status = world.run(["status", &id]).expect_code(0);
        assert_eq!(status.err(), "", "it is said once");

        let found = tree(&world.home);
        for name in [
            "ledger.db-wal",
            "ledger.db-shm",
            "host.sock",
            "host.log",
            "endpoint.port",
            "rows.jsonl",
            "data.txt",
            "job.sh",
            "1.log",
            "credentials",
        ] {
            let is_there = found.iter().any(|path| path.ends_with(name));
            assert!(is_there, "no {name} in {found:?}");
        }
        assert!(found.len() > 40, "{found:?}");
        assert_eq!(may(&found), "");
        // Each for itself, too, but for what lies in the workers' own /tmp.
        let workers = world.home.join("workers");
        for path in &found {
            let meta = fs::symlink_metadata(path).unwrap();
            let is_program_of_all =
                path.parent() == Some(&world.home.join("bin")) && meta.nlink() > 1;
            let is_tasks = path.starts_with(&workers) && *path != workers;
            if !meta.is_symlink() && !is_program_of_all && !is_tasks {
                let mode = meta.mode() & 0o7777;
                let most = if meta.is_dir() {
                    0o700
                } else {
                    meta.mode() & 0o700
                };
                assert_eq!(mode, most, "{mode:o} {}", path.display());
            }
        }

        let host = hosts(&world)[0];
        let socket = world.home.join("host.sock");
        let endpoint = world.json(["local", "status"])["endpoint"].clone();
        let endpoint = endpoint.as_str().unwrap();
        let (ports, names) = listens(host);
        assert_eq!(format!("http://127.0.0.1:{}", ports[0]), endpoint);
        assert_eq!(
            (ports.len(), names),
            (1, vec![socket.to_str().unwrap().to_owned()])
        );
        for (path, more) in [
            ("/", &[][..]),
            ("/bucket1/x", &[]),
            ("/bucket1/x", &["-X", "DELETE"]),
            ("/", &["-d", "Action=ListQueues"]),
            (
                "/",
                &[
                    "-H",
                    "X-Amz-Target: DynamoDB_20120810.ListTables",
                    "-d",
                    "{}",
                ],
            ),
        ] {
            let mut curl = as_nobody("curl");
            curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
            let answer = Output::of(curl.args(more).arg(format!("{endpoint}{path}")));
            assert_eq!(answer.out(), "403", "{answer}");
        }

        gate.open();
        world.wait(&id).expect_code(0);
        // Tasks have the umask and the files of who launched them.
        let said = world.ok(["logs", &id, "--task", "0"]);
        assert_eq!(
            said,
            format!("0{mask}\n644 data.txt\n755 tool.sh\nprinted x1y2z3\n")
        );
    }
}

#[test]
fn a_host_whose_socket_is_opened_still_turns_others_away() {
    let Some(world) = world() else { return };
    if !as_nobody("python3")
        .arg("--version")
        .output()
        .unwrap()
        .status
        .success()
    {
        eprintln!("SKIPPED: there is no `python3` that another user can run");
        return;
    }
    let mut gate = Gate::new();
    world.write("job.sh", gate.script());
    let id = world.launch(["--user-data", "@job.sh"]);
    gate.await_task();
    let host = world.host();
    let socket = world.home.join("host.sock");
    open(&world.home, 0o777);
    open(&socket, 0o777);
    let mut frame = Vec::new();
    frames::encode(&Request::Shutdown, &mut frame);
    let frame: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let client = "import socket, sys\n\
                  host = socket.socket(socket.AF_UNIX)\n\
                  host.connect(sys.argv[1])\n\
                  try:\n    host.sendall(bytes.fromhex(sys.argv[2]))\n    print(host.recv(1000))\n\
                  except OSError: print(b'')\n";
    for _ in 0..3 {
        let mut nobody = as_nobody("python3");
        let said = Output::of(nobody.args(["-c", client]).arg(&socket).arg(&frame));
        assert_eq!(said.out(), "b''\n", "{said}");
    }
    world
        .run(["local", "status"])
        .expect_code(0)
        .expect_err("was open to other users");
    assert_eq!((mode(&world.home), mode(&socket) & 0o077), (0o700, 0));
    assert_eq!(world.host(), host);
    let turned_away = "a process of user 65534 was turned away";
    assert_eq!(
        world.host_log().matches(turned_away).count(),
        1,
        "{}",
        world.host_log()
    );
    gate.open();
    world.wait(&id).expect_code(0);
}

#[test]
fn a_socket_that_somebody_else_answers_is_told_nothing() {
    let Some(world) = world() else { return };
    let other = World::new().of_user(NOBODY);
    let ran = other.launch(["--", "true"]);
    other.wait(&ran).expect_code(0);
    let (theirs, ours) = (other.home.join("host.sock"), world.home.join("host.sock"));
    fs::create_dir(&world.home).unwrap();
    open(&world.home, 0o700);
    let hand_over = |from: &Path, to: &Path, owner: u32| {
        fs::rename(from, to).unwrap();
        chown(to, Some(owner), Some(owner)).unwrap();
    };
    // However it came there.
    hand_over(&theirs, &ours, 0);
    for command in [
        &["launch", "--env", "SECRET=x1y2z3", "--", "true"][..],
        &["local", "status"],
        &["local", "stop", "--yes"],
    ] {
        let said = world.run(command).expect_code(4);
        assert!(
            said.err()
                .contains("is answered by a process of user 65534"),
            "{said}"
        );
    }
    hand_over(&ours, &theirs, NOBODY);
    assert_eq!(other.json(["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_home_of_another_user_is_refused_whoever_that_is() {
    let Some(mut world) = world() else { return };
    let mut other = World::new().of_user(NOBODY);
    let id = other.launch(["--", "true"]);
    other.wait(&id).expect_code(0);
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    let refused = |world: &World, owner: &str| {
        for command in [
            &["launch", "--", "true"][..],
            &["list"],
            &["status", "last"],
            &["env"],
            &["local", "status"],
            &["local", "stop", "--yes"],
        ] {
            let said = world.run(command).expect_code(4);
            assert!(
                said.err().contains(&format!("belongs to user {owner}")),
                "{said}"
            );
            assert!(said.err().contains("hint: run it as that user"), "{said}");
            assert_eq!(said.out(), "");
        }
    };
    // Root may do so anyway; it would run that user's programs.
    std::mem::swap(&mut world.home, &mut other.home);
    refused(&world, "65534");
    refused(&other, "0");
    let mut host = world.program(world.spawn_program().with_file_name("spawn-host"));
    let said = Output::of(host.arg("--home").arg(&world.home)).expect_code(1);
    assert!(said.out().contains("belongs to user 65534"), "{said}");
    std::mem::swap(&mut world.home, &mut other.home);
}

#[test]
fn what_another_user_planted_is_refused_until_it_is_removed() {
    let Some(world) = world() else { return };
    let planted = world.work.join("planted");
    let trap = format!("#!/bin/sh\ntouch '{}'\n", planted.display());
    open(&world.work, 0o777);
    let link = format!("ln -s '{}' host.log", world.work.join("log").display());
    for (name, how) in [
        ("ledger.db", ": > ledger.db"),
        ("host.log", link.as_str()),
        ("host.lock", "mkfifo host.lock"),
        ("endpoint.port", "echo 80 > endpoint.port"),
        (
            "bin",
            "mkdir -m 777 bin; printf \"$TRAP\" > bin/ls; chmod 777 bin/ls; cp bin/ls bin/spored",
        ),
        (
            "aws",
            "mkdir -m 777 aws; echo 'aws_access_key_id = mine' > aws/credentials",
        ),
        (
            "arrays",
            "mkdir -m 777 arrays; mkdir arrays/array-20260127-abc123",
        ),
    ] {
        fs::create_dir(&world.home).unwrap();
        open(&world.home, 0o777);
        let mut nobody = as_nobody("sh");
        nobody
            .args(["-ec", how])
            .current_dir(&world.home)
            .env("TRAP", &trap);
        Output::of(&mut nobody).expect_code(0);
        for _ in 0..2 {
            let said = world.run(["launch", "--", "ls"]).expect_code(4);
            let path = world.home.join(name);
            let named = format!("{} in the home belongs to user 65534", path.display());
            assert!(said.err().contains(&named), "{said}");
        }
        // It is as it was found.
        assert_eq!(mode(&world.home), 0o777);
        assert!(!world.work.join("log").exists() && !world.home.join("host.sock").exists());
        fs::remove_dir_all(&world.home).unwrap();
    }
    assert!(!planted.exists());
}

#[test]
fn a_task_that_goes_on_as_another_user_has_the_machine_and_nothing_of_the_array() {
    let Some(world) = world() else { return };
    let script = "set -e\ncat data.txt > /dev/null\n\
                  export PATH=/usr/local/bin:/usr/bin:/bin\n\
                  chmod 777 .; umask 000; mkdir -p open/inside; cp data.txt open/inside\n\
                  setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec '\n\
                    ls / /usr /etc > /dev/null; touch /tmp/x /var/tmp/x /dev/shm/x; id -u\n\
                    for path in /spawn/job/script/job.sh /spawn/job/files/data.txt /spawn/bin/spored /spawn/control \\\n\
                      /spawn/work/data.txt /spawn/work/open/inside/data.txt \"$1\" \"$1/ledger.db\" \"$1/bin/aws\"; do\n\
                      for way in r w x; do if [ -$way $path ]; then echo \"$way $path\"; fi; done\n\
                    done' sh \"$PLACE\"\n";
    world.write("job.sh", script);
    world.write("data.txt", "shipped\n");
    let place = format!("PLACE={}", world.home.display());
    // Below `/tmp` a worker sees no home: all that can be reached of this one is /spawn.
    for workers in [&[][..], &["--workers", "1"]] {
        let mut args = vec!["--env", &place, "--user-data", "@job.sh"];
        args.extend(workers);
        let id = world.launch(args);
        let status = world.wait(&id);
        let said = world.run(["logs", &id, "--task", "0"]);
        assert_eq!(
            (status.code, said.out().as_str()),
            (0, "65534\n"),
            "{status}\n{said}"
        );
    }
}

#[test]
fn a_home_is_ones_own_in_a_user_namespace_too() {
    /// The kernel shows whoever is not known in a namespace as the usual nobody, who is another.
    const ORDINARY: u32 = 61_235;
    if world().is_none() {
        return;
    }
    // Tasks see no home below `/tmp`.
    let place = tempfile::tempdir_in("/opt").unwrap();
    open(place.path(), 0o755);
    let mut world = World::new().of_user(ORDINARY);
    world.home = place.path().join("home");
    fs::create_dir(&world.home).unwrap();
    chown(&world.home, Some(ORDINARY), Some(ORDINARY)).unwrap();
    let home = format!("PLACE={}", world.home.display());
    let script =
        "cut -c-22 /proc/self/uid_map; SPAWN_HOME=$PLACE spawn -o json list | grep -c array_id";
    let id = world.launch(["--env", &home, "--", "bash", "-c", script]);
    let status = world.wait(&id);
    let said = world.run(["logs", &id, "--task", "0"]);
    let lines: Vec<&str> = said
        .stdout
        .split(|byte| *byte == b'\n')
        .map(|line| str::from_utf8(line).unwrap().trim())
        .collect();
    assert_eq!(
        (status.code, lines.get(1)),
        (0, Some(&"1")),
        "{status}\n{said}"
    );
    if lines[0].starts_with("0 ") {
        eprintln!("SKIPPED: an ordinary user has no namespace here");
    }
    drop(world);
}

#[test]
fn a_home_that_another_could_be_put_in_place_of_is_refused() {
    let Some(mut world) = world() else { return };
    let way = world.home.clone();
    world.home = way.join("home");
    fs::create_dir(&way).unwrap();
    open(&way, 0o777);
    for command in [&["launch", "--", "true"][..], &["list"]] {
        let said = world.run(command).expect_code(4);
        let why = format!("other users can write to {}", way.display());
        assert!(said.err().contains(&why), "{said}");
    }
    assert!(!world.home.exists());
    // What it advises is enough.
    let said = world.run(["list"]).err();
    let advice = said
        .split('`')
        .find(|part| part.starts_with("chmod "))
        .unwrap();
    Output::of(world.program("sh").args(["-c", advice])).expect_code(0);
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    // In a place such as `/tmp`, only its owner moves a home.
    open(&way, 0o1777);
    assert_eq!(world.json(["list"]).as_array().unwrap().len(), 1);
    open(&way, 0o755);
}
