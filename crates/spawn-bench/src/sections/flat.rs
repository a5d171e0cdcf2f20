//! Whether a task costs the same in a small array and in a large one, and what memory that takes.

use super::cost::per_task;
use super::{Bench, limit, millis, progress};
use crate::contest::{Cost, Spread, Trouble};
use crate::home::Memory;
use crate::report::{Goal, Report, Row, Unit};

/// The most that a task of the largest array should cost of one of the middle array.
const FLAT: f64 = 1.1;
/// The most memory of the host and all agents, in megabytes.
const MEMORY: f64 = 100.0;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let middle = bench.options.tasks;
    let (small, large) = (middle.div_ceil(10), middle.saturating_mul(10));
    let mut small_rounds = Vec::new();
    let mut middle_rounds = Vec::new();
    for _ in 0..bench.options.rounds {
        small_rounds.push(run(bench, small)?.0);
        middle_rounds.push(run(bench, middle)?.0);
    }
    let (large_round, memory) = run(bench, large)?;

    type Figure = fn(&Cost) -> f64;
    let kinds: [(&str, Figure); 2] = [("wall", |c| millis(c.wall)), ("CPU", |c| millis(c.cpu))];
    for (kind, figure) in kinds {
        let of = |rounds: &[Cost]| Spread::of(rounds.iter().map(figure));
        let (Some(at_small), Some(at_middle)) = (of(&small_rounds), of(&middle_rounds)) else {
            continue;
        };
        let at_large = figure(&large_round);
        let ratio = Spread {
            median: at_large / at_middle.median,
            min: at_large / at_middle.max,
            max: at_large / at_middle.min,
        };
        let what = |tasks| format!("flat: a task of {tasks}: {kind}");
        report.rows.extend([
            Row::new(what(small), Unit::Millis, at_small),
            Row::new(what(middle), Unit::Millis, at_middle),
            Row::new(what(large), Unit::Millis, Spread::one(at_large))
                .beside(&format!("of {middle}"), at_middle, ratio)
                .goal(Goal::RatioAtMost(FLAT)),
        ]);
    }
    let peak = (memory.host + memory.agents) as f64 / 1e6;
    report.rows.push(
        Row::new(
            format!("flat: memory at {large}, host and agents"),
            Unit::Megabytes,
            Spread::one(peak),
        )
        .goal(Goal::AtMost(MEMORY)),
    );
    Ok(())
}

fn run(bench: &Bench, tasks: u32) -> Result<(Cost, Memory), Trouble> {
    let mut home = bench.warm_home()?;
    let mut launch = home.launch(tasks, &["--workers", "2", "--wait"]);
    launch.arg("--").arg(&bench.programs.true_);
    let (ran, memory) = home.run_watched(&mut launch, limit(tasks))?;
    let mut cost = ran.cost;
    cost.cpu += home.stop()?;
    let cost = per_task(cost, tasks);
    progress(&format!(
        "flat: {tasks} tasks: {:.3} ms wall, {:.3} ms CPU a task",
        millis(cost.wall),
        millis(cost.cpu)
    ));
    Ok((cost, memory))
}
