//! Retry budgets: one for each cause, so that a spot interruption never spends the script's retries.

use serde::{Deserialize, Serialize};

use crate::outcome::Cause;

/// How many further attempts each cause allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// After a bad exit.
    pub exit: u32,
    /// After a timeout.
    pub timeout: u32,
    /// After running out of memory.
    pub out_of_memory: u32,
    /// After an interruption.
    pub interrupted: u32,
    /// After a worker disappeared.
    pub worker_lost: u32,
    /// After the script could not be started.
    pub launch_failed: u32,
    /// First wait before a retry, in milliseconds; it doubles with every retry.
    pub backoff_millis: u64,
    /// Longest wait before a retry, in milliseconds.
    pub backoff_max_millis: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            exit: 0,
            timeout: 0,
            out_of_memory: 0,
            interrupted: 100,
            worker_lost: 10,
            launch_failed: 0,
            backoff_millis: 2_000,
            backoff_max_millis: 300_000,
        }
    }
}

/// What a task has spent of each budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Retries after bad exits.
    pub exit: u32,
    /// Retries after timeouts.
    pub timeout: u32,
    /// Retries after running out of memory.
    pub out_of_memory: u32,
    /// Attempts lost to interruptions.
    pub interrupted: u32,
    /// Attempts lost with their workers.
    pub worker_lost: u32,
    /// Failed starts.
    pub launch_failed: u32,
}

impl Spent {
    /// Takes one from the budget of `cause`. False if nothing is left, or the cause is never retried.
    pub fn charge(&mut self, cause: Cause, budgets: &Budgets) -> bool {
        let Some((spent, allowed)) = self.of(cause, budgets) else {
            return false;
        };
        if *spent >= allowed {
            return false;
        }
        *spent += 1;
        true
    }

    fn of(&mut self, cause: Cause, budgets: &Budgets) -> Option<(&mut u32, u32)> {
        match cause {
            Cause::Exit => Some((&mut self.exit, budgets.exit)),
            Cause::Timeout => Some((&mut self.timeout, budgets.timeout)),
            Cause::OutOfMemory => Some((&mut self.out_of_memory, budgets.out_of_memory)),
            Cause::Interrupted => Some((&mut self.interrupted, budgets.interrupted)),
            Cause::WorkerLost => Some((&mut self.worker_lost, budgets.worker_lost)),
            Cause::LaunchFailed => Some((&mut self.launch_failed, budgets.launch_failed)),
            Cause::Succeeded | Cause::Skipped | Cause::Ttl | Cause::Cancelled => None,
        }
    }
}

impl Budgets {
    /// How long to wait before the next attempt, in milliseconds.
    ///
    /// Exponential with full jitter for what the script did; none for what the machine did.
    pub fn backoff_millis(&self, cause: Cause, spent: &Spent, dice: u64) -> u64 {
        let mut spent = *spent;
        let machine = matches!(cause, Cause::Interrupted | Cause::WorkerLost);
        let Some((retries, _)) = spent.of(cause, self).filter(|_| !machine) else {
            return 0;
        };
        let doublings = retries.saturating_sub(1).min(32);
        let ceiling = self
            .backoff_millis
            .saturating_mul(1 << doublings)
            .min(self.backoff_max_millis);
        match ceiling {
            0 => 0,
            ceiling => dice % (ceiling + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interruption_never_spends_the_scripts_retries() {
        let budgets = Budgets {
            exit: 1,
            ..Budgets::default()
        };
        let mut spent = Spent::default();
        for _ in 0..50 {
            assert!(spent.charge(Cause::Interrupted, &budgets));
        }
        assert_eq!(spent.exit, 0);
        assert!(spent.charge(Cause::Exit, &budgets));
        assert!(!spent.charge(Cause::Exit, &budgets));
    }

    #[test]
    fn ends_that_are_final_have_no_budget() {
        let budgets = Budgets {
            exit: 9,
            ..Budgets::default()
        };
        for cause in [
            Cause::Ttl,
            Cause::Cancelled,
            Cause::Succeeded,
            Cause::Skipped,
        ] {
            assert!(!Spent::default().charge(cause, &budgets));
        }
    }

    proptest! {
        #[test]
        fn backoff_stays_under_its_ceiling(retries in 0u32..100, dice: u64, base in 0u64..10_000, max in 0u64..1_000_000) {
            let budgets = Budgets { exit: 200, backoff_millis: base, backoff_max_millis: max, ..Budgets::default() };
            let spent = Spent { exit: retries, ..Spent::default() };
            let wait = budgets.backoff_millis(Cause::Exit, &spent, dice);
            prop_assert!(wait <= max);
            prop_assert!(retries > 1 || wait <= base);
            prop_assert_eq!(budgets.backoff_millis(Cause::Interrupted, &spent, dice), 0);
        }
    }
}
