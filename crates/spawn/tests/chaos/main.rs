//! Arrays of many tasks while everything is killed, stalled and interrupted at random.
//!
//! What happened is judged from outside: by the lines that the tasks wrote, one at the start and
//! one at the end of each execution, against what the commands say.
//!
//! `SPAWN_CHAOS_SEED=N` runs one seed, `SPAWN_CHAOS_SEEDS=N` runs N of them, `SPAWN_CHAOS_TASKS`
//! says how many tasks each has. A failure prints its seed; the same seed does the same things in
//! the same order, though not at the same moments.

#[path = "../faults/processes.rs"]
#[allow(dead_code, reason = "each test program uses a part")]
mod processes;
#[path = "../acceptance/shared.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

mod dice;
mod executions;
mod mischief;
mod storm;
