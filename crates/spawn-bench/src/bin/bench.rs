//! Measures `spawn` and prints what it found beside what was promised. See `bench --help`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spawn_bench::contest::{self, Runner};
use spawn_bench::home;
use spawn_bench::options::{self, Asked, HELP, Options};
use spawn_bench::programs::Programs;
use spawn_bench::sections::Bench;

fn main() {
    let options = match options::parse(lexopt::Parser::from_env()) {
        Ok(Asked::Dispatch(options)) => options,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return;
        }
        Err(e) => {
            eprintln!("bench: {e}\n  hint: `bench --help` shows what there is");
            std::process::exit(2);
        }
    };
    if let Err(e) = dispatch(options) {
        eprintln!("bench: {e}");
        std::process::exit(1);
    }
}

fn dispatch(options: Options) -> Result<(), String> {
    let programs = Programs::find(options.wants_spawn())?;
    contest::watch_interrupts().map_err(|e| format!("cannot watch for Ctrl-C: {e}"))?;
    home::adopt_orphans().map_err(|e| format!("cannot adopt orphans: {e}"))?;
    if cfg!(debug_assertions) {
        eprintln!("bench: a debug build: its figures say nothing");
    }
    let dir = Scratch::new()?;
    let json = options.json;
    let before = load();
    let bench = Bench {
        options,
        programs,
        runner: Runner::new(&dir.0),
        dir: dir.0.clone(),
    };
    let report = bench.run().map_err(|e| e.to_string())?;
    let machine = machine(&before, &load());
    if json {
        println!("{:#}", report.json(&machine));
    } else {
        println!(
            "{} cores, Linux {}, load {} before and {} after\n\n{}",
            machine["cores"],
            machine["kernel"].as_str().unwrap_or("?"),
            machine["load_before"].as_str().unwrap_or("?"),
            machine["load_after"].as_str().unwrap_or("?"),
            report.text()
        );
    }
    Ok(())
}

/// A directory of this run's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        let template = std::env::temp_dir().join("spawn-bench-XXXXXX");
        let dir = nix::unistd::mkdtemp(&template)
            .map_err(|e| format!("cannot make a directory like {}: {e}", template.display()))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

fn machine(before: &str, after: &str) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": before,
        "load_after": after,
        "debug_build": cfg!(debug_assertions),
    })
}

/// The load of the last minute.
fn load() -> String {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or("?").to_owned()
}
