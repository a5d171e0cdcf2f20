//! An embedded, durable AWS endpoint: S3, SQS, DynamoDB and STS `GetCallerIdentity` on one
//! loopback port, so that the `aws` CLI and the SDKs work with no account.
//!
//! # What serves what
//!
//! - **S3**: `s3s` speaks the protocol and verifies signatures; storage is ours (`s3`): blob
//!   files that are written once and never changed, and one SQLite transaction that publishes an
//!   object. Copies and completed multipart uploads share blobs, so they cost no data.
//! - **SQS**: ours (`sqs`), over SQLite. The existing in-memory engines would have had to be
//!   given storage, visibility timeout 0, partial batches and FIFO order behind their own data
//!   structures; that is most of a queue service, and their protocol layer is its small part.
//! - **DynamoDB**: `dynoxide` in process (`dynamodb`).
//!
//! # Who is let in
//!
//! 1. `judge` looks at the head of a request, of whichever service, before anything of its body is
//!    read: one signature, by the endpoint's own key, for this service, of the last minutes, over
//!    every header that means something.
//! 2. Whether the signature fits is told by `s3s` for S3, from the head, and by `sigv4` for the other
//!    services, which sign their body. That body is read within the bounds of `bodies`.
//! 3. Only now is the request admitted (`admission`): it counts as activity, and its connection is
//!    no longer a stranger's (`guests`).
//!
//! A request that is not let in is answered 403, or 400 where its head makes no sense, and nothing of
//! it is executed.
//!
//! # Durability
//!
//! What was acknowledged survives `kill -9` of the process. Nothing is forced to the disk, so a
//! power loss may take the last moments.
//!
//! # Cost at rest
//!
//! Until the first connection there is one thread, blocked on `accept`. The runtime starts with
//! the first connection; each service opens its files with its first request.
//!
//! # Where it differs from AWS
//!
//! - Buckets are never versioned; policies, ACLs, lifecycles and the like answer `NotImplemented`.
//! - `CopyObject` keeps the ETag of its source, and `UploadPartCopy` makes one up that is not the
//!   MD5 of the content, since neither reads it.
//! - A message is received in the order it became visible, and only its latest receipt deletes it.
//! - Form uploads (`POST` with a policy) are refused: their signature is in their body.
//! - A full disk is `DiskFull` with status 507 in every service.
//! - Every region is the same; the region a request is signed for only shows in ARNs.
//!
//! # What a client needs
//!
//! `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and any `AWS_DEFAULT_REGION`.
//! Version 1 of the `aws` CLI ignores `AWS_ENDPOINT_URL` for SQS and needs `--endpoint-url`. A
//! session token may be anything; it is handed to the [`RequestHook`], so a host can tell callers
//! apart.

#![deny(unsafe_code)]

mod admission;
mod authorization;
mod bodies;
mod connection;
mod credentials;
mod database;
mod disk;
mod dynamodb;
mod error;
mod guests;
mod identifiers;
mod judge;
mod memory;
mod percent;
mod record;
mod router;
mod s3;
mod server;
mod sigv4;
mod sqs;
mod sts;
mod timed;
mod wire;

pub use bodies::BodyLimits;
pub use credentials::Credentials;
pub use error::EndpointError;
pub use record::{RequestHook, RequestRecord};
pub use s3::existing_buckets;
pub use server::{EndpointConfig, EndpointHandle, start, start_with_limits};

/// The account that everything in the endpoint belongs to.
pub const ACCOUNT_ID: &str = "123456789012";
