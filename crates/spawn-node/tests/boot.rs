//! The user data, run by bash as cloud-init runs it: against an instance's metadata, a bucket that
//! checks signatures, and a service manager that only takes notes.

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spawn_aws::services::s3::{self, PutOptions};
use spawn_node::boot::{
    Boot, BootError, Fetched, LONGEST, METADATA, Need, PATIENCE_S, bucket_url, most_failures,
    scaling_url,
};
use spawn_node::bundle::sha256;
use spawn_node::config::{Made, NodeConfig};
use world::{BUCKET, Metadata, REGION, Request, Server, World};

fn boot() -> Boot {
    let fetched = |name: &str| Fetched {
        key: format!("programs/{name}"),
        sha256: sha256(name.as_bytes()).unwrap(),
    };
    Boot {
        config: NodeConfig {
            array: "array-20260127-abc123".parse().unwrap(),
            lane: 0,
            table: "spawn".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            region: REGION.to_owned(),
            made: vec![Made {
                group: "it's a $group `id`".to_owned(),
                template: "template".to_owned(),
                raise: None,
            }],
            bundle: "/opt/spawn/bundle".into(),
            bundle_sha256: sha256(&b"bundle"[..]).unwrap(),
            dir: "/var/lib/spawn".into(),
            wanted: None,
            standing: None,
            lease_ms: 90_000,
            look_ms: 5_000,
            ask_ms: 10_000,
        },
        node: fetched("spored-node"),
        spored: fetched("spored"),
        bundle: fetched("bundle"),
        needs: vec![Need::Jq, Need::Aws, Need::Python3],
        bucket_url: bucket_url(BUCKET, REGION),
        scaling_url: scaling_url(REGION),
        most_failures: most_failures(3),
        metadata_url: METADATA.to_owned(),
        root: String::new(),
        patience_s: PATIENCE_S,
    }
}

/// A machine of its own below a directory.
struct Machine {
    world: World,
    metadata: Metadata,
    boot: Boot,
    /// Of the boot; cloud-init's own is 022.
    umask: &'static str,
}

impl Machine {
    fn new() -> Machine {
        let world = World::new();
        for name in ["spored-node", "spored", "bundle"] {
            let (key, body) = (format!("programs/{name}"), name.as_bytes().to_vec());
            let options = PutOptions::default();
            s3::put_object(&world.client(), &world.bucket(), &key, body, &options).unwrap();
        }
        let metadata = world.instance("i-0123456789abcdef0");
        let root = world.dir.path().join("root");
        let mut boot = boot();
        boot.root = root.to_str().unwrap().to_owned();
        boot.config.dir = root.join("var/lib/spawn");
        boot.config.bundle = root.join("opt/spawn/bundle");
        boot.bucket_url = format!("{}/{BUCKET}", world.endpoint_url());
        boot.scaling_url = world.scaling.url.clone();
        boot.metadata_url = metadata.server.url.clone();
        boot.needs = Vec::new();
        let machine = Machine {
            world,
            metadata,
            boot,
            umask: "022",
        };
        for name in ["systemctl", "shutdown", "dnf"] {
            machine.stand_in(
                name,
                &format!("echo \"{name} $*\" >> {}", machine.notes().display()),
            );
        }
        machine
    }

    fn root(&self) -> &Path {
        Path::new(&self.boot.root)
    }

    fn notes(&self) -> PathBuf {
        self.world.dir.path().join("notes")
    }

    fn noted(&self) -> Vec<String> {
        let text = fs::read_to_string(self.notes()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn bin(&self) -> PathBuf {
        self.world.dir.path().join("bin")
    }

    fn stand_in(&self, name: &str, script: &str) {
        fs::create_dir_all(self.bin()).unwrap();
        let path = self.bin().join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> Output {
        let script = self.world.dir.path().join("user-data");
        fs::write(&script, self.boot.user_data().unwrap()).unwrap();
        self.bash(&[&script])
    }

    /// What the service manager runs when the service cannot stay up.
    fn give_up(&self) -> Output {
        let unit = self
            .root()
            .join("etc/systemd/system/spored-node-gives-up.service");
        let unit = fs::read_to_string(unit).unwrap();
        let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart="));
        self.bash(&[Path::new("-c"), Path::new(line.unwrap())])
    }

    fn note(&self) -> Option<String> {
        let key = format!("{}i-0123456789abcdef0", self.boot.failures_prefix());
        let (client, bucket) = (self.world.client(), self.world.bucket());
        let note = s3::get_object(&client, &bucket, &key, None, None).unwrap();
        note.map(|note| String::from_utf8(note.body).unwrap())
    }

    /// Others have failed before it.
    fn leave_notes(&self, of: u32) {
        for other in 0..of {
            let key = format!("{}i-{other}", self.boot.failures_prefix());
            self.put(&key, b"why");
        }
    }

    fn put(&self, key: &str, body: &[u8]) {
        let (client, bucket) = (self.world.client(), self.world.bucket());
        let options = PutOptions::default();
        s3::put_object(&client, &bucket, key, body.to_vec(), &options).unwrap();
    }

    /// What was asked of Auto Scaling, as it was sent.
    fn suspended(&self) -> Vec<String> {
        let asked = self.world.scaling.asked();
        asked.into_iter().map(|request| request.body).collect()
    }

    fn bash(&self, arguments: &[&Path]) -> Output {
        Command::new("/bin/bash")
            .args(["-c", "umask \"$0\"; exec /bin/bash \"$@\"", self.umask])
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin().display()))
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn it_is_a_short_script_that_bash_takes() {
    let script = boot().user_data().unwrap();
    assert!(script.len() < LONGEST / 2, "{}", script.len());
    assert!(script.starts_with("#!/bin/bash\n"));
    assert!(!script.contains("HOME"), "cloud-init sets none");
    for word in script.split(|c: char| c.is_whitespace()) {
        let is_placeholder = word.len() > 2 && word.starts_with('@') && word.ends_with('@');
        assert!(!is_placeholder, "{word}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user-data");
    fs::write(&path, script).unwrap();
    let checked = Command::new("/bin/bash")
        .arg("-n")
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{}",
        said(&checked)
    );
    // Where it is installed, the linter has nothing to say either.
    if let Ok(linted) = Command::new("shellcheck").arg(&path).output() {
        assert!(linted.status.success(), "{}", said(&linted));
    }
}

#[test]
fn what_the_shell_would_read_otherwise_is_refused() {
    for key in ["", "/a", "-a", "a b", "$(id)", "a'b", "a\nb"] {
        let mut boot = boot();
        boot.bundle.key = key.to_owned();
        assert!(
            matches!(boot.user_data(), Err(BootError::Word(_))),
            "{key:?}"
        );
    }
    let mut long = boot();
    long.config.table = "x".repeat(LONGEST);
    assert!(matches!(long.user_data(), Err(BootError::Length(_))));
    assert_eq!(
        bucket_url("a.b", "eu-west-1"),
        "https://s3.eu-west-1.amazonaws.com/a.b"
    );
}

#[test]
fn a_machine_gets_its_programs_and_starts_the_service() {
    let machine = Machine::new();
    let output = machine.run();
    assert!(output.status.success(), "{}", said(&output));
    let home = machine.root().join("opt/spawn");
    for name in ["spored-node", "spored", "bundle"] {
        assert_eq!(fs::read(home.join(name)).unwrap(), name.as_bytes());
    }
    let mode = fs::metadata(home.join("spored"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let config = spawn_node::node::read_config(&home.join("config.json")).unwrap();
    assert_eq!(config, machine.boot.config);
    let unit = machine
        .root()
        .join("etc/systemd/system/spored-node.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("Restart=on-failure") && unit.contains("\"$SERVICE_RESULT\""));
    let started = [
        "systemctl daemon-reload",
        "systemctl enable spored-node.service",
        "systemctl start --no-block spored-node.service",
    ];
    assert_eq!(machine.noted(), started);
    // The secret is in no place that others read.
    let secret = &machine.world.credentials.secret_access_key;
    assert!(!said(&output).contains(secret) && !unit.contains(secret));
}

#[test]
fn nothing_of_it_is_open_to_another_user_of_the_machine_whatever_the_umask() {
    for umask in ["000", "002", "022", "077"] {
        let mut machine = Machine::new();
        machine.umask = umask;
        let (home, dir) = (
            machine.root().join("opt/spawn"),
            machine.boot.config.dir.clone(),
        );
        // An image may have them, open to all.
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
        let output = machine.run();
        assert!(output.status.success(), "{}", said(&output));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let mut modes: Vec<(String, u32)> = fs::read_dir(&home)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    mode(&entry.path()),
                )
            })
            .collect();
        modes.sort();
        let expected = [
            ("boot", 0o600),
            ("bundle", 0o600),
            ("config.json", 0o600),
            ("spored", 0o700),
            ("spored-node", 0o700),
        ];
        assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
        assert_eq!((mode(&home), mode(&dir)), (0o700, 0o700));
        // The service manager's files are for all to read, as others are.
        let units = machine.root().join("etc/systemd/system");
        for unit in ["spored-node.service", "spored-node-gives-up.service"] {
            assert_eq!(mode(&units.join(unit)), 0o644);
        }
    }
}

#[test]
fn a_damaged_program_is_not_kept_and_the_machine_goes_with_a_note() {
    let mut machine = Machine::new();
    machine.boot.patience_s = 3;
    machine.boot.spored.sha256 = sha256(&b"another"[..]).unwrap();
    let output = machine.run();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!machine.root().join("opt/spawn/spored").exists());
    assert_eq!(machine.noted(), ["shutdown -P now"]);
    let note = machine.note().expect("a note");
    assert!(
        note.starts_with("programs/spored has not the SHA-256"),
        "{note}"
    );
    // One that fails is no news.
    assert_eq!(machine.suspended(), [""; 0]);
}

#[test]
fn the_fifth_that_fails_stops_the_launches_of_its_group() {
    for (before, stops) in [(3, false), (4, true), (9, true)] {
        let mut machine = Machine::new();
        machine.boot.patience_s = 1;
        machine.boot.config.prefix = "a b/".to_owned();
        machine.boot.spored.sha256 = sha256(&b"another"[..]).unwrap();
        machine.leave_notes(before);
        // Those of another array are not counted.
        for other in 0..9 {
            machine.put(&format!("a b/arrays/another/boot-failures/i-{other}"), b"");
        }
        let output = machine.run();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(machine.noted(), ["shutdown -P now"]);
        let suspended = machine.suspended();
        assert_eq!(suspended.len(), usize::from(stops), "{}", said(&output));
        for request in machine.world.scaling.asked() {
            assert_eq!(request.form("Action").as_deref(), Some("SuspendProcesses"));
            let launches = request.form("ScalingProcesses.member.1");
            assert_eq!(launches.as_deref(), Some("Launch"));
            let group = request.form("AutoScalingGroupName");
            assert_eq!(group.as_deref(), Some("it%27s%20a%20%24group%20%60id%60"));
            assert_eq!(request.header("x-amz-security-token"), Some("a/token+="));
            let signed = request.header("authorization").unwrap();
            assert!(signed.contains("/eu-west-1/autoscaling/aws4_request"));
        }
    }
    assert_eq!(
        [1, 50, 51, 200, 1_000_000].map(most_failures),
        [5, 5, 6, 20, 1_000]
    );
}

#[test]
fn a_group_that_will_not_stop_keeps_the_machine_and_one_that_is_gone_does_not() {
    let times = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&times);
    let scaling = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => (400, "<Code>Throttling</Code>".to_owned()),
        1 => (503, String::new()),
        _ => (
            400,
            "<Message>AutoScalingGroup name not found</Message>".to_owned(),
        ),
    });
    let mut machine = Machine::new();
    machine.boot.patience_s = 1;
    machine.boot.most_failures = 1;
    machine.boot.scaling_url = scaling.url.clone();
    machine.boot.spored.sha256 = sha256(&b"another"[..]).unwrap();
    let output = machine.run();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(times.load(Ordering::SeqCst), 3, "{}", said(&output));
    assert_eq!(machine.noted(), ["shutdown -P now"]);
}

#[test]
fn a_machine_that_cannot_leave_a_note_stays_and_tries_again() {
    let mut machine = Machine::new();
    machine.boot.patience_s = 1;
    let role = "iam/security-credentials/";
    machine.metadata.remove(role);
    machine.metadata.remove("instance-id");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| machine.run());
        // Each try asks for a session and a role; the patience is over after the first.
        while machine.metadata.server.asked().len() < 16 {
            assert!(!run.is_finished(), "{:?}", machine.noted());
            std::thread::yield_now();
        }
        assert_eq!(machine.noted(), [""; 0]);
        machine.metadata.set(role, "the-role");
        let output = run.join().unwrap();
        // It became ready after all: nothing has to be said.
        assert!(output.status.success(), "{}", said(&output));
    });
    assert_eq!(machine.note(), None);
}

#[test]
fn a_service_that_cannot_stay_up_gives_its_last_words_and_the_machine_goes() {
    let program = |script: &str| format!("#!/bin/bash\n{script}\n");
    let cases = [
        (
            program("exit 0"),
            "spored-node: the configuration is no good",
        ),
        (
            program("echo 'GLIBC_9.9 not found' >&2; exit 1"),
            "the agent program does not run here: GLIBC_9.9 not found",
        ),
        (
            "\u{7f}ELF of another processor".to_owned(),
            "the agent program does not run here: ",
        ),
    ];
    for (node, words) in cases {
        let mut machine = Machine::new();
        machine.put("programs/spored-node", node.as_bytes());
        machine.boot.node.sha256 = sha256(node.as_bytes()).unwrap();
        machine.boot.most_failures = 2;
        machine.leave_notes(1);
        machine.stand_in(
            "journalctl",
            "[ \"$2\" = spored-node.service ] || exit 1\n\
             echo 'spored-node: an older word'\n\
             echo 'spored-node: the configuration is no good'\n\
             echo 'spored-node.service: Main process exited, code=exited, status=1/FAILURE'",
        );
        let output = machine.run();
        assert!(output.status.success(), "{}", said(&output));
        let before = machine.noted().len();
        let output = machine.give_up();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let note = machine.note().expect("a note");
        assert!(note.starts_with(words), "{note}");
        assert_eq!(machine.noted()[before..], ["shutdown -P now"]);
        assert_eq!(machine.suspended().len(), 1);
    }
}

#[test]
fn the_units_are_what_systemd_takes() {
    let machine = Machine::new();
    let output = machine.run();
    assert!(output.status.success(), "{}", said(&output));
    let units = machine.root().join("etc/systemd/system");
    let paths = ["spored-node.service", "spored-node-gives-up.service"].map(|n| units.join(n));
    let unit = fs::read_to_string(&paths[0]).unwrap();
    assert!(unit.contains("OnFailure=spored-node-gives-up.service"));
    assert!(
        !unit.contains("StartLimitAction"),
        "its group would replace it"
    );
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .args(&paths)
        .output();
    if let Ok(verified) = verify {
        let said = said(&verified);
        let ours = said.lines().filter(|line| line.contains("spored-node"));
        assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn a_role_that_comes_late_is_waited_for() {
    let machine = Machine::new();
    let role = "iam/security-credentials/";
    machine.metadata.remove(role);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| machine.run());
        while machine.metadata.server.asked().len() < 3 {
            std::thread::yield_now();
        }
        machine.metadata.set(role, "the-role");
        let output = run.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    });
}

#[test]
fn what_a_script_needs_is_installed_or_the_machine_is_not_ready() {
    let mut machine = Machine::new();
    machine.boot.patience_s = 3;
    machine.boot.needs = vec![Need::Aws];
    let notes = machine.notes();
    let (notes, aws) = (notes.display(), machine.bin().join("aws"));
    let install = format!("echo \"dnf $*\" >> {notes}; cp /bin/true {}", aws.display());
    machine.stand_in("dnf", &install);
    let output = machine.run();
    assert!(output.status.success(), "{}", said(&output));
    // A machine that has it installs nothing.
    let noted = machine.noted();
    let installed: Vec<_> = noted
        .iter()
        .filter(|line| line.starts_with("dnf"))
        .collect();
    assert!(installed.len() <= 1, "{installed:?}");
    assert!(
        installed
            .iter()
            .all(|line| *line == "dnf -y -q install awscli-2")
    );
}

#[test]
fn the_session_token_is_sent_and_signed() {
    let mut machine = Machine::new();
    let taken = Arc::new(AtomicBool::new(false));
    let is_taken = Arc::clone(&taken);
    let bucket = Server::start(move |request| {
        let is_read = request.first_line.starts_with("GET /programs");
        match is_taken.load(Ordering::SeqCst) && !is_read {
            true => (200, String::new()),
            false => (403, String::new()),
        }
    });
    machine.boot.bucket_url = bucket.url.clone();
    machine.boot.patience_s = 1;
    std::thread::scope(|scope| {
        let run = scope.spawn(|| machine.run());
        // It stays, since it cannot leave a note; until it can.
        let is_note = |r: &Request| r.first_line.starts_with("PUT ");
        while bucket.asked().iter().filter(|r| is_note(r)).count() < 2 {
            assert!(!run.is_finished(), "{:?}", machine.noted());
            std::thread::yield_now();
        }
        taken.store(true, Ordering::SeqCst);
        assert_eq!(run.join().unwrap().status.code(), Some(1));
    });
    let asked = bucket.asked();
    assert!(
        asked
            .iter()
            .any(|request| request.first_line.starts_with("PUT "))
    );
    for request in asked {
        assert_eq!(request.header("x-amz-security-token"), Some("a/token+="));
        let signed = request.header("authorization").unwrap();
        assert!(
            signed.contains("x-amz-date;x-amz-security-token"),
            "{signed}"
        );
    }
}
