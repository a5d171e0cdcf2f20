//! What commands ask of arrays on EC2, answered without a host: from the ledger, the bucket, and the
//! groups of machines.
//!
//! - `reads`: arrays, tasks, status. `held_up`: why nothing is started. `logs`: what tasks printed.
//! - `expiring`: what time did to an array whose machines wrote nothing down any more.
//! - `closing`, `extending`, `retrying`: what people do to an array. Each can die between any two
//!   calls; the same request again finishes it, and meanwhile nothing runs that nobody ends.

mod closing;
mod error;
mod expiring;
mod extending;
mod groups;
mod held_up;
mod logs;
mod reads;
mod retrying;

use std::time::SystemTime;

use spawn_aws::client::{Client, ErrorKind};
use spawn_aws::services::dynamodb;
use spawn_aws::services::s3::{self, Bucket, BucketState};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_dynamo::{DynamoLedger, DynamoOptions};
use spawn_local::answers::{self, Slots};
use spawn_local::submission::Submission;
use spawn_local::wire::client::{Answer, Refusal, Request};
use spawn_node::dynamo_api::AwsDynamo;
use spawn_node::objects::S3Objects;
use spawn_ports::ledger::{ArrayRecord, Ledger, LedgerError};
use spawn_ports::objects::Objects;
use spawn_spec::LaunchSpec;

pub use error::DeskError;

use crate::names;

/// Where arrays on EC2 are asked after, in one account and region.
#[derive(Debug)]
pub struct Desk {
    client: Client,
    bucket: Bucket,
    ledger: DynamoLedger<AwsDynamo>,
    objects: S3Objects,
    slots: Slots,
    /// The table was seen: reading it makes none.
    has_table: bool,
}

impl Desk {
    /// No call is made. `account` (twelve digits) and the client's region say table and bucket.
    pub fn new(client: Client, account: &str) -> Desk {
        let bucket = Bucket {
            name: names::bucket(account, client.region()),
            owner: Some(account.to_owned()),
        };
        let options = DynamoOptions {
            table: names::TABLE.to_owned(),
            ..DynamoOptions::default()
        };
        Desk {
            ledger: DynamoLedger::new(AwsDynamo(client.clone()), options),
            objects: S3Objects::new(client.clone(), bucket.clone(), ""),
            slots: Slots::default(),
            has_table: false,
            bucket,
            client,
        }
    }

    /// The ledger. Unlike the desk's own requests, its first call makes the table if there is none.
    pub fn ledger(&mut self) -> &mut DynamoLedger<AwsDynamo> {
        &mut self.ledger
    }

    /// The answer to a request: what the host says of arrays on this machine. `Wait` is answered
    /// once, as `Status` is; what only a host can do is refused.
    ///
    /// # Errors
    /// [`DeskError`]. What is not there is [`Answer::Refused`].
    pub fn answer(&mut self, request: Request) -> Result<Answer, DeskError> {
        match self.serve(request) {
            Err(DeskError::Ledger(e @ LedgerError::UnknownArray(_))) => Ok(answers::refusal(&e)),
            answer => answer,
        }
    }

    fn serve(&mut self, request: Request) -> Result<Answer, DeskError> {
        match request {
            Request::Resolve { typed } => self.resolve(&typed).map(Answer::Matches),
            Request::Arrays { limit } => self.arrays(limit).map(Answer::Arrays),
            Request::Status { id } | Request::Wait { id } => {
                let status = self.status(&id)?;
                Ok(Answer::Status(Box::new(status)))
            }
            Request::Tasks { id, query } => self.tasks(&id, query).map(Answer::Tasks),
            Request::Attempts { id, position } => {
                self.need_table(&id)?;
                Ok(Answer::Attempts(self.ledger.attempts(&id, position)?))
            }
            Request::Explain { id, position } => self.explain(&id, position),
            Request::Close {
                id,
                intent,
                notice_ms,
            } => self.close(&id, intent, notice_ms),
            Request::Extend { id, by_ms } => self.extend(&id, by_ms),
            Request::Retry { id, which, ttl_ms } => self.retry(&id, which, ttl_ms),
            Request::MissingBuckets { names } => self.missing_buckets(names),
            Request::Interrupt { .. } => Ok(refused(
                "interruptions on EC2 are AWS's to play: `aws fis start-experiment` rehearses one for a spot machine, and `aws ec2 terminate-instances` ends a machine at once; `spawn interrupt` is for arrays on this machine",
            )),
            Request::Submit { .. } => Ok(refused(
                "an array on EC2 is recorded by its launch, not by itself",
            )),
            Request::Hello { .. } | Request::Host | Request::Shutdown => Ok(refused(
                "no host serves arrays on EC2: commands read the ledger themselves",
            )),
        }
    }

    /// Those that surely do not exist. A bucket that others keep closed is there.
    fn missing_buckets(&self, names: Vec<String>) -> Result<Answer, DeskError> {
        let mut missing = Vec::new();
        for name in names {
            if s3::head_bucket(&self.client, &Bucket::named(&name))? == BucketState::Absent {
                missing.push(name);
            }
        }
        Ok(Answer::Buckets(missing))
    }

    /// AWS's clock.
    fn now(&self) -> UnixMicros {
        let since = self.client.aws_now().duration_since(SystemTime::UNIX_EPOCH);
        UnixMicros(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Whether anything was ever recorded here.
    fn has_table(&mut self) -> Result<bool, DeskError> {
        if !self.has_table {
            self.has_table = dynamodb::describe_table(&self.client, names::TABLE)?.is_some();
        }
        Ok(self.has_table)
    }

    /// Where nothing was ever recorded there is no array, and a reader makes no table.
    fn need_table(&mut self, id: &ArrayId) -> Result<(), DeskError> {
        match self.has_table()? {
            true => Ok(()),
            false => Err(LedgerError::UnknownArray(id.clone()).into()),
        }
    }

    /// The content of an object; nothing where there is none, or no bucket.
    fn object(&mut self, key: &str) -> Result<Option<Vec<u8>>, DeskError> {
        match self.objects.get(key).map_err(DeskError::from) {
            Err(e) if e.aws().is_some_and(|e| e.kind == ErrorKind::NotFound) => Ok(None),
            content => content,
        }
    }

    fn record(&mut self, id: &ArrayId) -> Result<ArrayRecord, DeskError> {
        self.need_table(id)?;
        Ok(answers::record_of(&mut self.ledger, id)?)
    }
}

fn refused(message: &str) -> Answer {
    Answer::Refused {
        kind: Refusal::Failed,
        message: message.to_owned(),
    }
}

/// What was launched, as far as it can be read.
fn launched(record: &ArrayRecord) -> Option<LaunchSpec> {
    let spec = &record.submitted.spec;
    let submission = serde_json::from_str::<Submission>(spec).map(|s| s.launch);
    submission.or_else(|_| serde_json::from_str(spec)).ok()
}
