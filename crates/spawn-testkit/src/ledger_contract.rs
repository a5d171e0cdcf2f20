//! The laws every ledger keeps, one function each.
//!
//! A law takes a maker of fresh, empty ledgers. Run them all for one implementation with
//! [`ledger_contract!`](crate::ledger_contract!).

mod attempts;
mod claims;
mod closing;
mod lanes;
mod records;
mod reopening;
mod scene;

pub use attempts::*;
pub use claims::*;
pub use closing::*;
pub use lanes::*;
pub use records::*;
pub use reopening::*;

use spawn_ports::ledger::Ledger;

/// Makes fresh, empty ledgers.
pub type Fresh<'a> = &'a mut dyn FnMut() -> Box<dyn Ledger>;

/// One `#[test]` per law of the ledger contract.
///
/// The argument makes a maker: an `FnMut() -> Box<dyn Ledger>` that may own what its ledgers
/// live in. Random histories are compared with the plain ledger's, see
/// [`ledger_model`](crate::ledger_model): 32, or as many as a slow ledger has time for.
///
/// ```
/// spawn_testkit::ledger_contract!(|| Box::new(spawn_testkit::MemoryLedger::new()));
/// # fn main() {}
/// ```
/// ```
/// spawn_testkit::ledger_contract!(|| Box::new(spawn_testkit::MemoryLedger::new()), histories: 4);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! ledger_contract {
    ($maker:expr) => {
        $crate::ledger_contract! { $maker, histories: 32 }
    };
    ($maker:expr, histories: $histories:expr) => {
        #[test]
        fn random_histories_agree_with_the_plain_ledger() {
            let mut fresh = $maker;
            $crate::ledger_model::random_histories($histories, &mut || fresh());
        }
        $crate::ledger_contract! { @laws $maker;
            a_new_array_has_all_its_tasks_pending
            an_array_id_is_taken_once
            an_array_without_tasks_is_refused
            names_that_are_not_there_are_told
            arrays_are_listed_by_age
            an_agent_is_recorded_as_it_enrolled
            an_agent_is_heard_when_it_claims_and_commits
            every_field_of_an_outcome_is_kept
            tasks_are_read_in_pages_and_by_state
            failures_are_read_newest_first
            fresh_tasks_are_claimed_in_order
            tokens_grow_with_every_claim
            an_empty_claim_gives_no_token
            agents_share_an_array_without_overlap
            handed_back_tasks_come_before_fresh_ones
            a_task_in_backoff_is_not_claimed_and_says_when
            an_ended_agent_claims_nothing
            a_task_commits_once
            a_stale_token_cannot_commit
            a_token_never_given_out_cannot_commit
            a_refused_commit_does_not_hold_up_the_others
            a_bad_exit_spends_its_budget_and_then_fails
            a_released_task_was_never_executed
            a_release_brings_the_earlier_attempt_back
            the_end_of_an_agent_voids_its_leases
            a_worker_lost_once_too_often_fails_the_task
            attempts_are_kept_as_history
            interruptions_and_lost_workers_are_counted
            cancelling_ends_what_is_pending_and_spares_what_runs
            an_expired_array_fails_what_is_pending
            the_first_closing_stands
            closing_an_ended_array_changes_nothing
            a_closed_array_runs_nothing_again
            a_release_into_a_closed_array_ends_the_task
            an_array_ends_with_its_last_task
            an_agent_is_given_tasks_of_its_lane_only
            an_empty_claim_says_when_a_task_of_its_lane_is_due
            untouched_tasks_of_every_lane_are_read
            lanes_are_closed_and_reopened
            lanes_that_are_not_there_are_refused
            a_deadline_moves_while_the_array_is_open
            failed_tasks_run_again_with_whole_budgets
            an_expired_array_goes_on_where_it_stood
            what_is_not_reopened_stays_as_its_closing_left_it
            reopening_nothing_changes_nothing
            a_halted_array_starts_nothing_further
            what_was_observed_stays_with_its_attempt
            a_clock_set_back_loses_no_task
        }
    };
    (@laws $maker:expr; $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                let mut fresh = $maker;
                $crate::ledger_contract::$law(&mut || fresh());
            }
        )*
    };
}
