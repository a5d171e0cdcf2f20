//! A directory to launch from, with its own environment.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;

use clap::Parser;
use spawn_spec::{Effective, LaunchArgs, LaunchContext, Resolved, SpecError, effective, resolve};

#[derive(Parser)]
struct Launch {
    #[command(flatten)]
    args: LaunchArgs,
}

/// A directory to launch from.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub env: BTreeMap<String, String>,
    pub stdin: Vec<u8>,
    /// Where the launch is, below the directory.
    pub from: &'static str,
}

impl Place {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
        let stdin = Vec::new();
        Self {
            dir,
            env,
            stdin,
            from: "",
        }
    }

    pub fn launch(&self, line: &str) -> Result<Resolved, SpecError> {
        let words = line.split_whitespace();
        self.launch_words(&words.collect::<Vec<_>>())
    }

    pub fn launch_words(&self, words: &[&str]) -> Result<Resolved, SpecError> {
        self.resolve(&args_of(words))
    }

    pub fn resolve(&self, args: &LaunchArgs) -> Result<Resolved, SpecError> {
        resolve(args, &self.context())
    }

    pub fn effective(&self, words: &[&str]) -> Result<Effective, SpecError> {
        effective(&args_of(words), &self.context())
    }

    fn context(&self) -> LaunchContext {
        let stdin = self.stdin.clone();
        LaunchContext {
            launch_dir: match self.from {
                "" => self.dir.path().to_owned(),
                below => self.dir.path().join(below),
            },
            env: self.env.clone(),
            stdin: Box::new(move || Ok(stdin.clone())),
        }
    }

    pub fn refusal(&self, line: &str) -> String {
        self.launch(line).unwrap_err().to_string()
    }
}

fn args_of(words: &[&str]) -> LaunchArgs {
    let words = std::iter::once(&"launch").chain(words);
    let launch = Launch::try_parse_from(words).expect("the flags parse");
    launch.args
}

/// A parameter file, its text, message, hint (empty for none).
pub type Refusal = (&'static str, &'static str, &'static str, &'static str);

pub fn check_refusals(cases: &[Refusal]) {
    for (file, text, message, hint) in cases {
        let place = Place::with(&[(file, text)]);
        let found = place.launch_words(&["--param-file", file, "--", "ls"]);
        let error = found.map(|found| found.rows).expect_err(text);
        assert_eq!(error.to_string(), *message, "{text}");
        assert_eq!(error.hint.as_deref().unwrap_or_default(), *hint, "{text}");
    }
}
