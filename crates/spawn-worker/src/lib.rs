//! A worker that is a whole machine.
//!
//! On one's own machine a host stands between the agents and the ledger. A machine in a group has no
//! host: this takes its place, for one agent, over the very protocol that the host speaks. So the
//! agent, its sandboxes and the order in which scripts are stopped are the same everywhere.
//!
//! ```text
//! ledger ◀─claim, commit, heartbeat─┐
//! objects ◀──────what tasks print───┤ Worker ◀──turns──▶ spored agent ──▶ init ──▶ script
//! machine ──notice of its end──────▶┘
//! ```
//!
//! - [`worker`]: the loop. It claims for its agent, commits what the agent reports once the output
//!   is safe, and says that it is there once a heartbeat.
//! - [`observer`]: judges by its own steady clock which other workers are gone, and gives their tasks
//!   back.
//! - [`patience`]: how outages are borne.
//! - [`output`]: the agent's log, carried to the object store piece by piece.
//!
//! Nothing here reads a wall clock to judge a lease. Times of the wall clock are handed to the ledger
//! as records for people.

pub mod observer;
pub mod output;
pub mod patience;
pub mod worker;

pub use worker::{End, Settings, Worker, WorkerError};
