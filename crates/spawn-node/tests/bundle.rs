//! Bundles come back as they were packed, and never leave their directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use spawn_node::bundle::{BundleError, pack, sha256, unpack, unpack_verified};

type Tree = BTreeMap<String, (Vec<u8>, bool)>;

fn write(tree: &Tree, dir: &Path) {
    for (path, (content, executable)) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = if *executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn read(dir: &Path, below: &str, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{path}/"), tree);
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            tree.insert(path, (fs::read(entry.path()).unwrap(), executable));
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    // Directories and files have different letters: no file is in the way of a directory.
    let path = prop::collection::vec("[a-c ä.]{1,3}[d]", 0..3);
    let file = (
        "[x-z \n\"'$]{1,4}[w]",
        prop::collection::vec(any::<u8>(), 0..300),
        any::<bool>(),
    );
    prop::collection::vec((path, file), 0..8).prop_map(|files| {
        let place =
            |(dirs, (name, content, executable)): (Vec<String>, (String, Vec<u8>, bool))| {
                let path: String = dirs.iter().map(|d| format!("{d}/")).collect();
                (path + &name, (content, executable))
            };
        files.into_iter().map(place).collect()
    })
}

fn head(paths: &[&str]) -> Vec<u8> {
    let files: Vec<_> = paths
        .iter()
        .map(|path| serde_json::json!({ "path": path, "size": 1, "executable": false }).to_string())
        .collect();
    let content = "x".repeat(paths.len());
    format!(
        "SPAWN-BUNDLE 1\n{{\"files\":[{}]}}\n{content}",
        files.join(",")
    )
    .into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_comes_back(tree in trees()) {
        let dir = tempfile::tempdir().unwrap();
        let (from, into) = (dir.path().join("from"), dir.path().join("into"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&into).unwrap();
        write(&tree, &from);
        let mut bytes = Vec::new();
        pack(&from, &mut bytes).unwrap();
        unpack(&bytes[..], &into).unwrap();
        let mut found = Tree::new();
        read(&into, "", &mut found);
        prop_assert_eq!(found, tree);
        // The same files are the same bytes.
        let mut again = Vec::new();
        pack(&into, &mut again).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn no_name_leads_outside(parts in prop::collection::vec(r"\.\.|\.||a|b", 1..5), absolute in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("x/y/into");
        fs::create_dir_all(&into).unwrap();
        let path = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
        let is_plain = path.split('/').all(|part| part == "a" || part == "b");
        let done = unpack(&head(&[&path])[..], &into);
        prop_assert_eq!(done.is_ok(), is_plain, "{}", path);
        let mut found = Tree::new();
        read(dir.path(), "", &mut found);
        prop_assert!(found.keys().all(|name| name.starts_with("x/y/into/")));
    }

    #[test]
    fn whatever_is_read_there_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..60) {
        let dir = tempfile::tempdir().unwrap();
        let _ = unpack(&bytes[..], dir.path());
        let whole = head(&["a", "b"]);
        let cut = cut.min(whole.len() - 1);
        prop_assert!(unpack(&whole[..cut], &dir.path().join("cut")).is_err());
    }
}

#[test]
fn one_bad_name_keeps_all_from_being_written() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["../b", "a", "c/../../b", "nul\u{0}"] {
        let done = unpack(&head(&["a", bad])[..], dir.path());
        assert!(matches!(done, Err(BundleError::Path(_))), "{bad}: {done:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn only_the_bundle_that_was_meant_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (path, into) = (dir.path().join("bundle"), dir.path().join("into"));
    let bytes = head(&["a"]);
    fs::write(&path, &bytes).unwrap();
    let hash = sha256(&bytes[..]).unwrap();
    let other = hash.replace(|_| true, "0");
    assert!(matches!(
        unpack_verified(&path, &other, &into),
        Err(BundleError::Hash { .. })
    ));
    assert!(!into.exists());
    unpack_verified(&path, &hash, &into).unwrap();
    assert_eq!(fs::read(into.join("a")).unwrap(), b"x");
}

#[test]
fn links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    let done = pack(dir.path(), Vec::new());
    assert!(matches!(done, Err(BundleError::Kind(name)) if name == "link"));
}
