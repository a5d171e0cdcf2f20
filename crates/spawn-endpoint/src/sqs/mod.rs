//! SQS: queues in SQLite.
//!
//! | file | holds |
//! |---|---|
//! | `request.rs` | one input for both protocols |
//! | `query.rs` | the form-and-XML protocol of old clients, to and from that input |
//! | `fault.rs` | the errors, with their codes in both protocols |
//! | `queues.rs` | queues, their attributes and tags |
//! | `attributes.rs` | the attributes that exist and what they may be |
//! | `send.rs`, `receive.rs`, `inflight.rs` | messages in, messages out, and what is in between |
//! | `digests.rs` | the MD5 of bodies and attributes |
//!
//! A message is a row. `visible_ms` says from when on it may be received: sending with a delay,
//! receiving, and changing the visibility all move it. Receiving is one transaction that moves it
//! and writes a new receipt, so a message goes to one receiver; only the latest receipt deletes.

mod attributes;
mod digests;
mod fault;
mod inflight;
mod query;
mod queues;
mod receive;
mod request;
mod send;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::HeaderValue;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::server::stop_asked;
use crate::wire::{self, Protocol, Served};
use crate::{EndpointError, database, disk};
use fault::{Fault, Kind};
pub(crate) use query::decode_form;
use receive::Received;
use request::Input;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    tags TEXT NOT NULL,
    region TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    body TEXT NOT NULL,
    attributes TEXT,
    trace TEXT,
    sender TEXT NOT NULL,
    sent_ms INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    received_ms INTEGER,
    first_received_ms INTEGER,
    receive_count INTEGER NOT NULL DEFAULT 0,
    receipt TEXT,
    group_id TEXT,
    dedup_id TEXT,
    source TEXT
);
CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue, visible_ms, id);
CREATE INDEX IF NOT EXISTS messages_by_age ON messages (queue, id);
CREATE TABLE IF NOT EXISTS sent (
    queue INTEGER NOT NULL,
    dedup_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (queue, dedup_id)
) WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// Who calls and how, apart from what is asked.
pub(crate) struct Caller {
    /// The `Host` header; queue URLs begin with it.
    pub(crate) host: String,
    /// The region the request is signed for; ARNs name it.
    pub(crate) region: String,
    /// `X-Amz-Target` of the JSON protocol.
    pub(crate) target: Option<String>,
    /// The path, which may name a queue in the query protocol.
    pub(crate) path: String,
}

/// The queues of one endpoint.
pub(crate) struct Queues {
    /// The directory that the database is in.
    dir: PathBuf,
    database: Mutex<Connection>,
    /// Wakes the long polls of a queue when something about it changed.
    changed: Mutex<HashMap<i64, Arc<Notify>>>,
}

/// What an operation does inside its transaction.
type Outcome<T> = Result<T, Fault>;

impl Queues {
    /// Opens or creates the queues in `file`. Blocks.
    pub(crate) fn open(file: &Path) -> Result<Self, EndpointError> {
        Ok(Self {
            dir: file.parent().unwrap_or(file).to_owned(),
            database: Mutex::new(database::open(file, SCHEMA)?),
            changed: Mutex::default(),
        })
    }

    /// Answers one verified request. `stopped` ends long polls.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        protocol: Protocol,
        caller: Caller,
        body: &[u8],
        stopped: watch::Receiver<bool>,
    ) -> Served {
        let (operation, input) = match protocol {
            Protocol::Json => {
                let target = caller.target.as_deref().unwrap_or_default();
                let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
                (operation, Input::from_json(body))
            }
            Protocol::Query | Protocol::S3 => {
                let (operation, input) = query::read(body, &caller.path);
                (operation, Ok(input))
            }
        };
        let resource = input.as_ref().ok().and_then(Input::queue_name);
        let answer = match input {
            Ok(input) => {
                self.run(&operation, Arc::new(input), Arc::new(caller), stopped)
                    .await
            }
            Err(fault) => Err(fault),
        };
        let error_code = answer
            .as_ref()
            .err()
            .map(|fault| fault.kind.query_code().to_owned());
        let reply = match (answer, protocol) {
            (Ok(output), Protocol::Json) => wire::json(StatusCode::OK, output.to_string()),
            (Ok(output), Protocol::Query | Protocol::S3) => {
                wire::xml(StatusCode::OK, query::write(&operation, &output))
            }
            (Err(fault), protocol) => refuse(protocol, &fault),
        };
        Served {
            reply,
            operation,
            resource,
            error_code,
        }
    }

    async fn run(
        self: &Arc<Self>,
        operation: &str,
        input: Arc<Input>,
        caller: Arc<Caller>,
        stopped: watch::Receiver<bool>,
    ) -> Outcome<Value> {
        if operation == "ReceiveMessage" {
            return self.receive(input, stopped).await;
        }
        let operation: fn(&Transaction<'_>, &Input, &Caller) -> Outcome<Done> = match operation {
            "CreateQueue" => queues::create,
            "GetQueueUrl" => queues::url,
            "ListQueues" => queues::list,
            "DeleteQueue" => queues::delete,
            "PurgeQueue" => queues::purge,
            "GetQueueAttributes" => queues::get_attributes,
            "SetQueueAttributes" => queues::set_attributes,
            "TagQueue" => queues::tag,
            "UntagQueue" => queues::untag,
            "ListQueueTags" => queues::list_tags,
            "ListDeadLetterSourceQueues" => queues::list_sources,
            "SendMessage" => send::one,
            "SendMessageBatch" => send::batch,
            "DeleteMessage" => inflight::delete,
            "DeleteMessageBatch" => inflight::delete_batch,
            "ChangeMessageVisibility" => inflight::change_visibility,
            "ChangeMessageVisibilityBatch" => inflight::change_visibility_batch,
            other => return Err(Fault::invalid_action(other)),
        };
        let done = self
            .transaction(move |transaction| operation(transaction, &input, &caller))
            .await?;
        if let Some(queue) = done.changed {
            self.notify(queue);
        }
        Ok(done.output)
    }

    /// Receives, and waits for something to receive if there is nothing and the caller wants to.
    async fn receive(
        self: &Arc<Self>,
        input: Arc<Input>,
        mut stopped: watch::Receiver<bool>,
    ) -> Outcome<Value> {
        let (queue, wait) = {
            let input = Arc::clone(&input);
            self.transaction(move |transaction| receive::plan(transaction, &input))
                .await?
        };
        let deadline = Instant::now() + wait;
        let changed = self.changes_of(queue);
        loop {
            // Asked for before looking, so that nothing sent in between goes unnoticed.
            let mut woken = std::pin::pin!(changed.notified());
            woken.as_mut().enable();
            let input = Arc::clone(&input);
            let received = self
                .transaction(move |transaction| receive::receive(transaction, &input))
                .await?;
            let next_ms = match received {
                Received {
                    messages, moved_to, ..
                } if !messages.is_empty() => {
                    moved_to.into_iter().for_each(|queue| self.notify(queue));
                    return Ok(json!({ "Messages": messages }));
                }
                Received {
                    moved_to, next_ms, ..
                } => {
                    moved_to.into_iter().for_each(|queue| self.notify(queue));
                    next_ms
                }
            };
            let now = Instant::now();
            if now >= deadline || *stopped.borrow() {
                return Ok(json!({}));
            }
            // A delayed or hidden message becomes visible without anything happening.
            let until = next_ms.map_or(deadline, |at| {
                let left = u64::try_from(at - now_ms()).unwrap_or_default();
                deadline.min(now + Duration::from_millis(left + 1))
            });
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(until) => {}
                () = stop_asked(&mut stopped) => {}
            }
        }
    }

    /// Runs one transaction on a thread that may block.
    async fn transaction<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let queues = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let done = queues.transact(work);
            done.map_err(|fault| queues.name_full_disk(fault))
        });
        done.await
            .unwrap_or_else(|error| Err(Fault::internal(&error)))
    }

    fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Outcome<T>) -> Outcome<T> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// A store that failed for want of room says so, and where. Blocks.
    fn name_full_disk(&self, fault: Fault) -> Fault {
        let full = match fault.kind {
            Kind::DiskFull => true,
            Kind::Internal => disk::has_no_room(&self.dir),
            _ => false,
        };
        if full {
            Fault::new(Kind::DiskFull, disk::message(&self.dir))
        } else {
            fault
        }
    }

    fn changes_of(&self, queue: i64) -> Arc<Notify> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(changed.entry(queue).or_default())
    }

    fn notify(&self, queue: i64) {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = changed.get(&queue) {
            changed.notify_waiters();
        }
    }
}

/// What an operation answers, and the queue whose long polls should look again.
struct Done {
    output: Value,
    changed: Option<i64>,
}

impl Done {
    fn with(output: Value) -> Self {
        Self {
            output,
            changed: None,
        }
    }

    fn changing(queue: i64, output: Value) -> Self {
        Self {
            output,
            changed: Some(queue),
        }
    }
}

fn refuse(protocol: Protocol, fault: &Fault) -> wire::Reply {
    let status = fault.kind.status();
    let query_code = fault.kind.query_code();
    match protocol {
        Protocol::Query | Protocol::S3 => wire::error(protocol, status, query_code, &fault.message),
        Protocol::Json => {
            let code = format!("com.amazonaws.sqs#{}", fault.kind.json_code());
            let mut reply = wire::error(protocol, status, &code, &fault.message);
            // Clients that knew the query protocol match on its codes; this header carries them.
            let side = if status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            if let Ok(value) = HeaderValue::from_str(&format!("{query_code};{side}")) {
                reply.headers_mut().insert("x-amzn-query-error", value);
            }
            reply
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
