//! What is measured, one file each. A section that cannot be measured says so in the notes; the
//! others go on.

pub mod cost;
pub mod first_output;
pub mod flat;
pub mod million;
pub mod sleep;
pub mod status;

use std::path::PathBuf;
use std::time::Duration;

use crate::contest::{Runner, Trouble};
use crate::home::Home;
use crate::options::Options;
use crate::programs::Programs;
use crate::report::Report;

/// The figures and notes of one run, and what they are made with.
#[derive(Debug)]
pub struct Bench {
    /// What to measure.
    pub options: Options,
    /// With which programs.
    pub programs: Programs,
    /// How commands are run.
    pub runner: Runner,
    /// A directory of this run's own.
    pub dir: PathBuf,
}

impl Bench {
    /// Measures everything that was asked for.
    ///
    /// # Errors
    /// Only if the user pressed Ctrl-C.
    pub fn run(&self) -> Result<Report, Trouble> {
        type Section = fn(&Bench, &mut Report) -> Result<(), Trouble>;
        let sections: [(&str, &[&str], Section); 6] = [
            (
                "cost per task",
                &["floors", "xargs", "parallel", "workers", "fresh"],
                cost::measure,
            ),
            ("flatness", &["flat"], flat::measure),
            ("launch of a million", &["million"], million::measure),
            ("first output", &["first-output"], first_output::measure),
            ("status", &["status"], status::measure),
            ("sleep tasks", &["sleep"], sleep::measure),
        ];
        let mut report = Report::default();
        for (title, names, section) in sections {
            if !names.iter().any(|name| self.options.wants(name)) {
                continue;
            }
            match section(self, &mut report) {
                Ok(()) => {}
                Err(Trouble::Interrupted) => return Err(Trouble::Interrupted),
                Err(Trouble::Failed(why)) => {
                    progress(&format!("{title}: {why}"));
                    report.notes.push(format!("{title}: no figure: {why}"));
                }
            }
        }
        Ok(report)
    }

    /// A new home with a warm host.
    fn warm_home(&self) -> Result<Home<'_>, Trouble> {
        Home::warm(&self.programs, &self.runner, self.dir.join("home"))
    }
}

/// Says what goes on, on standard error.
pub fn progress(line: &str) {
    eprintln!("bench: {line}");
}

/// How long so many tasks may take at the very most.
fn limit(tasks: u32) -> Duration {
    Duration::from_secs(120) + Duration::from_millis(50) * tasks
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
