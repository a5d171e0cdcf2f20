//! How long `spawn launch` of a million tasks takes until the shell has its prompt back.

use std::thread;
use std::time::Duration;

use super::{Bench, millis, progress};
use crate::contest::{Ran, Spread, Trouble};
use crate::home::{Home, SHORT, array_id};
use crate::report::{Goal, Report, Row, Unit};

/// As many tasks.
const MILLION: u32 = 1_000_000;
/// The longest it should take, in milliseconds.
const GOAL: f64 = 50.0;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let mut home = bench.warm_home()?;
    let mut walls = Vec::new();
    for _ in 0..bench.options.repeats(10) {
        let (ran, id) = launch(bench, &mut home)?;
        walls.push(millis(ran.cost.wall));
        cancel(&mut home, &id)?;
        thread::sleep(Duration::from_millis(200));
    }
    if let Some(spread) = Spread::of(walls) {
        progress(&format!("launch of a million: {:.1} ms", spread.median));
        let row = Row::new("launch of a million tasks, warm host", Unit::Millis, spread);
        report.rows.push(row.goal(Goal::AtMost(GOAL)));
    }
    home.stop()?;
    Ok(())
}

/// Launches a million tasks of which one runs, for long.
pub(super) fn launch(bench: &Bench, home: &mut Home<'_>) -> Result<(Ran, String), Trouble> {
    let mut launch = home.launch(MILLION, &["--max-concurrent", "1"]);
    launch.arg("--").arg(&bench.programs.sleep).arg("1000");
    let ran = home.run(&mut launch, SHORT)?;
    let id = array_id(&ran)?;
    Ok((ran, id))
}

/// Cancels an array.
pub(super) fn cancel(home: &mut Home<'_>, id: &str) -> Result<(), Trouble> {
    let mut cancel = home.spawn();
    cancel.args(["cancel", id, "--yes"]);
    home.run(&mut cancel, SHORT)?;
    Ok(())
}
