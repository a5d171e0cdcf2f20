//! The files of a launch: script, rows of parameters, shipped files, in place before the host hears of it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use spawn_core::array_id::ArrayId;
use spawn_local::home::Home;
use spawn_local::private_files::{self, make_dir};
use spawn_local::rows;
use spawn_spec::{Program, Resolved};

use crate::error::CliError;

/// Writes the script and copies the files to ship. What was written is removed if it fails.
pub fn place(home: &Home, id: &ArrayId, resolved: &Resolved) -> Result<(), CliError> {
    let array = home.array(id);
    make_dir(&array).map_err(failed("make", &array))?;
    // Where there was no home yet, somebody else may have been quicker to make one.
    home.secure()?;
    let placed = try_place(&home.job(id), resolved).and_then(|()| match resolved.spec.durable {
        true => sync(home, &array).map_err(failed("bring to the disk", &array)),
        false => Ok(()),
    });
    if placed.is_err() {
        remove(home, id);
    }
    placed
}

/// With `--durable` the launch is acknowledged once its files survive a loss of power.
fn sync(home: &Home, array: &Path) -> io::Result<()> {
    private_files::sync_tree(array)?;
    private_files::sync_entry(&home.arrays())?;
    // The home itself may be new.
    private_files::sync_entry(home.root())?;
    home.root()
        .parent()
        .map_or(Ok(()), private_files::sync_entry)
}

/// Takes back what [`place`] wrote.
pub fn remove(home: &Home, id: &ArrayId) {
    // What is left behind is in nobody's way.
    let _ = fs::remove_dir_all(home.array(id));
}

fn try_place(job: &Path, resolved: &Resolved) -> Result<(), CliError> {
    if let (Program::Script { file_name, .. }, Some(script)) =
        (&resolved.spec.program, &resolved.script)
    {
        let path = job.join("script").join(file_name);
        write_script(&path, script).map_err(failed("write", &path))?;
    }
    if !resolved.rows.is_empty() {
        make_dir(job).map_err(failed("make", job))?;
        let path = job.join(rows::FILE);
        rows::write(&path, &resolved.rows).map_err(failed("write", &path))?;
    }
    let files = job.join("files");
    make_dir(&files).map_err(failed("make", &files))?;
    for (from, name) in &resolved.ship {
        let to = files.join(name);
        if let Some(parent) = to.parent() {
            make_dir(parent).map_err(failed("make", parent))?;
        }
        copy(from, &to).map_err(failed("ship", from))?;
    }
    Ok(())
}

fn write_script(path: &Path, script: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let mut file = private_files::options()
        .write(true)
        .create_new(true)
        .open(path)?;
    io::Write::write_all(&mut file, script)?;
    file.set_permissions(fs::Permissions::from_mode(0o700))
}

/// Content and whether it may be executed; always writable, so that it can be removed.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = fs::File::open(from)?;
    let mode = from.metadata()?.permissions().mode();
    let mode = if mode & 0o111 == 0 { 0o600 } else { 0o700 };
    let mut to = private_files::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(fs::Permissions::from_mode(mode))
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CliError + 'a {
    move |source| CliError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}
