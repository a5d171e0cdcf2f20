//! An agent that does not keep its word: when it is ended, and how. The machine goes next.

use std::io;
use std::time::Duration;

use spawn_core::supervise::AGENT_ANSWER;
use spawn_local::sandbox::force::end_tree;

use super::Worker;

impl Worker<'_> {
    /// The agent has left some seconds after `notice`, or is ended.
    pub(super) fn expect_gone(&mut self, notice: Duration) {
        let by = self.origin.elapsed().saturating_add(notice) + AGENT_ANSWER;
        self.gone_by = Some(self.gone_by.map_or(by, |other| other.min(by)));
    }

    /// When an agent that does not keep its word is ended: it has said nothing for a lease, has not
    /// stopped its task, or has not left. Since the origin.
    pub(super) fn agent_ends_at(&self) -> Duration {
        [self.gone_by, self.task_gone_by]
            .into_iter()
            .flatten()
            .fold(self.heard + self.settings.lease, Duration::min)
    }

    /// Whether the agent does not keep its word. What it said while this worker was away counts.
    pub(super) fn is_agent_overdue(&self) -> io::Result<bool> {
        let now = self.origin.elapsed();
        if now < self.agent_ends_at() {
            return Ok(false);
        }
        let mut by = [self.gone_by, self.task_gone_by].into_iter().flatten();
        Ok(by.any(|by| now >= by) || !self.agent_spoke(Duration::ZERO)?)
    }

    /// Ends the agent by force. The machine goes next, and with it what the kernel does not let go of.
    pub(super) fn end_agent(&self) {
        eprintln!("spored-node: the agent does not answer; it is ended");
        for process in end_tree(self.settings.enrolment.pid as i32) {
            let (pid, name) = (process.pid, process.name);
            eprintln!("spored-node: killed process {pid} (`{name}`)");
        }
    }
}
