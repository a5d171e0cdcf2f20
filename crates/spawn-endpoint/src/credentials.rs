//! The one key pair that may call the endpoint: random, per directory, never an AWS account's.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::EndpointError;
use crate::identifiers;

/// What every access key made here begins with, so that it is never taken for an account's.
const ACCESS_KEY_PREFIX: &str = "SPAWNLOCAL";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A key pair that signs requests to the endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 20 upper-case letters and digits, beginning with `SPAWNLOCAL`.
    pub access_key_id: String,
    /// 52 letters and digits, 256 random bits from the operating system.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the key pair in `file`, or makes a random one and writes it there with mode 0600.
    ///
    /// The file has the shape of an AWS shared credentials file with one `[default]` profile.
    /// Of several processes that create it at once, all return the same pair.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else than a key pair.
    pub fn load_or_create(file: &Path) -> Result<Self, EndpointError> {
        match fs::read_to_string(file) {
            Ok(text) => return Self::parse(&text, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(unusable("read", file, source)),
        }
        let made = Self::random()?;
        match made.publish(file) {
            Ok(()) => Ok(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text =
                    fs::read_to_string(file).map_err(|source| unusable("read", file, source))?;
                Self::parse(&text, file)
            }
            Err(source) => Err(unusable("create", file, source)),
        }
    }

    fn random() -> Result<Self, EndpointError> {
        Ok(Self {
            access_key_id: format!("{ACCESS_KEY_PREFIX}{}", base32::<10>()?),
            secret_access_key: base32::<52>()?,
        })
    }

    /// Writes beside `file`, then links into place: the name appears complete or not at all.
    fn publish(&self, file: &Path) -> io::Result<()> {
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut draft = file.as_os_str().to_owned();
        draft.push(format!(".{}", identifiers::hex::<8>()));
        let draft = Path::new(&draft);
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(draft)?;
        let written = write!(
            out,
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.access_key_id, self.secret_access_key
        )
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::hard_link(draft, file));
        fs::remove_file(draft)?;
        written
    }

    fn parse(text: &str, file: &Path) -> Result<Self, EndpointError> {
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
            })
        };
        match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Self {
                access_key_id,
                secret_access_key,
            }),
            _ => Err(EndpointError::Credentials {
                path: file.to_owned(),
            }),
        }
    }
}

fn base32<const N: usize>() -> Result<String, EndpointError> {
    let bytes: [u8; N] = identifiers::bytes().ok_or(EndpointError::Random)?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(BASE32[usize::from(byte % 32)]))
        .collect())
}

fn unusable(action: &'static str, file: &Path, source: io::Error) -> EndpointError {
    EndpointError::File {
        action,
        path: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pair_is_made_once_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("deep/credentials");
        let made = Credentials::load_or_create(&file).unwrap();
        assert_eq!(made, Credentials::load_or_create(&file).unwrap());
        assert_eq!(made.access_key_id.len(), 20);
        assert!(made.access_key_id.starts_with(ACCESS_KEY_PREFIX));
        assert_eq!(made.secret_access_key.len(), 52);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        assert!(!format!("{made:?}").contains(&made.secret_access_key));
    }

    #[test]
    fn creators_at_once_agree() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("credentials");
        let pairs: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Credentials::load_or_create(&file).unwrap()))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap())
                .collect()
        });
        assert!(pairs.iter().all(|pair| *pair == pairs[0]));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("credentials");
        fs::write(&file, "hello").unwrap();
        assert!(matches!(
            Credentials::load_or_create(&file),
            Err(EndpointError::Credentials { .. })
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "hello");
    }
}
