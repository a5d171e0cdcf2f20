//! Messages out.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde_json::{Map, Value, json};

use super::queues::{self, Queue};
use super::request::Input;
use super::send::spelled;
use super::{Outcome, digests, now_ms};
use crate::identifiers;

/// What one look at a queue gave.
pub(super) struct Received {
    pub(super) messages: Vec<Value>,
    /// When the next hidden message becomes visible, if nothing was received.
    pub(super) next_ms: Option<i64>,
    /// The queues that messages were moved to for having been received too often.
    pub(super) moved_to: Vec<i64>,
}

/// Checks a request, and says which queue it is about and how long it wants to wait.
pub(super) fn plan(tx: &Transaction<'_>, input: &Input) -> Outcome<(i64, Duration)> {
    let queue = queues::require(tx, input)?;
    input.number_in("MaxNumberOfMessages", 1..=10)?;
    input.number_in("VisibilityTimeout", 0..=43_200)?;
    let wait = input
        .number_in("WaitTimeSeconds", 0..=20)?
        .unwrap_or_else(|| queue.attributes.number("ReceiveMessageWaitTimeSeconds"));
    Ok((queue.id, Duration::from_secs(wait.unsigned_abs())))
}

/// Takes up to the wanted number of visible messages and hides them.
pub(super) fn receive(tx: &Transaction<'_>, input: &Input) -> Outcome<Received> {
    let queue = queues::require(tx, input)?;
    queues::expire(tx, &queue)?;
    let wanted = input
        .number("MaxNumberOfMessages")?
        .unwrap_or(1)
        .clamp(1, 10);
    let wanted = usize::try_from(wanted).unwrap_or(1);
    let hide_for = input
        .number("VisibilityTimeout")?
        .unwrap_or_else(|| queue.attributes.number("VisibilityTimeout"));
    let now = now_ms();
    let redrive = match queue.attributes.redrive() {
        Some(redrive) => {
            queues::find(tx, &redrive.target)?.map(|dead| (dead, redrive.max_receives))
        }
        None => None,
    };
    let mut received = Received {
        messages: Vec::new(),
        next_ms: None,
        moved_to: Vec::new(),
    };
    let mut taken = Vec::new();
    while received.messages.len() < wanted {
        let candidates = if queue.attributes.is_fifo() {
            next_in_order(tx, queue.id, now, wanted - received.messages.len())?
        } else {
            next_visible(tx, queue.id, now, wanted - received.messages.len())?
        };
        let mut moved = false;
        for (id, receive_count) in &candidates {
            // Hidden for no time, it is visible already; but it was taken.
            if taken.contains(id) {
                continue;
            }
            match &redrive {
                Some((dead, max)) if receive_count >= max => {
                    move_to(tx, *id, dead, &queue, now)?;
                    received.moved_to.push(dead.id);
                    moved = true;
                }
                _ => {
                    let message = take(tx, *id, now, hide_for, input)?;
                    received.messages.push(message);
                    taken.push(*id);
                }
            }
        }
        // Only what was moved away makes room for others.
        if !moved {
            break;
        }
    }
    if received.messages.is_empty() {
        received.next_ms = tx
            .prepare_cached(
                "SELECT visible_ms FROM messages WHERE queue = ?1 AND visible_ms > ?2 \
                 ORDER BY visible_ms LIMIT 1",
            )?
            .query_row(params![queue.id, now], |row| row.get(0))
            .optional()?;
    }
    Ok(received)
}

/// The messages that became visible first.
fn next_visible(
    tx: &Transaction<'_>,
    queue: i64,
    now: i64,
    limit: usize,
) -> Outcome<Vec<(i64, i64)>> {
    let mut select = tx.prepare_cached(
        "SELECT id, receive_count FROM messages WHERE queue = ?1 AND visible_ms <= ?2 \
         ORDER BY visible_ms, id LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map(params![queue, now, limit], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first messages in the order of sending, passing over groups of which an earlier message is
/// hidden.
fn next_in_order(
    tx: &Transaction<'_>,
    queue: i64,
    now: i64,
    limit: usize,
) -> Outcome<Vec<(i64, i64)>> {
    let mut select = tx.prepare_cached(
        "SELECT id, receive_count, group_id, visible_ms FROM messages WHERE queue = ?1 ORDER BY id",
    )?;
    let mut rows = select.query([queue])?;
    let mut blocked: HashSet<String> = HashSet::new();
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = rows.next()? else { break };
        let group: String = row.get::<_, Option<String>>(2)?.unwrap_or_default();
        if blocked.contains(&group) {
            continue;
        }
        if row.get::<_, i64>(3)? > now {
            blocked.insert(group);
        } else {
            found.push((row.get(0)?, row.get(1)?));
        }
    }
    Ok(found)
}

fn move_to(tx: &Transaction<'_>, id: i64, dead: &Queue, source: &Queue, now: i64) -> Outcome<()> {
    tx.prepare_cached(
        "UPDATE messages SET queue = ?2, visible_ms = ?3, receipt = NULL, received_ms = NULL, \
         receive_count = 0, first_received_ms = NULL, source = ?4 WHERE id = ?1",
    )?
    .execute(params![id, dead.id, now, source.arn()])?;
    Ok(())
}

/// Hides one message behind a new receipt and describes it.
fn take(tx: &Transaction<'_>, id: i64, now: i64, hide_for: i64, input: &Input) -> Outcome<Value> {
    let receipt = identifiers::hex::<12>();
    let mut update = tx.prepare_cached(
        "UPDATE messages SET visible_ms = ?2, received_ms = ?3, receipt = ?4, \
         receive_count = receive_count + 1, first_received_ms = COALESCE(first_received_ms, ?3) \
         WHERE id = ?1 \
         RETURNING message_id, body, attributes, trace, sender, sent_ms, first_received_ms, \
         receive_count, group_id, dedup_id, source",
    )?;
    let mut rows = update.query(params![id, now + hide_for * 1000, now, receipt])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let body: String = row.get(1)?;
    let mut message = Map::new();
    message.insert("MessageId".to_owned(), json!(row.get::<_, String>(0)?));
    message.insert("ReceiptHandle".to_owned(), json!(handle(id, &receipt)));
    message.insert("MD5OfBody".to_owned(), json!(digests::of_body(&body)));
    message.insert("Body".to_owned(), json!(body));
    let system = system_attributes(id, row, input)?;
    if !system.is_empty() {
        message.insert("Attributes".to_owned(), Value::Object(system));
    }
    if let Some(attributes) = row.get::<_, Option<String>>(2)? {
        let wanted = input.texts("MessageAttributeNames");
        let mut attributes: Map<String, Value> = serde_json::from_str(&attributes)?;
        attributes.retain(|name, _| wanted.iter().any(|pattern| selects(pattern, name)));
        if !attributes.is_empty() {
            let sum = digests::of_attributes(&attributes);
            message.insert("MD5OfMessageAttributes".to_owned(), json!(sum));
            message.insert("MessageAttributes".to_owned(), Value::Object(attributes));
        }
    }
    Ok(Value::Object(message))
}

fn selects(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == "All" || pattern == name,
    }
}

fn system_attributes(id: i64, row: &Row<'_>, input: &Input) -> Outcome<Map<String, Value>> {
    let mut wanted = input.texts("AttributeNames");
    wanted.extend(input.texts("MessageSystemAttributeNames"));
    let mut attributes = Map::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value
            && (wanted.contains(&"All") || wanted.contains(&name))
        {
            attributes.insert(name.to_owned(), Value::String(value));
        }
    };
    let number = |column: usize| {
        row.get::<_, i64>(column)
            .map(|number| Some(number.to_string()))
    };
    add("SenderId", row.get(4)?);
    add("SentTimestamp", number(5)?);
    add("ApproximateFirstReceiveTimestamp", number(6)?);
    add("ApproximateReceiveCount", number(7)?);
    add("AWSTraceHeader", row.get(3)?);
    add("MessageGroupId", row.get(8)?);
    let dedup: Option<String> = row.get(9)?;
    add("SequenceNumber", dedup.is_some().then(|| spelled(id)));
    add("MessageDeduplicationId", dedup);
    add("DeadLetterQueueSourceArn", row.get(10)?);
    Ok(attributes)
}

/// What a receiver holds: which message, and which of its receptions.
fn handle(id: i64, receipt: &str) -> String {
    BASE64.encode(format!("{id}.{receipt}"))
}

/// Reads a receipt handle; nothing if it is none.
pub(super) fn read_handle(handle: &str) -> Option<(i64, String)> {
    let text = String::from_utf8(BASE64.decode(handle).ok()?).ok()?;
    let (id, receipt) = text.split_once('.')?;
    Some((id.parse().ok()?, receipt.to_owned()))
}
