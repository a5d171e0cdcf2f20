//! The machine as tasks see it: built once by each agent, in a mount namespace of its own.
//!
//! A small root file system that holds every top-level directory of the real one, bound in
//! place, but for what must be a worker's own: `/tmp`, `/var/tmp`, `/dev/shm`, and `/spawn` with
//! the job, the programs and the working directory. So these paths are the same wherever the
//! home is, also where it lies under `/tmp`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, getegid, geteuid, pivot_root};

use super::path_trees::PathTrees;
use super::tidy::Scratch;
use crate::shortage::is_shortage;
use crate::wire::agent::Isolation;

/// What a world is built from.
#[derive(Debug, Clone)]
pub struct WorldPlan {
    /// How far to isolate.
    pub isolation: Isolation,
    /// The array's files, with `script` and `files` in it.
    pub job: PathBuf,
    /// Programs for scripts.
    pub bin: PathBuf,
    /// This worker's own directory.
    pub worker: PathBuf,
    /// Whether tasks need a home directory of their own.
    pub own_home: bool,
    /// The directory of stand-ins, if there are any.
    pub shims: Option<PathBuf>,
    /// The tasks' PATH, and what of it would be hidden.
    pub path: PathTrees,
}

/// Why a world cannot be built as planned.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct WorldError {
    /// The step that failed.
    what: String,
    /// What the system said.
    source: io::Error,
}

impl WorldError {
    /// Whether it is for want of room, and not of rights.
    pub fn is_shortage(&self) -> bool {
        is_shortage(&self.source)
    }
}

/// The machine as tasks see it.
#[derive(Debug)]
pub struct World {
    /// How far tasks are isolated.
    pub isolation: Isolation,
    /// The array's files.
    pub job: PathBuf,
    /// Programs for scripts.
    pub bin: PathBuf,
    /// Where tasks start.
    pub work: PathBuf,
    /// Where `spored complete` leaves its word.
    pub control: PathBuf,
    /// A home directory for tasks whose own lies in a place that is private here.
    pub home: Option<PathBuf>,
    /// Stand-ins for programs that the machine has under another name only.
    pub shims: Option<PathBuf>,
    /// The launching shell's PATH, as it is here.
    pub path: PathTrees,
    per_task: Vec<Scratch>,
    per_sandbox: Vec<Scratch>,
}

impl World {
    /// Whether the last task left nothing behind; with `sandbox`, nothing in its sandbox either.
    pub fn is_clean(&self, sandbox: bool) -> bool {
        let others = if sandbox { &self.per_sandbox[..] } else { &[] };
        self.per_task.iter().chain(others).all(Scratch::is_clean)
    }

    /// Empties the working directory, for the next task. That may take long: `beat` is called again and
    /// again meanwhile.
    pub fn tidy_task(&mut self, beat: &mut dyn FnMut()) -> io::Result<()> {
        self.per_task.iter_mut().try_for_each(|s| s.empty(beat))
    }

    /// Empties everything that a sandbox has for itself, for the next sandbox.
    pub fn tidy_sandbox(&mut self, beat: &mut dyn FnMut()) -> io::Result<()> {
        self.tidy_task(beat)?;
        self.per_sandbox.iter_mut().try_for_each(|s| s.empty(beat))
    }

    /// Builds the world. The calling process lives in it from then on, and must have one thread.
    ///
    /// # Errors
    /// The process may be half-way inside then, and should end.
    pub fn build(plan: &WorldPlan) -> Result<World, WorldError> {
        for dir in ["tmp", "vartmp", "work"] {
            make_dir(&plan.worker.join(dir))?;
        }
        for dir in ["tmp", "vartmp"] {
            let dir = plan.worker.join(dir);
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))
                .map_err(failed(format!("open {} to all", dir.display())))?;
        }
        if plan.isolation == Isolation::Shared {
            return World::shared(plan);
        }
        enter_namespaces()?;
        let root = plan.worker.join("root");
        make_dir(&root)?;
        mount_new("tmpfs", &root, "mode=755,size=16m")?;
        // Else the directory that it lies in would be bound with everything bound here before.
        let alone = MsFlags::MS_UNBINDABLE;
        mount(None::<&str>, &root, None::<&str>, alone, None::<&str>)
            .map_err(failed("keep the new root out of itself"))?;
        bind_top_level(&root)?;
        let spawn = root.join("spawn");
        bind_dir(&plan.job, &spawn.join("job"), true)?;
        bind_dir(&plan.bin, &spawn.join("bin"), true)?;
        bind_dir(&plan.worker.join("work"), &spawn.join("work"), false)?;
        make_dir(&spawn.join("control"))?;
        mount_new("tmpfs", &spawn.join("control"), "mode=700,size=4m")?;
        if let Some(shims) = &plan.shims {
            bind_dir(shims, &spawn.join("shims"), true)?;
        }
        if plan.own_home {
            make_dir(&plan.worker.join("home"))?;
            bind_dir(&plan.worker.join("home"), &spawn.join("home"), false)?;
        }
        show_path(plan, &root)?;

        let mut privates = Vec::new();
        for (own, at) in [("tmp", "/tmp"), ("vartmp", "/var/tmp")] {
            let inside = root.join(at.trim_start_matches('/'));
            if !is_real_dir(&inside) {
                // Absent, or a link: to another private place, or to one that stays as it is.
                continue;
            }
            bind(&plan.worker.join(own), &inside, false)?;
            privates.push(Private::new(at, &inside, 0o1777)?);
        }
        let shm = root.join("dev/shm");
        if is_real_dir(&shm) {
            mount_new("tmpfs", &shm, "mode=1777")?;
            privates.push(Private::new("/dev/shm", &shm, 0o1777)?);
        }
        if plan.own_home {
            let inside = spawn.join("home");
            privates.push(Private::new("/spawn/home", &inside, 0o700)?);
        }
        let work = Private::new("/spawn/work", &spawn.join("work"), 0o700)?;
        let control = Private::new("/spawn/control", &spawn.join("control"), 0o700)?;
        enter_root(&root)?;

        let mut world = World {
            isolation: plan.isolation,
            job: "/spawn/job".into(),
            bin: "/spawn/bin".into(),
            work: "/spawn/work".into(),
            home: plan.own_home.then(|| "/spawn/home".into()),
            control: "/spawn/control".into(),
            shims: plan.shims.as_ref().map(|_| "/spawn/shims".into()),
            path: plan.path.clone(),
            per_task: vec![work.scratch()?, control.scratch()?],
            per_sandbox: privates
                .into_iter()
                .map(Private::scratch)
                .collect::<Result<_, _>>()?,
        };
        world
            .tidy_sandbox(&mut || {})
            .map_err(failed("empty the worker's directories"))?;
        Ok(world)
    }

    /// No place at all: for an agent that runs nothing.
    pub fn nowhere() -> World {
        World {
            isolation: Isolation::Shared,
            job: PathBuf::new(),
            bin: PathBuf::new(),
            work: PathBuf::new(),
            control: PathBuf::new(),
            home: None,
            shims: None,
            path: PathTrees::default(),
            per_task: Vec::new(),
            per_sandbox: Vec::new(),
        }
    }

    fn shared(plan: &WorldPlan) -> Result<World, WorldError> {
        let work = plan.worker.join("work");
        let control = plan.worker.join("control");
        make_dir(&control)?;
        let scratch = |path: &PathBuf| {
            Scratch::new(path.clone(), 0o700).map_err(failed(format!("open {}", path.display())))
        };
        Ok(World {
            isolation: Isolation::Shared,
            job: plan.job.clone(),
            bin: plan.bin.clone(),
            per_task: vec![scratch(&work)?, scratch(&control)?],
            per_sandbox: Vec::new(),
            shims: plan.shims.clone(),
            path: plan.path.clone(),
            home: None,
            work,
            control,
        })
    }
}

fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> WorldError {
    move |e| WorldError {
        what: what.into(),
        source: e.into(),
    }
}

fn make_dir(path: &Path) -> Result<(), WorldError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed(format!("make {}", path.display())))
}

/// A mount namespace of our own; without privileges inside a user namespace that maps only this
/// user, to the same id.
fn enter_namespaces() -> Result<(), WorldError> {
    let (uid, gid) = (geteuid(), getegid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
            .map_err(|e| failed("enter a user namespace")(super::no_namespace(e.into())))?;
        for (file, content) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("{uid} {uid} 1")),
            ("/proc/self/gid_map", format!("{gid} {gid} 1")),
        ] {
            fs::write(file, content).map_err(failed(format!("write {file}")))?;
        }
    }
    // What happens here must not reach the rest of the machine.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(failed("make mounts private"))
}

fn mount_new(kind: &str, at: &Path, options: &str) -> Result<(), WorldError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), at, Some(kind), flags, Some(options))
        .map_err(failed(format!("mount {kind} on {}", at.display())))
}

fn bind(from: &Path, to: &Path, read_only: bool) -> Result<(), WorldError> {
    let what = || format!("bind {} to {}", from.display(), to.display());
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(failed(what()))?;
    if read_only {
        // The flags that the mount has already may be locked and must be said again.
        let has = statvfs(to).map_err(failed(what()))?.flags();
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        for (held, flag) in [
            (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
            (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
            (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        ] {
            if has.contains(held) {
                flags |= flag;
            }
        }
        mount(None::<&str>, to, None::<&str>, flags, None::<&str>).map_err(failed(what()))?;
    }
    Ok(())
}

fn bind_dir(from: &Path, to: &Path, read_only: bool) -> Result<(), WorldError> {
    make_dir(to)?;
    bind(from, to, read_only)
}

/// Every top-level entry of the real root, in the new one.
fn bind_top_level(root: &Path) -> Result<(), WorldError> {
    let reading = || failed("read /");
    for entry in fs::read_dir("/").map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let kind = entry.file_type().map_err(reading())?;
        let (from, to) = (entry.path(), root.join(entry.file_name()));
        if entry.file_name() == "spawn" {
            continue;
        }
        if kind.is_symlink() && entry.file_name() != "tmp" {
            let target = fs::read_link(&from).map_err(reading())?;
            symlink(&target, &to).map_err(failed(format!("link {}", to.display())))?;
            continue;
        }
        if kind.is_symlink() {
            // It is covered by the worker's own, which must not land where the link leads.
            fs::create_dir(&to).map_err(failed(format!("make {}", to.display())))?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to).map_err(failed(format!("make {}", to.display())))?;
        } else {
            fs::write(&to, "").map_err(failed(format!("make {}", to.display())))?;
        }
        let bound = bind(&from, &to, false);
        // Odd entries (a mount gone stale, say) stay as empty places.
        if bound.is_err()
            && ["bin", "dev", "etc", "lib", "proc", "usr", "var"]
                .iter()
                .any(|n| entry.file_name() == *n)
        {
            bound?;
        }
    }
    Ok(())
}

/// Whether a path is a directory and no part of it a link.
fn is_real_dir(path: &Path) -> bool {
    path.is_dir() && path.canonicalize().is_ok_and(|real| real == path)
}

/// Shows the programs of PATH that the private directories hide.
fn show_path(plan: &WorldPlan, root: &Path) -> Result<(), WorldError> {
    let trees = plan.path.binds(root);
    if trees.is_empty() {
        return Ok(());
    }
    for (tree, at) in trees {
        bind_dir(tree, &at, true)?;
    }
    let places = plan.worker.join("path");
    plan.path
        .write_places(&places)
        .map_err(failed(format!("make {}", places.display())))?;
    bind_dir(&places, &plan.path.places(root), true)
}

/// A directory that is each worker's own, and that is emptied: so it is proved to be the same
/// one before and after the root changes.
struct Private {
    at: PathBuf,
    identity: (u64, u64),
    mode: u32,
}

impl Private {
    fn new(at: &str, inside: &Path, mode: u32) -> Result<Private, WorldError> {
        let identity = identity(inside).map_err(failed(format!("look at {}", inside.display())))?;
        Ok(Private {
            at: at.into(),
            identity,
            mode,
        })
    }

    fn scratch(self) -> Result<Scratch, WorldError> {
        let what = format!("open {}", self.at.display());
        match identity(&self.at) {
            Ok(found) if found == self.identity => {}
            Ok(_) => return Err(failed(what)(io::Error::other("it is not the worker's own"))),
            Err(e) => return Err(failed(what)(e)),
        }
        Scratch::new(self.at, self.mode).map_err(failed(what))
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Makes `root` the root and leaves the old one behind.
fn enter_root(root: &Path) -> Result<(), WorldError> {
    chdir(root).map_err(failed("enter the new root"))?;
    pivot_root(".", ".").map_err(failed("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("leave the old root"))?;
    chdir("/").map_err(failed("enter the new root"))?;
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(failed("make the root read-only"))
}

/// The program that `name` means on a PATH of these directories; itself if it has a `/`.
pub fn find_program(name: &str, path: &str) -> Option<CString> {
    use std::os::unix::ffi::OsStrExt;
    if name.contains('/') {
        return CString::new(name).ok();
    }
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        .and_then(|p| CString::new(p.as_os_str().as_bytes()).ok())
}
