//! Sends operations, repeats what may be repeated, and puts pages together.
//!
//! Every write of this ledger may be sent twice: transactions carry a request token, and single
//! writes either set what they set again or are held by a condition. So whatever failed in passing
//! is sent again as it was.

use std::time::Duration;

use serde_json::{Value, json};

use super::items::{Edit, Item, item};
use super::{Fail, keys};
use crate::{DynamoApi, DynamoError};

/// How often an operation is sent again that failed in passing, and how long it waits before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often an operation is sent at most; at least once.
    pub attempts: u32,
    /// The longest first wait, in milliseconds. It doubles with every attempt; the wait itself is
    /// anything up to it.
    pub first_millis: u64,
    /// The longest wait, in milliseconds.
    pub longest_millis: u64,
}

impl Default for Retries {
    /// Ten attempts over about ten seconds.
    fn default() -> Self {
        Retries {
            attempts: 10,
            first_millis: 25,
            longest_millis: 4_000,
        }
    }
}

impl Retries {
    /// Everything is sent once.
    pub fn none() -> Retries {
        Retries {
            attempts: 1,
            first_millis: 0,
            longest_millis: 0,
        }
    }

    /// Waits before attempt `attempt + 1`, by chance, so that those who collided part.
    pub(super) fn pause(&self, attempt: u32) {
        let doubled = self
            .first_millis
            .saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let most = doubled.min(self.longest_millis).saturating_mul(1_000);
        if most > 0 {
            std::thread::sleep(Duration::from_micros(chance() % most));
        }
    }
}

/// A random number; not for secrets.
pub(super) fn chance() -> u64 {
    // Without a source of randomness the clock has to do: only spread and uniqueness hang on it.
    getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    })
}

/// One write of a transaction.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// Writes the whole item.
    Put(Item, Edit),
    /// Changes the item with this key.
    Update(Item, Edit),
}

impl Write {
    pub fn put(item: Item) -> Write {
        Write::Put(item, Edit::new())
    }

    /// Writes an item that is not there yet.
    pub fn new(item: Item) -> Write {
        Write::Put(item, Edit::new().if_absent("pk"))
    }

    fn into_request(self, table: &str) -> Value {
        let (word, member, about, edit) = match self {
            Write::Put(item, edit) => ("Put", "Item", item, edit),
            Write::Update(key, edit) => ("Update", "Key", key, edit),
        };
        let mut request = Item::new();
        request.insert("TableName".to_owned(), json!(table));
        request.insert(member.to_owned(), Value::Object(about));
        edit.into_members(&mut request);
        json!({ word: request })
    }
}

/// A transaction, ready to be sent as often as need be: it is done once.
#[derive(Debug, Clone)]
pub(super) struct Transaction(Value);

/// Which items to look for.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// The partition, of the table or of the index.
    pub of: String,
    /// The first and last sort key.
    pub between: Option<(String, String)>,
    /// At most so many; 0: all.
    pub limit: usize,
    pub backwards: bool,
    /// Nothing of the items but their sort keys.
    pub keys_only: bool,
    /// Only those whose state is one of these numbers.
    pub states: Vec<i64>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Wire<A> {
    pub api: A,
    pub table: String,
    pub retries: Retries,
    /// The table was found, and is one that we can use.
    pub known: bool,
}

impl<A: DynamoApi> Wire<A> {
    /// Sends an operation about this table until it does not fail in passing.
    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value, DynamoError> {
        let mut attempt = 1;
        loop {
            match self.api.call(operation, body.clone()) {
                Err(error) if error.is_transient() && attempt < self.retries.attempts => {
                    self.retries.pause(attempt);
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    fn about(&self, member: &str, item: Item) -> Item {
        let mut request = Item::new();
        request.insert("TableName".to_owned(), json!(self.table));
        request.insert(member.to_owned(), Value::Object(item));
        request
    }

    /// One item, as the last write left it.
    pub fn get(&mut self, key: Item) -> Result<Option<Item>, DynamoError> {
        let mut request = self.about("Key", key);
        request.insert("ConsistentRead".to_owned(), json!(true));
        let answer = self.call("GetItem", &Value::Object(request))?;
        Ok(item(&answer["Item"]).cloned())
    }

    /// Those of these items that exist, in any order. Each key at most once.
    pub fn get_all(&mut self, keys: &[Item]) -> Result<Vec<Item>, DynamoError> {
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(100) {
            let keys = json!({ "Keys": chunk, "ConsistentRead": true });
            let mut request = json!({ &self.table: keys });
            let mut round = 1;
            loop {
                let body = json!({ "RequestItems": request });
                let mut answer = self.call("BatchGetItem", &body)?;
                let items = answer["Responses"][&self.table].take();
                if let Value::Array(items) = items {
                    found.extend(items.into_iter().filter_map(|i| item(&i).cloned()));
                }
                request = answer["UnprocessedKeys"].take();
                if item(&request).is_none() {
                    break;
                }
                self.retries.pause(round);
                round = (round + 1).min(10);
            }
        }
        Ok(found)
    }

    /// Items of one partition of the table, as the last writes left them.
    pub fn query(&mut self, search: &Search) -> Result<Vec<Item>, DynamoError> {
        self.search("pk", "sk", search, None)
    }

    /// Keys of the items in one partition of the index. What was just written may be missing.
    pub fn find(&mut self, search: &Search) -> Result<Vec<Item>, DynamoError> {
        self.search("ip", "is", search, Some(keys::INDEX))
    }

    fn search(
        &mut self,
        hash: &str,
        range: &str,
        search: &Search,
        index: Option<&str>,
    ) -> Result<Vec<Item>, DynamoError> {
        let mut names = json!({ "#h": hash });
        let mut values = json!({ ":h": { "S": search.of } });
        let mut condition = "#h = :h".to_owned();
        if let Some((first, last)) = &search.between {
            condition.push_str(" AND #r BETWEEN :first AND :last");
            names["#r"] = json!(range);
            values[":first"] = json!({ "S": first });
            values[":last"] = json!({ "S": last });
        }
        let mut body = json!({
            "TableName": self.table,
            "KeyConditionExpression": condition,
            "ScanIndexForward": !search.backwards,
        });
        match index {
            Some(index) => body["IndexName"] = json!(index),
            None => body["ConsistentRead"] = json!(true),
        }
        if !search.states.is_empty() {
            names["#st"] = json!("st");
            let mut list = Vec::new();
            for state in &search.states {
                let placeholder = format!(":s{state}");
                values[&placeholder] = json!({ "N": state.to_string() });
                list.push(placeholder);
            }
            body["FilterExpression"] = json!(format!("#st IN ({})", list.join(", ")));
        }
        if search.keys_only {
            names["#k"] = json!("sk");
            body["ProjectionExpression"] = json!("#k");
        }
        body["ExpressionAttributeNames"] = names;
        body["ExpressionAttributeValues"] = values;
        let mut found = Vec::new();
        loop {
            // A filter drops items after the limit was applied.
            if search.limit > 0 && search.states.is_empty() {
                body["Limit"] = json!(search.limit - found.len());
            }
            let mut answer = self.call("Query", &body)?;
            if let Value::Array(items) = answer["Items"].take() {
                found.extend(items.into_iter().filter_map(|i| item(&i).cloned()));
            }
            let next = answer["LastEvaluatedKey"].take();
            let enough = search.limit > 0 && found.len() >= search.limit;
            if item(&next).is_none() || enough {
                break;
            }
            body["ExclusiveStartKey"] = next;
        }
        if search.limit > 0 {
            found.truncate(search.limit);
        }
        Ok(found)
    }

    /// Changes one item and gives the attributes that were changed, as they are now. If the
    /// condition does not hold the error has the item as it is.
    pub fn update(&mut self, key: Item, edit: Edit) -> Result<Item, DynamoError> {
        let mut request = self.about("Key", key);
        edit.into_members(&mut request);
        request.insert("ReturnValues".to_owned(), json!("UPDATED_NEW"));
        request.insert(
            "ReturnValuesOnConditionCheckFailure".to_owned(),
            json!("ALL_OLD"),
        );
        let answer = self.call("UpdateItem", &Value::Object(request))?;
        Ok(item(&answer["Attributes"]).cloned().unwrap_or_default())
    }

    /// Writes one item.
    pub fn put(&mut self, item: Item, edit: Edit) -> Result<(), DynamoError> {
        let mut request = self.about("Item", item);
        edit.into_members(&mut request);
        self.call("PutItem", &Value::Object(request)).map(|_| ())
    }

    /// Makes a transaction of at most 100 writes to as many items.
    pub fn transaction(&self, writes: Vec<Write>) -> Transaction {
        let writes: Vec<Value> = writes
            .into_iter()
            .map(|write| write.into_request(&self.table))
            .collect();
        Transaction(json!({
            "TransactItems": writes,
            "ClientRequestToken": format!("{:016x}{:016x}", chance(), chance()),
        }))
    }

    /// Does a transaction; once, though it is sent again within ten minutes.
    pub fn send(&mut self, transaction: &Transaction) -> Result<(), DynamoError> {
        self.call("TransactWriteItems", &transaction.0).map(|_| ())
    }

    pub fn transact(&mut self, writes: Vec<Write>) -> Result<(), DynamoError> {
        let transaction = self.transaction(writes);
        self.send(&transaction)
    }

    /// The failure of a call, named.
    pub fn named(&self, doing: &str, fail: Fail) -> spawn_ports::ledger::LedgerError {
        let table = &self.table;
        match fail {
            Fail::Refused(error) => error,
            Fail::Dynamo(error) if error.is_transient() => {
                spawn_ports::ledger::LedgerError::Unavailable {
                    what: format!("cannot {doing} the ledger in table `{table}` now: {error}"),
                    source: Some(Box::new(error)),
                }
            }
            Fail::Dynamo(error) => spawn_ports::ledger::LedgerError::Storage {
                what: format!("cannot {doing} the ledger in table `{table}`: {error}"),
                source: Some(Box::new(error)),
            },
            Fail::Broken(what) => spawn_ports::ledger::LedgerError::Storage {
                what: format!("ledger in table `{table}`: {what}"),
                source: None,
            },
        }
    }
}
