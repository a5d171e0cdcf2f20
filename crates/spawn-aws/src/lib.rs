//! A thin synchronous client of AWS, for what spawn needs of EC2 and its neighbours.
//!
//! AWS's generated clients cost minutes and gigabytes to compile, bring an async runtime, and are
//! linked into the small agent that runs on every machine. This crate signs with AWS's own signer,
//! speaks the four wire protocols over one small HTTP client, and has one function for each
//! operation that is needed. `docs/aws-client.md` has the numbers.
//!
//! - [`client`]: a [`client::Client`] signs, sends and retries a [`client::Call`]; every failure is
//!   an [`client::AwsError`] of a kind.
//! - [`credentials`]: where AWS's own SDKs look, in their order.
//! - [`services`]: the operations.
//! - [`imds`]: the metadata of the instance this runs on.
//! - [`environment`]: the process's environment as a value.
//!
//! Time, chance and HTTP are traits, so that retries and renewals are tested without waiting.

#![forbid(unsafe_code)]

pub mod client;
pub mod credentials;
pub mod environment;
pub mod imds;
pub mod services;

#[cfg(test)]
mod loopback;
