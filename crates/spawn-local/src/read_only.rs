//! Homes that cannot be written to.

use std::io;

use nix::unistd::{AccessFlags, access};

use crate::home::Home;

/// Why a home that is there cannot be written to by this user; nothing if it can, or is not there.
pub fn obstacle(home: &Home) -> Option<io::Error> {
    let mut needed = vec![home.root().to_owned()];
    needed.extend([home.ledger(), home.lock(), home.host_log()]);
    needed.iter().find_map(|path| {
        let refused = access(path, AccessFlags::W_OK).err()?;
        let error = io::Error::from(refused);
        matches!(
            error.kind(),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
        )
        .then_some(error)
    })
}
