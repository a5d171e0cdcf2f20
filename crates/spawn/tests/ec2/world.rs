//! A user with an account of their own: a test bed, a home, a directory to launch from.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, Bed, build_once};
use crate::support::Output;

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(150);

/// An account, and a user of it.
pub struct World {
    /// The account's control interface.
    pub bed: Bed,
    /// Where commands are run, and files are written.
    pub work: PathBuf,
    root: TempDir,
    path: std::ffi::OsString,
    settings: Vec<(&'static str, String)>,
}

/// Says why a test is not run; in CI, where all must be, it fails.
fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "machines cannot be booted here: {why}"
    );
    eprintln!("*** SKIPPED: machines cannot be booted here: {why} ***");
}

impl World {
    /// An account whose machines boot; none where that is impossible, which is said.
    pub fn with_machines() -> Option<World> {
        match bed::missing_for_boxes() {
            Some(why) => {
                skip(&why);
                None
            }
            None => Some(World::start(&["--boxes"], give_programs)),
        }
    }

    /// An account whose machines are never there but in the account's answers.
    pub fn without_machines(options: &[&str]) -> World {
        World::start(options, give_heads)
    }

    fn start(options: &[&str], give_programs: fn(&Path)) -> World {
        // Its first use may have to install it.
        let tools = bed::tools();
        let root = tempfile::Builder::new()
            .prefix("spawn-ec2-")
            .tempdir()
            .expect("a temporary directory can be made");
        for dir in ["work", "user"] {
            fs::create_dir(root.path().join(dir)).expect("a directory can be made");
        }
        let programs = root.path().join("programs").join(architecture());
        fs::create_dir_all(&programs).expect("a directory can be made");
        give_programs(&programs);
        let mut path = Path::new(env!("CARGO_BIN_EXE_spawn"))
            .with_file_name("")
            .into_os_string();
        for part in [
            tools.as_os_str(),
            &std::env::var_os("PATH").unwrap_or_default(),
        ] {
            path.push(":");
            path.push(part);
        }
        World {
            bed: Bed::start(&root.path().join("account"), options),
            work: root.path().join("work"),
            path,
            settings: Vec::new(),
            root,
        }
    }

    /// The same world, with a variable that all its commands see.
    pub fn with(mut self, name: &'static str, value: &str) -> World {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// The user's `SPAWN_HOME`.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Any program, with nothing of the test's own environment but PATH.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.root.path().join("user"))
            .env("USER", "tester")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("SPAWN_HOME", self.home())
            .env("SPAWN_NODE_PROGRAMS", self.root.path().join("programs"))
            .env("SPAWN_LEASE", "15s")
            .envs(&self.bed.environment)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.work)
            .stdin(Stdio::null());
        command
    }

    /// A `spawn` command.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_spawn"));
        command.args(args);
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

    /// Waits for an array and gives `status --wait` as it came out, whatever its exit code.
    pub fn wait(&self, id: &str) -> Output {
        self.run(["-o", "json", "status", id, "--wait", "--wait-timeout", "3m"])
    }

    /// All tasks of an array: index, state, newest attempt.
    pub fn tasks(&self, id: &str) -> Vec<(u64, String, u64)> {
        let tasks = self.json(["tasks", id]);
        let of = |task: &Value| {
            let number = |name: &str| task[name].as_u64().unwrap_or_else(|| panic!("{task}"));
            let state = task["state"].as_str().expect("a state").to_owned();
            (number("index"), state, number("attempt"))
        };
        tasks.as_array().expect("a list").iter().map(of).collect()
    }

    /// Launches on EC2, and gives the id.
    pub fn launch<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.launch_command(args);
        let out = Output::of(&mut command).expect_code(0).out();
        out.trim().to_owned()
    }

    /// The command of [`World::launch`].
    pub fn launch_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.spawn(["launch", "--provider", "ec2", "--quiet", "--yes"]);
        command.args(args);
        command
    }

    /// Runs a bash script that must succeed, and gives what it printed.
    pub fn shell(&self, script: &str) -> String {
        // Version 1 of the CLI calls SQS by an old name, whatever the variables say.
        let aws = r#"aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }"#;
        let script = format!("set -euo pipefail\n{aws}\n{script}");
        let mut command = self.program("bash");
        command.args(["-c", &script]);
        Output::of(&mut command).expect_code(0).out()
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

    /// The first value that `find` gives; `what` is awaited.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut find: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}\n{:#}",
                self.bed.get("state")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until an object is in a bucket, and gives its content.
    #[track_caller]
    pub fn object(&self, at: &str) -> String {
        self.until(at, || self.object_now(at))
    }

    /// An object as it is now, if it is there.
    pub fn object_now(&self, at: &str) -> Option<String> {
        let mut command = self.program("aws");
        let output = Output::of(command.args(["s3", "cp", "--quiet", at, "-"]));
        (output.code == 0).then(|| output.out())
    }

    /// Keys below a place in a bucket, as they are now.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let list = format!(
            "aws s3api list-objects-v2 --bucket {bucket} --prefix '{prefix}' \
             --query 'Contents[].[Key]' --output text"
        );
        let keys = self.shell(&list);
        let keys = keys.lines().filter(|key| *key != "None");
        keys.map(str::to_owned).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "calls that failed:\n{}\nmachines:\n{}",
                self.bed.refusals(),
                self.bed.stories()
            );
            return;
        }
        for wrong in ["violations", "errors"] {
            assert_eq!(self.bed.get(wrong), Value::Array(Vec::new()), "{wrong}");
        }
    }
}

/// This machine's processor in EC2's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

/// What machines fetch and run, as it was built but for what debuggers read.
fn give_programs(dir: &Path) {
    for (package, name) in [("spored", "spored"), ("spawn-node", "spored-node")] {
        let built = build_once(package, name, &[]);
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(dir.join(name)).arg(built);
        Output::of(&mut strip).expect_code(0);
    }
}

/// The heads of such programs, where no machine boots to run them.
fn give_heads(dir: &Path) {
    let own = fs::read("/proc/self/exe").expect("this program can be read");
    for name in ["spored", "spored-node"] {
        let mut content = [&own[..64], name.as_bytes()].concat();
        // It has no segments that would have to be there.
        content[56..58].fill(0);
        fs::write(dir.join(name), content).expect("a file can be written");
    }
}
