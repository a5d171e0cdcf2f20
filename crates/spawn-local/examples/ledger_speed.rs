//! Prints what the SQLite ledger costs per task, in microseconds of wall and CPU time:
//!
//! ```text
//! cargo run --release -p spawn-local --example ledger_speed
//! ```
//!
//! A pair is a claim of `batch` tasks and the commit of all of them; a group of pairs is one
//! transaction, as when the host serves many agents at once.

use std::fs;
use std::path::Path;
use std::time::Instant;

use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Report};
use spawn_core::task::Intent;
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::{AgentId, Commit, Ledger, LedgerError, LogSpan, NewAgent, NewArray};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("ledger-speed-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let answer = measure(&dir);
    fs::remove_dir_all(&dir)?;
    answer
}

fn measure(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let path = dir.join("ledger.db");
    let started = Instant::now();
    let mut ledger = SqliteLedger::open(&path, Durability::ProcessCrash)?;
    println!("create        {:>9.2} ms", millis(started));
    let mut day = 1;
    println!("tasks      batch   pairs/group   µs/task   µs CPU/task   bytes/task");
    for total in [10_000_u64, 1_000_000] {
        for (batch, pairs) in [(1_u32, 1), (1, 32), (32, 1)] {
            let (id, agent) = enrolled(&mut ledger, total, day)?;
            day += 1;
            let before = size(&path);
            let (wall, cpu) = (Instant::now(), cpu_micros());
            run(&mut ledger, agent, batch, pairs)?;
            let per = |micros: f64| micros / total as f64;
            println!(
                "{total:>9}  {batch:>5}   {pairs:>11}   {:>7.2}   {:>11.2}   {:>10.0}",
                per(millis(wall) * 1e3),
                per((cpu_micros() - cpu) as f64),
                (size(&path) - before) as f64 / total as f64,
            );
            assert_eq!(ledger.array(&id)?.map(|a| a.counts.succeeded), Some(total));
        }
    }
    drop(ledger);
    let started = Instant::now();
    let mut ledger = SqliteLedger::open(&path, Durability::ProcessCrash)?;
    println!("open          {:>9.2} ms", millis(started));
    let started = Instant::now();
    let (id, _) = enrolled(&mut ledger, 1_000_000, 20)?;
    println!("submit 1M     {:>9.2} ms", millis(started));
    let started = Instant::now();
    ledger.close(&id, Intent::Cancel, UnixMicros(9))?;
    println!("close 1M      {:>9.2} ms", millis(started));
    Ok(())
}

fn enrolled(
    ledger: &mut SqliteLedger,
    total: u64,
    day: u8,
) -> Result<(ArrayId, AgentId), Box<dyn std::error::Error>> {
    let id = ArrayId::new(2026, 1, day, [day; 6])?;
    ledger.submit(
        &NewArray {
            id: id.clone(),
            name: "speed".to_owned(),
            spec: "{}".to_owned(),
            total,
            budgets: Budgets::default(),
            deadline: UnixMicros(i64::MAX),
            lanes: Vec::new(),
        },
        UnixMicros(1),
    )?;
    let agent = ledger.enroll(
        &NewAgent {
            array: id.clone(),
            slot: 0,
            lane: 0,
            pid: 1,
            pid_started: 1,
            boot: "boot".to_owned(),
            hostname: "worker-0".to_owned(),
        },
        UnixMicros(1),
    )?;
    Ok((id, agent))
}

fn run(
    ledger: &mut SqliteLedger,
    agent: AgentId,
    batch: u32,
    pairs: u32,
) -> Result<(), LedgerError> {
    let mut now = 1_769_500_000_000_000;
    loop {
        now += 1_000;
        let claimed = ledger.group(|ledger| {
            let mut claimed = 0;
            for _ in 0..pairs {
                claimed += claim_and_commit(ledger, agent, batch, UnixMicros(now))?;
            }
            Ok(claimed)
        })?;
        if claimed == 0 {
            return Ok(());
        }
    }
}

fn claim_and_commit(
    ledger: &mut SqliteLedger,
    agent: AgentId,
    batch: u32,
    now: UnixMicros,
) -> Result<usize, LedgerError> {
    let claim = ledger.claim(agent, batch, now)?;
    let commits: Vec<Commit> = claim
        .tasks
        .iter()
        .map(|task| Commit {
            position: task.position,
            token: claim.token,
            report: Report::of(Cause::Succeeded),
            started_at: now,
            ended_at: now,
            log: LogSpan { offset: 0, len: 64 },
            usage: None,
            failed_calls: Vec::new(),
        })
        .collect();
    let answers = ledger.commit(agent, &commits, now)?;
    assert!(answers.iter().all(Result::is_ok));
    Ok(claim.tasks.len())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// CPU time of this process so far: user and system, in ticks of 10 ms (`/proc/self/stat`).
fn cpu_micros() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok());
    (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) * 10_000
}
