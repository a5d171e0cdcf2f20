//! The ledger in a DynamoDB table: the adapter of [`spawn_ports::ledger::Ledger`] for machines
//! that share nothing else.
//!
//! [`DynamoLedger`] speaks DynamoDB's JSON through [`DynamoApi`], one operation a call; signing and
//! sending are somebody else's. Any number of ledgers use one table at once: there is no leader and
//! no cache that could be wrong. What is kept in memory never changes (what was submitted, what an
//! agent said when it enrolled) or is this process's own (calls whose answers were lost).
//!
//! # Where things are
//!
//! One table, one sparse index that projects keys only; `ledger/schema.rs` has the list.
//!
//! - An array's *head* has what claims change: the token counter, and for each lane the first
//!   position that was never given out. Beside it, in the same partition, each agent has an item
//!   with the positions it has leased and with what became of those it had. So a commit changes
//!   the task's item and that of the agent that held the lease, never one that all agents write.
//! - Counts are sums over the agents of an array: one query, one page for some thousands of them.
//!   Tasks that wait are not counted; they are what remains of the total.
//! - A task gets its item when it is first claimed. Positions without items are untouched, or were
//!   ended by a closing that the head tells of. Submitting, closing and reopening a million such
//!   tasks writes one item.
//! - What is looked for is in the index while it is looked for: tasks that wait by when they are
//!   due, failures by when they ended, successes in doubt, live agents, open arrays, all arrays.
//!   The index may lag; so what it lists is read from the table, and every write is conditional.
//!   No lease is found by it: those of an agent are in its own item.
//!
//! # Claims, and what is between
//!
//! One update of the head gives out a token and the next positions; one transaction writes the
//! tasks and the leases. Two steps, since a transaction that read and moved the counter would fail
//! for all agents but one. The update is recorded in the head under a nonce, for the last sixteen
//! claims: sent again after its answer was lost it answers the same, and the end of an agent that
//! died in between hands its positions back as lost. Beyond those sixteen, tasks that count as
//! waiting though no index lists them are taken after a lease period by whoever finds nothing else;
//! who writes a task's item first has it, so a claim that was only slow is refused, not doubled.
//!
//! # Calls
//!
//! | operation | calls |
//! |---|---|
//! | claim of fresh tasks, up to 48 | query, update, transaction |
//! | claim of handed-back tasks | two more: index, batch read |
//! | claim of nothing | query, update; with tasks in backoff one or two looks into the index |
//! | commit or release of up to 48 | batch read, transaction; releases of later attempts one read more |
//! | the last commit of an array | query, update more |
//! | `array` | one query |
//!
//! In units of DynamoDB: a task costs 2 writes for its claim and 2 for its commit, each transaction
//! 2 for the agent's item, a claim 1 for the head. Reading the counts, as every claim does, costs
//! about 5 reads for each hundred agents.
//!
//! # Limits
//!
//! - A claim gives at most 48 tasks, however many are wanted.
//! - The head takes about 1000 claims a second. An array's tasks begin in one partition of about
//!   1000 writes a second; DynamoDB splits it where it is hot.
//! - Messages, last lines and failed calls are cut to what an item holds; see `ledger/rows.rs`. A
//!   specification has at most 3 MiB.
//! - More than 90 tasks are reopened by several transactions, and the leases of an agent with more
//!   than 48 end by several: a call that breaks off has done a part, whole in itself, and the next
//!   one does the rest.
//! - A claim under way while its array is closed may still come true, as if it had come first. If
//!   the closing found nothing running, the array's end is then the closing's.
//!
//! # Faults
//!
//! Whatever failed in passing (throttled, a conflict of transactions, a lost answer) is sent again
//! as it was, see [`Retries`]: every write either is a transaction with a request token, sets what
//! it sets again, or is held by a condition. When the patience is over the call fails, and the
//! caller may ask again: a claim goes on where it was, and a commit that was done after all is
//! answered so. What a call had done when its process died is whole; the rest is as if never asked.
//! Two answers are lost with theirs: which positions an agent's end handed back, and how many tasks
//! were reopened before. An enrolment whose answer is lost leaves an agent that nobody is.

#![forbid(unsafe_code)]

mod api;
mod ledger;

pub use api::{CancelReason, DynamoApi, DynamoError};
pub use ledger::{DynamoLedger, DynamoOptions, Retries};
