//! The arrows between the crates, as `docs/architecture.md` says them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn cargo(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(args)
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("cargo prints text")
}

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// What the table in the document allows.
fn documented() -> Arrows {
    let doc = std::fs::read_to_string(workspace().join("docs/architecture.md")).unwrap();
    let names = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    doc.lines()
        .skip_while(|l| !l.starts_with("| crate |"))
        .skip(2)
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            let cells: Vec<&str> = l.split('|').collect();
            (names(cells[1]).into_iter().next().unwrap(), names(cells[2]))
        })
        .collect()
}

/// What the manifests say; dependencies for tests aside.
fn actual() -> Arrows {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |v: &serde_json::Value| v["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    packages
        .iter()
        .map(|p| {
            let uses = p["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .map(name)
                .filter(|d| ours.contains(d))
                .collect();
            (name(p), uses)
        })
        .collect()
}

#[test]
fn every_crate_uses_just_what_the_document_allows() {
    let (documented, actual) = (documented(), actual());
    let names = |a: &Arrows| a.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&documented),
        names(&actual),
        "the document lists every crate"
    );
    for (name, uses) in &actual {
        let extra: Vec<_> = uses.difference(&documented[name]).collect();
        assert!(
            extra.is_empty(),
            "`{name}` uses {extra:?}, which docs/architecture.md does not allow"
        );
    }
}

#[test]
fn the_allowed_arrows_point_down_only() {
    let allowed = documented();
    // A crate whose users are all gone can be taken away; with a circle, some never can.
    let mut left: BTreeSet<&String> = allowed.keys().collect();
    while !left.is_empty() {
        let free = left
            .iter()
            .copied()
            .find(|n| allowed[*n].iter().all(|d| !left.contains(d)))
            .unwrap_or_else(|| panic!("a circle among {left:?}"));
        left.remove(free);
    }
}

#[test]
fn the_core_is_pure_down_to_its_last_dependency() {
    let tree = cargo(&[
        "tree",
        "-p",
        "spawn-core",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--target",
        "all",
    ]);
    let found: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(found.contains("serde"), "the tree was read: {found:?}");
    for outside in [
        "tokio",
        "async-std",
        "smol",
        "futures",
        "mio",
        "libc",
        "nix",
        "rustix",
        "rusqlite",
        "rand",
        "getrandom",
        "fastrand",
        "jiff",
        "chrono",
        "time",
        "tempfile",
        "clap",
        "hyper",
        "reqwest",
    ] {
        assert!(!found.contains(outside), "spawn-core depends on {outside}");
    }
}
