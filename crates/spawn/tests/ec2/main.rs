//! The promises on EC2, kept by real processes: the real `spawn`, the real `aws` CLI, and the test
//! bed (`testbed/README.md`), an account on this machine whose machines boot in namespaces.
//!
//! Nothing here waits for a time. What is to come is waited for by asking the account whether it
//! has, up to a deadline at which the test fails; time that has to pass is moved forward.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod bed;
mod world;

mod alike;
mod boots;
mod breaking_off;
mod choices;
mod grants;
mod how_to;
mod interventions;
mod losing;
mod shortage;
mod sizes;
mod weather;
