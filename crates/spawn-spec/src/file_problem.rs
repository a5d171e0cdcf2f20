//! What is wrong with a file of parameters or of settings, one wording for each.

use std::io;

use crate::param_file::{MAX_FILE_BYTES, MAX_ROW_BYTES, MAX_ROWS, MAX_VALUE_BYTES};
use crate::policy_file::PolicyProblem;
use crate::position::Position;

/// Why a file of parameters or settings is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind and field is")]
pub enum FileProblem {
    // The file itself.
    #[error("no such file")]
    Missing,
    #[error("is a directory; expected a file")]
    Directory,
    #[error("cannot be read ({0})")]
    Unreadable(io::ErrorKind),
    #[error("is larger than the limit of {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
    #[error("has no ending that says its format; expected `.yaml`, `.yml`, `.json` or `.csv`")]
    Ending,
    #[error("is empty")]
    Empty,
    #[error("is not UTF-8")]
    NotUtf8,

    // Its format.
    #[error("not {format}: {message}")]
    Syntax {
        format: &'static str,
        message: String,
    },
    #[error("a tab in the indentation, which YAML does not allow")]
    Tab,
    #[error("`{key}` is given twice; first in line {}", first.line)]
    KeyTwice { key: String, first: Position },
    #[error("a second document; expected one")]
    SecondDocument,
    #[error("the key is a list or a map; expected a name")]
    KeyNotText,
    #[error("`<<` merges are not read")]
    MergeKey,
    #[error("the tag `{tag}` is not read")]
    Tag { tag: String },
    #[error("the alias stands inside what it stands for")]
    AliasOfItself,
    #[error("aliases repeat too much")]
    TooManyAliases,
    #[error(
        "lists and maps stand more than {} deep in each other",
        crate::document::MAX_DEPTH
    )]
    TooDeep,
    #[error("the quote is never closed")]
    OpenQuote,
    #[error("text after a closing quote; a quote within quotes is written twice")]
    TextAfterQuote,
    #[error("the row has {found} field{}; the header has {expected}", if *found == 1 { "" } else { "s" })]
    Fields { found: usize, expected: usize },

    // What it says.
    #[error("the file is {found}; expected a map with `params` or `grid`")]
    NotAMap { found: &'static str },
    #[error("`{key}` is {found}; expected {expected}")]
    Wrong {
        key: String,
        found: &'static str,
        expected: &'static str,
    },
    #[error("`{key}` is `{found}`; expected {expected}")]
    WrongText {
        key: String,
        found: String,
        expected: &'static str,
    },
    #[error("`{key}` has no value; expected {expected}")]
    NoValue { key: String, expected: &'static str },
    #[error("a row is {found}; expected a map such as `lr: 0.1`")]
    RowNotAMap { found: &'static str },
    #[error("has neither `params` nor `grid`, so there are no tasks")]
    NoParams,
    #[error("`{key}` is empty, so there are no tasks")]
    NoRows { key: String },
    #[error("has a header and no rows, so there are no tasks")]
    OnlyAHeader,
    #[error("there are {} rows, above the limit of {MAX_ROWS}", count.map_or("countless".into(), |count| count.to_string()))]
    TooManyRows { count: Option<usize> },
    #[error("`{key}` is in `params` and in `grid`; expected it in one of them")]
    ParamsAndGrid { key: String },
    #[error("`{key}` is not known here; expected {expected}")]
    UnknownKey {
        key: String,
        expected: &'static str,
        meant: Option<&'static str>,
    },
    #[error("`{key}` is not a setting, and too close to one to be a parameter")]
    NearSetting { key: String, meant: &'static str },
    #[error("`{key}` is a setting of the whole array, not of a row")]
    SettingInRow { key: String },
    #[error("`{key}` and `{other}` are the same setting; expected one of them")]
    SettingTwice { key: String, other: String },
    #[error("the key is empty")]
    EmptyKey,
    #[error("`{key}` and `{other}` would both be the variable `{variable}`")]
    SameVariable {
        key: String,
        other: String,
        variable: String,
    },
    #[error(
        "`{key}` would be the variable `{variable}`, which {} sets",
        environment
    )]
    VariableSet {
        key: String,
        variable: String,
        environment: String,
    },
    #[error("the row's name is empty")]
    EmptyRowName,
    #[error("the row's name `{name}` is given twice; first in line {}", first.line)]
    RowNameTwice { name: String, first: Position },
    #[error("the row's name `{name}` would be that of several tasks, since `grid` multiplies rows")]
    NameMultiplied { name: String },
    #[error("the value of `{key}` holds a zero byte, which no variable can")]
    ZeroByte { key: String },
    #[error("the value of `{key}` has {size} bytes, above the limit of {MAX_VALUE_BYTES}")]
    ValueTooLong { key: String, size: usize },
    #[error("the values of the row have {size} bytes in all, above the limit of {MAX_ROW_BYTES}")]
    RowTooLong { size: usize },
    #[error("{0}")]
    Policy(PolicyProblem),
}

impl FileProblem {
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing => "a relative path is looked up from the current directory".into(),
            Self::Tab => "indent with spaces".into(),
            Self::NotUtf8 => "write it in UTF-8".into(),
            Self::Empty | Self::OnlyAHeader => "write one row for each task".into(),
            Self::NoParams | Self::NotAMap { .. } => {
                "write `params:` with a list of rows, one for each task".into()
            }
            Self::MergeKey => "`defaults` gives a parameter to every row".into(),
            Self::SecondDocument => "put the rows of both into one `params`".into(),
            Self::Fields { .. } => "a cell with a comma in it needs quotes".into(),
            Self::TooManyRows { .. } => {
                "give each task several rows, or launch several arrays".into()
            }
            Self::UnknownKey {
                meant: Some(meant), ..
            } => format!("did you mean `{meant}`?"),
            Self::NearSetting { meant, .. } => {
                format!("did you mean `{meant}`? A parameter needs another name")
            }
            Self::SettingInRow { key } => format!(
                "put it into `defaults`, or give `--{}`; a parameter needs another name",
                key.replace('_', "-")
            ),
            Self::Policy(problem) => problem.hint()?,
            Self::NameMultiplied { .. } => "give them a parameter in place of a name".into(),
            Self::SameVariable { .. } => "rename one of them".into(),
            Self::VariableSet { .. } => "rename the parameter, or leave the other out".into(),
            Self::ValueTooLong { .. } | Self::RowTooLong { .. } => {
                "put large values into files, and their names into the row".into()
            }
            _ => return None,
        })
    }
}
