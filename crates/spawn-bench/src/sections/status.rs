//! How long `spawn status` takes on large arrays.

use super::million::{cancel, launch};
use super::{Bench, limit, millis, progress};
use crate::contest::{Spread, Trouble};
use crate::home::{Home, SHORT, array_id};
use crate::report::{Goal, Report, Row, Unit};

/// The longest it should take, in milliseconds.
const GOAL: f64 = 10.0;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let mut home = bench.warm_home()?;
    let tasks = bench.options.tasks;
    let mut finished = home.launch(tasks, &["--workers", "2", "--wait"]);
    finished.arg("--").arg(&bench.programs.true_);
    let finished = array_id(&home.run(&mut finished, limit(tasks))?)?;
    let of_finished = status(bench, &mut home, &finished)?;
    let (_, live) = launch(bench, &mut home)?;
    let of_live = status(bench, &mut home, &live);
    cancel(&mut home, &live)?;
    home.stop()?;
    for (what, spread) in [
        (format!("status of {tasks} finished tasks"), of_finished),
        ("status of a million tasks".to_owned(), of_live?),
    ] {
        if let Some(spread) = spread {
            progress(&format!("{what}: {:.1} ms", spread.median));
            let row = Row::new(what, Unit::Millis, spread);
            report.rows.push(row.goal(Goal::AtMost(GOAL)));
        }
    }
    Ok(())
}

fn status(bench: &Bench, home: &mut Home<'_>, id: &str) -> Result<Option<Spread>, Trouble> {
    let mut walls = Vec::new();
    for _ in 0..bench.options.repeats(20) {
        let mut status = home.spawn();
        status.args(["status", id]);
        walls.push(millis(home.run(&mut status, SHORT)?.cost.wall));
    }
    Ok(Spread::of(walls))
}
