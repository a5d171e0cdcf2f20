//! Objects in an S3 bucket.

use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::s3::{self, Bucket, PutOptions};
use spawn_ports::objects::{ObjectError, ObjectInfo, Objects};

/// Objects below one prefix of a bucket. The client repeats what failed in passing.
#[derive(Debug, Clone)]
pub struct S3Objects {
    client: Client,
    bucket: Bucket,
    prefix: String,
}

impl S3Objects {
    /// Objects whose keys are `prefix` followed by their names. The prefix is taken as it is: one
    /// that is meant as a folder ends with `/`.
    pub fn new(client: Client, bucket: Bucket, prefix: &str) -> S3Objects {
        S3Objects {
            client,
            bucket,
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn failed(&self, doing: &str, name: &str, error: AwsError) -> ObjectError {
        ObjectError {
            what: format!(
                "cannot {doing} s3://{}/{}: {error}",
                self.bucket.name,
                self.key(name)
            ),
            is_passing: is_passing(error.kind),
            source: Some(Box::new(error)),
        }
    }
}

/// Whether a call that failed so may succeed later, with nothing changed by anybody.
pub fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Network
            | ErrorKind::Conflict
            | ErrorKind::Expired
    )
}

impl Objects for S3Objects {
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), ObjectError> {
        let (key, options) = (self.key(name), PutOptions::default());
        s3::put_object(&self.client, &self.bucket, &key, content.to_vec(), &options)
            .map(|_| ())
            .map_err(|e| self.failed("put", name, e))
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        match s3::get_object(&self.client, &self.bucket, &self.key(name), None, None) {
            Ok(found) => Ok(found.map(|object| object.body)),
            Err(e) => Err(self.failed("get", name, e)),
        }
    }

    fn list(&mut self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let key = self.key(prefix);
        let listed = s3::list_objects(&self.client, &self.bucket, &key, None, None)
            .map_err(|e| self.failed("list", prefix, e))?;
        let own = self.prefix.len();
        let mut found: Vec<ObjectInfo> = listed
            .objects
            .into_iter()
            .map(|object| ObjectInfo {
                name: object.key[own..].to_owned(),
                size: object.size,
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn delete(&mut self, name: &str) -> Result<(), ObjectError> {
        s3::delete_object(&self.client, &self.bucket, &self.key(name))
            .map_err(|e| self.failed("delete", name, e))
    }
}
