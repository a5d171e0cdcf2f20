//! The command line of `bench`.

use lexopt::prelude::*;

/// What `bench --help` prints.
pub const HELP: &str = "\
bench: measures spawn beside bare floors and other tools, in one run

Usage: bench dispatch [--tasks N] [--rounds R] [--quick] [--only NAME...] [-o text|json]

--tasks N     tasks of each contestant [default: 10000]
--rounds R    repetitions, contestants taking turns [default: 3]
--quick       1000 tasks, fewer repetitions: a look, not a result
--only NAME   only these: floors xargs parallel workers fresh (contestants of
              the cost per task), flat million first-output status sleep
-o FORMAT     text or json [default: text]

Build everything first:
  cargo build --release -p spawn -p spored -p spawn-host -p spawn-bench
";

/// Everything that `--only` knows: first the contestants of the cost per task.
pub const NAMES: [&str; 10] = [
    "floors",
    "xargs",
    "parallel",
    "workers",
    "fresh",
    "flat",
    "million",
    "first-output",
    "status",
    "sleep",
];

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Tasks of each contestant.
    pub tasks: u32,
    /// Repetitions.
    pub rounds: u32,
    /// A look only.
    pub quick: bool,
    /// Only these; everything if empty.
    pub only: Vec<String>,
    /// JSON instead of a table.
    pub json: bool,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The help text.
    Help,
    /// `bench dispatch`.
    Dispatch(Options),
}

impl Options {
    /// Whether `name` is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|n| n == name)
    }

    /// Whether anything is to be measured that needs the host.
    pub fn wants_spawn(&self) -> bool {
        NAMES[3..].iter().any(|name| self.wants(name))
    }

    /// Repetitions of something short: this many, fewer for a quick look.
    pub fn repeats(&self, full: u32) -> u32 {
        match self.quick {
            true => full.div_ceil(4),
            false => full,
        }
    }
}

/// Reads the command line.
///
/// # Errors
/// If it does not hold together.
pub fn parse(mut parser: lexopt::Parser) -> Result<Asked, lexopt::Error> {
    let mut dispatch = false;
    let (mut tasks, mut rounds) = (None, None);
    let mut options = Options {
        tasks: 0,
        rounds: 0,
        quick: false,
        only: Vec::new(),
        json: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("tasks") => tasks = Some(parser.value()?.parse::<u32>()?),
            Long("rounds") => rounds = Some(parser.value()?.parse::<u32>()?),
            Long("quick") => options.quick = true,
            Long("only") => {
                for name in parser.values()? {
                    let name = name.string()?;
                    if !NAMES.contains(&name.as_str()) {
                        let known = NAMES.join(", ");
                        return Err(format!("`--only {name}`: expected some of {known}").into());
                    }
                    options.only.push(name);
                }
            }
            Short('o') | Long("output") => {
                options.json = match parser.value()?.string()?.as_str() {
                    "json" => true,
                    "text" => false,
                    other => return Err(format!("`-o {other}`: expected text or json").into()),
                }
            }
            Value(word) if !dispatch && word == "dispatch" => dispatch = true,
            other => return Err(other.unexpected()),
        }
    }
    if !dispatch {
        return Err("say what to measure: `bench dispatch`".into());
    }
    options.tasks = tasks.unwrap_or(if options.quick { 1_000 } else { 10_000 });
    options.rounds = rounds.unwrap_or(if options.quick { 2 } else { 3 });
    if !(1..=1_000_000).contains(&options.tasks) || !(1..=100).contains(&options.rounds) {
        return Err("expected 1 to 1000000 tasks in 1 to 100 rounds".into());
    }
    Ok(Asked::Dispatch(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Asked, lexopt::Error> {
        parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_command_line_is_read() {
        let Ok(Asked::Dispatch(all)) = ask("dispatch") else {
            panic!("no dispatch");
        };
        assert_eq!((all.tasks, all.rounds, all.json), (10_000, 3, false));
        assert!(NAMES.iter().all(|name| all.wants(name)) && all.wants_spawn());

        let line = "dispatch --quick --only floors sleep --tasks 20 -o json";
        let Ok(Asked::Dispatch(some)) = ask(line) else {
            panic!("no dispatch");
        };
        assert_eq!((some.tasks, some.rounds, some.json), (20, 2, true));
        assert!(some.wants("floors") && some.wants("sleep") && !some.wants("xargs"));
        assert_eq!((some.repeats(20), all.repeats(20)), (5, 20));
    }

    #[test]
    fn the_help_names_everything_and_nonsense_is_refused() {
        assert!(NAMES.iter().all(|name| HELP.contains(name)));
        assert_eq!(ask("dispatch --help").unwrap(), Asked::Help);
        for line in [
            "",
            "dispatch --only nothing",
            "dispatch --tasks 0",
            "report",
        ] {
            assert!(ask(line).is_err(), "{line}");
        }
    }
}
