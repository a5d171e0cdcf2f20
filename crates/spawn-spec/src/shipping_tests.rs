use std::os::unix::fs::symlink;

use super::*;
use crate::origin::Origin;

struct Dir(tempfile::TempDir);

impl Dir {
    fn with(files: &[&str]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for file in files {
            dir.write(file, b"0123456789");
        }
        dir
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn mentioned(&self, words: &[&str]) -> (Vec<String>, Vec<String>) {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let mut shipment = Shipment::new(self.path());
        shipment.add_mentioned(&words, Some(&self.path().join("run.sh")));
        let notes = shipment.notes();
        (names(shipment), notes)
    }

    fn include(&self, path: &str) -> Result<(Vec<String>, Vec<String>), SpecError> {
        let mut shipment = Shipment::new(self.path());
        shipment.include(Path::new(path), &Origin::Flag("--include"))?;
        let notes = shipment.notes();
        Ok((names(shipment), notes))
    }
}

fn names(shipment: Shipment<'_>) -> Vec<String> {
    let (files, sources) = shipment.into_parts();
    for (file, (source, name)) in files.iter().zip(&sources) {
        assert_eq!(&file.name, name);
        assert!(source.ends_with(name));
    }
    files.into_iter().map(|file| file.name).collect()
}

#[test]
fn mentioned_files_are_shipped_at_their_path() {
    let dir = Dir::with(&["process.py", "lib/run.sh", "data/in.csv", "other.txt"]);
    let (names, notes) = dir.mentioned(&[
        "python",
        "process.py",
        "./lib/run.sh",
        "data//in.csv",
        "nothing",
    ]);
    assert_eq!(names, ["data/in.csv", "lib/run.sh", "process.py"]);
    assert_eq!(notes[0], "ships data/in.csv (10 B)");
}

#[test]
fn what_must_not_go_along_stays() {
    let dir = Dir::with(&[
        "run.sh",
        ".env",
        ".hidden/a",
        "sub/.b",
        "server.pem",
        "id_rsa",
        "credentials",
        "real",
    ]);
    symlink("real", dir.path().join("link")).unwrap();
    symlink("/etc", dir.path().join("etc")).unwrap();
    let absolute = dir.path().join("real");
    let (names, notes) = dir.mentioned(&[
        "run.sh",
        "./run.sh",
        ".env",
        ".hidden/a",
        "sub/.b",
        "server.pem",
        "id_rsa",
        "credentials",
        "link",
        "etc/passwd",
        "sub/",
        "sub",
        "../x",
        absolute.to_str().unwrap(),
        "",
        "/",
        ".",
        "\0",
        &"x".repeat(9999),
    ]);
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(
        notes,
        [
            "does not ship credentials (it looks like a key or a credential)",
            "does not ship etc/passwd (a symbolic link)",
            "does not ship id_rsa (it looks like a key or a credential)",
            "does not ship link (a symbolic link)",
            "does not ship server.pem (it looks like a key or a credential)",
            "does not ship sub (a directory; add `--include sub`)",
        ]
    );
}

#[test]
fn a_file_above_the_launch_directory_is_remarked_on() {
    let dir = Dir::with(&["sub/x", "lib.sh"]);
    let sub = dir.path().join("sub");
    let mut shipment = Shipment::new(&sub);
    shipment.add_mentioned(&["../lib.sh".to_owned()], None);
    assert_eq!(
        shipment.notes(),
        ["does not ship ../lib.sh (not below the directory of the launch)"]
    );
}

#[test]
fn directories_are_included_whole() {
    let dir = Dir::with(&["m/a", "m/deep/b", "m/.git/c", "m/key.pem", "outside"]);
    symlink("a", dir.path().join("m/link")).unwrap();
    let (names, notes) = dir.include("m/").unwrap();
    assert_eq!(names, ["m/a", "m/deep/b"]);
    assert_eq!(
        notes[2..],
        [
            "does not ship m/.git (its name starts with a dot)",
            "does not ship m/key.pem (it looks like a key or a credential)",
            "does not ship m/link (a symbolic link)",
        ]
    );
    let all = dir.include(".").unwrap().0;
    assert_eq!(all, ["m/a", "m/deep/b", "outside"]);
    let absolute = dir.path().join("m/deep");
    let below = dir.include(absolute.to_str().unwrap()).unwrap().0;
    assert_eq!(below, ["m/deep/b"]);
}

#[test]
fn a_named_path_that_cannot_go_along_is_refused() {
    let dir = Dir::with(&["a", "server.key"]);
    symlink("a", dir.path().join("link")).unwrap();
    for (path, message) in [
        ("nope", "`--include nope`: no such file or directory"),
        ("a/b", "`--include a/b`: no such file or directory"),
        ("", "`--include `: no such file or directory"),
        ("../x", "`--include ../x`: `..` is not allowed"),
        (
            "/etc/passwd",
            "`--include /etc/passwd`: is outside the directory of the launch",
        ),
        ("link", "`--include link`: is a symbolic link"),
        (
            "server.key",
            "`--include server.key`: looks like a key or a credential, which is never shipped",
        ),
    ] {
        assert_eq!(dir.include(path).unwrap_err().to_string(), message);
    }
}

#[test]
fn too_much_names_the_biggest() {
    let dir = Dir::with(&["small"]);
    let big = File::create(dir.path().join("big.bin")).unwrap();
    big.set_len(MAX_SHIPPED_BYTES).unwrap();
    let mut shipment = Shipment::new(dir.path());
    shipment
        .include(Path::new("big.bin"), &Origin::Flag("--include"))
        .unwrap();
    shipment.check_limits().unwrap();
    shipment
        .include(Path::new("small"), &Origin::Flag("--include"))
        .unwrap();
    let error = shipment.check_limits().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the files to ship are 64 MB in all, above the limit of 64 MB; the biggest is `big.bin` (64 MB)"
    );
    assert!(error.hint.unwrap().contains("S3"));
}

#[test]
fn many_files_are_counted_not_named() {
    let names: Vec<String> = (10..25).map(|n| format!("f{n}")).collect();
    let dir = Dir::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let notes = dir.include(".").unwrap().1;
    assert_eq!(notes.len(), 11);
    assert_eq!(notes[10], "ships 5 more files (50 B)");
}

#[test]
fn the_execute_bit_is_kept() {
    let dir = Dir::with(&["a", "b"]);
    fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut shipment = Shipment::new(dir.path());
    shipment
        .include(Path::new("."), &Origin::Flag("--include"))
        .unwrap();
    assert!(!shipment.get("a").unwrap().executable);
    assert!(shipment.get("b").unwrap().executable);
}

#[test]
fn sizes_are_for_people() {
    for (bytes, shown) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.2 kB"),
        (123_456, "123 kB"),
        (999_999, "999 kB"),
        (1_000_000, "1 MB"),
        (64_000_000, "64 MB"),
        (u64::MAX, "18446 PB"),
    ] {
        assert_eq!(human_bytes(bytes), shown);
    }
}
