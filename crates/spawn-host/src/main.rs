//! `spawn-host`: the per-user background host of the local provider.
//!
//! One thread, one loop, and the one writer of the ledger. Every round takes in all that
//! commands and agents have said, does it in one ledger transaction, and only then answers: a
//! group commit that costs a busy host no more than a quiet one.
//!
//! - [`host`]: the loop. [`desk`]: all that the loop looks after. [`peers`]: sockets and frames. [`serving`]: what commands ask.
//!   [`interventions`]: what people do to an array that runs. [`stories`]: what is told of one task.
//!   [`agents`]: what agents say. [`failed_calls`]: which of their tasks' AWS calls failed. [`starting`]: how they start. [`arrays`]: which arrays live and what they want. [`sharing`]: which of them gets an agent.
//!   [`isolation`]: how far tasks can be kept apart here. [`doomed`]: agents that do not keep their word, and what does not go.
//! - [`clock`]: what becomes of deadlines when somebody sets the wall clock. [`shortage`]: what is done while the ledger's disk is full.
//! - [`startup`]: taking the lock, recovering after a crash, the programs for scripts.
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
mod doomed;
mod failed_calls;
mod host;
mod interventions;
mod isolation;
mod peers;
mod serving;
mod sharing;
mod shortage;
mod starting;
mod startup;
mod stories;

use std::path::PathBuf;

use lexopt::prelude::*;
use spawn_local::home::Home;

const HELP: &str = "\
spawn-host: the background host of spawn's local provider

Usage: spawn-host --home DIR

`spawn` starts it when it is needed and it ends by itself when idle.
`spawn local status` and `spawn local stop` look after it.
";

fn main() {
    let home = match arguments() {
        Ok(Some(home)) => home,
        Ok(None) => {
            print!("{HELP}");
            return;
        }
        Err(e) => {
            note!("spawn-host: {e}");
            std::process::exit(2);
        }
    };
    match startup::start(Home::at(home)) {
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

fn arguments() -> Result<Option<PathBuf>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut home = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    home.map(Some)
        .ok_or_else(|| "`--home DIR` is missing".into())
}
