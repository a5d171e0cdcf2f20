//! Retry budgets: one for each cause, so that a spot interruption never spends the script's retries.

use serde::{Deserialize, Serialize};

use crate::exit_codes::ExitCodes;
use crate::outcome::{Cause, Ending};

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
    /// The exit codes that are worth a retry; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<ExitCodes>,
    /// The exit codes that are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_retry_on: Option<ExitCodes>,
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
            retry_on: None,
            no_retry_on: None,
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
    /// Takes one from the budget of an attempt that ended so. False if nothing is left, or such an
    /// end is never retried.
    pub fn charge(&mut self, ending: &Ending, budgets: &Budgets) -> bool {
        let Some((spent, allowed)) = self.of(ending.cause, budgets) else {
            return false;
        };
        if *spent >= allowed || !budgets.bears(ending) {
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
            Cause::Succeeded | Cause::Skipped | Cause::Ttl | Cause::Cancelled | Cause::Halted => {
                None
            }
        }
    }
}

impl Budgets {
    /// Whether the exit code of a bad exit is one to retry. Other ends have none to look at; a
    /// script that says `failed` and exits 0 counts as code 1, as `false` would.
    fn bears(&self, ending: &Ending) -> bool {
        if ending.cause != Cause::Exit {
            return true;
        }
        let code = ending.shell_code().filter(|code| *code != 0).unwrap_or(1);
        self.retry_on.is_none_or(|codes| codes.contains(code))
            && !self.no_retry_on.is_some_and(|codes| codes.contains(code))
    }

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
            assert!(spent.charge(&Ending::of(Cause::Interrupted), &budgets));
        }
        assert_eq!(spent.exit, 0);
        assert!(spent.charge(&Ending::of(Cause::Exit), &budgets));
        assert!(!spent.charge(&Ending::of(Cause::Exit), &budgets));
    }

    #[test]
    fn exit_codes_choose_what_is_retried() {
        let budgets = Budgets {
            exit: 9,
            timeout: 9,
            retry_on: Some("75,128-140".parse().unwrap()),
            no_retry_on: Some("130".parse().unwrap()),
            ..Budgets::default()
        };
        let charged = |ending: Ending| Spent::default().charge(&ending, &budgets);
        let with_code = |code| Ending {
            exit_code: Some(code),
            ..Ending::of(Cause::Exit)
        };
        assert!(charged(with_code(75)));
        assert!(!charged(with_code(1)));
        assert!(!charged(with_code(130)));
        // `said failed`, exit 0.
        assert!(!charged(with_code(0)));
        let killed = Ending {
            signal: Some(9),
            ..Ending::of(Cause::Exit)
        };
        assert!(charged(killed));
        assert!(charged(Ending::of(Cause::Timeout)), "no exit code to ask");
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
            assert!(!Spent::default().charge(&Ending::of(cause), &budgets));
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
