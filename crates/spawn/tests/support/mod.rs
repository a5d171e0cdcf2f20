//! A world of its own for each test: a home, a user, a directory to launch from.
//!
//! Real processes throughout: the `spawn` under test, and the `spawn-host` and `spored` beside
//! it in the target directory. A world's host is stopped when the world ends.
//!
//! Nothing here sleeps; what is to be waited for is waited for with `spawn status --wait`.

#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use serde_json::Value;
use tempfile::TempDir;

/// A home, a user and a working directory that no other test sees.
pub struct World {
    /// `SPAWN_HOME`; not there until something makes it.
    pub home: PathBuf,
    /// `HOME` of the user; empty.
    pub user: PathBuf,
    /// Where commands are run, and files are written.
    pub work: PathBuf,
    settings: Vec<(&'static str, String)>,
    prefix: Vec<String>,
    programs: PathBuf,
    // Last, so that it goes when all is over.
    _root: TempDir,
}

impl World {
    /// An empty world; nothing runs in it.
    pub fn new() -> World {
        assert_programs();
        let root = tempfile::Builder::new()
            .prefix("spawn-test-")
            .tempdir()
            .expect("a temporary directory can be made");
        let dir = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).expect("a directory can be made");
            path
        };
        World {
            home: root.path().join("home"),
            user: dir("user"),
            work: dir("work"),
            settings: Vec::new(),
            prefix: Vec::new(),
            programs: PathBuf::from(env!("CARGO_BIN_EXE_spawn")).with_file_name(""),
            _root: root,
        }
    }

    /// The same world, with a variable that all its commands see, and a host that they start.
    pub fn with(mut self, name: &'static str, value: &str) -> World {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// The same world as a user without privileges lives in it; only root can make one.
    pub fn of_user(mut self, id: u32) -> World {
        // The build may lie where this user cannot look.
        let bin = self._root.path().join("bin");
        fs::create_dir(&bin).expect("a directory can be made");
        for name in ["spawn", "spored", "spawn-host"] {
            fs::copy(self.programs.join(name), bin.join(name)).expect("a program can be copied");
        }
        for dir in [self._root.path(), &bin, &self.user, &self.work] {
            std::os::unix::fs::chown(dir, Some(id), Some(id)).expect("an owner can be set");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
                .expect("permissions can be set");
        }
        self.programs = bin;
        let id = id.to_string();
        let become_user = [
            "setpriv",
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "--",
        ];
        self.through(become_user)
            .with("PATH", "/usr/local/bin:/usr/bin:/bin")
    }

    /// The same world, with the programs in `dir` instead of those that were built.
    pub fn with_programs(mut self, dir: PathBuf) -> World {
        self.programs = dir;
        self
    }

    /// The same world, with all its programs run through another, as `nice` would be.
    pub fn through<S: Into<String>>(mut self, prefix: impl IntoIterator<Item = S>) -> World {
        self.prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// A `spawn` command in this world, with nothing of the test's own environment but PATH.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(self.spawn_program());
        command.args(args);
        command
    }

    /// The `spawn` that this world runs.
    pub fn spawn_program(&self) -> PathBuf {
        self.programs.join("spawn")
    }

    /// Any program in this world.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.user)
            .env("USER", "tester")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("SPAWN_HOME", &self.home)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.work)
            .stdin(Stdio::null());
        command
    }

    /// Runs `spawn` and gives what came of it.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        Output::of(&mut self.spawn(args))
    }

    /// Runs `spawn`, which must succeed, and gives its standard output.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.run(args).expect_code(0).out()
    }

    /// Runs `spawn` with `-o json`, which must succeed, and gives what it printed.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let mut command = self.spawn(["-o", "json"]);
        command.args(args);
        Output::of(&mut command).expect_code(0).json()
    }

    /// Launches, and gives the id.
    pub fn launch<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.spawn(["launch", "--quiet"]);
        command.args(args);
        let out = Output::of(&mut command).expect_code(0).out();
        out.trim().to_owned()
    }

    /// Waits for an array and gives `status --wait` as it came out, whatever its exit code.
    pub fn wait(&self, id: &str) -> Output {
        self.run(["-o", "json", "status", id, "--wait", "--wait-timeout", "5m"])
    }

    /// Writes a file below the working directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory can be made");
        }
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Writes a program below the working directory.
    pub fn write_program(&self, name: &str, content: &str) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("permissions can be set");
        path
    }

    /// The host's process id, if one runs.
    pub fn host(&self) -> Option<u32> {
        let status = self.json(["local", "status"]);
        status["pid"].as_u64().map(|pid| pid as u32)
    }

    /// What the host and the agents said, for messages of failed tests.
    pub fn host_log(&self) -> String {
        fs::read_to_string(self.home.join("host.log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.home.exists() {
            return;
        }
        let stopped = self.spawn(["local", "stop", "--yes"]).output();
        if std::thread::panicking() {
            eprintln!("the host said:\n{}", self.host_log());
        } else {
            let stopped = stopped.expect("spawn can be run");
            assert!(
                stopped.status.success(),
                "the host could not be stopped: {stopped:?}"
            );
        }
    }
}

/// Where tasks wait until the test lets them go on.
///
/// A port of this machine: files will not do, since a worker's `/tmp` and `/dev/shm` are its own.
pub struct Gate {
    listener: TcpListener,
    arrived: Vec<TcpStream>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate {
            listener: TcpListener::bind(("127.0.0.1", 0)).expect("a port can be had"),
            arrived: Vec::new(),
        }
    }

    /// The port where tasks wait.
    pub fn port(&self) -> u16 {
        let address = self.listener.local_addr().expect("the port is known");
        address.port()
    }

    /// What a bash script does to wait at the gate.
    pub fn script(&self) -> String {
        format!("read -r _ < /dev/tcp/127.0.0.1/{}", self.port())
    }

    /// Waits until one more task is at the gate.
    pub fn await_task(&mut self) {
        let (task, _) = self.listener.accept().expect("a task arrives");
        self.arrived.push(task);
    }

    /// Lets all tasks through, those too that arrive later.
    pub fn open(self) {
        std::thread::spawn(move || {
            let let_go = |mut task: TcpStream| {
                // A task that was killed meanwhile is no matter.
                let _ = task.write_all(b"\n");
            };
            self.arrived.into_iter().for_each(let_go);
            self.listener.incoming().flatten().for_each(let_go);
        });
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    command: String,
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Output {
        let output = command.output().expect("the command can be run");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: output.stderr,
            command: format!("{command:?}"),
        }
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("not one JSON value ({e}):\n{self}"))
    }

    /// Fails the test unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Output {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails the test unless standard error has this in it.
    #[track_caller]
    pub fn expect_err(self, text: &str) -> Output {
        assert!(self.err().contains(text), "no `{text}` in\n{self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.code,
            self.out(),
            self.err()
        )
    }
}

/// Builds `spawn-host` and `spored` if they are missing: cargo builds `spawn` for its tests, not
/// its neighbours. Whoever changes those builds the workspace first, as `check` does.
fn assert_programs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let dir = Path::new(env!("CARGO_BIN_EXE_spawn")).with_file_name("");
        let is_there = || {
            ["spawn-host", "spored"]
                .iter()
                .all(|name| dir.join(name).is_file())
        };
        if is_there() {
            return;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "-p", "spored", "-p", "spawn-host"]);
        if dir.ends_with("release") {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let built = built.expect("cargo can be run");
        assert!(
            built.status.success() && is_there(),
            "no `spawn-host` and `spored` in {}; run `cargo build --workspace`\n{}",
            dir.display(),
            String::from_utf8_lossy(&built.stderr)
        );
    });
}
