//! The table at the end: what, measured, baseline, ratio, goal, met or missed.

use serde_json::{Value, json};

use crate::contest::Spread;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Megabytes of 1,000,000 bytes.
    Megabytes,
    /// A share of 1.
    Share,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Unit::Millis if figure < 10.0 => format!("{figure:.3} ms"),
            Unit::Millis => format!("{figure:.1} ms"),
            Unit::Megabytes => format!("{figure:.1} MB"),
            Unit::Share => format!("{figure:.3}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Millis => "ms",
            Unit::Megabytes => "MB",
            Unit::Share => "share",
        }
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The figure itself, at most this.
    AtMost(f64),
    /// The figure itself, at least this.
    AtLeast(f64),
    /// The ratio to the baseline, at most this.
    RatioAtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What its figures count.
    pub unit: Unit,
    /// The figure.
    pub measured: Spread,
    /// What it is compared with, and that one's figure.
    pub baseline: Option<(String, Spread)>,
    /// Measured over baseline, round by round.
    pub ratio: Option<Spread>,
    /// What it should be, if anything is promised.
    pub goal: Option<Goal>,
}

impl Row {
    /// A figure for its own sake.
    pub fn new(what: impl Into<String>, unit: Unit, measured: Spread) -> Row {
        Row {
            what: what.into(),
            unit,
            measured,
            baseline: None,
            ratio: None,
            goal: None,
        }
    }

    /// Beside a baseline.
    #[must_use]
    pub fn beside(mut self, name: &str, baseline: Spread, ratio: Spread) -> Row {
        self.baseline = Some((name.to_owned(), baseline));
        self.ratio = Some(ratio);
        self
    }

    /// With a goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Row {
        self.goal = Some(goal);
        self
    }

    /// Whether the median meets the goal; `None` without one.
    pub fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtMost(most) => self.measured.median <= most,
            Goal::AtLeast(least) => self.measured.median >= least,
            Goal::RatioAtMost(most) => self.ratio?.median <= most,
        })
    }

    fn cells(&self) -> [String; 6] {
        let spread = |s: Spread, show: &dyn Fn(f64) -> String| match s.min < s.max {
            true => format!("{} [{} .. {}]", show(s.median), show(s.min), show(s.max)),
            false => show(s.median),
        };
        let show = |figure| self.unit.show(figure);
        let times = |figure: f64| format!("{figure:.2}x");
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => format!("<= {}", show(most)),
            Some(Goal::AtLeast(least)) => format!(">= {}", show(least)),
            Some(Goal::RatioAtMost(most)) => format!("<= {}", times(most)),
        };
        let met = match self.met() {
            None => "",
            Some(true) => "met",
            Some(false) => "missed",
        };
        [
            self.what.clone(),
            spread(self.measured, &show),
            self.baseline.as_ref().map_or(String::new(), |(name, s)| {
                format!("{} {name}", show(s.median))
            }),
            self.ratio.map_or(String::new(), |r| spread(r, &times)),
            goal,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let spread = |s: Spread| json!({"median": s.median, "min": s.min, "max": s.max});
        let (over, figure) = match self.goal {
            None => (None, None),
            Some(Goal::AtMost(figure)) => (Some("measured at most"), Some(figure)),
            Some(Goal::AtLeast(figure)) => (Some("measured at least"), Some(figure)),
            Some(Goal::RatioAtMost(figure)) => (Some("ratio at most"), Some(figure)),
        };
        json!({
            "what": self.what,
            "unit": self.unit.name(),
            "measured": spread(self.measured),
            "baseline": self.baseline.as_ref().map(|(name, s)| {
                json!({"name": name, "measured": spread(*s)})
            }),
            "ratio": self.ratio.map(spread),
            "goal": over.map(|over| json!({"is": over, "figure": figure})),
            "met": self.met(),
        })
    }
}

/// All that was measured, and what could not be.
#[derive(Debug, Default)]
pub struct Report {
    /// The figures.
    pub rows: Vec<Row>,
    /// What has no figure, and why; and what to know of those that have.
    pub notes: Vec<String>,
}

impl Report {
    /// The table.
    pub fn text(&self) -> String {
        let head = ["what", "measured", "baseline", "ratio", "goal", ""].map(str::to_owned);
        let mut lines = vec![head];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            lines
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut text = String::new();
        for cells in &lines {
            let line: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self, machine: &Value) -> Value {
        json!({
            "machine": machine,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread {
            median,
            min: median / 2.0,
            max: median * 2.0,
        }
    }

    #[test]
    fn the_median_decides_and_the_spread_is_shown() {
        let row = Row::new("a thing", Unit::Millis, spread(1.2))
            .beside("floor", spread(1.0), spread(1.2))
            .goal(Goal::RatioAtMost(1.3));
        assert_eq!(row.met(), Some(true));
        let report = Report {
            rows: vec![row, Row::new("memory", Unit::Megabytes, Spread::one(12.0))],
            notes: vec!["no figure".to_owned()],
        };
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "a thing  1.200 ms [0.600 ms .. 2.400 ms]  1.000 ms floor  \
             1.20x [0.60x .. 2.40x]  <= 1.30x  met"
        );
        assert_eq!(lines[2], "memory   12.0 MB");
        assert_eq!(lines[4], "note: no figure");
        let json = report.json(&json!({}));
        assert_eq!(json["rows"][0]["met"], true);
        assert_eq!(json["rows"][1]["met"], Value::Null);
    }

    #[test]
    fn goals_are_honest_at_both_ends() {
        let met = |goal| Row::new("", Unit::Share, spread(0.5)).goal(goal).met();
        assert_eq!(met(Goal::AtMost(0.4)), Some(false));
        assert_eq!(met(Goal::AtLeast(0.4)), Some(true));
        assert_eq!(met(Goal::AtLeast(0.6)), Some(false));
        assert_eq!(met(Goal::RatioAtMost(9.0)), None);
    }
}
