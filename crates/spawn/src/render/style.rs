//! Colour that can be switched off; every meaning is in the words too.

use spawn_core::counts::ArrayState;
use spawn_core::task::TaskState;

/// Paints words, or leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colored: bool,
}

impl Style {
    /// With or without colour.
    pub fn new(colored: bool) -> Style {
        Style { colored }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colored && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Something to see first.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something to see last.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Something that went well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something that went badly.
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something to look at.
    pub fn warn(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Something under way.
    pub fn busy(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// A word about a task, in the colour of its state.
    pub fn task(self, state: TaskState, text: &str) -> String {
        match state {
            TaskState::Pending => text.to_owned(),
            TaskState::Running => self.busy(text),
            TaskState::Succeeded => self.good(text),
            TaskState::Failed => self.bad(text),
            TaskState::Skipped => self.faint(text),
            TaskState::Cancelled => self.warn(text),
        }
    }

    /// A word about an array, in the colour of its state.
    pub fn array(self, state: ArrayState, text: &str) -> String {
        match state {
            ArrayState::Pending => text.to_owned(),
            ArrayState::Running => self.busy(text),
            ArrayState::Succeeded => self.good(text),
            ArrayState::Failed => self.bad(text),
            ArrayState::Cancelling | ArrayState::Cancelled => self.warn(text),
        }
    }
}
