//! What a task costs that does nothing, beside the floors and beside other tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bench, limit, millis, progress};
use crate::contest::{Cost, Spread, Trouble, command};
use crate::home::Memory;
use crate::report::{Goal, Report, Row, Unit};

/// GNU parallel gets one task for so many of the others: it is slow.
const PARALLEL_SHARE: u32 = 10;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Bare,
    Sandbox,
    Xargs,
    Parallel,
    Workers,
    Fresh,
}

const ALL: [Contestant; 6] = [
    Contestant::Bare,
    Contestant::Sandbox,
    Contestant::Xargs,
    Contestant::Parallel,
    Contestant::Workers,
    Contestant::Fresh,
];

impl Contestant {
    /// Its name for `--only`.
    fn option(self) -> &'static str {
        match self {
            Contestant::Bare | Contestant::Sandbox => "floors",
            Contestant::Xargs => "xargs",
            Contestant::Parallel => "parallel",
            Contestant::Workers => "workers",
            Contestant::Fresh => "fresh",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Contestant::Bare => "floor-bare",
            Contestant::Sandbox => "floor-sandbox",
            Contestant::Xargs => "xargs -P2",
            Contestant::Parallel => "parallel -j2",
            Contestant::Workers => "spawn --workers 2",
            Contestant::Fresh => "spawn --max-concurrent 2",
        }
    }

    /// What it is measured against, and the most it should cost of that.
    fn baseline(self) -> Option<(Contestant, Option<f64>)> {
        match self {
            Contestant::Bare => None,
            Contestant::Sandbox | Contestant::Xargs | Contestant::Parallel => {
                Some((Contestant::Bare, None))
            }
            Contestant::Workers => Some((Contestant::Bare, Some(1.3))),
            Contestant::Fresh => Some((Contestant::Sandbox, Some(1.25))),
        }
    }
}

/// The task: a program and its arguments.
struct Task {
    title: &'static str,
    words: Vec<PathBuf>,
    /// What stands for `$0` where a tool adds an argument of its own.
    filler: Option<&'static str>,
}

/// One round of one contestant; per task.
#[derive(Debug, Clone, Copy)]
struct Round {
    cost: Cost,
    memory: Option<Memory>,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Trouble> {
    let programs = &bench.programs;
    let tasks = [
        Task {
            title: "true",
            words: vec![programs.true_.clone()],
            filler: None,
        },
        Task {
            title: "bash -c :",
            words: vec![programs.bash.clone(), "-c".into(), ":".into()],
            filler: Some("_"),
        },
    ];
    report.notes.push(format!(
        "cost per task: {} tasks, two at a time; the processor time of spawn includes its host \
         from start to stop",
        bench.options.tasks
    ));
    for task in &tasks {
        measure_task(bench, task, report)?;
    }
    Ok(())
}

fn measure_task(bench: &Bench, task: &Task, report: &mut Report) -> Result<(), Trouble> {
    let mut running: Vec<(Contestant, Vec<Round>)> = ALL
        .into_iter()
        .filter(|c| bench.options.wants(c.option()))
        .map(|c| (c, Vec::new()))
        .collect();
    for round in 1..=bench.options.rounds {
        let mut broken = Vec::new();
        for (contestant, rounds) in &mut running {
            let title = contestant.title();
            match run(bench, *contestant, task) {
                Ok(figures) => {
                    progress(&format!(
                        "{} round {round}: {title}: {:.3} ms wall, {:.3} ms CPU a task",
                        task.title,
                        millis(figures.cost.wall),
                        millis(figures.cost.cpu),
                    ));
                    rounds.push(figures);
                }
                Err(Trouble::Interrupted) => return Err(Trouble::Interrupted),
                Err(Trouble::Failed(why)) => {
                    progress(&format!("SKIPPED {title}: {why}"));
                    let note = format!("{}, {title}: no figure: {why}", task.title);
                    report.notes.push(note);
                    broken.push(*contestant);
                }
            }
        }
        // Its rounds would no longer pair with the others'.
        running.retain(|(contestant, _)| !broken.contains(contestant));
    }
    rows(task, &running, report);
    Ok(())
}

fn rows(task: &Task, all: &[(Contestant, Vec<Round>)], report: &mut Report) {
    type Figure = fn(&Round) -> f64;
    let kinds: [(&str, Figure); 2] = [
        ("wall", |r| millis(r.cost.wall)),
        ("CPU", |r| millis(r.cost.cpu)),
    ];
    for (kind, figure) in kinds {
        for (contestant, rounds) in all {
            let Some(measured) = Spread::of(rounds.iter().map(figure)) else {
                continue;
            };
            let what = format!("{}, {}, {kind}", task.title, contestant.title());
            let mut row = Row::new(what, Unit::Millis, measured);
            let baseline = contestant.baseline().and_then(|(base, goal)| {
                let (_, rounds) = all.iter().find(|(c, _)| *c == base)?;
                Some((base, Spread::of(rounds.iter().map(figure))?, rounds, goal))
            });
            if let Some((base, spread, base_rounds, goal)) = baseline {
                let pairs = rounds.iter().zip(base_rounds);
                let ratio = Spread::of(pairs.map(|(own, base)| figure(own) / figure(base)));
                if let Some(ratio) = ratio {
                    row = row.beside(base.title(), spread, ratio);
                }
                if let Some(most) = goal.filter(|_| kind == "wall") {
                    row = row.goal(Goal::RatioAtMost(most));
                }
            }
            report.rows.push(row);
        }
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    for (contestant, rounds) in all {
        let memory: Vec<Memory> = rounds.iter().filter_map(|r| r.memory).collect();
        type Part = fn(&Memory) -> u64;
        let parts: [(&str, Part); 2] = [("host", |m| m.host), ("agents", |m| m.agents)];
        for (name, part) in parts {
            if let Some(spread) = Spread::of(memory.iter().map(|m| megabytes(part(m)))) {
                let what = format!("{}, {}, {name} memory", task.title, contestant.title());
                report.rows.push(Row::new(what, Unit::Megabytes, spread));
            }
        }
    }
}

fn run(bench: &Bench, contestant: Contestant, task: &Task) -> Result<Round, Trouble> {
    let programs = &bench.programs;
    let tasks = bench.options.tasks;
    let floor = |program: &Path| {
        let mut floor = command(program);
        floor.args(["-j", "2", "-n"]).arg(tasks.to_string());
        floor.arg("--").args(&task.words);
        floor
    };
    match contestant {
        Contestant::Bare => outside(bench, floor(&programs.floor_bare), tasks),
        Contestant::Sandbox => outside(bench, floor(&programs.floor_sandbox), tasks),
        Contestant::Xargs => {
            let xargs = installed(programs.xargs.as_ref(), "xargs")?;
            let mut xargs = with_numbers(bench, xargs, tasks)?;
            xargs
                .args(["-P2", "-n1"])
                .args(&task.words)
                .args(task.filler);
            outside(bench, xargs, tasks)
        }
        Contestant::Parallel => {
            let parallel = installed(programs.parallel.as_ref(), "GNU parallel")?;
            let tasks = tasks.div_ceil(PARALLEL_SHARE);
            progress(&format!("parallel runs {tasks} tasks only: it is slow"));
            let mut parallel = with_numbers(bench, parallel, tasks)?;
            parallel
                .env("PARALLEL_HOME", bench.dir.join("parallel"))
                .args(["--will-cite", "-j2"])
                .args(&task.words)
                .args(task.filler);
            outside(bench, parallel, tasks)
        }
        Contestant::Workers => spawn(bench, &["--workers", "2"], task),
        Contestant::Fresh => spawn(bench, &["--max-concurrent", "2"], task),
    }
}

fn installed<'a>(program: Option<&'a PathBuf>, name: &str) -> Result<&'a Path, Trouble> {
    let missing = || Trouble::Failed(format!("{name} is not installed"));
    program.map(PathBuf::as_path).ok_or_else(missing)
}

/// A tool that reads one argument for each task from its input.
fn with_numbers(bench: &Bench, program: &Path, tasks: u32) -> Result<Command, Trouble> {
    let path = bench.dir.join("numbers");
    let numbers: String = (0..tasks).map(|n| format!("{n}\n")).collect();
    fs::write(&path, numbers)?;
    let mut tool = command(program);
    tool.stdin(fs::File::open(path)?);
    Ok(tool)
}

fn outside(bench: &Bench, mut command: Command, tasks: u32) -> Result<Round, Trouble> {
    let cost = bench.runner.run(&mut command, limit(tasks))?.cost;
    Ok(Round {
        cost: per_task(cost, tasks),
        memory: None,
    })
}

/// A launch on a warm host that nobody used before, and the processor time of that host's life.
fn spawn(bench: &Bench, flags: &[&str], task: &Task) -> Result<Round, Trouble> {
    let tasks = bench.options.tasks;
    let mut home = bench.warm_home()?;
    let mut launch = home.launch(tasks, &[flags, &["--wait"]].concat());
    launch.arg("--").args(&task.words);
    let (ran, memory) = home.run_watched(&mut launch, limit(tasks))?;
    let mut cost = ran.cost;
    cost.cpu += home.stop()?;
    Ok(Round {
        cost: per_task(cost, tasks),
        memory: Some(memory),
    })
}

pub(super) fn per_task(cost: Cost, tasks: u32) -> Cost {
    Cost {
        wall: cost.wall / tasks,
        cpu: cost.cpu / tasks,
    }
}
