//! The read model as text, and where it goes.

mod length;
mod plan;
mod progress;
pub mod standing;
mod status;
mod story;
mod style;
mod table;
mod task_output;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::sync::OnceLock;

use serde::Serialize;

pub use length::{human_bytes, human_seconds, human_since};
pub use plan::write_plan;
pub use progress::Progress;
pub use status::write_status;
pub use story::write_story;
pub use style::Style;
pub use table::{Align, Table};
pub use task_output::{Shape, TaskOutput};

use crate::cli::{Color, Format};
use crate::error::CliError;

/// Where results and messages go, and how they look there.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Whether results are shown as JSON.
    pub json: bool,
    /// How text on standard output looks.
    pub style: Style,
    /// How messages on standard error look.
    pub error_style: Style,
}

impl Output {
    /// As the flags and the environment say.
    pub fn new(format: Format, color: Color) -> Output {
        let style = |is_terminal: bool| {
            Style::new(match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => is_terminal && !is_set("NO_COLOR") && !is_dumb_terminal(),
            })
        };
        let output = Output {
            json: format == Format::Json,
            style: style(io::stdout().is_terminal()),
            error_style: style(io::stderr().is_terminal()),
        };
        let _ = SAID_WITH.set(output);
        output
    }

    /// Writes results; what was written is out when this returns.
    pub fn write(
        &self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), CliError> {
        let mut out = BufWriter::new(io::stdout().lock());
        write(&mut out)
            .and_then(|()| out.flush())
            .map_err(CliError::Output)
    }

    /// Writes one JSON value.
    pub fn write_json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        self.write(|out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        })
    }

    /// Says why the command failed.
    pub fn show_error(&self, error: &CliError) {
        let style = self.error_style;
        let mut text = format!("{}: {error}\n", style.bad("error"));
        if let Some(hint) = error.hint() {
            text.push_str(&format!("  {}: {hint}\n", style.strong("hint")));
        }
        say(&text);
    }

    /// Says what the user may not have meant.
    pub fn warn(&self, warning: &str) {
        say(&format!(
            "{}: {warning}\n",
            self.error_style.warn("warning")
        ));
    }

    /// Says what the user may want to know.
    pub fn note(&self, note: &str) {
        say(&format!("{}: {note}\n", self.error_style.strong("note")));
    }
}

/// How messages look that come from below the commands.
static SAID_WITH: OnceLock<Output> = OnceLock::new();

/// As [`Output::warn`], for what is found on the way to the answer of any command.
pub fn warn_on_stderr(warning: &str) {
    said_with().warn(warning);
}

/// As [`Output::note`], for what is found on the way to the answer of any command.
pub fn note_on_stderr(note: &str) {
    said_with().note(note);
}

fn said_with() -> Output {
    let usual = || Output::new(Format::Text, Color::Auto);
    SAID_WITH.get().copied().unwrap_or_else(usual)
}

/// Messages whose reader has gone are lost with it.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Plural of a counted word: `1 task`, `2 tasks`.
pub fn counted(n: u64, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        _ => format!("{n} {word}s"),
    }
}
