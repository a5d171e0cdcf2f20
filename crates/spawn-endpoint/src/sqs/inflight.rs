//! Messages that were received: deleting them, and changing how long they stay hidden.

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Map, json};

use super::fault::{Fault, Kind};
use super::queues::{self, Queue};
use super::receive::read_handle;
use super::request::Input;
use super::send::each;
use super::{Caller, Done, Outcome, now_ms};

/// No message stays hidden longer than this after it was received.
const MAX_HIDDEN_MS: i64 = 43_200 * 1000;

fn receipt(input: &Input) -> Outcome<(i64, String)> {
    read_handle(input.required("ReceiptHandle")?).ok_or_else(|| {
        Fault::new(
            Kind::ReceiptHandleIsInvalid,
            "The input receipt handle is invalid.",
        )
    })
}

pub(super) fn delete(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    delete_one(tx, &queue, input)?;
    Ok(Done::changing(queue.id, json!({})))
}

pub(super) fn delete_batch(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    let output = each(input.entries()?, |entry| {
        delete_one(tx, &queue, entry)?;
        Ok(Map::new())
    })?;
    Ok(Done::changing(queue.id, output))
}

/// Deletes with the latest receipt only. An older one belongs to a receiver that was too slow, and
/// as at AWS it is told nothing: the message is another's now.
fn delete_one(tx: &Transaction<'_>, queue: &Queue, input: &Input) -> Outcome<()> {
    let (id, receipt) = receipt(input)?;
    tx.prepare_cached("DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3")?
        .execute(params![id, queue.id, receipt])?;
    Ok(())
}

pub(super) fn change_visibility(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    change_one(tx, &queue, input)?;
    Ok(Done::changing(queue.id, json!({})))
}

pub(super) fn change_visibility_batch(
    tx: &Transaction<'_>,
    input: &Input,
    _: &Caller,
) -> Outcome<Done> {
    let queue = queues::require(tx, input)?;
    let output = each(input.entries()?, |entry| {
        change_one(tx, &queue, entry)?;
        Ok(Map::new())
    })?;
    Ok(Done::changing(queue.id, output))
}

fn change_one(tx: &Transaction<'_>, queue: &Queue, input: &Input) -> Outcome<()> {
    let (id, receipt) = receipt(input)?;
    let hide_for = input
        .number_in("VisibilityTimeout", 0..=43_200)?
        .ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
    let found: Option<(i64, i64)> = tx
        .prepare_cached(
            "SELECT visible_ms, received_ms FROM messages \
             WHERE id = ?1 AND queue = ?2 AND receipt = ?3",
        )?
        .query_row(params![id, queue.id, receipt], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let now = now_ms();
    match found {
        None => Err(Fault::value(
            "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is \
             not available for visibility timeout change.",
        )),
        Some((visible_ms, _)) if visible_ms <= now => Err(Fault::new(
            Kind::MessageNotInflight,
            "The specified message isn't in flight.",
        )),
        Some((_, received_ms)) if now + hide_for * 1000 > received_ms + MAX_HIDDEN_MS => {
            Err(Fault::value(
                "Value for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout \
                 for the message is beyond the limit [43200 seconds].",
            ))
        }
        Some(_) => {
            tx.prepare_cached("UPDATE messages SET visible_ms = ?2 WHERE id = ?1")?
                .execute(params![id, now + hide_for * 1000])?;
            Ok(())
        }
    }
}
