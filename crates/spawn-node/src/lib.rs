//! What runs on an EC2 machine.
//!
//! ```text
//! user data ──fetches, verifies──▶ spored-node ──▶ Worker ──▶ spored agent ──▶ scripts
//!                                    │ S3: bundle in, output out
//!                                    │ DynamoDB: the ledger
//!                                    └ IMDS: notices · Auto Scaling: how it leaves
//! ```
//!
//! - [`boot`]: the user data that brings the programs onto a machine and starts them.
//! - [`bundle`]: script, rows and shipped files as one blob, packed by the launcher, unpacked here.
//! - [`config`]: what the boot script tells the program.
//! - [`objects`], [`dynamo_api`], [`machine`]: the ports over AWS.
//! - [`standing`]: a machine in no group, which outlives its tasks.
//! - [`job`]: what the agent is told, made from what was submitted.
//! - [`node`]: all of it put together.

#![forbid(unsafe_code)]

pub mod boot;
pub mod bundle;
pub mod config;
pub mod dynamo_api;
pub mod job;
pub mod machine;
pub mod node;
pub mod objects;
pub mod standing;
