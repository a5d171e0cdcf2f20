//! A group of machines in one process: a shared ledger in memory, objects in a map, machines that
//! remember how they left, and a real agent for each worker.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::index_set::IndexSet;
use spawn_core::max_failures::MaxFailures;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Illegal, Intent, Token};
use spawn_local::wire::agent::{Isolation, Job};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, Claim, Commit, Ledger, LedgerError, NewAgent,
    NewArray, Reopen, TaskQuery, TaskRow,
};
use spawn_ports::machine::{Leave, Machine, MachineError, Outlook};
use spawn_ports::objects::{ObjectError, ObjectInfo, Objects};
use spawn_testkit::MemoryLedger;
use spawn_worker::{End, Settings, Worker, WorkerError};
use tempfile::TempDir;

pub fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMicros(since.as_micros() as i64)
}

/// One ledger for many workers, as a service is.
#[derive(Clone, Default)]
pub struct SharedLedger(pub Arc<Mutex<MemoryLedger>>);

/// What becomes of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    #[default]
    Fair,
    /// Nothing is answered, and nothing done.
    Out,
    /// Commits are done, and their answers lost.
    LostAnswers,
}

/// The ledger as one worker reaches it.
struct Reached {
    ledger: SharedLedger,
    weather: Arc<Mutex<Weather>>,
}

fn unavailable() -> LedgerError {
    LedgerError::Unavailable {
        what: "the ledger does not answer".to_owned(),
        source: None,
    }
}

macro_rules! shared {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Ledger for SharedLedger {
            $(fn $name(&mut self, $($arg: $type),*) -> Result<$answer, LedgerError> {
                self.0.lock().unwrap().$name($($arg),*)
            })*
        }
        impl Ledger for Reached {
            $(fn $name(&mut self, $($arg: $type),*) -> Result<$answer, LedgerError> {
                let weather = *self.weather.lock().unwrap();
                if weather == Weather::Out {
                    return Err(unavailable());
                }
                let done = self.ledger.$name($($arg),*);
                match weather == Weather::LostAnswers && stringify!($name) == "commit" {
                    true => Err(unavailable()),
                    false => done,
                }
            })*
        }
    };
}
shared! {
    submit(array: &NewArray, now: UnixMicros) -> ();
    array(id: &ArrayId) -> Option<ArrayRecord>;
    arrays(limit: u32) -> Vec<ArrayRecord>;
    unfinished() -> Vec<ArrayRecord>;
    enroll(agent: &NewAgent, now: UnixMicros) -> AgentId;
    agents(array: &ArrayId, limit: u32) -> Vec<AgentRecord>;
    agent(id: AgentId) -> Option<AgentRecord>;
    live_agents() -> Vec<AgentRecord>;
    claim(agent: AgentId, want: u32, now: UnixMicros) -> Claim;
    commit(agent: AgentId, commits: &[Commit], now: UnixMicros) -> Vec<Result<(), Illegal>>;
    release(agent: AgentId, token: Token, positions: &[u64], now: UnixMicros) -> Vec<Result<(), Illegal>>;
    end_agent(agent: AgentId, now: UnixMicros) -> Vec<u64>;
    close(id: &ArrayId, intent: Intent, now: UnixMicros) -> ArrayRecord;
    extend(id: &ArrayId, deadline: UnixMicros) -> ArrayRecord;
    reopen(id: &ArrayId, which: &Reopen, deadline: UnixMicros, now: UnixMicros) -> u64;
    task(id: &ArrayId, position: u64) -> Option<TaskRow>;
    tasks(id: &ArrayId, query: TaskQuery) -> Vec<TaskRow>;
    attempts(id: &ArrayId, position: u64) -> Vec<AttemptRow>;
    recent_failures(id: &ArrayId, limit: u32) -> Vec<TaskRow>;
    doubtful_successes(id: &ArrayId, limit: u32) -> Vec<TaskRow>;
}

/// Objects in a map.
#[derive(Clone, Default)]
pub struct SharedObjects(pub Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Objects for SharedObjects {
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), ObjectError> {
        self.0
            .lock()
            .unwrap()
            .insert(name.to_owned(), content.to_owned());
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn list(&mut self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let all = self.0.lock().unwrap();
        let found = all.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found
            .map(|(name, content)| ObjectInfo {
                name: name.clone(),
                size: content.len() as u64,
            })
            .collect())
    }

    fn delete(&mut self, name: &str) -> Result<(), ObjectError> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

/// A machine whose end the test decides, and that remembers how it left.
#[derive(Clone)]
pub struct FakeMachine {
    pub outlook: Arc<Mutex<Outlook>>,
    pub left: Arc<Mutex<Option<Leave>>>,
    pub array_ended: Arc<Mutex<u32>>,
    /// How often it was said that nobody need stand in.
    pub completed: Arc<Mutex<u32>>,
    pub is_mute: bool,
}

impl FakeMachine {
    pub fn new() -> FakeMachine {
        FakeMachine {
            outlook: Arc::new(Mutex::new(Outlook::Calm)),
            left: Arc::default(),
            array_ended: Arc::default(),
            completed: Arc::default(),
            is_mute: false,
        }
    }
}

impl Machine for FakeMachine {
    fn outlook(&mut self) -> Result<Outlook, MachineError> {
        match self.is_mute {
            false => Ok(*self.outlook.lock().unwrap()),
            true => Err(MachineError {
                what: "nobody answers".to_owned(),
                source: None,
            }),
        }
    }

    fn leave(&mut self, how: Leave) -> Result<(), MachineError> {
        let before = self.left.lock().unwrap().replace(how);
        assert_eq!(before, None, "a machine leaves once");
        Ok(())
    }

    fn needs_no_fallback(&mut self) -> Result<(), MachineError> {
        *self.completed.lock().unwrap() += 1;
        Ok(())
    }

    fn array_has_ended(&mut self) -> Result<(), MachineError> {
        *self.array_ended.lock().unwrap() += 1;
        Ok(())
    }
}

/// An array, and what its workers share.
pub struct Group {
    pub ledger: SharedLedger,
    pub objects: SharedObjects,
    pub array: ArrayId,
    pub dir: TempDir,
    pub weather: Arc<Mutex<Weather>>,
    /// The array's time and the worker's, in milliseconds.
    pub ttl_ms: u64,
    pub worker_ttl_ms: Option<u64>,
    pub max_failures: Option<MaxFailures>,
    pub wanted: Option<u32>,
    script: String,
    total: u64,
}

impl Group {
    /// An array of `total` tasks that run a bash script.
    pub fn new(total: u64, budgets: Budgets, script: &str) -> Group {
        let array: ArrayId = "array-20260127-abc123".parse().unwrap();
        let mut ledger = SharedLedger::default();
        let new = NewArray {
            id: array.clone(),
            name: "job".to_owned(),
            spec: "{}".to_owned(),
            total,
            budgets,
            deadline: now().plus_millis(3_600_000),
            lanes: Vec::new(),
        };
        ledger.submit(&new, now()).unwrap();
        let dir = shared_directory();
        for name in ["job/files", "bin"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Group {
            ledger,
            objects: SharedObjects::default(),
            weather: Arc::default(),
            ttl_ms: 3_600_000,
            worker_ttl_ms: None,
            max_failures: None,
            wanted: None,
            array,
            dir,
            script: script.to_owned(),
            total,
        }
    }

    /// Moves the end of the array's time to so many milliseconds from now.
    pub fn ends_in(&mut self, ttl_ms: u64) {
        self.ttl_ms = ttl_ms;
        let deadline = now().plus_millis(ttl_ms);
        self.ledger.extend(&self.array, deadline).unwrap();
    }

    pub fn record(&self) -> ArrayRecord {
        let mut ledger = self.ledger.clone();
        ledger.array(&self.array).unwrap().unwrap()
    }

    pub fn marks(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("marks")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Serves as one machine until it leaves.
    pub fn serve(&self, slot: u32, machine: &FakeMachine) -> Result<End, WorkerError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut agent = start_agent(theirs);
        let mut objects = self.objects.clone();
        let mut ledger = Reached {
            ledger: self.ledger.clone(),
            weather: Arc::clone(&self.weather),
        };
        let mut machine = machine.clone();
        let settings = Settings {
            array: self.array.clone(),
            enrolment: NewAgent {
                array: self.array.clone(),
                slot,
                lane: 0,
                pid: agent.id(),
                pid_started: 0,
                boot: String::new(),
                hostname: format!("machine-{slot}"),
            },
            lease: Duration::from_secs(3),
            look_every: Duration::from_millis(50),
            ask_every: Duration::from_millis(200),
            cancel_notice: Duration::from_secs(5),
            max_failures: self.max_failures,
            wanted: self.wanted,
            log: self.log(slot),
        };
        let worker = Worker::start(
            settings,
            &mut ledger,
            &mut objects,
            &mut machine,
            &now,
            ours,
            |id| self.job(id, slot),
        );
        let end = worker.and_then(Worker::serve);
        let _ = agent.kill();
        let _ = agent.wait();
        end
    }

    fn log(&self, slot: u32) -> PathBuf {
        self.dir
            .path()
            .join(format!("logs/{slot}-{}.log", std::process::id()))
    }

    fn job(&self, id: AgentId, slot: u32) -> Job {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let script = format!("MARKS={}/marks\n{}", path(self.dir.path()), self.script);
        Job {
            array: self.array.clone(),
            name: "job".to_owned(),
            indices: IndexSet::first(self.total).unwrap(),
            first_position: 0,
            total: self.total,
            rows: None,
            agent: id,
            slot,
            fresh: false,
            argv: ["/bin/bash", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain([script])
                .collect(),
            script: None,
            shipped: Vec::new(),
            env: Vec::new(),
            path: std::env::var("PATH").unwrap(),
            timeout_ms: None,
            ttl_ms: self.ttl_ms,
            worker_ttl_ms: self.worker_ttl_ms,
            ttl_notice_ms: 1_000,
            heartbeat_ms: 1_000,
            umask: 0o022,
            open_files: 1024,
            one_by_one: true,
            durable: false,
            group: None,
            job_dir: path(&self.dir.path().join("job")),
            worker_dir: path(&self.dir.path().join(format!("worker-{slot}"))),
            bin_dir: path(&self.dir.path().join("bin")),
            log: path(&self.log(slot)),
            isolation: Isolation::Full,
            missing: None,
        }
    }
}

/// A new directory outside all that is private to a sandbox: tasks leave marks there.
fn shared_directory() -> TempDir {
    let private = ["/tmp", "/var/tmp", "/dev/shm"];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = [
        Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
        home,
        Some("/run".into()),
        Some("/opt".into()),
    ];
    places
        .into_iter()
        .flatten()
        .filter(|place| !private.iter().any(|p| place.starts_with(p)))
        .find_map(|place| tempfile::tempdir_in(place).ok())
        .expect("some place outside /tmp can be written to")
}

/// Waits for something to be so; it must become so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < limit, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// The agent beside this test, as a host starts it.
fn start_agent(socket: UnixStream) -> Child {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("spored");
    assert!(program.is_file(), "build the workspace's programs first");
    Command::new(program)
        .arg("agent")
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
