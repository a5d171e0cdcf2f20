//! Buckets and how they are set up.

use super::{Bucket, XMLNS, escape, query, with_xml};
use crate::client::{AwsError, Client, ErrorKind, Method, Safety};
use crate::services::Tag;

/// What there is under a bucket's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketState {
    /// A bucket that the caller may use, and its region if AWS says it.
    Usable(Option<String>),
    /// A bucket that the caller may not use: another's, perhaps.
    Denied,
    /// A bucket in another region.
    Elsewhere(String),
    /// None.
    Absent,
}

/// `HeadBucket`.
///
/// # Errors
/// See [`AwsError`]; what [`BucketState`] says is none.
pub fn head_bucket(client: &Client, bucket: &Bucket) -> Result<BucketState, AwsError> {
    let call = bucket.call("HeadBucket", Safety::Read, Method::Head, "");
    match client.send(&call) {
        Ok(answer) => Ok(BucketState::Usable(
            answer
                .response
                .header("x-amz-bucket-region")
                .map(str::to_owned),
        )),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(BucketState::Absent),
        Err(e) if matches!(e.status, 301 | 307 | 400) && e.bucket_region.is_some() => Ok(
            BucketState::Elsewhere(e.bucket_region.clone().unwrap_or_default()),
        ),
        Err(e) if e.status == 403 => Ok(BucketState::Denied),
        Err(e) => Err(e),
    }
}

/// `CreateBucket` in the client's region; whether it is new. One that the caller owns already is
/// no error; [`ErrorKind::AlreadyExists`] is another's (`BucketAlreadyExists`).
/// [`ErrorKind::Conflict`]: `OperationAborted`, it is being made or deleted.
///
/// # Errors
/// See [`AwsError`].
pub fn create_bucket(client: &Client, name: &str) -> Result<bool, AwsError> {
    let bucket = Bucket::named(name);
    let mut call = bucket.call("CreateBucket", Safety::Repeatable, Method::Put, "");
    // The first region's name is not a valid constraint.
    if client.region() != "us-east-1" {
        let xml = format!(
            "<CreateBucketConfiguration xmlns=\"{XMLNS}\"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
            escape(client.region())
        );
        call.body = xml.into_bytes().into();
    }
    match client.send(&call) {
        Ok(_) => Ok(true),
        Err(e) if e.code == "BucketAlreadyOwnedByYou" => Ok(false),
        Err(e) => Err(e),
    }
}

/// `DeleteBucket`; whether it was there. [`ErrorKind::Conflict`]: `BucketNotEmpty`.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_bucket(client: &Client, bucket: &Bucket) -> Result<bool, AwsError> {
    let call = bucket.call("DeleteBucket", Safety::Repeatable, Method::Delete, "");
    match client.send(&call) {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Objects whose keys begin with a prefix go after some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    /// The rule's name.
    pub id: String,
    /// What keys begin with; empty for all.
    pub prefix: String,
    /// Days until objects go.
    pub expire_days: Option<u32>,
    /// Days until uploads that were not completed go.
    pub abort_uploads_days: Option<u32>,
}

/// `PutBucketLifecycleConfiguration`: replaces all rules.
///
/// # Errors
/// See [`AwsError`].
pub fn put_bucket_lifecycle(
    client: &Client,
    bucket: &Bucket,
    rules: &[LifecycleRule],
) -> Result<(), AwsError> {
    let rule = |rule: &LifecycleRule| {
        let expire = rule
            .expire_days
            .map(|days| format!("<Expiration><Days>{days}</Days></Expiration>"));
        let abort = rule.abort_uploads_days.map(|days| {
            format!(
                "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
            )
        });
        format!(
            "<Rule><ID>{}</ID><Filter><Prefix>{}</Prefix></Filter><Status>Enabled</Status>{}{}</Rule>",
            escape(&rule.id),
            escape(&rule.prefix),
            expire.unwrap_or_default(),
            abort.unwrap_or_default()
        )
    };
    let rules: String = rules.iter().map(rule).collect();
    let xml = format!("<LifecycleConfiguration xmlns=\"{XMLNS}\">{rules}</LifecycleConfiguration>");
    configure(
        client,
        bucket,
        "PutBucketLifecycleConfiguration",
        "lifecycle",
        xml,
    )
}

/// `PutPublicAccessBlock`: nothing in it can be made public.
///
/// # Errors
/// See [`AwsError`].
pub fn put_public_access_block(client: &Client, bucket: &Bucket) -> Result<(), AwsError> {
    let xml = format!(
        "<PublicAccessBlockConfiguration xmlns=\"{XMLNS}\"><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
    );
    configure(
        client,
        bucket,
        "PutPublicAccessBlock",
        "publicAccessBlock",
        xml,
    )
}

/// `PutBucketEncryption` with S3's own keys (AES-256), which cost nothing.
///
/// # Errors
/// See [`AwsError`].
pub fn put_bucket_encryption(client: &Client, bucket: &Bucket) -> Result<(), AwsError> {
    let xml = format!(
        "<ServerSideEncryptionConfiguration xmlns=\"{XMLNS}\"><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
    );
    configure(client, bucket, "PutBucketEncryption", "encryption", xml)
}

/// `PutBucketTagging`: replaces all tags.
///
/// # Errors
/// See [`AwsError`].
pub fn put_bucket_tags(client: &Client, bucket: &Bucket, tags: &[Tag]) -> Result<(), AwsError> {
    let tag = |tag: &Tag| {
        format!(
            "<Tag><Key>{}</Key><Value>{}</Value></Tag>",
            escape(&tag.key),
            escape(&tag.value)
        )
    };
    let tags: String = tags.iter().map(tag).collect();
    let xml = format!("<Tagging xmlns=\"{XMLNS}\"><TagSet>{tags}</TagSet></Tagging>");
    configure(client, bucket, "PutBucketTagging", "tagging", xml)
}

fn configure(
    client: &Client,
    bucket: &Bucket,
    operation: &'static str,
    part: &str,
    xml: String,
) -> Result<(), AwsError> {
    let call = bucket.call(operation, Safety::Repeatable, Method::Put, "");
    client
        .send(&with_xml(query(call, part, ""), xml))
        .map(|_| ())
}
