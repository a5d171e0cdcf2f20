//! How a wait is shown: a bar that moves on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{Style, human_seconds, standing};
use crate::read_model::ArrayView;

/// Off a terminal, lines are at least this far apart.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how an array gets on, on standard error.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    is_terminal: bool,
    /// The line off a terminal, and when.
    said: Option<(String, Instant)>,
    /// Something stands on the terminal's line.
    is_drawn: bool,
    start: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(style: Style) -> Progress {
        let stderr = io::stderr();
        Progress {
            style,
            is_terminal: stderr.is_terminal(),
            said: None,
            is_drawn: false,
            start: Instant::now(),
        }
    }

    /// Shows an array as it stands. `now` is handed in.
    pub fn show(&mut self, view: &ArrayView, now: Instant) {
        if self.is_terminal {
            let width = terminal_size::terminal_size_of(io::stderr())
                .map_or(80, |(width, _)| usize::from(width.0));
            let line = bar(view, width, self.style);
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
            self.is_drawn = true;
            return;
        }
        let line = summary(view);
        let is_due = match &self.said {
            // What is over in a moment needs no line.
            None => now.duration_since(self.start) >= Duration::from_secs(1),
            Some((before, at)) => *before != line && now.duration_since(*at) >= LINE_EVERY,
        };
        if is_due && !view.has_ended() {
            let _ = writeln!(io::stderr(), "{line}");
            self.said = Some((line, now));
        }
    }

    /// Clears the bar, so that what follows starts on a clean line.
    pub fn clear(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr(), "\r\x1b[2K");
            self.is_drawn = false;
        }
    }
}

/// `40/100 tasks ended, 2 failed, 8 running, about 30s to go`.
fn summary(view: &ArrayView) -> String {
    let counts = &view.line.counts.0;
    let mut line = format!("{}/{} tasks ended", counts.ended(), counts.total());
    for (n, word) in [
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.running, "running"),
    ] {
        if n > 0 {
            line.push_str(&format!(", {n} {word}"));
        }
    }
    if let Some(eta) = view.eta_seconds {
        line.push_str(&format!(", about {} to go", human_seconds(eta as f64)));
    }
    if let Some(why) = &view.held_up {
        line.push_str(&format!("; held up: {why}"));
    }
    if let Some(queued) = &view.queued {
        line.push_str(&format!("; waits for a core: {}", standing::queued(queued)));
    }
    line
}

/// A bar and the summary, within `width` columns.
fn bar(view: &ArrayView, width: usize, style: Style) -> String {
    const CELLS: usize = 24;
    let counts = &view.line.counts.0;
    let text: String = summary(view)
        .chars()
        .take(width.saturating_sub(CELLS + 4))
        .collect();
    if width < CELLS + 20 {
        return summary(view)
            .chars()
            .take(width.saturating_sub(1))
            .collect();
    }
    let total = counts.total().max(1);
    let cells = |n: u64| (n as u128 * CELLS as u128 / u128::from(total)) as usize;
    let ended = cells(counts.ended());
    let bad = match counts.failed + counts.cancelled {
        0 => 0,
        n => cells(n).max(1).min(ended.max(1)),
    };
    let good = ended.saturating_sub(bad);
    let busy = (cells(counts.ended() + counts.running)).saturating_sub(good + bad);
    let rest = CELLS.saturating_sub(good + bad + busy);
    format!(
        "[{}{}{}{}] {text}",
        style.good(&"#".repeat(good)),
        style.bad(&"x".repeat(bad)),
        style.busy(&">".repeat(busy)),
        ".".repeat(rest),
    )
}
