//! What tasks wrote of themselves, and the script that makes them write it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The exit code of a task that fails by its own will.
pub const WILFUL: i64 = 3;

/// What becomes of a task whose attempt is left in peace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peaceful {
    Succeeds,
    Skips,
    Fails,
}

/// What an attempt of a task does: many kinds, so that every way to end is met.
pub fn peaceful(index: usize, attempt: u32) -> Peaceful {
    match index % 10 {
        6 => Peaceful::Skips,
        7 if attempt == 1 => Peaceful::Fails,
        _ => Peaceful::Succeeds,
    }
}

/// The script. `mark` tells the daemons it leaves from those of other tests.
pub fn script(record: &Path, mark: &str) -> String {
    let record = record.display();
    format!(
        r#"#!/bin/bash
nonce=$SRANDOM-$SRANDOM-$EPOCHREALTIME
note() {{ echo "$1 $TASK_ARRAY_INDEX $TASK_ATTEMPT $nonce" >> {record}; }}
note start
kind=$((TASK_ARRAY_INDEX % 10))
case $kind in
    3) sleep 0.02 ;;
    8) (setsid sleep {mark} &) ;;
    9) trap 'exit 0' TERM; sleep 0.3 ;;
esac
echo "out $nonce"
note end
# Last, since what was said stands, even where the script is stopped then.
case $kind in
    4|5) spored complete --status success; exit 1 ;;
    6) spored complete --status skipped ;;
    7) [ $TASK_ATTEMPT != 1 ] || exit {WILFUL} ;;
esac
"#
    )
}

/// One execution of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    pub nonce: String,
    pub ended: bool,
}

/// What the tasks wrote: every execution, by index and attempt.
#[derive(Debug)]
pub struct Executions {
    pub by_attempt: BTreeMap<(usize, u32), Vec<Execution>>,
}

/// Where tasks write.
#[derive(Debug, Clone)]
pub struct Record(pub PathBuf);

impl Record {
    /// How many executions have started and how many have ended.
    pub fn counts(&self) -> (usize, usize) {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let of = |word: &str| text.lines().filter(|l| l.starts_with(word)).count();
        (of("start "), of("end "))
    }

    /// All executions. A line that is not whole is a fault of the file system, not of ours.
    pub fn read(&self) -> Executions {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut by_attempt: BTreeMap<(usize, u32), Vec<Execution>> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [word, index, attempt, nonce] = words[..] else {
                panic!("not a line of a task: `{line}`");
            };
            let key = (index.parse().unwrap(), attempt.parse().unwrap());
            let executions = by_attempt.entry(key).or_default();
            match word {
                "start" => executions.push(Execution {
                    nonce: nonce.to_owned(),
                    ended: false,
                }),
                _ => {
                    let own = executions.iter_mut().find(|e| e.nonce == nonce);
                    own.expect("what ends has started").ended = true;
                }
            }
        }
        Executions { by_attempt }
    }
}
