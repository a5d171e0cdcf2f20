//! A stop always stops, whichever link between the host and a script does not answer: stopped,
//! traced, frozen, or stuck in the kernel.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::processes::{of_array, parent, signal, until};
use crate::shared;
use crate::support::{Gate, World};

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.expect("`id` can be run").stdout == b"0\n"
}

/// The chain of one running task.
#[derive(Clone, Copy)]
struct Chain {
    leader: u32,
    init: u32,
    agent: u32,
}

impl Chain {
    fn of(id: &str) -> Chain {
        let mut found = None;
        until("the task's process is there", || {
            let all = of_array(id);
            let of_task = |pid: &u32| all.iter().any(|p| p.pid == *pid);
            let leader = all.iter().map(|p| p.pid).find(|pid| {
                // The leader is the one whose parent is no process of the task.
                parent(*pid).is_some_and(|p| !of_task(&p))
            });
            found = leader.and_then(|leader| {
                let init = parent(leader)?;
                let agent = parent(init)?;
                Some(Chain {
                    leader,
                    init,
                    agent,
                })
            });
            found.is_some()
        });
        found.unwrap()
    }
}

fn stop(pid: u32) {
    signal("STOP", &[pid]);
}

/// Three arrays of a task each, stopped in three ways while `hold` holds a link of each; all end.
fn every_way_to_stop_ends_it(world: World, hold: impl Fn(Chain)) {
    // An agent that has said nothing of a task yet is missed by its lease.
    let world = world.with("SPAWN_LEASE_SECONDS", "10");
    let mut gate = Gate::new();
    let script = gate.script();
    let mut begin = |limits: &[&str]| {
        let mut args = vec![
            "--array",
            "1",
            "--max-concurrent",
            "1",
            "--allow-shared-tmp",
        ];
        args.extend(limits);
        args.extend(["--", "bash", "-c", &script]);
        let id = world.launch(args);
        gate.await_task();
        hold(Chain::of(&id));
        id
    };
    let by_timeout = begin(&["--timeout", "2s", "--ttl", "1h"]);
    let by_ttl = begin(&["--ttl", "4s"]);
    let by_hand = begin(&["--ttl", "1h"]);
    let by_request = begin(&["--ttl", "1h"]);
    world.ok(["terminate", &by_hand, "--yes"]);
    world.ok(["cancel", &by_request, "--notice", "1s", "--yes"]);
    for (id, failed, cancelled) in [
        (&by_timeout, 1, 0),
        (&by_ttl, 1, 0),
        (&by_hand, 0, 1),
        (&by_request, 0, 1),
    ] {
        let ended = world.wait(id).json();
        assert_eq!(ended["counts"]["failed"], failed, "{ended}");
        assert_eq!(ended["counts"]["cancelled"], cancelled, "{ended}");
        until("nothing of it is left", || of_array(id).is_empty());
        let ended = world.json(["status", id]);
        assert_eq!(ended["stuck"], Value::Array(Vec::new()), "{ended}");
    }
    let timeout = world.json(["explain", &by_timeout, "--task", "0"]);
    assert_eq!(timeout["cause"], "timeout", "{timeout}");
    // What was stopped was no fault of the next one.
    let after = world.launch(["--array", "2", "--", "true"]);
    world.wait(&after).expect_code(0);
}

macro_rules! in_each_isolation {
    ($($hold:ident)*) => {
        $(
            mod $hold {
                #[test]
                fn with_full_isolation() {
                    super::every_way_to_stop_ends_it(super::World::new(), super::links::$hold);
                }

                #[test]
                fn with_mounts_alone() {
                    let world = super::World::new().with("SPAWN_SANDBOX", "mounts");
                    super::every_way_to_stop_ends_it(world, super::links::$hold);
                }

                #[test]
                fn without_isolation() {
                    let world = super::World::new().with("SPAWN_SANDBOX", "none");
                    super::every_way_to_stop_ends_it(world, super::links::$hold);
                }
            }
        )*
    };
}

mod links {
    use super::{Chain, stop};

    pub fn a_stopped_script(chain: Chain) {
        stop(chain.leader);
    }

    pub fn a_stopped_init(chain: Chain) {
        stop(chain.init);
    }

    pub fn a_stopped_agent(chain: Chain) {
        stop(chain.agent);
    }

    pub fn all_of_it_stopped(chain: Chain) {
        stop(chain.leader);
        stop(chain.init);
        stop(chain.agent);
    }
}

in_each_isolation!(a_stopped_script a_stopped_init a_stopped_agent all_of_it_stopped);

/// Stops process 1 of its namespace from within, by tracing it.
const TRACER: &str = r#"
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, INTERRUPT = 0x4206, 0x4207
if libc.ptrace(SEIZE, 1, None, None) != 0 or libc.ptrace(INTERRUPT, 1, None, None) != 0:
    sys.exit("cannot trace: %d" % ctypes.get_errno())
print("traced", flush=True)
time.sleep(100000)
"#;

#[test]
fn a_task_that_traces_its_own_init_is_stopped() {
    if !is_root() {
        eprintln!("SKIPPED: an ordinary user cannot trace the init");
        return;
    }
    let world = World::new();
    world.write("tracer.py", TRACER);
    let begin = |limits: &[&str]| {
        let mut args = vec![
            "--array",
            "1",
            "--include",
            "tracer.py",
            "--max-concurrent",
            "1",
        ];
        args.extend(limits);
        args.extend(["--", "python3", "tracer.py"]);
        let id = world.launch(args);
        until("it traces its init", || {
            world.ok(["logs", &id]).contains("traced")
        });
        id
    };
    let by_ttl = begin(&["--ttl", "6s"]);
    let by_timeout = begin(&["--timeout", "3s"]);
    let by_hand = begin(&[]);
    world.ok(["terminate", &by_hand, "--yes"]);
    for (id, failed) in [(by_ttl, 1), (by_timeout, 1), (by_hand, 0)] {
        let ended = world.wait(&id).json();
        assert_eq!(ended["counts"]["failed"], failed, "{ended}");
        assert_eq!(ended["counts"]["cancelled"], 1 - failed, "{ended}");
        until("nothing of it is left", || of_array(&id).is_empty());
    }
}

/// A control group whose processes can be frozen.
struct Freezer {
    dir: PathBuf,
    is_version_1: bool,
}

impl Freezer {
    fn new() -> Option<Freezer> {
        let name = format!(
            "spawn-test-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let name = name.replace(['(', ')'], "");
        let version_1 = Path::new("/sys/fs/cgroup/freezer");
        let is_version_1 = version_1.is_dir();
        let parent = match is_version_1 {
            true => version_1.to_owned(),
            false => PathBuf::from("/sys/fs/cgroup"),
        };
        let dir = parent.join(name);
        fs::create_dir(&dir).ok()?;
        Some(Freezer { dir, is_version_1 })
    }

    fn put(&self, pid: u32) {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string()).expect("it can be moved");
    }

    fn set(&self, is_frozen: bool) {
        let (file, word) = match (self.is_version_1, is_frozen) {
            (true, true) => ("freezer.state", "FROZEN"),
            (true, false) => ("freezer.state", "THAWED"),
            (false, true) => ("cgroup.freeze", "1"),
            (false, false) => ("cgroup.freeze", "0"),
        };
        fs::write(self.dir.join(file), word).expect("its state can be set");
        if is_frozen && self.is_version_1 {
            let state = || fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            until("it is frozen", || state().trim() == "FROZEN");
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.set(false);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Freezes some links of a task, stops it, and looks at what is said until they are thawed.
fn frozen(links: fn(Chain) -> Vec<u32>) {
    let Some(freezer) = Freezer::new() else {
        eprintln!("SKIPPED: no control group can be made here");
        return;
    };
    let world = World::new();
    let mut gate = Gate::new();
    let script = gate.script();
    let id = world.launch(["--array", "1", "--ttl", "1h", "--", "bash", "-c", &script]);
    gate.await_task();
    let held = links(Chain::of(&id));
    held.iter().for_each(|pid| freezer.put(*pid));
    freezer.set(true);
    world.ok(["terminate", &id, "--yes"]);
    let ended = world.wait(&id).json();
    assert_eq!(ended["counts"]["cancelled"], 1, "{ended}");
    // Its core is free for others, whatever the kernel holds.
    let next = world.launch(["--array", "20", "--", "true"]);
    world.wait(&next).expect_code(0);
    if freezer.is_version_1 {
        // Version 2 lets frozen processes be killed.
        until("what does not go is named", || {
            let status = world.json(["status", &id]);
            let stuck = status["stuck"].as_array().unwrap().clone();
            stuck
                .iter()
                .any(|p| held.iter().any(|pid| p["pid"] == *pid))
        });
        let text = world.ok(["status", &id]);
        assert!(text.contains("was killed and does not end"), "{text}");
    }
    freezer.set(false);
    until("it is gone and no more named", || {
        let status = world.json(["status", &id]);
        status["stuck"].as_array().unwrap().is_empty() && of_array(&id).is_empty()
    });
}

#[test]
fn a_frozen_script_is_given_up_and_named() {
    frozen(|chain| vec![chain.leader]);
}

#[test]
fn a_frozen_init_is_given_up_and_named() {
    frozen(|chain| vec![chain.init]);
}

#[test]
fn a_frozen_agent_is_given_up_and_named() {
    frozen(|chain| vec![chain.agent]);
}

#[test]
fn a_whole_frozen_tree_is_given_up_and_named() {
    frozen(|chain| vec![chain.leader, chain.init, chain.agent]);
}

/// A file system that takes requests and answers none but the first: whoever reads in it is stuck in
/// the kernel until this program ends.
const HUNG: &str = r#"
import ctypes, os, struct, sys
where = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % fd
if libc.mount(b"hung", where.encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit("cannot mount: %d" % ctypes.get_errno())
request = os.read(fd, 1 << 17)
unique = struct.unpack_from("<Q", request, 8)[0]
answer = struct.pack("<IIIIHHIIHH8I", 7, 31, 65536, 0, 12, 9, 65536, 1, 32, 0, *([0] * 8))
os.write(fd, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
print("mounted", flush=True)
while True:
    os.read(fd, 1 << 17)
"#;

/// The hung file system, mounted; unmounted and ended when dropped.
struct Hung {
    daemon: Child,
    at: PathBuf,
}

impl Hung {
    fn mount(at: &Path) -> Option<Hung> {
        if !is_root() || !Path::new("/dev/fuse").exists() {
            return None;
        }
        let mut daemon = Command::new("python3")
            .args(["-c", HUNG])
            .arg(at)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(daemon.stdout.take()?)
            .read_line(&mut said)
            .ok()?;
        let hung = Hung {
            daemon,
            at: at.to_owned(),
        };
        (said.trim() == "mounted").then_some(hung)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[test]
fn a_fork_bomb_ends_at_its_timeout() {
    let world = World::new();
    // Bounded in number and in time, whatever becomes of it.
    let bomb = "b() { [ $1 -gt 0 ] || exec sleep 300; for _ in 1 2; do b $(($1 - 1)) & done; exec sleep 300; }; b 10";
    let id = world.launch(["--array", "1", "--timeout", "2s", "--", "bash", "-c", bomb]);
    until("it has grown", || of_array(&id).len() > 1_000);
    let ended = world.wait(&id).json();
    assert_eq!(ended["failure_groups"][0]["cause"], "timeout", "{ended}");
    until("nothing of it is left", || of_array(&id).is_empty());
    let after = world.launch(["--array", "2", "--", "true"]);
    world.wait(&after).expect_code(0);
}

#[test]
fn a_host_that_does_not_answer_is_named() {
    let world = World::new();
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    let host = world.host().expect("a host runs");
    stop(host);
    let list = world.run(["list"]).expect_code(1);
    let said = format!("the background host (process {host}) does not answer");
    assert!(list.err().contains(&said), "{list}");
    assert!(list.err().contains(&format!("kill -CONT {host}")), "{list}");
    signal("CONT", &[host]);
    world.ok(["list"]);
}

#[test]
fn a_script_stuck_in_the_kernel_is_given_up_and_named() {
    let place = shared::directory();
    let Some(hung) = Hung::mount(place.path()) else {
        eprintln!("SKIPPED: no file system can be mounted here");
        return;
    };
    let world = World::new();
    let file = hung.at.join("file");
    let look = format!("echo begun; stat {}", file.display());
    let begin = |limits: &[&str], script: &str| {
        let mut args = vec!["--array", "1", "--max-concurrent", "1", "--ttl", "1h"];
        args.extend(limits);
        args.extend(["--", "bash", "-c", script]);
        let id = world.launch(args);
        until("it looks", || world.ok(["logs", &id]).contains("begun"));
        id
    };
    let by_hand = begin(&[], &look);
    let by_timeout = begin(&["--timeout", "1s"], &look);
    // The script ends well; what it leaves behind does not end.
    let by_itself = begin(
        &[],
        &format!("(echo begun; stat {}) & sleep 1; exit 0", file.display()),
    );
    world.ok(["terminate", &by_hand, "--yes"]);
    for (id, state) in [
        (&by_hand, "cancelled"),
        (&by_timeout, "failed"),
        (&by_itself, "succeeded"),
    ] {
        let ended = world.wait(id).json();
        assert_eq!(ended["counts"][state], 1, "{ended}");
        let stuck = ended["stuck"].as_array().unwrap();
        assert!(stuck.iter().any(|p| p["name"] == "stat"), "{ended}");
        let text = world.ok(["status", id]);
        assert!(
            text.contains("(`stat`) of task 0 was killed and does not end"),
            "{text}"
        );
    }
    let story = world.ok(["explain", &by_timeout, "--task", "0"]);
    assert!(story.contains("the kernel holds process"), "{story}");
    // The host, too, ends while the kernel holds them.
    world.ok(["local", "stop", "--yes"]);
    drop(hung);
    for id in [by_hand, by_timeout, by_itself] {
        until("the kernel has let go", || of_array(&id).is_empty());
    }
}
