//! What a script mentions: files it may use, variables it reads, buckets, tools.
//!
//! Found by reading its text, never by running it, so all of this is a guess
//! that may inform and warn but not refuse.

use std::collections::BTreeSet;

use crate::environment::TASK_VARIABLES;
use crate::shell_words::{Token, loose_words, read};
use crate::spelling::{closest, distance};

/// How much of a script is read for mentions.
const READ_BYTES: usize = 1 << 20;

/// Programs that a script may need and a machine may lack.
const TOOLS: [&str; 4] = ["aws", "jq", "python", "python3"];

/// Variables of other systems, and what they are called here.
const FOREIGN: [(&str, &str); 7] = [
    ("AWS_BATCH_JOB_ARRAY_INDEX", "TASK_ARRAY_INDEX"),
    ("LSB_JOBINDEX", "TASK_ARRAY_INDEX"),
    ("PBS_ARRAYID", "TASK_ARRAY_INDEX"),
    ("PBS_ARRAY_INDEX", "TASK_ARRAY_INDEX"),
    ("SGE_TASK_ID", "TASK_ARRAY_INDEX"),
    ("SLURM_ARRAY_TASK_COUNT", "TASK_ARRAY_SIZE"),
    ("SLURM_ARRAY_TASK_ID", "TASK_ARRAY_INDEX"),
];

/// How the variables of parameters start.
const PARAM: &str = "PARAM_";

/// What a text mentions. All lists are sorted, each entry once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// Words that may be paths.
    pub words: BTreeSet<String>,
    /// Variables that are read, and that no task has.
    pub unknown_variables: BTreeSet<String>,
    /// S3 buckets named literally, save those the script makes.
    pub buckets: BTreeSet<String>,
    /// Those of [`TOOLS`] that are run.
    pub tools: BTreeSet<&'static str>,
}

/// Reads a script of a shell.
pub(crate) fn in_shell(text: &str) -> Mentions {
    let text = head(text);
    let shell = read(text);
    let mut code = String::with_capacity(text.len());
    let mut from = 0;
    for comment in &shell.comments {
        code.push_str(&text[from..comment.start]);
        from = comment.end;
    }
    code.push_str(&text[from..]);

    let mut found = Mentions {
        buckets: buckets(&code),
        ..Mentions::default()
    };
    let mut assigned = BTreeSet::new();
    for command in shell.tokens.split(|token| *token == Token::Break) {
        read_command(command, &mut found, &mut assigned);
    }
    found.unknown_variables = variables_read(&code);
    found
        .unknown_variables
        .retain(|name| !assigned.contains(name));
    found
}

/// Reads a script of any other language.
pub(crate) fn in_other_language(text: &str) -> Mentions {
    let code: String = head(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    Mentions {
        words: loose_words(&code).map(str::to_owned).collect(),
        unknown_variables: variables_read(&code),
        buckets: buckets(&code),
        tools: BTreeSet::new(),
    }
}

/// Reads the words of a command that no shell reads. What follows `-c` is
/// shell text to whoever reads it.
pub(crate) fn in_argv(argv: &[String]) -> Mentions {
    let mut found = Mentions::default();
    for word in argv {
        add_words(word, true, &mut found.words);
        found.buckets.append(&mut buckets(word));
    }
    if let Some(tool) = argv.first().and_then(|first| tool(first)) {
        found.tools.insert(tool);
    }
    for pair in argv.windows(2) {
        if pair[0] == "-c" {
            let inner = in_shell(&pair[1]);
            found.words.extend(inner.words);
            found.unknown_variables.extend(inner.unknown_variables);
            found.tools.extend(inner.tools);
        }
    }
    found
}

/// What to say of a variable that no task has; `params` are the `PARAM_*` that they do have.
pub(crate) fn variable_warning(name: &str, of: &str, params: &[&str]) -> String {
    let meant = FOREIGN
        .iter()
        .find(|(foreign, _)| *foreign == name)
        .map(|(_, ours)| *ours)
        .or_else(|| parameter(name, params))
        .or_else(|| nearest(name));
    match meant {
        Some(meant) => {
            format!("{of} reads `{name}`, which no task has; did you mean `{meant}`?")
        }
        None => format!("{of} reads `{name}`, which no task has"),
    }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(READ_BYTES)]
}

fn read_command(command: &[Token], found: &mut Mentions, assigned: &mut BTreeSet<String>) {
    let mut at_program = true;
    let mut assigns_words = false;
    let mut before = "";
    for token in command {
        let Token::Word { text, quoted } = token else {
            continue;
        };
        add_words(text, *quoted, &mut found.words);
        if before == "mb" {
            for made in buckets(text) {
                found.buckets.remove(&made);
            }
        }
        let name_end = text.find(|c: char| !is_name_char(c)).unwrap_or(text.len());
        let (name, after) = text.split_at(name_end);
        let assigns = !name.is_empty()
            && (after.starts_with('=') || after.starts_with("+=") || after.starts_with('['));
        if assigns || (assigns_words && after.is_empty()) {
            assigned.insert(name.to_owned());
        }
        if at_program && !assigns {
            found.tools.extend(tool(text));
            assigns_words = matches!(
                text.as_str(),
                "for"
                    | "read"
                    | "local"
                    | "declare"
                    | "typeset"
                    | "readonly"
                    | "mapfile"
                    | "readarray"
                    | "printf"
                    | "getopts"
                    | "select"
            );
            at_program = runs_next(text) || (runs_next(before) && skippable(text));
        }
        before = text;
    }
}

/// Words after which another program comes.
fn runs_next(word: &str) -> bool {
    matches!(
        word,
        "if" | "then"
            | "elif"
            | "else"
            | "while"
            | "until"
            | "do"
            | "!"
            | "{"
            | "time"
            | "exec"
            | "sudo"
            | "env"
            | "nohup"
            | "command"
            | "xargs"
            | "nice"
            | "timeout"
            | "eval"
    )
}

/// An option or a number, as in `timeout 30 aws` and `xargs -n1 aws`.
fn skippable(word: &str) -> bool {
    word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn tool(word: &str) -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| *tool == word)
}

/// Adds what in a word may be a path: all of it, and the parts of
/// `--config=run.yaml`, `@data.json` or a quoted command.
fn add_words(text: &str, quoted: bool, words: &mut BTreeSet<String>) {
    words.insert(text.to_owned());
    if quoted || text.contains(['=', '@', ',', ':']) {
        words.extend(loose_words(text).map(str::to_owned));
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn buckets(code: &str) -> BTreeSet<String> {
    code.match_indices("s3://")
        .filter_map(|(at, scheme)| {
            let rest = &code[at + scheme.len()..];
            let end = rest
                .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)))
                .unwrap_or(rest.len());
            let (bucket, after) = rest.split_at(end);
            // `s3://data-$USER/` and `s3://data-{}` go on with what is not literal.
            let whole = after
                .chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || "/'\"`)];|&\\,".contains(c));
            let valid = (3..=63).contains(&bucket.len())
                && !bucket.starts_with(['.', '-'])
                && !bucket.ends_with(['.', '-']);
            (whole && valid).then(|| bucket.to_owned())
        })
        .collect()
}

/// `TASK_*`, `JOB_*`, `PARAM_*` and foreign names that are read and that no task has.
fn variables_read(code: &str) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    let mut arithmetic_end = 0;
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        if at >= arithmetic_end && rest.starts_with("((") {
            arithmetic_end = at + rest.find("))").unwrap_or(rest.len());
        }
        let end = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
        if end == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let name = &rest[..end];
        let parameter = name.starts_with(PARAM) && !has_default(&code[..at], &rest[end..]);
        let ours = name.starts_with("TASK_") || name.starts_with("JOB_") || parameter;
        let unknown = ours && !TASK_VARIABLES.contains(&name);
        let foreign = FOREIGN.iter().any(|(foreign, _)| *foreign == name);
        if (unknown || foreign) && (at < arithmetic_end || is_read(&code[..at])) {
            read.insert(name.to_owned());
        }
        at += end;
    }
    read
}

/// `${PARAM_rate:-0.1}`: a script may well be run without the parameter.
fn has_default(before: &str, after: &str) -> bool {
    before.ends_with("${") && after.starts_with([':', '-', '+', '=', '?'])
}

/// Whether what stands before a name reads it: `$`, `${#`, `os.environ["`.
fn is_read(before: &str) -> bool {
    const LOOK_BACK: usize = 16;
    let shell = before.trim_end_matches(['#', '!']);
    if before.ends_with('$') || shell.ends_with("${") {
        return true;
    }
    let from = before.ceil_char_boundary(before.len().saturating_sub(LOOK_BACK));
    let near = &before[from..];
    let near = near.rsplit('\n').next().unwrap_or(near);
    before.ends_with(['"', '\'', '.', '{'])
        && ["environ", "getenv", "ENV", ".env"]
            .iter()
            .any(|word| near.contains(word))
}

/// The parameter whose short name this would be, or whose name was mistyped.
fn parameter<'p>(name: &str, params: &[&'p str]) -> Option<&'p str> {
    let key = |param: &&&str| param.trim_start_matches(PARAM).to_ascii_uppercase() == name;
    let withheld = params.iter().find(key).copied();
    withheld.or_else(|| name.starts_with(PARAM).then(|| closest(name, params))?)
}

fn nearest(name: &str) -> Option<&'static str> {
    const CLOSE: usize = 3;
    let (_, rest) = name.split_once('_')?;
    TASK_VARIABLES
        .into_iter()
        .filter(|known| known.split('_').next() == name.split('_').next())
        .map(|known| {
            let short = rest.len() > 1 && abbreviates(name, known);
            let chars = |text: &str| text.chars().take(64).collect::<Vec<_>>();
            let slips = || distance(&chars(known), &chars(name));
            (if short { 0 } else { slips() }, known)
        })
        .filter(|(distance, _)| *distance <= CLOSE)
        .min()
        .map(|(_, known)| known)
}

/// `TASK_IDX` is far from `TASK_ARRAY_INDEX` by its letters, and yet meant: they
/// come in the same order and end the same.
fn abbreviates(short: &str, long: &str) -> bool {
    let mut letters = long.chars();
    let in_order = short.chars().all(|c| letters.any(|letter| letter == c));
    in_order && short.chars().last() == long.chars().last()
}

#[cfg(test)]
#[path = "mentions_tests.rs"]
mod tests;
