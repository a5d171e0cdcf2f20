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
//! - [`home_watch`]: what becomes of a host whose home is removed or moved.
//! - [`clock`]: what becomes of deadlines when somebody sets the wall clock. [`shortage`]: what is done while the ledger's disk is full.
//! - [`checking`]: whether a home and its ledger are whole. [`read_only`]: answers about a home that cannot be written to, where no host can run.
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
mod checking;
mod clock;
mod desk;
mod doomed;
mod failed_calls;
mod home_watch;
mod host;
mod interventions;
mod isolation;
mod losses;
mod peers;
mod programs;
mod read_only;
mod serving;
mod sharing;
mod shortage;
mod starting;
mod startup;
mod stories;

use std::path::PathBuf;

use checking::{SalvageTo, WaysOn};
use lexopt::prelude::*;
use nix::sys::stat::{Mode, umask};
use spawn_local::home::Home;

const HELP: &str = "\
spawn-host: the background host of spawn's local provider

Usage: spawn-host --home DIR [--read-only | --check [--forget] [--salvage | --salvage-to FILE]]

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
    // Of whatever is made from here on, and of what the libraries make. Tasks get the umask of the
    // shell that launched them.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    match what {
        What::Serve => serve(Home::at(home)),
        What::Check(ways) => {
            let checked = checking::check(&Home::at(home), &ways);
            println!(
                "{}",
                serde_json::to_string(&checked).expect("strings and numbers")
            );
        }
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
    /// To check a home, and to say as JSON what was found.
    Check(WaysOn),
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
    let mut ways = WaysOn::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Long("read-only") => what = What::ReadOnly,
            Long("check") => what = What::Check(WaysOn::default()),
            Long("forget") => ways.forget = true,
            Long("salvage") => ways.salvage = Some(SalvageTo::Home),
            Long("salvage-to") => {
                ways.salvage = Some(SalvageTo::File(PathBuf::from(parser.value()?)));
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if let What::Check(asked) = &mut what {
        *asked = ways;
    }
    home.map(|home| Some((home, what)))
        .ok_or_else(|| "`--home DIR` is missing".into())
}
