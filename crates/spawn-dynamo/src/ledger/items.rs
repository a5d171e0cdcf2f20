//! DynamoDB's JSON: attribute values, and the expressions of an update.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::Fail;

/// An item: attribute names to typed values.
pub(super) type Item = Map<String, Value>;

pub(super) fn number(n: impl Display) -> Value {
    json!({ "N": n.to_string() })
}

pub(super) fn text(s: impl Into<String>) -> Value {
    json!({ "S": s.into() })
}

pub(super) fn number_set(numbers: impl IntoIterator<Item = u64>) -> Value {
    let numbers: Vec<String> = numbers.into_iter().map(|n| n.to_string()).collect();
    json!({ "NS": numbers })
}

/// The primary key.
pub(super) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    let mut key = Item::new();
    key.insert("pk".to_owned(), text(pk));
    key.insert("sk".to_owned(), text(sk));
    key
}

/// The item that an operation answered with.
pub(super) fn item(value: &Value) -> Option<&Item> {
    value.as_object().filter(|item| !item.is_empty())
}

/// Reads attributes of an item.
pub(super) trait Read {
    fn string(&self, name: &str) -> Option<&str>;
    fn maybe<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fail>;
    fn numbers(&self, name: &str) -> Result<BTreeSet<u64>, Fail>;

    fn need<T: FromStr>(&self, name: &str) -> Result<T, Fail> {
        let found = self.maybe(name)?;
        found.ok_or_else(|| Fail::Broken(format!("an item lacks its attribute `{name}`")))
    }

    fn need_str(&self, name: &str) -> Result<&str, Fail> {
        let found = self.string(name);
        found.ok_or_else(|| Fail::Broken(format!("an item lacks its attribute `{name}`")))
    }

    fn count<T: FromStr + Default>(&self, name: &str) -> Result<T, Fail> {
        Ok(self.maybe(name)?.unwrap_or_default())
    }
}

impl Read for Item {
    fn string(&self, name: &str) -> Option<&str> {
        self.get(name)?["S"].as_str()
    }

    fn maybe<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fail> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let read = value["N"].as_str().and_then(|digits| digits.parse().ok());
        read.map(Some)
            .ok_or_else(|| Fail::Broken(format!("attribute `{name}` is {value}, not a number")))
    }

    fn numbers(&self, name: &str) -> Result<BTreeSet<u64>, Fail> {
        let Some(value) = self.get(name) else {
            return Ok(BTreeSet::new());
        };
        let digits = value["NS"].as_array();
        let read = digits.and_then(|digits| {
            let each = digits.iter().map(|n| n.as_str()?.parse().ok());
            each.collect::<Option<BTreeSet<u64>>>()
        });
        read.ok_or_else(|| Fail::Broken(format!("attribute `{name}` is {value}, not numbers")))
    }
}

/// What is stored as JSON in a string.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Fail> {
    serde_json::from_str(json).map_err(|e| Fail::Broken(format!("cannot read `{json}`: {e}")))
}

/// The JSON of a value of ours: strings and numbers, which are always written.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Fail> {
    serde_json::to_string(value).map_err(|e| Fail::Broken(format!("cannot write JSON: {e}")))
}

/// The expressions of one write. Every name and value has a placeholder, so none is reserved.
#[derive(Debug, Clone, Default)]
pub(super) struct Edit {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    deletes: Vec<String>,
    conditions: Vec<String>,
    names: Map<String, Value>,
    values: Map<String, Value>,
}

impl Edit {
    pub fn new() -> Edit {
        Edit::default()
    }

    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), json!(name));
        placeholder
    }

    fn value(&mut self, value: Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub fn set(mut self, name: &str, value: Value) -> Edit {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets it unless it has a value.
    pub fn set_once(mut self, name: &str, value: Value) -> Edit {
        let (name, value) = (self.name(name), self.value(value));
        self.sets
            .push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets `name` to what `other` was before this write, plus `n`.
    pub fn set_from(mut self, name: &str, other: &str, n: u64) -> Edit {
        let (name, other, n) = (self.name(name), self.name(other), self.value(number(n)));
        self.sets.push(format!("{name} = {other} + {n}"));
        self
    }

    pub fn remove(mut self, name: &str) -> Edit {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// Adds to a number, which is 0 if it is not there.
    pub fn add(mut self, name: &str, n: i64) -> Edit {
        if n != 0 {
            let (name, n) = (self.name(name), self.value(number(n)));
            self.adds.push(format!("{name} {n}"));
        }
        self
    }

    /// Puts numbers into a set.
    pub fn include(mut self, name: &str, numbers: impl IntoIterator<Item = u64>) -> Edit {
        let (name, set) = (self.name(name), self.value(number_set(numbers)));
        self.adds.push(format!("{name} {set}"));
        self
    }

    /// Takes numbers out of a set; nothing if there are none.
    pub fn exclude(mut self, name: &str, numbers: impl IntoIterator<Item = u64>) -> Edit {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        if !numbers.is_empty() {
            let (name, set) = (self.name(name), self.value(number_set(numbers)));
            self.deletes.push(format!("{name} {set}"));
        }
        self
    }

    pub fn if_equal(mut self, name: &str, value: Value) -> Edit {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("{name} = {value}"));
        self
    }

    pub fn if_absent(mut self, name: &str) -> Edit {
        let name = self.name(name);
        self.conditions
            .push(format!("attribute_not_exists({name})"));
        self
    }

    pub fn if_present(mut self, name: &str) -> Edit {
        let name = self.name(name);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// Only if the attribute has another value, or none.
    pub fn unless_equal(mut self, name: &str, value: Value) -> Edit {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR {name} <> {value})"
        ));
        self
    }

    /// Only if the attribute has this value, or none.
    pub fn if_absent_or_equal(mut self, name: &str, value: Value) -> Edit {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR {name} = {value})"
        ));
        self
    }

    /// Only if the set has so many members.
    pub fn if_size(mut self, name: &str, size: usize) -> Edit {
        if size == 0 {
            return self.if_absent(name);
        }
        let (name, size) = (self.name(name), self.value(number(size)));
        self.conditions.push(format!("size({name}) = {size}"));
        self
    }

    /// Writes the members of an operation that changes what is there.
    pub fn into_members(self, request: &mut Item) {
        let clauses = [
            ("SET", &self.sets),
            ("REMOVE", &self.removes),
            ("ADD", &self.adds),
            ("DELETE", &self.deletes),
        ];
        let clauses = clauses.iter().filter(|(_, list)| !list.is_empty());
        let update: Vec<String> = clauses
            .map(|(word, list)| format!("{word} {}", list.join(", ")))
            .collect();
        let mut member = |name: &str, value: Value| {
            request.insert(name.to_owned(), value);
        };
        if !update.is_empty() {
            member("UpdateExpression", json!(update.join(" ")));
        }
        if !self.conditions.is_empty() {
            member("ConditionExpression", json!(self.conditions.join(" AND ")));
        }
        if !self.names.is_empty() {
            member("ExpressionAttributeNames", Value::Object(self.names));
        }
        if !self.values.is_empty() {
            member("ExpressionAttributeValues", Value::Object(self.values));
        }
    }
}
