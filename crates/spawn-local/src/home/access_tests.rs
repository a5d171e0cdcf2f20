//! What is taken as a home, and what is refused.

use std::os::unix::fs::{chown, symlink};

use super::*;
use crate::home::Home;

/// Somebody else.
const OTHER: u32 = 65_533;

/// A directory of this user, with a home in it that is closed.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        Home::at(place.home()).create().unwrap();
        place
    }

    fn home(&self) -> PathBuf {
        self.at("home")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().mode() & 0o7777
    }

    fn secure(&self) -> Result<bool, HomeError> {
        Home::at(self.home()).secure()
    }
}

/// Whether owners can be set here.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root can give a file to another user");
    }
    is_root
}

#[test]
fn a_home_that_is_open_is_closed_with_all_in_it_and_said_once() {
    let place = Place::new();
    symlink("spored", place.at("home/bin/aws")).unwrap();
    for (name, mode) in [
        ("home/bin", 0o777),
        ("home/ledger.db", 0o644),
        ("home/ledger.db-wal", 0o666),
        ("home/bin/spored", 0o755),
        ("home/aws/credentials", 0o604),
        ("home/arrays/1.log", 0o664),
        ("home/workers/a task's", 0o666),
        ("home/arrays", 0o2775),
        ("home", 0o2775),
    ] {
        if !place.at(name).exists() {
            fs::write(place.at(name), "").unwrap();
        }
        place.open(name, mode);
    }
    assert!(place.secure().unwrap());
    assert!(!place.secure().unwrap());
    for name in ["home", "home/arrays", "home/bin/spored"] {
        assert_eq!(place.mode(name), 0o700, "{name}");
    }
    for name in [
        "ledger.db",
        "ledger.db-wal",
        "aws/credentials",
        "arrays/1.log",
    ] {
        assert_eq!(place.mode(&format!("home/{name}")), 0o600, "{name}");
    }
    // What a task has there is its own matter.
    assert_eq!(place.mode("home/workers/a task's"), 0o666);
    // One that its user cannot write to does not become writable.
    place.open("home", 0o555);
    assert!(place.secure().unwrap());
    assert_eq!(place.mode("home"), 0o500);
    place.open("home", 0o700);
}

#[test]
fn a_file_that_became_wider_in_a_closed_home_is_closed() {
    let place = Place::new();
    fs::write(place.at("home/ledger.db-wal"), "").unwrap();
    place.open("home/ledger.db-wal", 0o644);
    assert!(!place.secure().unwrap());
    assert_eq!(place.mode("home/ledger.db-wal"), 0o600);
}

#[test]
fn an_open_directory_that_is_more_than_a_home_stays_as_it_is() {
    let place = Place::new();
    fs::write(place.at("home/thesis.tex"), "").unwrap();
    place.open("home", 0o755);
    let error = place.secure().unwrap_err();
    assert!(
        matches!(&error, HomeError::Shared { with, .. } if with.ends_with("thesis.tex")),
        "{error}"
    );
    assert_eq!(place.mode("home"), 0o755);
    place.open("home", 0o700);
    assert!(!place.secure().unwrap());
}

#[test]
fn the_way_to_a_home_is_closed_too() {
    let place = Place::new();
    fs::create_dir(place.at("way")).unwrap();
    symlink("../home", place.at("way/home")).unwrap();
    let by = |mode: u32| {
        place.open("way", mode);
        Home::at(place.at("way/home")).secure()
    };
    assert!(!by(0o755).unwrap());
    assert!(!by(0o1777).unwrap());
    for mode in [0o777, 0o757] {
        let error = by(mode).unwrap_err();
        let HomeError::Exposed {
            by, owner: None, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*by, place.at("way"));
    }
    // The same where there is no home yet: it could be made by somebody else.
    assert!(Home::at(place.at("way/none/home")).secure().is_err());
    // And where a link leads through such a directory.
    fs::create_dir(place.at("way/deep")).unwrap();
    symlink("way/deep/../../home", place.at("link")).unwrap();
    assert!(Home::at(place.at("link")).secure().is_err());
    place.open("way", 0o755);
    assert!(!Home::at(place.at("link")).secure().unwrap());
}

#[test]
fn links_that_lead_in_a_circle_are_left_to_the_system() {
    let place = Place::new();
    symlink("b", place.at("a")).unwrap();
    symlink("a", place.at("b")).unwrap();
    assert!(!Home::at(place.at("a")).secure().unwrap());
    assert!(Home::at(place.at("a")).create().is_err());
}

#[test]
fn what_is_anothers_is_refused() {
    if !is_root() {
        return;
    }
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(OTHER), None).unwrap();
    let place = Place::new();
    give(&place.home());
    for mode in [0o700, 0o777] {
        place.open("home", mode);
        let error = place.secure().unwrap_err();
        assert!(
            matches!(error, HomeError::Foreign { owner: OTHER, .. }),
            "{error}"
        );
        assert_eq!(place.mode("home"), mode);
    }

    let place = Place::new();
    give(place.0.path());
    let error = place.secure().unwrap_err();
    let owner = Some(OTHER);
    assert!(
        matches!(&error, HomeError::Exposed { owner: found, .. } if *found == owner),
        "{error}"
    );

    // Somebody made the link that leads to it.
    let place = Place::new();
    symlink("home", place.at("link")).unwrap();
    give(&place.at("link"));
    assert!(matches!(
        Home::at(place.at("link")).secure(),
        Err(HomeError::Exposed { .. })
    ));
}

#[test]
fn what_another_user_put_into_a_home_is_refused_again_and_again() {
    if !is_root() {
        return;
    }
    for name in [
        "ledger.db",
        "host.sock",
        "endpoint.port",
        "aws/credentials",
        "bin/ls",
        "arrays/array-20260127-abc123/job/script",
    ] {
        for mode in [0o700, 0o770, 0o777] {
            if name.starts_with("arrays") && mode == 0o700 {
                // Nobody else has ever come there.
                continue;
            }
            let place = Place::new();
            let path = place.home().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            chown(&path, Some(OTHER), None).unwrap();
            place.open("home", mode);
            for _ in 0..2 {
                let error = place.secure().unwrap_err();
                let HomeError::ForeignFile { path: named, owner } = &error else {
                    panic!("{name}: {error}");
                };
                assert_eq!((named, *owner), (&path, OTHER));
                assert_eq!(place.mode("home"), mode);
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(place.secure().unwrap(), mode != 0o700);
        }
    }
    // A link of one's own to a place of one's own is fine, and to another's is not.
    let place = Place::new();
    let log = place.home().join("host.log");
    fs::write(place.at("elsewhere"), "").unwrap();
    symlink(place.at("elsewhere"), &log).unwrap();
    assert!(!place.secure().unwrap());
    chown(place.at("elsewhere"), Some(OTHER), None).unwrap();
    assert!(matches!(place.secure(), Err(HomeError::ForeignFile { .. })));
}

/// Lets another user do all there, as `setfacl -m u:65533:rwx` does. Whether that can be done.
fn let_another_in(path: &Path, list: &std::ffi::CStr) -> bool {
    let mut entries = 2u32.to_le_bytes().to_vec();
    let undefined = u32::MAX;
    for (tag, may, id) in [
        (0x01u16, 7u16, undefined),
        (0x02, 7, OTHER),
        (0x04, 0, undefined),
        (0x10, 7, undefined),
        (0x20, 0, undefined),
    ] {
        entries.extend_from_slice(&tag.to_le_bytes());
        entries.extend_from_slice(&may.to_le_bytes());
        entries.extend_from_slice(&id.to_le_bytes());
    }
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let (value, length) = (entries.as_ptr().cast(), entries.len());
    // SAFETY: the strings end in a zero byte, the entries have that length, and all outlive the call.
    let set = unsafe { libc::setxattr(path.as_ptr(), list.as_ptr(), value, length, 0) };
    if set != 0 {
        eprintln!("SKIPPED: the file system has no access control lists");
    }
    set == 0
}

#[test]
fn no_access_control_list_is_handed_down() {
    let place = Place::new();
    if !let_another_in(&place.home(), c"system.posix_acl_default") {
        return;
    }
    let made = |name: &str| {
        fs::write(place.home().join(name), "").unwrap();
        place.mode(&format!("home/{name}"))
    };
    assert_eq!(made("endpoint.port") & 0o070, 0o060);
    place.open("home", 0o770);
    assert!(place.secure().unwrap());
    assert_eq!(place.mode("home/endpoint.port"), 0o600);
    assert_eq!(made("host.port") & 0o020, 0);
}

#[test]
fn an_access_control_list_opens_a_home_and_the_way_to_it() {
    let place = Place::new();
    let list = c"system.posix_acl_access";
    if !let_another_in(&place.home(), list) {
        return;
    }
    assert!(place.secure().unwrap());
    assert_eq!(place.mode("home"), 0o700);
    assert!(let_another_in(place.0.path(), list));
    assert!(matches!(place.secure(), Err(HomeError::Exposed { .. })));
}

#[test]
fn a_group_of_ones_own_may_write_on_the_way() {
    let user = accounts::user(geteuid().as_raw());
    let group = accounts::group(nix::unistd::getegid().as_raw());
    if user.is_none() || user != group.map(|(name, _)| name) {
        eprintln!("SKIPPED: whoever runs the tests has no group of their own");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o775)).unwrap();
    assert!(!place.secure().unwrap());
    if is_root() {
        chown(place.0.path(), None, Some(OTHER)).unwrap();
        assert!(matches!(place.secure(), Err(HomeError::Exposed { .. })));
    }
}
