//! The file of `--output-id`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use spawn_core::array_id::ArrayId;

use crate::error::CliError;

/// The file of `--output-id`, known to be writable before anything starts.
pub struct IdFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl IdFile {
    /// Opens it without changing it.
    pub fn open(path: &Path) -> Result<IdFile, CliError> {
        let is_new = !path.exists();
        // What is in it stays until there is an id to put there.
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|e| CliError::Usage {
            message: format!("`--output-id {}` cannot be written: {e}", path.display()),
            hint: None,
        })?;
        Ok(IdFile {
            path: path.to_owned(),
            file,
            is_new,
        })
    }

    /// Puts the id into it.
    pub fn write(mut self, id: &ArrayId) -> Result<(), CliError> {
        // Devices cannot be cut, and need not be.
        let _ = self.file.set_len(0);
        writeln!(self.file, "{id}").map_err(|source| CliError::File {
            verb: "write",
            path: self.path,
            source,
        })
    }

    /// Takes it back: there is no id.
    pub fn discard(self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}
