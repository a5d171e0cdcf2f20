//! The same question in several regions, asked side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use spawn_aws::client::Client;
use spawn_aws::services::ec2;

use super::account;
use crate::error::CliError;

/// As many regions are asked at a time.
const AT_A_TIME: usize = 8;

/// Which regions a command looks at.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegionArgs {
    /// AWS region to look in [default: that of the environment or the profile]
    #[arg(long, value_name = "REGION", conflicts_with = "all_regions")]
    pub region: Option<String>,

    /// Look in every region that the account can use
    #[arg(long)]
    pub all_regions: bool,
}

impl RegionArgs {
    /// A client for each of them.
    pub fn clients(&self) -> Result<Vec<Client>, CliError> {
        let client = account::client(self.region.as_deref())?;
        if !self.all_regions {
            return Ok(vec![client]);
        }
        let regions = ec2::describe_regions(&client, false)?;
        Ok(regions
            .iter()
            .map(|region| client.in_region(&region.region_name))
            .collect())
    }
}

/// Asks all of them; the answers in their order.
pub fn ask<C: Sync, T: Send>(of: &[C], question: impl Fn(&C) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<Option<T>>> = Mutex::new(of.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(of.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = of.get(n) else { return };
                    let answer = question(one);
                    if let Ok(mut answers) = answers.lock() {
                        answers[n] = Some(answer);
                    }
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap_or_default();
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::ask;

    #[test]
    fn answers_come_in_order_whoever_is_fast() {
        let many: Vec<u64> = (0..100).collect();
        assert_eq!(
            ask(&many, |n| n * 2),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
        assert_eq!(ask(&[] as &[u64], |n| *n), [0; 0]);
    }
}
