//! Programs of PATH that lie where each task has a directory of its own: they work, and the task's
//! directories are empty all the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Output, World};

fn program(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A Python environment as `python3 -m venv` makes it, with pip's scripts in it.
fn environment(at: &Path) {
    let mut make = Command::new("python3");
    Output::of(make.args(["-m", "venv"]).arg(at)).expect_code(0);
    // As pip begins a script whose interpreter has a long path.
    let long = format!(
        "#!/bin/sh\n'''exec' \"{}/bin/python\" \"$0\" \"$@\"\n' '''\nimport sys; print(sys.argv[1:], sys.prefix)\n",
        at.display()
    );
    program(&at.join("bin/long"), &long);
    symlink(at.join("bin/long"), at.join("bin/linked")).unwrap();
}

/// Prints what lies in the private directories, and uses each program in them.
const JOB: &str = r#"set -e
ls -A /tmp /var/tmp /dev/shm | tr '\n' ' '; echo
pip --version | sed 's/.* from \(.*\)\/lib\/.*/pip of \1/'
python -c 'import sys; print(sys.executable)'
long a 'b c'; linked
in-shm shm; in-home
"#;

#[test]
fn programs_of_path_below_tmp_work_and_a_tasks_tmp_is_empty() {
    let tmp = tempfile::tempdir_in("/tmp").unwrap();
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let venv = tmp.path().join("venv");
    environment(&venv);
    fs::copy("/bin/echo", shm.path().join("in-shm")).unwrap();
    for (isolation, is_private) in [("full", true), ("mounts", true), ("none", false)] {
        let world = World::new();
        program(&world.user.join("bin/in-home"), "#!/bin/sh\necho home\n");
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let dirs = [venv.join("bin"), shm.path().into(), world.user.join("bin")];
        let path = std::env::join_paths(dirs.into_iter().chain(std::env::split_paths(&usual)));
        let world = world
            .with("PATH", path.unwrap().to_str().unwrap())
            .with("SPAWN_SANDBOX", isolation);
        world.write("job.sh", JOB);
        let id = world.launch(["--array", "2", "--user-data", "@job.sh"]);
        world.wait(&id).expect_code(0);
        for task in ["0", "1"] {
            let seen = world.ok(["logs", &id, "--task", task]);
            let lines: Vec<&str> = seen.lines().collect();
            let place = match is_private {
                true => {
                    assert_eq!(
                        lines[0].trim_end(),
                        "/dev/shm:  /tmp:  /var/tmp:",
                        "{isolation}"
                    );
                    lines[1].strip_prefix("pip of ").unwrap().to_owned()
                }
                false => venv.display().to_string(),
            };
            assert!(!is_private || place.starts_with("/spawn/path/"), "{seen}");
            let expected = [
                format!("pip of {place}"),
                format!("{place}/bin/python"),
                format!("['a', 'b c'] {place}"),
                format!("[] {place}"),
                "shm".to_owned(),
                "home".to_owned(),
            ];
            assert_eq!(lines[1..], expected, "{isolation}");
        }
    }
}

#[test]
fn a_program_below_tmp_may_be_asked_for_by_its_path() {
    let world = World::new();
    let tmp = tempfile::tempdir_in("/tmp").unwrap();
    let tool = tmp.path().join("bin/tool");
    // It has read-only neighbours, and a `/tmp` without itself.
    let content = r#"#!/bin/sh
echo "$0" "$1"; ls -A /tmp; touch "$0.new" 2>/dev/null && echo written
true
"#;
    program(&tool, content);
    let id = world.launch(["--", tool.to_str().unwrap(), "word"]);
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id]), "/spawn/path/0/bin/tool word\n");
}
