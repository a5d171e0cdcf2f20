//! Where the measured programs are.

use std::path::{Path, PathBuf};

/// How to build what is missing.
const BUILD: &str = "cargo build --release -p spawn -p spored -p spawn-host -p spawn-bench";

/// The programs of this workspace, beside this one, and those of the machine.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The directory of all programs of this workspace.
    pub dir: PathBuf,
    /// `floor-bare`.
    pub floor_bare: PathBuf,
    /// `floor-sandbox`.
    pub floor_sandbox: PathBuf,
    /// `stamp`.
    pub stamp: PathBuf,
    /// `spawn`.
    pub spawn: PathBuf,
    /// `xargs`, if installed.
    pub xargs: Option<PathBuf>,
    /// GNU parallel, if installed.
    pub parallel: Option<PathBuf>,
    /// `true`.
    pub true_: PathBuf,
    /// `bash`.
    pub bash: PathBuf,
    /// `sleep`.
    pub sleep: PathBuf,
}

impl Programs {
    /// Finds them; those of `spawn` only if `with_spawn`.
    ///
    /// # Errors
    /// The command that builds what is missing, or what to install.
    pub fn find(with_spawn: bool) -> Result<Programs, String> {
        let me = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let dir = me.parent().unwrap_or(Path::new("/")).to_owned();
        let mut needed = vec!["floor-bare", "floor-sandbox", "stamp"];
        if with_spawn {
            needed.extend(["spawn", "spawn-host", "spored"]);
        }
        let missing: Vec<&str> = needed
            .into_iter()
            .filter(|name| !dir.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            let (missing, dir) = (missing.join(", "), dir.display());
            return Err(format!("no {missing} in {dir}\n  hint: run `{BUILD}`"));
        }
        let needs = |name: &str| on_path(name).ok_or(format!("no `{name}` on the PATH"));
        Ok(Programs {
            floor_bare: dir.join("floor-bare"),
            floor_sandbox: dir.join("floor-sandbox"),
            stamp: dir.join("stamp"),
            spawn: dir.join("spawn"),
            xargs: on_path("xargs"),
            parallel: on_path("parallel"),
            true_: needs("true")?,
            bash: needs("bash")?,
            sleep: needs("sleep")?,
            dir,
        })
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_absolute() && program.is_file())
}
