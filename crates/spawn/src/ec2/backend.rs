//! Questions about arrays on EC2, answered from the ledger and the bucket.

use std::time::{Duration, Instant};

use spawn_core::array_id::ArrayId;
use spawn_ec2::desk::Desk;
use spawn_local::home::Home;
use spawn_local::host_client::HostError;
use spawn_local::wire::client::{Answer, ArrayStatus, Request};
use spawn_ports::ledger::AgentId;

use super::account;
use crate::error::CliError;

/// An array that is watched is looked at this often at first, and then seldom.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// As often as that, once it has been watched for a while.
const LOOK_SELDOM: Duration = Duration::from_secs(10);
/// So long.
const A_WHILE: Duration = Duration::from_secs(300);
/// What tasks print is carried to the bucket with every heartbeat; it is not looked for more often.
const LOGS_EVERY: Duration = Duration::from_secs(3);

/// Where an array's questions are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// The region.
    pub region: String,
    /// The account, twelve digits.
    pub account: String,
}

/// A region of an account.
pub struct Ec2Backend {
    place: Where,
    desk: Desk,
    watched: Option<Watch>,
    logs_at: Option<Instant>,
}

impl std::fmt::Debug for Ec2Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ec2Backend")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// An array that is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    since: Instant,
    looked: Instant,
}

impl Watch {
    fn next_look(&self) -> Instant {
        let every = match self.looked.duration_since(self.since) < A_WHILE {
            true => LOOK_EVERY,
            false => LOOK_SELDOM,
        };
        self.looked + every
    }
}

impl Ec2Backend {
    /// The region; nothing is asked before the first question.
    pub fn open(place: Where) -> Result<Ec2Backend, CliError> {
        let client = account::client(Some(&place.region))?;
        Ok(Ec2Backend {
            desk: Desk::new(client, &place.account),
            place,
            watched: None,
            logs_at: None,
        })
    }

    /// Where it is.
    pub fn place(&self) -> &Where {
        &self.place
    }

    /// One question.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, CliError> {
        match self.desk.answer(request.clone())? {
            Answer::Refused { kind, message } => Err(HostError::Refused { kind, message }.into()),
            answer => Ok(answer),
        }
    }

    /// Begins to watch an array.
    pub fn watch(&mut self, id: &ArrayId) -> Result<ArrayStatus, CliError> {
        let status = self.status(id)?;
        let now = Instant::now();
        self.watched = Some(Watch {
            since: now,
            looked: now,
        });
        Ok(status)
    }

    /// The watched array as it stands at the next look; nothing if that comes after `patience`.
    pub fn next_change(
        &mut self,
        id: &ArrayId,
        patience: Duration,
    ) -> Result<Option<Box<ArrayStatus>>, CliError> {
        let now = Instant::now();
        let due = self.watched.map_or(now, |watch| watch.next_look());
        let wait = due.saturating_duration_since(now);
        std::thread::sleep(wait.min(patience));
        if wait > patience {
            return Ok(None);
        }
        let status = self.status(id)?;
        if let Some(watch) = &mut self.watched {
            watch.looked = Instant::now();
        }
        Ok(Some(Box::new(status)))
    }

    fn status(&mut self, id: &ArrayId) -> Result<ArrayStatus, CliError> {
        match self.ask(&Request::Status { id: id.clone() })? {
            Answer::Status(status) => Ok(*status),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Brings what an agent's tasks printed into its file below the home.
    pub fn sync_log(&mut self, home: &Home, id: &ArrayId, agent: AgentId) -> Result<(), CliError> {
        Ok(self.desk.sync_log(id, agent, &home.log(id, agent))?)
    }

    /// Brings what all agents' tasks printed into their files below the home.
    pub fn sync_logs(&mut self, home: &Home, id: &ArrayId, is_last: bool) -> Result<(), CliError> {
        let is_due = self.logs_at.is_none_or(|at| at.elapsed() >= LOGS_EVERY);
        if !is_due && !is_last {
            return Ok(());
        }
        let path = home.log(id, AgentId(0));
        let dir = path.parent().unwrap_or(home.root());
        self.desk.sync_logs(id, dir)?;
        self.logs_at = Some(Instant::now());
        Ok(())
    }
}
