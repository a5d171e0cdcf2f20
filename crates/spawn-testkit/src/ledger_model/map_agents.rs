//! Ledgers choose agents' ids as they like: answers are compared with the ids of one of them.

use spawn_ports::ledger::{AgentId, AgentRecord, AttemptRow, TaskRow};

/// An answer whose agents can be renamed.
pub(super) trait MapAgents {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId);
}

impl<T: MapAgents> MapAgents for Vec<T> {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId) {
        self.iter_mut().for_each(|one| one.map_agents(to));
    }
}

impl<T: MapAgents> MapAgents for Option<T> {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId) {
        self.iter_mut().for_each(|one| one.map_agents(to));
    }
}

impl MapAgents for TaskRow {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId) {
        self.agent = self.agent.map(to);
    }
}

impl MapAgents for AttemptRow {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId) {
        self.agent = to(self.agent);
    }
}

impl MapAgents for AgentRecord {
    fn map_agents(&mut self, to: &dyn Fn(AgentId) -> AgentId) {
        self.id = to(self.id);
    }
}

/// Answers that name no agent.
macro_rules! no_agents {
    ($($answer:ty),* $(,)?) => {
        $(impl MapAgents for $answer {
            fn map_agents(&mut self, _: &dyn Fn(AgentId) -> AgentId) {}
        })*
    };
}
no_agents!(
    u64,
    spawn_ports::ledger::Claim,
    Result<(), spawn_core::task::Illegal>,
);
