//! Answers about a home that cannot be written to: on a read-only disk, or closed by its owner. No
//! host can run there, so whoever asks starts this program, and it ends with the conversation.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use spawn_core::array_id::ArrayId;
use spawn_local::answers::{self, Slots, record_of, refusal, resolve};
use spawn_local::home::Home;
use spawn_local::ledger::SqliteLedger;
use spawn_local::wall_clock;
use spawn_local::wire::PROTOCOL;
use spawn_local::wire::client::{Answer, ArrayStatus, HostInfo, Refusal, Request, Waiting};
use spawn_local::wire::frames::{self, Inbox};
use spawn_ports::ledger::{Ledger, LedgerError};

/// Answers on standard input, a socket, until the other side closes it.
pub(crate) fn serve(home: &Home) -> io::Result<()> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut client = UnixStream::from(socket);
    let mut inbox = Inbox::new();
    let mut ledger = SqliteLedger::open_frozen(&home.ledger());
    loop {
        let request: Request = match frames::receive(&mut inbox, &mut client) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            request => request?,
        };
        let answer = match &mut ledger {
            Ok(ledger) => answer(home, ledger, request).unwrap_or_else(|e| refusal(&e)),
            Err(e) => refusal(e),
        };
        frames::send(&answer, &mut client)?;
    }
}

fn answer(home: &Home, ledger: &mut SqliteLedger, request: Request) -> Result<Answer, LedgerError> {
    Ok(match request {
        Request::Hello { .. } | Request::Host => Answer::Host(HostInfo {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: wall_clock::now().0,
            endpoint_port: 0,
            agents: 0,
            unfinished: ledger.unfinished()?.len() as u32,
            limits: false,
            isolation: None,
            lessened: None,
            warnings: Vec::new(),
        }),
        Request::Resolve { typed } => Answer::Matches(resolve(ledger, &typed)?),
        Request::Arrays { limit } => Answer::Arrays(ledger.arrays(limit)?),
        Request::Status { id } => Answer::Status(Box::new(status(home, ledger, &id)?)),
        Request::Wait { id } => {
            let status = status(home, ledger, &id)?;
            match status.record.counts.all_ended() {
                true => Answer::Status(Box::new(status)),
                false => refused(home, &format!("a wait for `{id}` would never end")),
            }
        }
        Request::Tasks { id, query } => {
            let rows = ledger.tasks(&id, query)?;
            Answer::Tasks(Slots::default().lines(ledger, rows)?)
        }
        Request::Attempts { id, position } => Answer::Attempts(ledger.attempts(&id, position)?),
        Request::Explain { id, position } => match answers::task_of(ledger, &id, position)? {
            None => answers::no_such_task(),
            Some(found) => {
                let slots = &mut Slots::default();
                let waiting = Waiting::HeldUp { why: why(home) };
                let now = wall_clock::now();
                let story = answers::story(ledger, slots, found, None, waiting, now)?;
                Answer::Story(Box::new(story))
            }
        },
        Request::Shutdown => Answer::Done,
        Request::Submit { .. }
        | Request::Interrupt { .. }
        | Request::Extend { .. }
        | Request::Retry { .. }
        | Request::Close { .. }
        | Request::MissingBuckets { .. } => refused(home, "nothing can be changed there"),
    })
}

fn status(
    home: &Home,
    ledger: &mut SqliteLedger,
    id: &ArrayId,
) -> Result<ArrayStatus, LedgerError> {
    let record = record_of(ledger, id)?;
    // Where nothing waits, nothing is held up.
    let held_up = (record.counts.pending > 0).then(|| why(home));
    let now = wall_clock::now();
    answers::status(
        ledger,
        &mut Slots::default(),
        record,
        Vec::new(),
        held_up,
        now,
    )
}

fn why(home: &Home) -> String {
    format!(
        "the home {} cannot be written to, so nothing runs from it",
        home.root().display()
    )
}

fn refused(home: &Home, what: &str) -> Answer {
    Answer::Refused {
        kind: Refusal::ReadOnly,
        message: format!("{}; {what}", why(home)),
    }
}
