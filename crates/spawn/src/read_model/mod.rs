//! The host's answers as people and programs read them.
//!
//! Text and JSON show the same structs: what `-o json` prints is their serialisation, so a field
//! once named keeps its name and meaning. Times are RFC 3339 in UTC, lengths of time seconds.

mod array;
mod plan;
mod stamp;
mod story;
mod task;

pub use array::{ArrayLine, ArrayView, CountsView};
pub use plan::PlanView;
pub use stamp::Stamp;
pub use story::{AttemptView, StoryView};
pub use task::{Indices, TaskView, ending, one_line, stop_reason};
