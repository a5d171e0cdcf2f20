//! From typing `spawn launch` to the first output of the task.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Bench, millis, progress};
use crate::contest::{Spread, Trouble};
use crate::home::{Home, SHORT, array_id};
use crate::report::{Goal, Report, Row, Unit};

/// The longest it should take on a host that runs, in milliseconds.
const WARM: f64 = 10.0;
/// The longest it should take where the launch starts the host.
const COLD: f64 = 100.0;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let mut home = bench.warm_home()?;
    let mut warm = Vec::new();
    for _ in 0..bench.options.repeats(20) {
        warm.push(first_output(bench, &mut home)?);
        // The agent before must not be in the way.
        thread::sleep(Duration::from_millis(100));
    }
    let mut cold = Vec::new();
    for _ in 0..bench.options.repeats(5).max(2) {
        home.stop()?;
        cold.push(first_output(bench, &mut home)?);
    }
    home.stop()?;
    for (kind, figures, goal) in [("warm", warm, WARM), ("cold", cold, COLD)] {
        if let Some(spread) = Spread::of(figures) {
            progress(&format!(
                "first output, {kind} host: {:.1} ms",
                spread.median
            ));
            let what = format!("typing to first output, {kind} host");
            let row = Row::new(what, Unit::Millis, spread);
            report.rows.push(row.goal(Goal::AtMost(goal)));
        }
    }
    Ok(())
}

/// Milliseconds from just before `spawn launch` starts to the time that its task printed.
fn first_output(bench: &Bench, home: &mut Home<'_>) -> Result<f64, Trouble> {
    let mut launch = home.launch(1, &["--wait"]);
    launch.arg("--").arg(&bench.programs.stamp);
    let typed = since_epoch();
    let ran = home.run(&mut launch, SHORT)?;
    let mut logs = home.spawn();
    logs.args(["logs", &array_id(&ran)?]);
    let said = home.run(&mut logs, SHORT)?.output;
    let printed = said
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| word.len() >= 19)
        .find_map(|word| word.parse::<u64>().ok())
        .map(Duration::from_nanos)
        .ok_or(Trouble::Failed(format!("no time in the log: {said}")))?;
    Ok(millis(printed.saturating_sub(typed)))
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
