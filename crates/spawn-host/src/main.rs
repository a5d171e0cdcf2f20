//! `spawn-host`: the per-user background host of the local provider.
//!
//! One thread, one loop, and the one writer of the ledger. Every round takes in all that
//! commands and agents have said, does it in one ledger transaction, and only then answers: a
//! group commit that costs a busy host no more than a quiet one.
//!
//! - [`host`]: the loop. [`desk`]: all that the loop looks after. [`peers`]: sockets and frames. [`serving`]: what commands ask.
//!   [`interventions`]: what people do to an array that runs. [`stories`]: what is told of one task.
//!   [`agents`]: what agents say. [`failed_calls`]: which of their tasks' AWS calls failed. [`starting`]: how they start. [`arrays`]: which arrays live and how many agents each gets.
//! - [`home_watch`]: what becomes of a host whose home is removed or moved.
//! - [`clock`]: what becomes of deadlines when somebody sets the wall clock. [`shortage`]: what is done while the ledger's disk is full.
//! - [`read_only`]: answers about a home that cannot be written to, where no host can run.
//! - [`losses`]: what the ledger has lost, as far as the files beside it tell.
//! - [`startup`]: taking the lock, recovering after a crash. [`programs`]: the programs for scripts.
//!
//! The embedded endpoint runs on a thread of its own and costs nothing before its first call.

/// Writes a line to the host's log. On a full disk it is lost, and nothing else is.
macro_rules! note {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

mod agents;
mod arrays;
mod clock;
mod desk;
mod failed_calls;
mod home_watch;
mod host;
mod interventions;
mod losses;
mod peers;
mod programs;
mod read_only;
mod serving;
mod shortage;
mod starting;
mod startup;
mod stories;

use std::path::PathBuf;

use lexopt::prelude::*;
use spawn_local::home::Home;

const HELP: &str = "\
spawn-host: the background host of spawn's local provider

Usage: spawn-host --home DIR [--read-only]

`spawn` starts it when it is needed and it ends by itself when idle.
`spawn local status` and `spawn local stop` look after it.
";

fn main() {
    let (home, what) = match arguments() {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            print!("{HELP}");
            return;
        }
        Err(e) => {
            note!("spawn-host: {e}");
            std::process::exit(2);
        }
    };
    match what {
        What::Serve => serve(Home::at(home)),
        What::ReadOnly => {
            if let Err(e) = read_only::serve(&Home::at(home)) {
                note!("spawn-host {}: {e}", std::process::id());
                std::process::exit(1);
            }
        }
    }
}

/// What is asked of this program.
enum What {
    /// To be the host.
    Serve,
    /// To answer about a home that cannot be written to.
    ReadOnly,
}

fn serve(home: Home) {
    match startup::start(home) {
        Ok(Some(host)) => {
            if let Err(e) = host.serve() {
                note!("spawn-host {}: {e}", std::process::id());
                std::process::exit(1);
            }
        }
        // Another host serves this home; whoever started us will find it.
        Ok(None) => println!("taken"),
        Err(e) => {
            println!("{e}");
            note!("spawn-host {}: {e}", std::process::id());
            std::process::exit(1);
        }
    }
}

fn arguments() -> Result<Option<(PathBuf, What)>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut home = None;
    let mut what = What::Serve;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Long("read-only") => what = What::ReadOnly,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    home.map(|home| Some((home, what)))
        .ok_or_else(|| "`--home DIR` is missing".into())
}
