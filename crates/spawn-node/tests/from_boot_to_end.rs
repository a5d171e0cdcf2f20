//! From user data to the end of an array: the script of [`spawn_node::boot`] at its real paths, in a
//! mount namespace of its own, with the real programs and a service manager that starts them.

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use spawn_aws::services::s3::{self, PutOptions};
use spawn_node::boot::{Boot, Fetched};
use spawn_node::bundle::sha256;
use world::launched::Launched;
use world::{BUCKET, program};

/// What is done before the script: `/opt`, `/var/lib` and the units are the test's, and `/tmp` is in
/// memory, as on some images. Then the service is looked after until it ends.
const STAGE: &str = r#"
set -eu
for dir in opt var/lib etc/systemd/system; do
  mkdir -p "$STAGE/$dir"
  mount --bind "$STAGE/$dir" "/$dir"
done
mount -t tmpfs none /tmp
umask 000
env -i PATH="$STAGE/bin:/usr/bin:/bin" LANG=C.UTF-8 /bin/bash "$STAGE/user-data"
echo "tmp: $(stat -f -c %T /tmp) $(stat -c %a /tmp)"
set -a; . "$STAGE/variables"; set +a
exec bash -c "$(sed -n 's/^ExecStart=//p' /etc/systemd/system/spored-node.service)"
"#;

fn put(launched: &Launched, name: &str, from: &Path) -> Fetched {
    let body = fs::read(from).unwrap();
    let sha256 = sha256(&body[..]).unwrap();
    let key = format!("programs/{sha256}/{name}");
    let (client, bucket) = (launched.world.client(), launched.world.bucket());
    s3::put_object(&client, &bucket, &key, body, &PutOptions::default()).unwrap();
    Fetched { key, sha256 }
}

/// What of a directory another user could do anything with, were it not for the directory.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode() & 0o7777;
        // Scratch of the tasks, and the machine's /tmp.
        let is_tmp = path.ends_with("tmp") || path.ends_with("vartmp");
        if !meta.is_symlink() && !is_tmp && mode & 0o077 != 0 {
            found.push(format!("{mode:o} {}", path.display()));
        }
        if meta.is_dir() && !is_tmp {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found
}

#[test]
fn a_machine_boots_serves_and_leaves() {
    if !Path::new("/etc/systemd/system").is_dir()
        || Path::new(env!("CARGO_TARGET_TMPDIR")).starts_with("/tmp")
    {
        eprintln!("skipped: this machine has no place for units, or `/tmp` holds the build");
        return;
    }
    let launched = Launched::new(
        3,
        "cat shipped.txt; echo \"task $TASK_ARRAY_INDEX\"; df /tmp",
    );
    let world = &launched.world;
    let metadata = world.instance("i-0123456789abcdef0");
    let stage = world.dir.path().join("stage");
    fs::create_dir_all(stage.join("bin")).unwrap();
    for name in ["systemctl", "shutdown"] {
        let path = stage.join("bin").join(name);
        fs::write(&path, "#!/bin/bash\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut config = launched.config("/var/lib/spawn".as_ref());
    config.bundle = "/opt/spawn/bundle".into();
    let boot = Boot {
        config,
        node: put(&launched, "spored-node", &program("spored-node")),
        spored: put(&launched, "spored", &program("spored")),
        bundle: put(&launched, "bundle", &world.dir.path().join("bundle")),
        needs: Vec::new(),
        bucket_url: format!("{}/{BUCKET}", world.endpoint_url()),
        scaling_url: world.scaling.url.clone(),
        most_failures: 5,
        metadata_url: metadata.server.url.clone(),
        root: String::new(),
        patience_s: 20,
    };
    fs::write(stage.join("user-data"), boot.user_data().unwrap()).unwrap();
    let variables = format!(
        "AWS_ENDPOINT_URL={}\nAWS_ENDPOINT_URL_EC2={scaling}\nAWS_ENDPOINT_URL_AUTO_SCALING={scaling}\nAWS_EC2_METADATA_SERVICE_ENDPOINT={}\n",
        world.endpoint_url(),
        metadata.server.url,
        scaling = world.scaling.url,
    );
    fs::write(stage.join("variables"), variables).unwrap();
    let namespaces: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &["--mount"],
        false => &["--map-root-user", "--mount"],
    };
    let done = Command::new("unshare")
        .args(namespaces)
        .args(["--propagation", "private", "/bin/bash", "-c", STAGE])
        .env_clear()
        .env("STAGE", &stage)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let (out, err) = (&done.stdout, &done.stderr);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    );
    assert!(done.status.success(), "{said}");
    assert!(
        said.contains("Retired") && !said.contains("tmp: tmpfs"),
        "{said}"
    );
    assert!(said.contains(" 1777"), "{said}");
    assert_eq!(launched.record().counts.succeeded, 3);
    for dir in ["opt/spawn", "var/lib/spawn"] {
        assert_eq!(open_to_others(&stage.join(dir)), [""; 0]);
    }
    assert!(stage.join("var/lib/spawn/job/files").is_dir());
    for position in 0..3 {
        let printed = launched.printed(position);
        let line = format!("task {position}\n");
        assert!(
            printed.contains("was shipped") && printed.contains(&line),
            "{printed:?}"
        );
    }
}
