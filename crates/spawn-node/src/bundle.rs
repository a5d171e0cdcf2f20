//! A job's files as one blob: the script, the rows and what is shipped.
//!
//! ```text
//! SPAWN-BUNDLE 1\n
//! {"files":[{"path":"script/run.sh","size":12,"executable":true}, ...]}\n
//! the contents, one after another
//! ```
//!
//! The same files give the same bytes: names are in order, and neither owners nor times are kept.
//! So the SHA-256 of a bundle is its name.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spawn_local::private_files;

const MAGIC: &str = "SPAWN-BUNDLE 1\n";

/// The longest head that is read, in bytes: a million files, say.
const LONGEST_HEAD: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: String,
    size: u64,
    executable: bool,
}

/// Why a bundle cannot be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was asked for.
    #[error("the bundle's SHA-256 is {found}, not {expected}")]
    Hash {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It is no bundle, or one that was cut short.
    #[error("this is not a bundle: {0}")]
    Malformed(String),
    /// A name that is no place inside the job.
    #[error("`{0}` is not a path inside a job")]
    Path(String),
    /// Neither a file nor a directory.
    #[error("`{0}` is neither a file nor a directory")]
    Kind(String),
}

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BundleError {
    let doing = doing.into();
    move |source| BundleError::Io { doing, source }
}

/// Packs all files below `dir`.
///
/// # Errors
/// A file cannot be read, has a name that is no text, or is neither file nor directory: links are
/// not followed.
pub fn pack(dir: &Path, mut to: impl Write) -> Result<(), BundleError> {
    let mut files = Vec::new();
    find(dir, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let head = serde_json::to_string(&Head { files }).unwrap_or_default();
    let put = |to: &mut dyn Write, bytes: &[u8]| {
        to.write_all(bytes).map_err(io_error("write the bundle"))
    };
    put(&mut to, format!("{MAGIC}{head}\n").as_bytes())?;
    let Head { files } =
        serde_json::from_str(&head).map_err(|e| BundleError::Malformed(e.to_string()))?;
    for entry in files {
        let doing = || format!("read `{}`", entry.path);
        let mut file = File::open(dir.join(&entry.path)).map_err(io_error(doing()))?;
        let copied =
            io::copy(&mut (&mut file).take(entry.size), &mut to).map_err(io_error(doing()))?;
        if copied != entry.size {
            let source = io::Error::other("it became shorter meanwhile");
            return Err(BundleError::Io {
                doing: doing(),
                source,
            });
        }
    }
    to.flush().map_err(io_error("write the bundle"))
}

fn find(dir: &Path, below: &str, files: &mut Vec<Entry>) -> Result<(), BundleError> {
    let doing = || format!("read the directory `{}`", dir.display());
    for entry in fs::read_dir(dir).map_err(io_error(doing()))? {
        let entry = entry.map_err(io_error(doing()))?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| BundleError::Path(name.to_string_lossy().into_owned()))?;
        let path = format!("{below}{name}");
        let meta = entry
            .metadata()
            .map_err(io_error(format!("read `{path}`")))?;
        if meta.is_dir() {
            find(&entry.path(), &format!("{path}/"), files)?;
        } else if meta.is_file() {
            files.push(Entry {
                size: meta.len(),
                executable: meta.permissions().mode() & 0o100 != 0,
                path,
            });
        } else {
            return Err(BundleError::Kind(path));
        }
    }
    Ok(())
}

/// The SHA-256 of all that a reader gives, in hexadecimal digits.
///
/// # Errors
/// It cannot be read.
pub fn sha256(mut from: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Unpacks the bundle at `path` into the empty or missing directory `into`, if it is the one with
/// this hash. Nothing is written otherwise.
///
/// # Errors
/// It is another, is malformed, or a file cannot be written; then `into` is not complete.
pub fn unpack_verified(path: &Path, expected: &str, into: &Path) -> Result<(), BundleError> {
    let doing = || format!("read `{}`", path.display());
    let found = File::open(path)
        .and_then(sha256)
        .map_err(io_error(doing()))?;
    if found != expected {
        let expected = expected.to_owned();
        return Err(BundleError::Hash { expected, found });
    }
    unpack(File::open(path).map_err(io_error(doing()))?, into)
}

/// Unpacks a bundle into a directory, for this user alone.
///
/// # Errors
/// It is malformed, names a path outside the directory or a file that is there already, or a file
/// cannot be written. All names are looked at before anything is written.
pub fn unpack(from: impl Read, into: &Path) -> Result<(), BundleError> {
    let cut = |e: io::Error| BundleError::Malformed(e.to_string());
    let mut from = BufReader::new(from);
    let mut magic = vec![0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(cut)?;
    if magic != MAGIC.as_bytes() {
        return Err(BundleError::Malformed("it begins otherwise".to_owned()));
    }
    let mut head = Vec::new();
    let mut limited = (&mut from).take(LONGEST_HEAD);
    limited.read_until(b'\n', &mut head).map_err(cut)?;
    let head: Head =
        serde_json::from_slice(&head).map_err(|e| BundleError::Malformed(e.to_string()))?;
    let mut seen = BTreeSet::new();
    for entry in &head.files {
        if !is_inside(&entry.path) || !seen.insert(entry.path.as_str()) {
            return Err(BundleError::Path(entry.path.clone()));
        }
    }
    for entry in &head.files {
        write(&mut from, entry, into)?;
    }
    match from.read(&mut [0]).map_err(cut)? {
        0 => Ok(()),
        _ => Err(BundleError::Malformed(
            "something follows its end".to_owned(),
        )),
    }
}

/// Whether a name stays in the directory it is joined to.
fn is_inside(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn write(from: &mut impl Read, entry: &Entry, into: &Path) -> Result<(), BundleError> {
    let doing = || format!("write `{}`", entry.path);
    let path = into.join(&entry.path);
    if let Some(dir) = path.parent() {
        private_files::make_dir(dir).map_err(io_error(doing()))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if entry.executable { 0o700 } else { 0o600 })
        .open(&path)
        .map_err(io_error(doing()))?;
    let copied = io::copy(&mut from.take(entry.size), &mut file).map_err(io_error(doing()))?;
    match copied == entry.size {
        true => Ok(()),
        false => Err(BundleError::Malformed(format!(
            "`{}` is cut short",
            entry.path
        ))),
    }
}
