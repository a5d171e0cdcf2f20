//! `spawn launch --dry-run` as text.

use std::io::{self, Write};

use spawn_core::duration::Span;
use spawn_core::max_failures::MaxFailures;

use super::{Style, counted};
use crate::read_model::PlanView;

/// Shipped files shown before the rest is only counted.
const SHOWN: usize = 10;

/// Writes what a launch would do.
pub fn write_plan(out: &mut impl Write, plan: &PlanView, style: Style) -> io::Result<()> {
    writeln!(
        out,
        "{}",
        style.strong("nothing was started; this would run")
    )?;
    writeln!(out, "  name     {}", plan.name)?;
    writeln!(out, "  runs     {}", runs(plan))?;
    let indices = plan.indices.to_string();
    writeln!(
        out,
        "  tasks    {}, indices {}",
        plan.tasks,
        shorten(&indices)
    )?;
    write!(out, "  workers  {}", plan.workers)?;
    match plan.max_concurrent {
        Some(most) => writeln!(out, ", {} at a time", counted(most.into(), "task"))?,
        None => writeln!(out)?,
    }
    if let (Some(types), true) = (plan.types(), plan.kinds.is_empty()) {
        let spot = if plan.spot { ", spot" } else { "" };
        writeln!(out, "           on {types}{spot}")?;
    }
    write!(out, "  limits   {} in all", plan.ttl())?;
    match plan.timeout() {
        Some(timeout) => writeln!(out, ", {timeout} for each attempt")?,
        None => writeln!(out)?,
    }
    for kind in &plan.kinds {
        let (n, text) = (counted(kind.tasks, "task"), kind.summary());
        writeln!(out, "           {n} on {text}")?;
    }
    if plan.retries.exit > 0 {
        let again = counted(plan.retries.exit.into(), "time");
        let waits = Span::from_millis(plan.retries.backoff_millis).map_or_else(
            || "no wait".to_owned(),
            |first| format!("waits from {first} on"),
        );
        writeln!(
            out,
            "  retries  {again} after each kind of failure, {waits}"
        )?;
    }
    if let Some(most) = plan.max_failures {
        let most = match most {
            MaxFailures::Tasks(most) => counted(most, "task"),
            MaxFailures::Percent(most) => format!("{most}% of the tasks"),
        };
        writeln!(out, "  halts    when more than {most} failed")?;
    }
    if plan.has_rows {
        writeln!(out, "  given    each task its row of the parameter file")?;
    }
    let bytes: u64 = plan.files.iter().map(|file| file.size).sum();
    match plan.files.len() {
        0 => writeln!(out, "  ships    nothing but the program")?,
        n => writeln!(
            out,
            "  ships    {}, {bytes} bytes",
            counted(n as u64, "file")
        )?,
    }
    for file in plan.files.iter().take(SHOWN) {
        writeln!(out, "           {}", file.name)?;
    }
    if plan.files.len() > SHOWN {
        writeln!(
            out,
            "           and {} more; `-o json` shows all",
            plan.files.len() - SHOWN
        )?;
    }
    if !plan.steps.is_empty() {
        writeln!(out, "  makes    in AWS, in this order:")?;
    }
    for step in &plan.steps {
        writeln!(out, "           {step}")?;
    }
    Ok(())
}

fn runs(plan: &PlanView) -> String {
    let mut words = plan.command.clone();
    words.extend(plan.script.clone());
    words.join(" ")
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
