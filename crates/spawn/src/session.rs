//! A conversation in the words of the commands: with the background host about arrays on this
//! machine, with ledger and bucket about those on EC2.

use std::io::{self, Write};
use std::time::Duration;

use spawn_core::array_id::ArrayId;
use spawn_core::task::Intent;
use spawn_local::array_files;
use spawn_local::home::Home;
use spawn_local::host_client::{HostClient, HostError};
use spawn_local::read_only;
use spawn_local::wire::client::{
    Answer, ArrayStatus, HostInfo, Interrupted, Request, Story, TaskLine, ToldWorker,
};
use spawn_ports::ledger::{AgentId, ArrayRecord, AttemptRow, NewArray, Reopen, TaskQuery, TaskRow};

use crate::ec2::backend::{Ec2Backend, Where};
use crate::ec2::{account, known};
use crate::error::CliError;
use crate::read_model::Indices;
use crate::render::{note_on_stderr, warn_on_stderr};

/// A host lost this often within one question is not lost by accident.
const RESTARTS: u32 = 3;

/// Where this user's state lives, which no other user reaches.
pub fn home() -> Result<Home, CliError> {
    let home = Home::locate(|name| std::env::var_os(name))?;
    if home.secure()? {
        let _ = writeln!(io::stderr(), "note: {}", home.closed_note());
    }
    Ok(home)
}

/// A conversation.
#[derive(Debug)]
pub struct Session {
    home: Home,
    backend: Backend,
}

/// Who answers.
#[derive(Debug)]
enum Backend {
    /// The background host of this machine.
    Host(Box<HostClient>),
    /// The ledger of a home that cannot be written to.
    Frozen(Box<HostClient>),
    /// A region of an AWS account.
    Ec2(Box<Ec2Backend>),
}

/// What a wait brought.
#[derive(Debug)]
pub enum Waited {
    /// The array as it stands now.
    Status(Box<ArrayStatus>),
    /// Nothing within the patience.
    Nothing,
}

impl Session {
    /// Talks to the host, starting it where none runs; unfinished arrays then go on.
    pub fn open() -> Result<Session, CliError> {
        let home = home()?;
        Session::of_host(&home, reach(&home)?).ok_or_else(|| read_only_error(&home))
    }

    fn of_host(home: &Home, client: Option<HostClient>) -> Option<Session> {
        client.map(|client| Session {
            home: home.clone(),
            backend: Backend::Host(Box::new(client)),
        })
    }

    /// As [`Session::open`], for commands that only read: where nothing was ever launched there
    /// is nothing to read, and nothing to start.
    pub fn open_to_read() -> Result<Option<Session>, CliError> {
        let home = home()?;
        // A ledger that is gone has lost the arrays whose files are still there: the host says so.
        if !home.ledger().exists() && !array_files::are_there(&home).unwrap_or(false) {
            return Ok(None);
        }
        if let Some(session) = Session::of_host(&home, reach(&home)?) {
            return Ok(Some(session));
        }
        note_on_stderr(&format!(
            "the home {} cannot be written to ({}); this is what is recorded there, and nothing \
             runs from it",
            home.root().display(),
            obstacle_text(&home)
        ));
        let backend = Backend::Frozen(Box::new(HostClient::read_only(&home)?));
        Ok(Some(Session { home, backend }))
    }

    /// Asks about arrays in a region of EC2.
    pub fn on_ec2(place: Where) -> Result<Session, CliError> {
        let home = home()?;
        let backend = Backend::Ec2(Box::new(Ec2Backend::open(place)?));
        Ok(Session { home, backend })
    }

    /// Another conversation with the same.
    pub fn another(&self) -> Result<Session, CliError> {
        match &self.backend {
            Backend::Host(_) => Session::open(),
            Backend::Frozen(_) => Ok(Session {
                home: self.home.clone(),
                backend: Backend::Frozen(Box::new(HostClient::read_only(&self.home)?)),
            }),
            Backend::Ec2(ec2) => Session::on_ec2(ec2.place().clone()),
        }
    }

    /// The conversation about the array that `typed` names, wherever it is: one of this machine,
    /// one that was launched on EC2 from here, or, by its whole id, any in the account and region
    /// of the environment.
    pub fn find(typed: &str) -> Result<(Session, ArrayId), CliError> {
        let home = home()?;
        let remote = known::matching(&known::all(&home)?, typed);
        let mut local = Session::open_to_read()?;
        let here = match &mut local {
            Some(session) => session.matches(typed)?,
            None => Vec::new(),
        };
        match (here.as_slice(), remote.as_slice(), local) {
            ([], [], _) => Session::find_elsewhere(typed),
            ([id], [], Some(session)) => Ok((session, id.clone())),
            ([], [known], _) => known_session(known),
            // A name or `last`: the newest counts. An id is never in both places.
            ([id], [known], Some(mut session)) if !known.array.matches(typed) => {
                match session.status(id)?.record.created_at >= known.launched {
                    true => Ok((session, id.clone())),
                    false => known_session(known),
                }
            }
            (here, remote, _) => Err(CliError::ManyArrays {
                typed: typed.to_owned(),
                candidates: here
                    .iter()
                    .chain(remote.iter().map(|known| &known.array))
                    .cloned()
                    .collect(),
            }),
        }
    }

    /// An array that this home knows nothing of.
    fn find_elsewhere(typed: &str) -> Result<(Session, ArrayId), CliError> {
        let Ok(id) = typed.parse::<ArrayId>() else {
            return Err(no_array(typed));
        };
        let asked = account::client(None).and_then(|client| {
            let account = account::account(&client)?;
            let region = client.region().to_owned();
            let mut session = Session::on_ec2(Where { region, account })?;
            session.resolve(typed).map(|id| (session, id))
        });
        asked.map_err(|e| match e {
            // Nobody is signed in, or no region is named: it is just not there.
            CliError::NoArray { .. } | CliError::Aws(_) | CliError::EmbeddedCredentials => {
                CliError::NoArrayHere { id }
            }
            e => e,
        })
    }

    /// Where the files of this user's arrays are.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Whether workers can be given the memory and processors of an instance type.
    pub fn bounds_workers(&self) -> bool {
        match &self.backend {
            Backend::Host(client) | Backend::Frozen(client) => client.info.limits,
            Backend::Ec2(_) => true,
        }
    }

    /// What the host said of itself; nothing where there is none.
    pub fn info(&self) -> Option<&HostInfo> {
        match &self.backend {
            Backend::Host(client) => Some(&client.info),
            Backend::Frozen(_) | Backend::Ec2(_) => None,
        }
    }

    /// Where on EC2 the arrays of this conversation are, if they are.
    pub fn place(&self) -> Option<&Where> {
        match &self.backend {
            Backend::Host(_) | Backend::Frozen(_) => None,
            Backend::Ec2(ec2) => Some(ec2.place()),
        }
    }

    /// Has what an agent's tasks printed in its file below the home, as far as it is to be had.
    pub fn sync_log(&mut self, id: &ArrayId, agent: AgentId) -> Result<(), CliError> {
        match &mut self.backend {
            Backend::Host(_) | Backend::Frozen(_) => Ok(()),
            Backend::Ec2(ec2) => ec2.sync_log(&self.home, id, agent),
        }
    }

    /// As [`Session::sync_log`] for all agents of an array; now and then, and for the last time.
    pub fn sync_logs(&mut self, id: &ArrayId, is_last: bool) -> Result<(), CliError> {
        match &mut self.backend {
            Backend::Host(_) | Backend::Frozen(_) => Ok(()),
            Backend::Ec2(ec2) => ec2.sync_logs(&self.home, id, is_last),
        }
    }

    fn matches(&mut self, typed: &str) -> Result<Vec<ArrayId>, CliError> {
        let request = Request::Resolve {
            typed: typed.to_owned(),
        };
        match self.ask(&request)? {
            Answer::Matches(found) => Ok(found),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// The array that an id, the start of one, a name or `last` names.
    pub fn resolve(&mut self, typed: &str) -> Result<ArrayId, CliError> {
        let mut found = self.matches(typed)?;
        match found.len() {
            0 => Err(no_array(typed)),
            1 => Ok(found.remove(0)),
            _ => Err(CliError::ManyArrays {
                typed: typed.to_owned(),
                candidates: found,
            }),
        }
    }

    /// Starts an array whose files are in place.
    ///
    /// Asked once only: a host that is lost meanwhile may have started it, which its successor
    /// then knows.
    pub fn submit(&mut self, array: NewArray) -> Result<(), CliError> {
        let id = array.id.clone();
        let request = Request::Submit {
            array: Box::new(array),
        };
        match self.ask_once(&request) {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(HostError::Protocol.into()),
            Err(CliError::Host(HostError::Lost(_))) => {
                self.reconnect()?;
                match self.status(&id) {
                    Err(e) if e.exit_code() == 3 => self.done(&request),
                    other => other.map(drop),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Those of `names` that are no S3 bucket of the embedded endpoint.
    pub fn missing_buckets(&mut self, names: &[String]) -> Result<Vec<String>, CliError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = names.to_vec();
        match self.ask(&Request::MissingBuckets { names })? {
            Answer::Buckets(missing) => Ok(missing),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// One array as it stands.
    pub fn status(&mut self, id: &ArrayId) -> Result<ArrayStatus, CliError> {
        match self.ask(&Request::Status { id: id.clone() })? {
            Answer::Status(status) => Ok(*status),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Asks to be told of every change of an array, and gives it as it stands.
    ///
    /// Until [`Session::next_change`] has brought the ended array, or the session is opened anew,
    /// this conversation serves nothing else.
    pub fn watch(&mut self, id: &ArrayId) -> Result<ArrayStatus, CliError> {
        if let Backend::Ec2(ec2) = &mut self.backend {
            return ec2.watch(id);
        }
        match self.ask(&Request::Wait { id: id.clone() })? {
            Answer::Status(status) => Ok(*status),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// The next change of the array that is watched, waiting for `patience` at most.
    ///
    /// A host that dies meanwhile is started again, and the watch goes on.
    pub fn next_change(&mut self, id: &ArrayId, patience: Duration) -> Result<Waited, CliError> {
        // Zero would mean no limit.
        let patience = patience.max(Duration::from_millis(1));
        let client = match &mut self.backend {
            Backend::Host(client) | Backend::Frozen(client) => client,
            Backend::Ec2(ec2) => {
                let changed = ec2.next_change(id, patience)?;
                return Ok(changed.map_or(Waited::Nothing, Waited::Status));
            }
        };
        let limited = client.set_patience(Some(patience));
        match limited
            .map_err(HostError::Lost)
            .and_then(|()| client.next_answer())
        {
            Ok(Answer::Status(status)) => Ok(Waited::Status(status)),
            Ok(_) => Err(HostError::Protocol.into()),
            Err(HostError::Lost(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(Waited::Nothing)
            }
            Err(HostError::Lost(_)) => {
                self.reconnect()?;
                Ok(Waited::Status(Box::new(self.watch(id)?)))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The newest arrays.
    pub fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, CliError> {
        match self.ask(&Request::Arrays { limit })? {
            Answer::Arrays(records) => Ok(records),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// The task at a position.
    pub fn task(&mut self, id: &ArrayId, position: u64) -> Result<Option<TaskRow>, CliError> {
        let query = TaskQuery {
            from: position,
            limit: 1,
            state: None,
        };
        let mut rows = self.tasks(id, query)?;
        Ok(rows
            .pop()
            .map(|line| line.row)
            .filter(|row| row.position == position))
    }

    /// A page of tasks.
    pub fn tasks(&mut self, id: &ArrayId, query: TaskQuery) -> Result<Vec<TaskLine>, CliError> {
        let id = id.clone();
        match self.ask(&Request::Tasks { id, query })? {
            Answer::Tasks(rows) => Ok(rows),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// All attempts of a task.
    pub fn attempts(&mut self, id: &ArrayId, position: u64) -> Result<Vec<AttemptRow>, CliError> {
        let id = id.clone();
        match self.ask(&Request::Attempts { id, position })? {
            Answer::Attempts(rows) => Ok(rows),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Cancels an array; running scripts get `notice` to end.
    pub fn cancel(&mut self, id: &ArrayId, notice: Duration) -> Result<(), CliError> {
        self.done(&Request::Close {
            id: id.clone(),
            intent: Intent::Cancel,
            notice_ms: millis(notice),
        })
    }

    /// The position of the task with an index.
    pub fn position(&mut self, id: &ArrayId, index: u64) -> Result<u64, CliError> {
        let record = self.status(id)?.record;
        let position = Indices::of(&record).position_of(index, record.submitted.total);
        position.ok_or_else(|| CliError::NoTask {
            array: id.clone(),
            what: format!("task {index}"),
        })
    }

    /// Everything about one task.
    pub fn explain(&mut self, id: &ArrayId, position: u64) -> Result<Story, CliError> {
        let id = id.clone();
        match self.ask(&Request::Explain { id, position })? {
            Answer::Story(story) => Ok(*story),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Interrupts a worker; its script gets `notice` to end. Asked once only: the next host has
    /// other workers.
    pub fn interrupt(
        &mut self,
        id: Option<&ArrayId>,
        which: Interrupted,
        notice: Duration,
    ) -> Result<ToldWorker, CliError> {
        let request = Request::Interrupt {
            id: id.cloned(),
            which,
            notice_ms: millis(notice),
        };
        match self.ask_once(&request)? {
            Answer::Told(told) => Ok(told),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Gives an array more time. Asked once only: twice would be twice the time.
    /// With it, how many scripts had been told before that their time is over.
    pub fn extend(&mut self, id: &ArrayId, by: Duration) -> Result<(ArrayRecord, u32), CliError> {
        let request = Request::Extend {
            id: id.clone(),
            by_ms: millis(by),
        };
        match self.ask_once(&request)? {
            Answer::Extended { record, too_late } => Ok((*record, too_late)),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Runs ended tasks again; how many.
    pub fn retry(
        &mut self,
        id: &ArrayId,
        which: Reopen,
        ttl: Option<Duration>,
    ) -> Result<u64, CliError> {
        let request = Request::Retry {
            id: id.clone(),
            which,
            ttl_ms: ttl.map(millis),
        };
        match self.ask(&request)? {
            Answer::Reopened(tasks) => Ok(tasks),
            _ => Err(HostError::Protocol.into()),
        }
    }

    fn done(&mut self, request: &Request) -> Result<(), CliError> {
        match self.ask(request)? {
            Answer::Done => Ok(()),
            _ => Err(HostError::Protocol.into()),
        }
    }

    /// Asks what may be asked twice: a host that is lost meanwhile is started again.
    fn ask(&mut self, request: &Request) -> Result<Answer, CliError> {
        for _ in 0..RESTARTS {
            match self.ask_once(request) {
                Err(CliError::Host(HostError::Lost(_))) => self.reconnect()?,
                answered => return answered,
            }
        }
        self.ask_once(request)
    }

    fn ask_once(&mut self, request: &Request) -> Result<Answer, CliError> {
        match &mut self.backend {
            Backend::Host(client) | Backend::Frozen(client) => Ok(client.ask(request)?),
            Backend::Ec2(ec2) => ec2.ask(request),
        }
    }

    fn reconnect(&mut self) -> Result<(), CliError> {
        match &mut self.backend {
            Backend::Host(client) => {
                let reached = reach(&self.home)?;
                **client = reached.ok_or_else(|| read_only_error(&self.home))?;
            }
            Backend::Frozen(client) => **client = HostClient::read_only(&self.home)?,
            Backend::Ec2(_) => {}
        }
        Ok(())
    }
}

/// The host of a home, started where none runs; nothing where none runs and none can.
fn reach(home: &Home) -> Result<Option<HostClient>, CliError> {
    let client = match read_only::obstacle(home) {
        None => Some(HostClient::connect_or_start(home)?),
        // It may be the host's to write to and not ours, or a mount of ours only.
        Some(_) => HostClient::connect(home).unwrap_or(None),
    };
    for warning in client.iter().flat_map(|client| &client.info.warnings) {
        warn_on_stderr(warning);
    }
    Ok(client)
}

fn obstacle_text(home: &Home) -> String {
    read_only::obstacle(home).map_or_else(String::new, |e| e.to_string())
}

fn read_only_error(home: &Home) -> CliError {
    CliError::ReadOnlyHome {
        home: home.root().to_owned(),
        why: obstacle_text(home),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn no_array(typed: &str) -> CliError {
    CliError::NoArray {
        typed: typed.to_owned(),
    }
}

fn known_session(known: &known::Known) -> Result<(Session, ArrayId), CliError> {
    let place = Where {
        region: known.region.clone(),
        account: known.account.clone(),
    };
    Ok((Session::on_ec2(place)?, known.array.clone()))
}
