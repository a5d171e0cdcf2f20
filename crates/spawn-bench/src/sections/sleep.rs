//! How well eight slots are kept busy with tasks that only wait.

use std::fs;
use std::time::Duration;

use super::{Bench, limit, progress};
use crate::contest::{Spread, Trouble, command};
use crate::report::{Goal, Report, Row, Unit};

/// How many at a time.
const SLOTS: u32 = 8;
/// How long each.
const NAP: Duration = Duration::from_millis(50);
/// The least share of the slots' time that tasks should fill.
const GOAL: f64 = 0.93;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let programs = &bench.programs;
    let tasks = bench
        .options
        .tasks
        .min(if bench.options.quick { 200 } else { 1_000 });
    let nap = NAP.as_secs_f64().to_string();
    let share = |wall: Duration| {
        NAP.as_secs_f64() * f64::from(tasks) / f64::from(SLOTS) / wall.as_secs_f64()
    };
    let numbers = bench.dir.join("numbers");
    fs::write(&numbers, "n\n".repeat(tasks as usize))?;
    let slots = SLOTS.to_string();

    let mut home = bench.warm_home()?;
    let (mut floor, mut xargs, mut spawn) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        let mut bare = command(&programs.floor_bare);
        bare.args(["-j", &slots, "-n", &tasks.to_string(), "--"])
            .arg(&programs.sleep)
            .arg(&nap);
        floor.push(share(bench.runner.run(&mut bare, limit(tasks))?.cost.wall));
        if let Some(program) = &programs.xargs {
            let mut command = command(program);
            command
                .stdin(fs::File::open(&numbers)?)
                .args(["-P", &slots, "-I{}"])
                .arg(&programs.sleep)
                .arg(&nap);
            xargs.push(share(
                bench.runner.run(&mut command, limit(tasks))?.cost.wall,
            ));
        }
        let mut launch = home.launch(tasks, &["--workers", &slots, "--wait"]);
        launch.arg("--").arg(&programs.sleep).arg(&nap);
        spawn.push(share(home.run(&mut launch, limit(tasks))?.cost.wall));
        progress(&format!(
            "{tasks} x sleep {nap} round {round}: floor {:.3}, spawn {:.3} of the slots' time",
            floor[floor.len() - 1],
            spawn[spawn.len() - 1]
        ));
    }
    home.stop()?;

    let ratio = |own: &[f64]| Spread::of(own.iter().zip(&floor).map(|(own, floor)| own / floor));
    let Some(baseline) = Spread::of(floor.iter().copied()) else {
        return Ok(());
    };
    let what = |name: &str| format!("{tasks} x sleep {nap} on {SLOTS} slots: {name}: efficiency");
    report
        .rows
        .push(Row::new(what("floor-bare"), Unit::Share, baseline));
    for (name, figures) in [("xargs", xargs), ("spawn --workers 8", spawn)] {
        let spread = Spread::of(figures.iter().copied());
        if let (Some(spread), Some(ratio)) = (spread, ratio(&figures)) {
            let row = Row::new(what(name), Unit::Share, spread);
            let mut row = row.beside("floor-bare", baseline, ratio);
            if name != "xargs" {
                row = row.goal(Goal::AtLeast(GOAL));
            }
            report.rows.push(row);
        }
    }
    Ok(())
}
