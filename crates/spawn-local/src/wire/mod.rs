//! What the local processes say to each other: length-prefixed JSON frames over Unix sockets.
//!
//! - [`client`]: between a `spawn` command and the host, request by request.
//! - [`check`]: what a check of a home found.
//! - [`agent`]: between an agent and the host, over a socket pair that also tells each of the
//!   other's death.

pub mod agent;
pub mod check;
pub mod client;
pub mod frames;

/// Spoken in every greeting; a host of another version is asked to make way.
pub const PROTOCOL: u32 = 3;
