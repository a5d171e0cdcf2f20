//! Trees of PATH as they are found and shown, without the namespaces that bind them.

use super::*;

fn program(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What is written for a PATH of these directories, with the places of tasks.
fn places(path: &[&Path]) -> (PathTrees, tempfile::TempDir) {
    let path = std::env::join_paths(path).unwrap();
    let found = PathTrees::find(path.to_str().unwrap(), None);
    let dir = tempfile::tempdir().unwrap();
    found.write_places(&dir.path().join("path")).unwrap();
    (found, dir)
}

#[test]
fn what_is_visible_stays_as_it_is() {
    let path = "/usr/local/bin:relative::/tmp/not-there/bin:/usr/bin";
    let found = PathTrees::find(path, Some("/usr/bin/env"));
    assert_eq!((found.path(), found.program()), (path, None));
    assert!(found.binds(Path::new("/root")).is_empty());
}

#[test]
fn a_tree_that_names_no_place_is_shown_as_it_is() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let tree = root.path().join("tool");
    program(&tree.join("bin/tool"), "#!/bin/sh\necho /tmp\n");
    symlink("tool", tree.join("bin/other-name")).unwrap();
    let (found, dir) = places(&[&tree.join("bin"), Path::new("/usr/bin")]);
    assert_eq!(found.path(), "/spawn/path/0/bin:/usr/bin");
    assert_eq!(
        found.binds(Path::new("/new")),
        [(tree.as_path(), "/new/spawn/trees/0".into())]
    );
    let place = dir.path().join("path/0");
    assert_eq!(fs::read_link(place).unwrap(), Path::new("/spawn/trees/0"));
}

#[test]
fn a_python_environment_is_shown_with_its_files_written_anew() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let (venv, python) = (root.path().join("venv"), root.path().join("base/python"));
    program(&python.join("bin/python3.11"), "ELF");
    let (bin, named) = (venv.join("bin"), venv.display());
    program(&bin.join("tool"), &format!("#!{named}/bin/python\n"));
    program(&bin.join("plain"), "#!/bin/sh\n");
    symlink(python.join("bin/python3.11"), bin.join("python3")).unwrap();
    symlink("python3", bin.join("python")).unwrap();
    symlink("tool", bin.join("tool3")).unwrap();
    let home = python.join("bin");
    fs::write(venv.join(PYVENV), format!("home = {}\n", home.display())).unwrap();
    fs::create_dir(venv.join("lib")).unwrap();

    // By way of a link, as a shell may spell it.
    let link = root.path().join("link");
    symlink("venv", &link).unwrap();
    let (found, dir) = places(&[&link.join("bin")]);
    assert_eq!(found.path(), "/spawn/path/1/bin");
    let binds: Vec<PathBuf> = found.trees.iter().map(|t| t.real.clone()).collect();
    assert_eq!(binds, [python, venv.clone()]);
    let place = dir.path().join("path/1");
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    let link = |name: &str| fs::read_link(place.join(name)).unwrap();
    assert_eq!(read(PYVENV), "home = /spawn/path/0/bin\n");
    assert_eq!(read("bin/tool"), "#!/spawn/path/1/bin/python\n");
    let interpreter = Path::new("/spawn/path/0/bin/python3.11");
    assert_eq!(
        (link("bin/python"), link("bin/python3")),
        (interpreter.into(), interpreter.into())
    );
    assert_eq!(link("bin/tool3"), Path::new("/spawn/path/1/bin/tool"));
    assert_eq!(link("bin/plain"), Path::new("/spawn/trees/1/bin/plain"));
    assert_eq!(link("lib"), Path::new("/spawn/trees/1/lib"));
}

#[test]
fn trees_that_hold_others_are_shown_once() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let (outer, inner) = (root.path().join("bin"), root.path().join("deep/tool/bin"));
    program(&inner.join("tool"), "");
    let named = inner.display();
    program(&outer.join("run"), &format!("#!{named}/tool\n{named}\n"));
    // A relative link that leads nowhere from elsewhere, and one that leads out.
    let beside = tempfile::tempdir_in("/tmp").unwrap();
    let name = beside.path().file_name().unwrap().to_owned();
    program(&beside.path().join("bin/far"), "");
    symlink(
        Path::new("../..").join(&name).join("bin/far"),
        outer.join("far"),
    )
    .unwrap();
    symlink("/usr/bin", root.path().join("system")).unwrap();
    let (found, dir) = places(&[&outer, &inner, &root.path().join("system")]);
    assert_eq!(found.trees.len(), 2);
    let (n, _) = found.tree_with(root.path()).unwrap();
    assert_eq!(
        found.path(),
        format!("/spawn/path/{n}/bin:/spawn/path/{n}/deep/tool/bin:/usr/bin")
    );
    let place = dir.path().join(format!("path/{n}/bin"));
    let line = fs::read_to_string(place.join("run")).unwrap();
    let named = format!("/spawn/path/{n}/deep/tool/bin");
    assert_eq!(line, format!("#!{named}/tool\n{named}\n"));
    let far = format!("/spawn/path/{}/bin/far", 1 - n);
    assert_eq!(fs::read_link(place.join("far")).unwrap(), Path::new(&far));
}

#[test]
fn a_program_that_is_asked_for_by_its_path_is_found() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let tool = root.path().join("a/bin/tool");
    program(&tool, "");
    symlink("tool", tool.with_file_name("by-name")).unwrap();
    let named = tool.with_file_name("by-name");
    let found = PathTrees::find("/usr/bin", named.to_str());
    assert_eq!(found.program(), Some("/spawn/path/0/bin/by-name"));
    assert_eq!(found.path(), "/usr/bin");
}

#[test]
fn a_directory_in_truth_below_tmp_is_private() {
    let private = tempfile::tempdir_in("/tmp").unwrap();
    let elsewhere = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let link = elsewhere.path().join("home");
    symlink(private.path(), &link).unwrap();
    assert!(is_private(&link) && is_private(Path::new("/dev/shm/x")));
    assert!(!is_private(Path::new("/usr/../etc")));
}
