//! The account as it was before the first launch: everything shared is removed. What the ledger and
//! the bucket hold of past arrays is lost with it.

use std::fmt;

use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::s3::{self, Bucket, BucketState};
use spawn_aws::services::{dynamodb, iam};

use crate::{firewall, names, roles};

/// Something shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shared {
    /// A role of machines, with its profile.
    Role(String),
    /// A security group.
    Firewall(String),
    /// The bucket, and how many objects are in it.
    Bucket(String, usize),
    /// The ledger's table.
    Table,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shared::Role(name) => write!(f, "role {name}"),
            Shared::Firewall(id) => write!(f, "security group {id}"),
            Shared::Bucket(name, objects) => write!(f, "bucket {name} ({objects} objects)"),
            Shared::Table => write!(f, "table {} with every array it knows", names::TABLE),
        }
    }
}

/// What is shared in the client's region, in the order in which it is removed.
///
/// # Errors
/// See [`AwsError`].
pub fn find(client: &Client, account: &str) -> Result<Vec<Shared>, AwsError> {
    let region = client.region().to_owned();
    let prefix = format!("spawn-{region}-");
    // Others may have roles of such a name; ours end with a digest.
    let is_ours = |name: &String| {
        let digest = &name[prefix.len()..];
        *name == names::scheduler_role(&region)
            || digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let roles = iam::list_role_names(client, &prefix)?;
    let mut found: Vec<Shared> = roles
        .into_iter()
        .filter(is_ours)
        .map(Shared::Role)
        .collect();
    found.extend(
        firewall::find_all(client)?
            .into_iter()
            .map(Shared::Firewall),
    );
    let bucket = bucket(client, account);
    if let BucketState::Usable(_) = s3::head_bucket(client, &bucket)? {
        let objects = s3::list_objects(client, &bucket, "", None, None)?.objects;
        found.push(Shared::Bucket(bucket.name, objects.len()));
    }
    if dynamodb::describe_table(client, names::TABLE)?.is_some() {
        found.push(Shared::Table);
    }
    Ok(found)
}

fn bucket(client: &Client, account: &str) -> Bucket {
    Bucket {
        name: names::bucket(account, client.region()),
        owner: Some(account.to_owned()),
    }
}

/// Removes one of them; what is gone already is fine.
///
/// # Errors
/// See [`AwsError`]. A security group that machines on their way still use is
/// [`ErrorKind::Conflict`]; a little later it is not.
pub fn remove(client: &Client, account: &str, shared: &Shared) -> Result<(), AwsError> {
    match shared {
        Shared::Role(name) => roles::remove(client, name),
        Shared::Firewall(id) => firewall::remove(client, id).map(|_| ()),
        Shared::Table => dynamodb::delete_table(client, names::TABLE).map(|_| ()),
        Shared::Bucket(..) => {
            let bucket = bucket(client, account);
            let objects = s3::list_objects(client, &bucket, "", None, None)?.objects;
            let keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
            s3::delete_objects(client, &bucket, &keys)?;
            match s3::delete_bucket(client, &bucket) {
                Err(e) if e.kind == ErrorKind::NotFound => Ok(()),
                other => other.map(|_| ()),
            }
        }
    }
}
