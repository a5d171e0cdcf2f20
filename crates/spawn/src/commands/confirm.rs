//! Asking before something is undone.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::error::CliError;

/// Asks on a terminal whether to do `what`; elsewhere `--yes` must have been given.
///
/// `again` is the command that goes ahead without asking.
pub fn confirm(what: &str, is_agreed: bool, again: String) -> Result<(), CliError> {
    if is_agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::Unconfirmed {
            what: what.to_owned(),
            again,
        });
    }
    let _ = write!(io::stderr(), "{what}; go ahead? [y/N] ");
    let mut answer = String::new();
    let heard = io::stdin().lock().read_line(&mut answer);
    match heard.map(|_| answer.trim().to_ascii_lowercase()).as_deref() {
        Ok("y" | "yes") => Ok(()),
        _ => Err(CliError::Declined),
    }
}
