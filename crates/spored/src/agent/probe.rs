//! How far tasks can be kept apart on this machine: by doing it once, with no array involved.
//!
//! The host runs this before its first agent. What an agent finds amiss later is then a fault of its array
//! or of the moment, and never a reason to isolate others less.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use spawn_local::sandbox::{BorrowedPipe, FromInit, Program, Sandbox, World, WorldPlan};
use spawn_local::shortage::{is_shortage, is_shortage_errno};
use spawn_local::wire::agent::{Isolation, Probed};

/// Builds a world in `dir` and opens a sandbox in it. The process should end then.
pub fn probe(dir: &Path, isolation: Isolation) -> Probed {
    let plan = WorldPlan {
        isolation,
        job: dir.to_owned(),
        bin: dir.to_owned(),
        worker: dir.to_owned(),
        own_home: false,
        shims: None,
        path: Vec::<PathBuf>::new(),
    };
    let world = match World::build(&plan) {
        Ok(world) => world,
        Err(e) if e.is_shortage() => return Probed::Short { why: e.to_string() },
        Err(e) => return Probed::No { why: e.to_string() },
    };
    let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let program = Program {
        // Whether it is there does not matter: it is started once all is set up.
        path: c"/bin/true".to_owned(),
        argv: vec![c"true".to_owned()],
        env: Vec::new(),
        directory: text(&world.work),
        first_to_go: false,
        stdout: BorrowedPipe(2),
        stderr: BorrowedPipe(2),
    };
    let of_errno = |errno: i32, why: String| match is_shortage_errno(errno) {
        true => Probed::Short { why },
        false => Probed::No { why },
    };
    let sandbox = match Sandbox::open(isolation, "probe", &program, Some(&[])) {
        Ok(sandbox) => sandbox,
        Err(e) => {
            let why = format!("cannot open a sandbox: {e}");
            return match is_shortage(&e) {
                true => Probed::Short { why },
                false => Probed::No { why },
            };
        }
    };
    let heard = loop {
        match sandbox.hear() {
            Ok(FromInit::Lingering(_)) => {}
            other => break other,
        }
    };
    let _ = sandbox.kill();
    match heard {
        Ok(FromInit::Broken { errno, step }) => {
            let error = std::io::Error::from_raw_os_error(errno);
            of_errno(
                errno,
                format!("cannot set up a sandbox ({step:?}): {error}"),
            )
        }
        Ok(FromInit::Gone) => Probed::No {
            why: "the sandbox ended before it was set up".to_owned(),
        },
        // The program ran, or was the only thing that did not.
        Ok(_) => Probed::Yes,
        Err(e) => Probed::Short { why: e.to_string() },
    }
}
