//! The machine a worker is, and the group it belongs to: what is heard of its end, and how it ends.

use spawn_core::moment::UnixMicros;

/// What is known of the machine's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is.
    Calm,
    /// It may well be taken back soon: whatever can be saved is saved, nothing more is claimed.
    AtRisk,
    /// It is taken back.
    Ending {
        /// When.
        at: UnixMicros,
    },
}

/// How a worker leaves its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leave {
    /// For good: nobody takes its place.
    Retire,
    /// Another machine takes its place.
    Yield,
}

/// What can go wrong between a worker and its group.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct MachineError {
    /// What was attempted and what was answered.
    pub what: String,
    /// The answer's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The machine that this process runs on.
pub trait Machine {
    /// What is known of its future. An outage of whoever knows is an error, and no reason to stop.
    fn outlook(&mut self) -> Result<Outlook, MachineError>;

    /// Takes the machine out of its group. The machine may end at any moment from then on.
    fn leave(&mut self, how: Leave) -> Result<(), MachineError>;

    /// The machines that were asked for are there, or nothing is left for more of them: those that
    /// would be started in their stead are not any more. Idempotent, and said again and again.
    fn needs_no_fallback(&mut self) -> Result<(), MachineError>;

    /// Every task of the array has its outcome: what was made for the array is removed. Idempotent;
    /// any worker may be the one that sees it.
    fn array_has_ended(&mut self) -> Result<(), MachineError>;
}
