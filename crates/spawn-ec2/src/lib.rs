//! The EC2 provider: what a launch makes in AWS, in which order, and how it is finished or undone.
//!
//! ```text
//! LaunchSpec + Facts ──plan──▶ LaunchPlan ──launch──▶ AWS
//!                      │                     │
//!                  preflight              journal ──▶ resume
//!                                          tags   ──▶ cleanup
//! ```
//!
//! - [`names`]: what everything is called.
//! - [`policy_documents`]: what the machines may do.
//! - [`grants`]: what the person who launches needs to be allowed to do.
//! - [`role_plan`]: the role that a launch asks for.
//! - [`facts`]: what is known of the account and the region.
//! - [`mod@gather`]: the same, asked of AWS.
//! - [`firewall`]: the security group that lets nothing in.
//! - [`plan`]: the launch as data, made without a call.
//! - [`preflight`]: what would go wrong, before anything is made.
//! - [`prices`]: what the machines cost.
//! - [`programs`]: what machines fetch. [`furnish`]: a plan completed with what they are told.
//! - [`setup`]: what an account needs before its first launch.
//! - [`standing`]: machines that outlive their tasks.
//! - [`journal`]: what of a launch is done, on disk.
//! - [`launch`]: the plan carried out, step by step; the same function finishes one that was cut off.
//! - [`orphans`]: what is there of arrays that have ended. [`teardown`]: the account as it was before.
//! - [`cleanup`]: what there is of an array, found by its tag and removed.
//! - [`desk`]: what commands ask of arrays, answered without a host.
//!
//! Three rules keep money safe. Groups are made with room for no machine, and are given room only
//! after everything else stands. Before that they have an action that takes all machines away at
//! the end of their time, which works with every other part dead. And nothing is made twice: names
//! follow from the array's id, and what is there already must carry this launch's own mark.

#![forbid(unsafe_code)]

pub mod cleanup;
pub mod desk;
pub mod facts;
pub mod firewall;
pub mod furnish;
pub mod gather;
pub mod grants;
pub mod journal;
mod kinds;
pub mod launch;
pub mod names;
mod network;
pub mod orphans;
pub mod plan;
pub mod policy_documents;
pub mod preflight;
pub mod prices;
pub mod programs;
mod requests;
pub mod role_plan;
mod roles;
pub mod setup;
mod sizes;
pub mod standing;
pub mod teardown;
