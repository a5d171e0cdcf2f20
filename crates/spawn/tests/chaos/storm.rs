//! A storm over an array, and what must be true after it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dice::Dice;
use crate::executions::{Executions, Peaceful, Record, WILFUL, peaceful, script};
use crate::mischief::Mischief;
use crate::processes::{until, until_nothing_is_left};
use crate::shared;
use crate::support::World;

/// What launches give tasks to survive the storm with.
///
/// With retries of the script's own failures (`--retries 3 --backoff 0s`), set
/// [`RETRIES`] to how many.
const BUDGETS: &[&str] = &[
    "--retries",
    "3",
    "--backoff",
    "0s",
    "--max-interruptions",
    "1000",
];
/// How often a task that fails by itself, or whose script is killed, runs again.
const RETRIES: u32 = 3;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number")),
    )
}

/// The seeds of a test whose own seeds, where nobody chooses, are these.
fn seeds(usual: u64) -> Vec<u64> {
    match (number("SPAWN_CHAOS_SEED"), number("SPAWN_CHAOS_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(many)) => (0..many).map(|n| usual + n).collect(),
        (None, None) => vec![usual],
    }
}

#[test]
fn a_storm_over_fresh_sandboxes() {
    for seed in seeds(1) {
        storm(seed, "86441.25", &["--max-concurrent", "4"], &[]);
    }
}

#[test]
fn a_storm_over_workers_that_stay() {
    for seed in seeds(1001) {
        storm(seed, "86442.25", &["--workers", "4"], &[]);
    }
}

#[test]
fn a_storm_over_workers_with_limits() {
    for seed in seeds(2001) {
        let limits = ["--workers", "3", "--instance-type", "t3.micro"];
        storm(seed, "86443.25", &limits, &[]);
    }
}

#[test]
fn a_storm_without_process_namespaces() {
    for seed in seeds(3001) {
        let settings = [("SPAWN_SANDBOX", "mounts")];
        storm(seed, "86444.25", &["--max-concurrent", "3"], &settings);
    }
}

fn storm(seed: u64, mark: &str, kind: &[&str], settings: &[(&'static str, &str)]) {
    let tasks = number("SPAWN_CHAOS_TASKS").unwrap_or(1000) as usize;
    eprintln!("seed {seed}: {tasks} tasks, {kind:?}, {settings:?}");
    let mut world = World::new().with("SPAWN_LEASE_SECONDS", "4");
    for (name, value) in settings {
        world = world.with(name, value);
    }
    let place = shared::directory();
    let record = Record(place.path().join("executions"));
    world.write("job.sh", script(&record.0, mark));
    let count = tasks.to_string();
    let mut launch = vec!["--array", &count, "--user-data", "@job.sh"];
    launch.extend(kind);
    launch.extend(BUDGETS);
    let id = world.launch(launch);

    let mut dice = Dice::new(seed);
    let mut mischief = Mischief::default();
    let mut next = 0;
    // It rages for as long as the tasks go on, and each time only once some more have ended, so
    // that none runs out of attempts.
    loop {
        next += 10 + dice.below(2 * tasks / 50);
        let mut ended = 0;
        until("tasks go on", || {
            mischief.wake_the_stalled();
            ended = record.counts().1;
            ended >= next || ended >= tasks - tasks / 10
        });
        if ended >= tasks - tasks / 10 {
            break;
        }
        mischief.do_something(&world, &id, &mut dice);
    }
    let waited = world.wait(&id);
    mischief.wake_all();
    eprintln!("seed {seed}: {:?}", mischief.done);
    let after = After {
        seed,
        world: &world,
        id: &id,
        tasks,
        executions: record.read(),
        mischief: &mischief,
    };
    after.check(&waited.json(), waited.code);
    world.ok(["local", "stop", "--yes"]);
    until_nothing_is_left(&world, &id);
}

/// What is there to judge when all has ended.
struct After<'a> {
    seed: u64,
    world: &'a World,
    id: &'a str,
    tasks: usize,
    executions: Executions,
    mischief: &'a Mischief,
}

impl After<'_> {
    fn check(&self, status: &Value, code: i32) {
        let seed = self.seed;
        let listed = self.world.json(["tasks", self.id]);
        let listed = listed.as_array().unwrap();
        assert_eq!(
            listed.len(),
            self.tasks,
            "seed {seed}: every index is listed"
        );
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let logs = self.last_lines();
        for (index, task) in listed.iter().enumerate() {
            assert_eq!(task["index"], index, "seed {seed}: {task}");
            let state = self.check_task(index, task, &logs);
            *counts.entry(state).or_default() += 1;
        }
        for ((index, attempt), executions) in &self.executions.by_attempt {
            assert_eq!(
                executions.len(),
                1,
                "seed {seed}: task {index} executed attempt {attempt} more than once: {executions:?}"
            );
        }
        for state in ["succeeded", "failed", "skipped"] {
            let counted = counts.get(state).copied().unwrap_or(0);
            assert_eq!(status["counts"][state], counted, "seed {seed}: {status}");
        }
        for state in ["pending", "running", "cancelled"] {
            assert_eq!(status["counts"][state], 0, "seed {seed}: {status}");
        }
        assert_eq!(status["counts"]["total"], self.tasks, "seed {seed}");
        let well = !counts.contains_key("failed");
        assert_eq!(code == 0, well, "seed {seed}: exit code {code} of {status}");
    }

    /// One task against what its executions wrote. The state it is in.
    fn check_task<'t>(
        &self,
        index: usize,
        task: &'t Value,
        logs: &BTreeMap<usize, String>,
    ) -> &'t str {
        let seed = self.seed;
        let committed = task["attempt"].as_u64().unwrap() as u32;
        let state = task["state"].as_str().unwrap();
        let of_index = self.executions.by_attempt.range((index, 0)..(index + 1, 0));
        let last = of_index
            .clone()
            .next_back()
            .map(|((_, attempt), _)| *attempt);
        assert_eq!(
            last,
            Some(committed),
            "seed {seed}: the last execution of {task}"
        );
        let execution = &self.executions.by_attempt[&(index, committed)][0];
        let was_killed = self.mischief.killed_scripts.contains(&(index, committed));
        let expected = match (state, task["cause"].as_str().unwrap_or("")) {
            ("succeeded", _) => Peaceful::Succeeds,
            ("skipped", _) => Peaceful::Skips,
            ("failed", "exit") => Peaceful::Fails,
            _ => panic!("seed {seed}: an end that nothing explains: {task}"),
        };
        if !was_killed {
            assert_eq!(expected, peaceful(index, committed), "seed {seed}: {task}");
            assert!(
                execution.ended,
                "seed {seed}: committed before it ended: {task}"
            );
            if expected == Peaceful::Fails {
                assert_eq!(task["exit_code"], WILFUL, "seed {seed}: {task}");
            }
        }
        if execution.ended {
            let line = format!("out {}", execution.nonce);
            assert_eq!(
                logs.get(&index),
                Some(&line),
                "seed {seed}: the log of {task}"
            );
        }
        // The whole story of those that had one.
        if committed > 1 {
            self.check_story(index, committed);
        }
        state
    }

    /// Attempts are numbered without a gap, each that is not the last ended for a reason that has
    /// a budget, and no budget was overdrawn.
    fn check_story(&self, index: usize, committed: u32) {
        let seed = self.seed;
        let story = self
            .world
            .json(["explain", self.id, "--task", &index.to_string()]);
        let attempts = story["attempts"].as_array().unwrap();
        let numbers: Vec<u64> = attempts
            .iter()
            .map(|a| a["attempt"].as_u64().unwrap())
            .collect();
        let dense: Vec<u64> = (1..=u64::from(committed)).collect();
        assert_eq!(numbers, dense, "seed {seed}: {story}");
        for earlier in &attempts[..attempts.len() - 1] {
            let cause = earlier["cause"].as_str().unwrap_or("none");
            let budgeted = matches!(cause, "interrupted" | "worker_lost" | "exit");
            assert!(
                budgeted,
                "seed {seed}: an attempt ended with {cause}: {story}"
            );
        }
        let of = |cause: &str| attempts.iter().filter(|a| a["cause"] == cause).count();
        assert!(of("exit") <= 1 + RETRIES as usize, "seed {seed}: {story}");
        for budget in story["retries"].as_array().unwrap() {
            assert!(
                budget["spent"].as_u64() <= budget["allowed"].as_u64(),
                "seed {seed}: {story}"
            );
        }
    }

    /// The last line that `spawn logs` has of each task's committed attempt.
    fn last_lines(&self) -> BTreeMap<usize, String> {
        let mut lines = BTreeMap::new();
        let all = self.world.ok(["logs", self.id, "--stdout"]);
        for line in all.lines() {
            let (index, text) = line
                .strip_prefix('[')
                .and_then(|l| l.split_once("] "))
                .unwrap_or_else(|| panic!("no index before `{line}`"));
            lines.insert(index.trim().parse().unwrap(), text.to_owned());
        }
        // And of one alone.
        let one = self.world.ok(["logs", self.id, "--task", "0", "--stdout"]);
        assert_eq!(one.lines().last(), lines.get(&0).map(String::as_str));
        lines
    }
}
