//! The ledger in DynamoDB.

#![forbid(unsafe_code)]

mod api;
mod ledger;

pub use api::{CancelReason, DynamoApi, DynamoError};
pub use ledger::{DynamoLedger, DynamoOptions, Retries};
