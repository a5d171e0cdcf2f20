//! Placeholder of the branch; replaced.
use spawn_aws::client::{AwsError, Client};
use spawn_core::array_id::ArrayId;
use spawn_local::wire::client::{Answer, Request};
use spawn_ports::ledger::{AgentId, LedgerError};
use std::path::Path;
/// Errors.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
/// Desk.
pub struct Desk {
    client: Client,
}
impl Desk {
    /// New.
    pub fn new(client: Client, _account: &str) -> Desk {
        Desk { client }
    }
    /// Answer.
    pub fn answer(&mut self, _request: Request) -> Result<Answer, DeskError> {
        let _ = &self.client;
        Ok(Answer::Done)
    }
    /// Log.
    pub fn sync_log(&mut self, _: &ArrayId, _: AgentId, _: &Path) -> Result<(), DeskError> {
        Ok(())
    }
    /// Logs.
    pub fn sync_logs(&mut self, _: &ArrayId, _: &Path) -> Result<(), DeskError> {
        Ok(())
    }
}
