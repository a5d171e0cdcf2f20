//! What an account needs in a region before its first launch: a bucket, a table, a security group,
//! and the programs in the bucket. Made once, shared by all arrays, free while nothing runs.
//!
//! Everything can be made twice with the outcome of once, so nothing of it is journalled.

use std::fmt;
use std::fs;
use std::io;

use spawn_aws::client::{AwsError, Client};
use spawn_aws::services::dynamodb;
use spawn_aws::services::s3::{self, Bucket, BucketState, LifecycleRule, PutOptions};
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::facts::Facts;
use crate::programs::Program;
use crate::{firewall, names, programs as stored};

/// After this many days the objects of an array go: bundle and logs. No array lives that long.
pub const KEEP_DAYS: u32 = 400;
/// An array's longest TTL on EC2, in days: its bundle is there until then.
pub const LONGEST_TTL_DAYS: u32 = 365;

/// Something that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The bucket.
    Bucket(String),
    /// What holds in the bucket: its making was cut off.
    Rules(String),
    /// The ledger's table.
    Table,
    /// The security group of the machines, in this network.
    Firewall(String),
    /// A program in the bucket.
    Program(Program),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Bucket(name) => {
                write!(f, "make bucket {name}: encrypted, without public access")
            }
            Missing::Rules(name) => write!(f, "close bucket {name} to the public, and encrypt it"),
            Missing::Table => write!(f, "make table {}, paid by request", names::TABLE),
            Missing::Firewall(vpc) => write!(
                f,
                "make security group {} in {vpc}: nothing comes in",
                firewall::NAME
            ),
            Missing::Program(program) => write!(
                f,
                "put {} for {}, {} bytes, into the bucket",
                program.name, program.architecture, program.size
            ),
        }
    }
}

/// Why an account cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The table.
    #[error("the ledger's table cannot be made")]
    Ledger(#[from] LedgerError),
    /// A program cannot be read any more.
    #[error("cannot read `{path}`: {source}")]
    Program {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bucket's name is taken.
    #[error("the bucket `{0}` is there and is another account's")]
    Foreign(String),
}

fn bucket(facts: &Facts) -> Bucket {
    Bucket {
        name: names::bucket(&facts.account, &facts.region),
        owner: Some(facts.account.clone()),
    }
}

/// What is missing. Reads only; no call for what `facts` know already.
///
/// # Errors
/// See [`SetupError`].
pub fn look(
    client: &Client,
    facts: &Facts,
    programs: &[&Program],
) -> Result<Vec<Missing>, SetupError> {
    let bucket = bucket(facts);
    let mut missing = Vec::new();
    if !facts.has_bucket {
        match s3::head_bucket(client, &bucket)? {
            BucketState::Usable(_) => {}
            BucketState::Absent => missing.push(Missing::Bucket(bucket.name.clone())),
            _ => return Err(SetupError::Foreign(bucket.name)),
        }
    }
    let has_bucket = missing.is_empty();
    if dynamodb::describe_table(client, names::TABLE)?.is_none() {
        missing.push(Missing::Table);
    }
    if let (None, Some(vpc), []) = (
        &facts.security_group,
        &facts.vpc,
        &facts.security_groups[..],
    ) {
        missing.push(Missing::Firewall(vpc.clone()));
    }
    for program in programs {
        let there = match has_bucket {
            true => s3::head_object(client, &bucket, &program.key())?,
            false => None,
        };
        if there.is_none_or(|there| there.size != program.size) {
            missing.push(Missing::Program((*program).clone()));
        }
    }
    // Programs come last: a bucket without any was perhaps not set up to its end.
    let lacks_programs = missing.iter().any(|m| matches!(m, Missing::Program(_)));
    if has_bucket && lacks_programs && !has_programs(client, &bucket)? {
        missing.insert(0, Missing::Rules(bucket.name));
    }
    Ok(missing)
}

fn has_programs(client: &Client, bucket: &Bucket) -> Result<bool, AwsError> {
    let listed = s3::list_objects(client, bucket, stored::PREFIX, None, None)?;
    Ok(!listed.objects.is_empty())
}

/// Makes what is missing, and takes note of it in `facts`.
///
/// # Errors
/// See [`SetupError`]; doing it again goes on.
pub fn make(
    client: &Client,
    ledger: &mut dyn Ledger,
    facts: &mut Facts,
    missing: &[Missing],
) -> Result<(), SetupError> {
    let bucket = bucket(facts);
    for missing in missing {
        match missing {
            Missing::Bucket(name) => {
                s3::create_bucket(client, name)?;
                put_rules(client, &bucket)?;
                facts.has_bucket = true;
            }
            Missing::Rules(_) => put_rules(client, &bucket)?,
            // The first question that a ledger is asked makes its table.
            Missing::Table => drop(ledger.arrays(1)?),
            Missing::Firewall(vpc) => facts.security_group = Some(firewall::ensure(client, vpc)?),
            Missing::Program(program) => put(client, &bucket, program)?,
        }
    }
    Ok(())
}

/// All of it can be put again.
fn put_rules(client: &Client, bucket: &Bucket) -> Result<(), AwsError> {
    s3::put_public_access_block(client, bucket)?;
    s3::put_bucket_encryption(client, bucket)?;
    s3::put_bucket_lifecycle(client, bucket, &lifecycle())?;
    s3::put_bucket_tags(client, bucket, &[names::tool_tag()])?;
    Ok(())
}

/// Objects of arrays go in the end. Programs stay: an array that runs may need them.
fn lifecycle() -> [LifecycleRule; 2] {
    [
        LifecycleRule {
            id: "arrays".to_owned(),
            prefix: "arrays/".to_owned(),
            expire_days: Some(KEEP_DAYS),
            abort_uploads_days: None,
        },
        LifecycleRule {
            id: "unfinished-uploads".to_owned(),
            prefix: String::new(),
            expire_days: None,
            abort_uploads_days: Some(7),
        },
    ]
}

fn put(client: &Client, bucket: &Bucket, program: &Program) -> Result<(), SetupError> {
    let content = fs::read(&program.path).map_err(|source| SetupError::Program {
        path: program.path.display().to_string(),
        source,
    })?;
    let options = PutOptions::default();
    s3::put_object(client, bucket, &program.key(), content, &options)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_an_array_needs_expires_before_it() {
        let [arrays, uploads] = lifecycle();
        assert!(arrays.prefix.starts_with("arrays/"));
        assert!(arrays.expire_days.unwrap() > LONGEST_TTL_DAYS + 30);
        assert_eq!(uploads.expire_days, None);
    }
}
