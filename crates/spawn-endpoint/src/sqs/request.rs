//! The input of an operation, in the shape of the JSON protocol whichever protocol it came by.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Outcome;
use super::fault::{Fault, Kind};

/// The fields of a request. Numbers may be written as text, as the query protocol does.
pub(super) struct Input(Map<String, Value>);

impl Input {
    pub(super) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    pub(super) fn from_json(body: &[u8]) -> Outcome<Self> {
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            _ => Err(Fault::value("The request is not a JSON object.")),
        }
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    pub(super) fn required(&self, field: &str) -> Outcome<&str> {
        self.text(field).ok_or_else(|| Fault::missing(field))
    }

    pub(super) fn number(&self, field: &str) -> Outcome<Option<i64>> {
        let number = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::value(format!(
                "Value for parameter {field} is not an integer."
            ))),
        }
    }

    /// A number within `range`.
    pub(super) fn number_in(
        &self,
        field: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Outcome<Option<i64>> {
        match self.number(field)? {
            Some(number) if !range.contains(&number) => Err(Fault::value(format!(
                "Value {number} for parameter {field} is invalid. Reason: Must be between {} and {}, \
                 if provided.",
                range.start(),
                range.end()
            ))),
            number => Ok(number),
        }
    }

    /// A list of texts; absent is empty.
    pub(super) fn texts(&self, field: &str) -> Vec<&str> {
        let list = self.0.get(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// A map of texts; nothing if absent.
    pub(super) fn map(&self, field: &str) -> Option<BTreeMap<String, String>> {
        let map = self.0.get(field)?.as_object()?;
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(
            map.iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
        )
    }

    /// A structure as it is.
    pub(super) fn object(&self, field: &str) -> Option<&Map<String, Value>> {
        self.0.get(field)?.as_object()
    }

    /// The entries of a batch with their ids, checked as a batch.
    pub(super) fn entries(&self) -> Outcome<Vec<(String, Self)>> {
        let entries = self
            .0
            .get("Entries")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if entries.is_empty() {
            let message = "There should be at least one entry in the request.";
            return Err(Fault::new(Kind::EmptyBatchRequest, message));
        }
        if entries.len() > 10 {
            return Err(Fault::new(
                Kind::TooManyEntriesInBatchRequest,
                format!(
                    "Maximum number of entries per request are 10. You have sent {}.",
                    entries.len()
                ),
            ));
        }
        let mut read: Vec<(String, Self)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = Self(entry.as_object().cloned().unwrap_or_default());
            let id = entry.required("Id")?.to_owned();
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if id.is_empty() || id.len() > 80 || !id.chars().all(legal) {
                return Err(Fault::new(
                    Kind::InvalidBatchEntryId,
                    "A batch entry id can only contain alphanumeric characters, hyphens and \
                     underscores. It can be at most 80 letters long.",
                ));
            }
            if read.iter().any(|(other, _)| *other == id) {
                let message = format!("Id {id} repeated.");
                return Err(Fault::new(Kind::BatchEntryIdsNotDistinct, message));
            }
            read.push((id, entry));
        }
        Ok(read)
    }

    /// The name of the queue that `QueueUrl` or `QueueName` names: the last part of the URL,
    /// whatever its host, so that a script's AWS URL finds the queue here.
    pub(super) fn queue_name(&self) -> Option<String> {
        let named = self.text("QueueUrl").or_else(|| self.text("QueueName"))?;
        let name = named
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        Some(name.to_owned())
    }
}
