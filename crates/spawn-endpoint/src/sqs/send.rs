//! Messages in.

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::fault::{Fault, Kind};
use super::queues::{self, Queue};
use super::request::Input;
use super::{Caller, Done, Outcome, digests, now_ms};
use crate::identifiers::{self, to_hex};

/// How long a FIFO queue remembers what was sent.
const DEDUPLICATION_MS: i64 = 5 * 60 * 1000;
/// What a batch may hold in all, in bytes.
const MAX_BATCH: usize = 1_048_576;
/// Who sends everything here.
const SENDER: &str = "AIDASPAWNLOCALENDPOINT";

pub(super) fn one(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    let sent = send(tx, &queue, input)?;
    Ok(Done::changing(queue.id, Value::Object(sent)))
}

pub(super) fn batch(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    let entries = input.entries()?;
    let total: usize = entries.iter().map(|(_, entry)| size(entry)).sum();
    if total > MAX_BATCH {
        return Err(Fault::new(
            Kind::BatchRequestTooLong,
            format!(
                "Batch requests cannot be longer than {MAX_BATCH} bytes. You have sent {total} bytes."
            ),
        ));
    }
    let output = each(entries, |entry| send(tx, &queue, entry))?;
    Ok(Done::changing(queue.id, output))
}

/// Does `work` for every entry of a batch, and reports each on its own.
pub(super) fn each(
    entries: Vec<(String, Input)>,
    mut work: impl FnMut(&Input) -> Outcome<Map<String, Value>>,
) -> Outcome<Value> {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, entry) in entries {
        match work(&entry) {
            Ok(mut done) => {
                done.insert("Id".to_owned(), json!(id));
                successful.push(Value::Object(done));
            }
            Err(fault) if matches!(fault.kind, Kind::Internal | Kind::DiskFull) => {
                return Err(fault);
            }
            Err(fault) => failed.push(json!({
                "Id": id,
                "Code": fault.kind.query_code(),
                "Message": fault.message,
                "SenderFault": true,
            })),
        }
    }
    let mut output = json!({ "Successful": successful });
    if !failed.is_empty() {
        output["Failed"] = json!(failed);
    }
    Ok(output)
}

/// The bytes of a message that count against the limits.
fn size(input: &Input) -> usize {
    let attributes = input.object("MessageAttributes");
    let of_attributes: usize = attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = |field: &str| value.get(field).and_then(Value::as_str).map_or(0, str::len);
            name.len() + text("DataType") + text("StringValue") + text("BinaryValue") / 4 * 3
        })
        .sum();
    input.text("MessageBody").map_or(0, str::len) + of_attributes
}

fn send(tx: &Transaction<'_>, queue: &Queue, input: &Input) -> Outcome<Map<String, Value>> {
    let body = input.required("MessageBody")?;
    if body.is_empty() {
        return Err(Fault::missing("MessageBody"));
    }
    let limit = queue.attributes.number("MaximumMessageSize");
    if i64::try_from(size(input)).unwrap_or(i64::MAX) > limit {
        return Err(Fault::value(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )));
    }
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if !body.chars().all(legal) {
        let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | \
                       #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
        return Err(Fault::new(Kind::InvalidMessageContents, message));
    }
    let attributes = input
        .object("MessageAttributes")
        .filter(|map| !map.is_empty());
    check_attributes(attributes)?;
    let trace = input
        .object("MessageSystemAttributes")
        .and_then(|system| system.get("AWSTraceHeader")?.get("StringValue")?.as_str());

    let fifo = Fifo::of(queue, input, body)?;
    let mut answer = Map::new();
    answer.insert("MD5OfMessageBody".to_owned(), json!(digests::of_body(body)));
    if let Some(attributes) = attributes {
        answer.insert(
            "MD5OfMessageAttributes".to_owned(),
            json!(digests::of_attributes(attributes)),
        );
    }
    if let Some(trace) = trace {
        answer.insert(
            "MD5OfMessageSystemAttributes".to_owned(),
            json!(digests::of_trace(trace)),
        );
    }

    let now = now_ms();
    if let Some(fifo) = &fifo
        && let Some((message_id, sequence)) = fifo.sent_before(tx, queue.id, now)?
    {
        answer.insert("MessageId".to_owned(), json!(message_id));
        answer.insert("SequenceNumber".to_owned(), json!(spelled(sequence)));
        return Ok(answer);
    }
    let delay = match input.number_in("DelaySeconds", 0..=900)? {
        Some(_) if fifo.is_some() => {
            return Err(Fault::value(
                "Value for parameter DelaySeconds is invalid. Reason: The request includes a \
                 parameter that is not valid for this queue type.",
            ));
        }
        Some(delay) => delay,
        None => queue.attributes.number("DelaySeconds"),
    };
    let message_id = identifiers::uuid();
    tx.prepare_cached(
        "INSERT INTO messages \
         (queue, message_id, body, attributes, trace, sender, sent_ms, visible_ms, group_id, dedup_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        queue.id,
        message_id,
        body,
        attributes.map(serde_json::to_string).transpose()?,
        trace,
        SENDER,
        now,
        now + delay * 1000,
        match &fifo {
            Some(fifo) => Some(fifo.group.as_str()),
            // A fair queue takes a group too; it has no effect on the order.
            None => input.text("MessageGroupId"),
        },
        fifo.as_ref().map(|fifo| fifo.dedup.as_str()),
    ])?;
    if let Some(fifo) = &fifo {
        let sequence = tx.last_insert_rowid();
        fifo.remember(tx, queue.id, &message_id, sequence, now)?;
        answer.insert("SequenceNumber".to_owned(), json!(spelled(sequence)));
    }
    answer.insert("MessageId".to_owned(), json!(message_id));
    Ok(answer)
}

/// Sequence numbers are 20 digits long.
pub(super) fn spelled(sequence: i64) -> String {
    format!("{sequence:020}")
}

fn check_attributes(attributes: Option<&Map<String, Value>>) -> Outcome<()> {
    let Some(attributes) = attributes else {
        return Ok(());
    };
    if attributes.len() > 10 {
        return Err(Fault::value(
            "Number of message attributes exceeds the allowed maximum 10.",
        ));
    }
    for (name, value) in attributes {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let kind = text("DataType").unwrap_or_default();
        let present = match kind.split('.').next() {
            Some("String" | "Number") => text("StringValue").is_some_and(|value| !value.is_empty()),
            Some("Binary") => text("BinaryValue").is_some_and(|value| !value.is_empty()),
            _ => {
                return Err(Fault::value(format!(
                    "The message attribute '{name}' has an invalid message attribute type, the set \
                     of supported type prefixes is Binary, Number, and String."
                )));
            }
        };
        if !present {
            return Err(Fault::value(format!(
                "Message attribute '{name}' must contain a non-empty message attribute value."
            )));
        }
    }
    Ok(())
}

/// What a FIFO queue needs to know of a message.
struct Fifo {
    group: String,
    dedup: String,
    /// What must not have been sent before: the id, and the group if each group is on its own.
    scope: String,
}

impl Fifo {
    /// Nothing if the queue is not FIFO.
    fn of(queue: &Queue, input: &Input, body: &str) -> Outcome<Option<Self>> {
        if !queue.attributes.is_fifo() {
            if input.text("MessageDeduplicationId").is_some() {
                return Err(Fault::value(
                    "The request includes a parameter that is not valid for this queue type: \
                     MessageDeduplicationId",
                ));
            }
            return Ok(None);
        }
        let group = input.required("MessageGroupId")?.to_owned();
        let dedup = match input.text("MessageDeduplicationId") {
            Some(id) => id.to_owned(),
            None if queue.attributes.is("ContentBasedDeduplication") => {
                to_hex(&Sha256::digest(body.as_bytes()))
            }
            None => {
                return Err(Fault::value(
                    "The queue should either have ContentBasedDeduplication enabled or \
                     MessageDeduplicationId provided explicitly",
                ));
            }
        };
        let per_group = queue.attributes.0.get("DeduplicationScope");
        let scope = if per_group.is_some_and(|scope| scope == "messageGroup") {
            format!("{group}\n{dedup}")
        } else {
            dedup.clone()
        };
        Ok(Some(Self {
            group,
            dedup,
            scope,
        }))
    }

    fn sent_before(
        &self,
        tx: &Transaction<'_>,
        queue: i64,
        now: i64,
    ) -> Outcome<Option<(String, i64)>> {
        tx.prepare_cached("DELETE FROM sent WHERE queue = ?1 AND expires_ms <= ?2")?
            .execute(params![queue, now])?;
        Ok(tx
            .prepare_cached(
                "SELECT message_id, sequence FROM sent WHERE queue = ?1 AND dedup_id = ?2",
            )?
            .query_row(params![queue, self.scope], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?)
    }

    fn remember(
        &self,
        tx: &Transaction<'_>,
        queue: i64,
        message_id: &str,
        sequence: i64,
        now: i64,
    ) -> Outcome<()> {
        tx.prepare_cached(
            "INSERT INTO sent (queue, dedup_id, message_id, sequence, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            queue,
            self.scope,
            message_id,
            sequence,
            now + DEDUPLICATION_MS
        ])?;
        Ok(())
    }
}
