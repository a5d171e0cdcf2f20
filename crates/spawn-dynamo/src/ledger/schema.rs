//! The table: made on first use, and marked with the version of what it holds.
//!
//! | `pk`             | `sk`               | `ip`, `is` in index `find`              | what |
//! |------------------|--------------------|------------------------------------------|------|
//! | `schema`         | `schema`           |                                          | the version |
//! | `counters`       | `counters`         |                                          | numbers given to arrays and agents |
//! | `ARRAY/spec`     | `000`, `001`, ...  | `arrays`, number                         | what was submitted; never changed |
//! | `ARRAY`          | `head`             | `open`, number; until it ends            | counter of claims, intent, deadline |
//! | `ARRAY`          | `agent/NUMBER`     | `live`, number; until it ends            | leases and counts of one agent |
//! | `agent/NUMBER`   | `enrolment`        |                                          | what an agent said of itself |
//! | `ARRAY/tasks`    | position           | see below                                | a task that was touched |
//! | `ARRAY/attempts` | position/attempt   |                                          | an attempt that was not the last |
//!
//! Tasks are in the index while somebody looks for them: `ARRAY/waiting/LANE` by when they are
//! due, `ARRAY/failed` by when they ended, `ARRAY/doubtful` by position.

use serde_json::{Value, json};

use super::items::{Edit, Read, number};
use super::wire::Wire;
use super::{Fail, keys};
use crate::{DynamoApi, DynamoError};

/// The version this program writes.
pub(super) const VERSION: u64 = 1;
/// Items with a time in this attribute, in seconds since 1970, are deleted after it.
pub(super) const TTL_ATTRIBUTE: &str = "ttl";
/// How often a table that is being created is looked at; with the waits about two minutes.
const LOOKS: u32 = 120;

/// Finds the table, or makes it. One read where all is well.
pub(super) fn ensure<A: DynamoApi>(wire: &mut Wire<A>) -> Result<(), Fail> {
    if wire.known {
        return Ok(());
    }
    let found = match wire.get(keys::schema()) {
        Err(DynamoError::ResourceNotFound(_)) => {
            create(wire)?;
            wire.get(keys::schema())?
        }
        found => found?,
    };
    let found = match found {
        Some(found) => found,
        None => {
            // Whoever made the table may have been cut off before it was set up.
            set_up(wire)?;
            let mut item = keys::schema();
            item.insert("version".to_owned(), number(VERSION));
            match wire.put(item, Edit::new().if_absent("pk")) {
                Err(error) if error.is_condition() => {}
                written => written?,
            }
            let found = wire.get(keys::schema())?;
            found.ok_or_else(|| Fail::Broken("its version was written and is gone".to_owned()))?
        }
    };
    let version: u64 = found.need("version")?;
    if version > VERSION {
        return Err(Fail::Broken(format!(
            "it was written by a newer program (version {version}, this one knows {VERSION})"
        )));
    }
    wire.known = true;
    Ok(())
}

fn create<A: DynamoApi>(wire: &mut Wire<A>) -> Result<(), Fail> {
    let string = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    let schema = |hash: &str, range: &str| {
        json!([
            { "AttributeName": hash, "KeyType": "HASH" },
            { "AttributeName": range, "KeyType": "RANGE" },
        ])
    };
    // Encryption at rest with a key of DynamoDB's is what a table has if nothing is said.
    let table = json!({
        "TableName": wire.table,
        "AttributeDefinitions": [string("pk"), string("sk"), string("ip"), string("is")],
        "KeySchema": schema("pk", "sk"),
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{ "Key": "spawn:tool", "Value": "spawn" }],
        // Only keys: what is found is read from the table, so that it is as the last write left
        // it, and a write that moves no task costs the index nothing.
        "GlobalSecondaryIndexes": [{
            "IndexName": keys::INDEX,
            "KeySchema": schema("ip", "is"),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    });
    match wire.call("CreateTable", &table) {
        // Somebody was faster.
        Ok(_) | Err(DynamoError::ResourceInUse(_)) => {}
        Err(error) => return Err(error.into()),
    }
    wait_until_active(wire)
}

/// What a table has beside its keys. Set again, it is the same.
fn set_up<A: DynamoApi>(wire: &mut Wire<A>) -> Result<(), Fail> {
    let name = wire.table.clone();
    let ttl = json!({ "AttributeName": TTL_ATTRIBUTE, "Enabled": true });
    let ttl = json!({ "TableName": name, "TimeToLiveSpecification": ttl });
    let recovery = json!({ "PointInTimeRecoveryEnabled": true });
    let recovery = json!({ "TableName": name, "PointInTimeRecoverySpecification": recovery });
    for (operation, body) in [
        ("UpdateTimeToLive", ttl),
        ("UpdateContinuousBackups", recovery),
    ] {
        for look in 1..=8 {
            match wire.call(operation, &body) {
                // A new table cannot be backed up at once.
                Err(DynamoError::Other { code, .. })
                    if code == "ContinuousBackupsUnavailableException" =>
                {
                    wire.retries.pause(look);
                }
                // A table that is kept but not backed up is a ledger; and where two make the
                // table at once, one of them finds these set.
                Ok(_) | Err(DynamoError::Other { .. } | DynamoError::ResourceInUse(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn wait_until_active<A: DynamoApi>(wire: &mut Wire<A>) -> Result<(), Fail> {
    let body = json!({ "TableName": wire.table });
    for look in 1..=LOOKS {
        let status = match wire.call("DescribeTable", &body) {
            // Told of its creation before it can be seen.
            Err(DynamoError::ResourceNotFound(_)) => None,
            answer => Some(answer?["Table"].take()),
        };
        let active = |part: &Value, status: &str| part[status].as_str() == Some("ACTIVE");
        if let Some(table) = status
            && active(&table, "TableStatus")
            && table["GlobalSecondaryIndexes"]
                .as_array()
                .is_some_and(|all| all.iter().all(|index| active(index, "IndexStatus")))
        {
            return Ok(());
        }
        wire.retries.pause(look.clamp(1, 8));
    }
    Err(Fail::Broken(
        "it was created and did not become active".to_owned(),
    ))
}
