//! Queues, their attributes and tags.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::attributes::Attributes;
use super::fault::{Fault, Kind};
use super::request::Input;
use super::{Caller, Done, Outcome, now_ms};
use crate::ACCOUNT_ID;

/// One queue's row.
pub(super) struct Queue {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) attributes: Attributes,
    tags: BTreeMap<String, String>,
    region: String,
    created_ms: i64,
    modified_ms: i64,
}

impl Queue {
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:sqs:{}:{ACCOUNT_ID}:{}", self.region, self.name)
    }
}

/// The queue called `name`, if there is one.
pub(super) fn find(database: &Connection, name: &str) -> Outcome<Option<Queue>> {
    let mut select = database.prepare_cached(
        "SELECT id, name, attributes, tags, region, created_ms, modified_ms FROM queues WHERE name = ?1",
    )?;
    let mut rows = select.query([name])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Queue {
        id: row.get(0)?,
        name: row.get(1)?,
        attributes: Attributes(serde_json::from_str(&row.get::<_, String>(2)?)?),
        tags: serde_json::from_str(&row.get::<_, String>(3)?)?,
        region: row.get(4)?,
        created_ms: row.get(5)?,
        modified_ms: row.get(6)?,
    }))
}

/// The queue that the request names.
pub(super) fn require(database: &Connection, input: &Input) -> Outcome<Queue> {
    let name = input
        .queue_name()
        .ok_or_else(|| Fault::missing("QueueUrl"))?;
    find(database, &name)?.ok_or_else(Fault::no_queue)
}

fn url_of(caller: &Caller, name: &str) -> String {
    format!("http://{}/{ACCOUNT_ID}/{name}", caller.host)
}

fn check_name(name: &str, fifo: bool) -> Outcome<()> {
    let stem = name.strip_suffix(".fifo");
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let plain = stem.unwrap_or(name);
    if plain.is_empty() || name.len() > 80 || !plain.chars().all(legal) {
        return Err(Fault::value(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    match (stem.is_some(), fifo) {
        (true, false) => Err(Fault::value(
            "The name of a queue that is not FIFO must not end with .fifo; set FifoQueue to true",
        )),
        (false, true) => Err(Fault::value(
            "The name of a FIFO queue can only end with .fifo",
        )),
        _ => Ok(()),
    }
}

pub(super) fn create(tx: &Transaction<'_>, input: &Input, caller: &Caller) -> Outcome<Done> {
    let name = input.required("QueueName")?;
    let mut wanted = input.map("Attributes").unwrap_or_default();
    let fifo = wanted.get("FifoQueue").is_some_and(|value| value == "true");
    check_name(name, fifo)?;
    // That a queue is not FIFO is said by its absence.
    if !fifo {
        wanted.remove("FifoQueue");
    }
    let wanted = Attributes::checked(wanted)?;
    let answer = json!({ "QueueUrl": url_of(caller, name) });
    if let Some(queue) = find(tx, name)? {
        let present = queue.attributes.shown();
        let differs = wanted
            .0
            .iter()
            .find(|(name, value)| present.get(*name) != Some(value));
        return match differs {
            None => Ok(Done::with(answer)),
            Some((attribute, _)) => Err(Fault::new(
                Kind::QueueNameExists,
                format!(
                    "A queue already exists with the same name and a different value for attribute {attribute}"
                ),
            )),
        };
    }
    let tags = input
        .map("tags")
        .or_else(|| input.map("Tags"))
        .unwrap_or_default();
    tx.execute(
        "INSERT INTO queues (name, attributes, tags, region, created_ms, modified_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        params![
            name,
            serde_json::to_string(&wanted.0)?,
            serde_json::to_string(&tags)?,
            caller.region,
            now_ms()
        ],
    )?;
    Ok(Done::with(answer))
}

pub(super) fn url(tx: &Transaction<'_>, input: &Input, caller: &Caller) -> Outcome<Done> {
    let name = input.required("QueueName")?;
    let queue = find(tx, name)?.ok_or_else(Fault::no_queue)?;
    Ok(Done::with(
        json!({ "QueueUrl": url_of(caller, &queue.name) }),
    ))
}

pub(super) fn list(tx: &Transaction<'_>, input: &Input, caller: &Caller) -> Outcome<Done> {
    let names = names(tx, input.text("QueueNamePrefix").unwrap_or_default())?;
    page(input, names, caller, "QueueUrls")
}

fn names(tx: &Transaction<'_>, prefix: &str) -> Outcome<Vec<String>> {
    let mut select =
        tx.prepare("SELECT name FROM queues WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name")?;
    Ok(select
        .query_map([prefix], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// The URLs of `names`, a page at a time if the request says how large a page is.
fn page(input: &Input, names: Vec<String>, caller: &Caller, field: &str) -> Outcome<Done> {
    let max = input.number_in("MaxResults", 1..=1000)?;
    let after = input.text("NextToken").unwrap_or_default();
    let limit = usize::try_from(max.unwrap_or(1000)).unwrap_or(1000);
    let mut names = names.into_iter().filter(|name| name.as_str() > after);
    let listed: Vec<_> = names.by_ref().take(limit).collect();
    let mut output = json!({});
    if !listed.is_empty() {
        output[field] = listed.iter().map(|name| url_of(caller, name)).collect();
    }
    if max.is_some() && names.next().is_some() {
        output["NextToken"] = json!(listed.last());
    }
    Ok(Done::with(output))
}

pub(super) fn list_sources(tx: &Transaction<'_>, input: &Input, caller: &Caller) -> Outcome<Done> {
    let target = require(tx, input)?;
    let mut sources = Vec::new();
    for name in names(tx, "")? {
        let redrive = find(tx, &name)?.and_then(|queue| queue.attributes.redrive());
        if redrive.is_some_and(|redrive| redrive.target == target.name) {
            sources.push(name);
        }
    }
    page(input, sources, caller, "queueUrls")
}

pub(super) fn delete(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = require(tx, input)?;
    for table in ["messages", "sent"] {
        tx.execute(&format!("DELETE FROM {table} WHERE queue = ?1"), [queue.id])?;
    }
    tx.execute("DELETE FROM queues WHERE id = ?1", [queue.id])?;
    Ok(Done::changing(queue.id, json!({})))
}

pub(super) fn purge(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = require(tx, input)?;
    tx.execute("DELETE FROM messages WHERE queue = ?1", [queue.id])?;
    Ok(Done::with(json!({})))
}

pub(super) fn get_attributes(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = require(tx, input)?;
    let wanted = input.texts("AttributeNames");
    let all = wanted.contains(&"All");
    let mut shown = queue.attributes.shown();
    shown.insert("QueueArn".to_owned(), queue.arn());
    shown.insert(
        "CreatedTimestamp".to_owned(),
        (queue.created_ms / 1000).to_string(),
    );
    shown.insert(
        "LastModifiedTimestamp".to_owned(),
        (queue.modified_ms / 1000).to_string(),
    );
    if all
        || wanted
            .iter()
            .any(|name| name.starts_with("ApproximateNumber"))
    {
        expire(tx, &queue)?;
        let (visible, hidden, delayed): (i64, i64, i64) = tx.query_row(
            "SELECT COUNT(*) FILTER (WHERE visible_ms <= ?2), \
                    COUNT(*) FILTER (WHERE visible_ms > ?2 AND receive_count > 0), \
                    COUNT(*) FILTER (WHERE visible_ms > ?2 AND receive_count = 0) \
             FROM messages WHERE queue = ?1",
            params![queue.id, now_ms()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        shown.insert(
            "ApproximateNumberOfMessages".to_owned(),
            visible.to_string(),
        );
        shown.insert(
            "ApproximateNumberOfMessagesNotVisible".to_owned(),
            hidden.to_string(),
        );
        shown.insert(
            "ApproximateNumberOfMessagesDelayed".to_owned(),
            delayed.to_string(),
        );
    }
    shown.retain(|name, _| all || wanted.contains(&name.as_str()));
    let output = if shown.is_empty() {
        json!({})
    } else {
        json!({ "Attributes": shown })
    };
    Ok(Done::with(output))
}

pub(super) fn set_attributes(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let mut queue = require(tx, input)?;
    let wanted = input
        .map("Attributes")
        .ok_or_else(|| Fault::missing("Attributes"))?;
    let wanted = Attributes::checked(wanted)?;
    if wanted
        .0
        .get("FifoQueue")
        .is_some_and(|fifo| (fifo == "true") != queue.attributes.is_fifo())
    {
        let message = "FifoQueue cannot be changed after the queue was created";
        return Err(Fault::new(Kind::InvalidAttributeValue, message));
    }
    queue.attributes.0.extend(wanted.0);
    queue.attributes.0.retain(|_, value| !value.is_empty());
    tx.execute(
        "UPDATE queues SET attributes = ?2, modified_ms = ?3 WHERE id = ?1",
        params![
            queue.id,
            serde_json::to_string(&queue.attributes.0)?,
            now_ms()
        ],
    )?;
    Ok(Done::changing(queue.id, json!({})))
}

fn store_tags(tx: &Transaction<'_>, queue: &Queue) -> Outcome<Done> {
    let tags = serde_json::to_string(&queue.tags)?;
    tx.execute(
        "UPDATE queues SET tags = ?2 WHERE id = ?1",
        params![queue.id, tags],
    )?;
    Ok(Done::with(json!({})))
}

pub(super) fn tag(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let mut queue = require(tx, input)?;
    queue
        .tags
        .extend(input.map("Tags").ok_or_else(|| Fault::missing("Tags"))?);
    store_tags(tx, &queue)
}

pub(super) fn untag(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let mut queue = require(tx, input)?;
    for key in input.texts("TagKeys") {
        queue.tags.remove(key);
    }
    store_tags(tx, &queue)
}

pub(super) fn list_tags(tx: &Transaction<'_>, input: &Input, _: &Caller) -> Outcome<Done> {
    let queue = require(tx, input)?;
    let output = if queue.tags.is_empty() {
        json!({})
    } else {
        json!({ "Tags": queue.tags })
    };
    Ok(Done::with(output))
}

/// Deletes what is older than the queue keeps messages. Rows are in the order of their age, so
/// this costs one look when there is nothing to delete.
pub(super) fn expire(tx: &Transaction<'_>, queue: &Queue) -> Outcome<()> {
    let oldest_kept = now_ms() - queue.attributes.number("MessageRetentionPeriod") * 1000;
    let mut oldest =
        tx.prepare_cached("SELECT id, sent_ms FROM messages WHERE queue = ?1 ORDER BY id LIMIT 1")?;
    loop {
        let found: Option<(i64, i64)> = oldest
            .query_row([queue.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((id, sent_ms)) if sent_ms < oldest_kept => {
                tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?
                    .execute([id])?;
            }
            _ => return Ok(()),
        }
    }
}
