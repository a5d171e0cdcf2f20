//! A parameter file: `defaults` for all tasks, and one row for each task, from `params`, `grid`
//! or the lines of a CSV file.

use std::path::{Path, PathBuf};

use crate::document::{self, Entry, Node, Value};
use crate::error::SpecError;
use crate::file_problem::FileProblem;
use crate::position::Position;
use crate::setting_keys::{Likeness, likeness, setting};
use crate::settings::Settings;
use crate::settings_of_file::{FileSettings, SettingsFile};
use crate::spelling::closest;

/// The largest file: 64 MiB.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// The most rows, after `grid` is multiplied out.
pub const MAX_ROWS: usize = 100_000;
/// The longest value, in bytes. Linux takes 128 KiB for one variable, name included.
pub const MAX_VALUE_BYTES: usize = 100_000;
/// The most bytes of values in a row. Each is given twice, and Linux takes about 2 MB for
/// all variables and arguments.
pub const MAX_ROW_BYTES: usize = 400_000;

const TOP_KEYS: [&str; 7] = [
    "defaults",
    "params",
    "grid",
    "name",
    "user_data",
    "user_data_file",
    "command",
];
const EXPECTED: &str =
    "`defaults`, `params`, `grid`, `name`, `user_data`, `user_data_file` or `command`";

/// A file that was read; its rows are not made yet.
#[derive(Debug)]
pub(crate) struct ParamFile {
    pub file: SettingsFile,
    /// What it says about the array.
    pub settings: Settings,
    /// Parameters that every row gets unless it has its own.
    pub defaults: Vec<Entry>,
    pub params: Option<Vec<Node>>,
    pub grid: Option<Vec<Entry>>,
    pub warnings: Vec<String>,
}

/// Reads a file whose ending says its format; `typed` is what the user wrote.
pub(crate) fn read(typed: &Path, launch_dir: &Path) -> Result<ParamFile, SpecError> {
    let file = SettingsFile {
        label: typed.display().to_string().into(),
        base: typed.parent().map_or_else(PathBuf::new, Path::to_owned),
        is_config: false,
    };
    let refuse = |problem| {
        let at = None;
        file.malformed(document::Malformed { at, problem })
    };
    let ending = typed.extension().unwrap_or_default().to_ascii_lowercase();
    let ending = ending.to_str().unwrap_or_default();
    if !matches!(ending, "yaml" | "yml" | "json" | "csv") {
        return Err(refuse(FileProblem::Ending));
    }
    let text = crate::text_file::read(&launch_dir.join(typed));
    let text = text.map_err(|malformed| file.malformed(malformed))?;
    let root = match ending {
        "json" => document::json::read(&text),
        "csv" => document::csv::read(&text),
        _ => document::yaml::read(&text),
    };
    let root = root.map_err(|malformed| file.malformed(malformed))?;
    let root = root.ok_or_else(|| refuse(FileProblem::Empty))?;
    if ending == "csv" {
        return from_rows(file, root);
    }
    from_map(file, root)
}

fn from_rows(file: SettingsFile, root: Node) -> Result<ParamFile, SpecError> {
    let params = match root.value {
        Value::List(rows) if !rows.is_empty() => Some(rows),
        _ => return Err(file.refuse(root.at, FileProblem::OnlyAHeader)),
    };
    Ok(ParamFile {
        file,
        settings: Settings::default(),
        defaults: Vec::new(),
        params,
        grid: None,
        warnings: Vec::new(),
    })
}

fn from_map(file: SettingsFile, root: Node) -> Result<ParamFile, SpecError> {
    let found = root.kind();
    let Value::Map(entries) = root.value else {
        return Err(file.refuse(root.at, FileProblem::NotAMap { found }));
    };
    let mut settings = FileSettings::of(&file);
    let mut warnings = Vec::new();
    let (mut defaults, mut params, mut grid) = (Vec::new(), None, None);
    for entry in entries {
        let key = entry.key.replace('-', "_");
        match TOP_KEYS.into_iter().find(|known| *known == key) {
            Some("defaults") => defaults = map(&file, entry, "a map of settings")?,
            Some("params") => params = Some(rows(&file, entry)?),
            Some("grid") => grid = Some(dimensions(&file, entry)?),
            Some(key) => settings.set(key, &entry)?,
            None => {
                let problem = FileProblem::UnknownKey {
                    expected: match setting(&key) {
                        Some(_) => "it in `defaults`",
                        None => EXPECTED,
                    },
                    meant: closest(&key, &TOP_KEYS),
                    key: entry.key,
                };
                return Err(file.refuse(entry.at, problem));
            }
        }
    }
    let mut parameters = Vec::new();
    for entry in defaults {
        match setting(&entry.key) {
            Some(key) => settings.set(key, &entry)?,
            None => {
                check_parameter(&file, &entry.key, entry.at, &mut warnings)?;
                if let Some(flag) = flag_only(&entry.key) {
                    let (label, at, key) = (&file.label, entry.at, &entry.key);
                    warnings.push(format!(
                        "{label}:{at}: `{key}` is taken for a parameter; `{flag}` is a flag only"
                    ));
                }
                parameters.push(entry);
            }
        }
    }
    let settings = settings.finish()?;
    if params.is_none() && grid.is_none() {
        return Err(file.refuse(root.at, FileProblem::NoParams));
    }
    Ok(ParamFile {
        file,
        settings,
        defaults: parameters,
        params,
        grid,
        warnings,
    })
}

fn map(file: &SettingsFile, entry: Entry, expected: &'static str) -> Result<Vec<Entry>, SpecError> {
    let (key, found) = (entry.key, entry.node.kind());
    match entry.node.value {
        Value::Map(entries) => Ok(entries),
        Value::Null => Err(file.refuse(entry.at, FileProblem::NoValue { key, expected })),
        _ => {
            let problem = FileProblem::Wrong {
                key,
                found,
                expected,
            };
            Err(file.refuse(entry.node.at, problem))
        }
    }
}

fn rows(file: &SettingsFile, entry: Entry) -> Result<Vec<Node>, SpecError> {
    let (key, found) = (entry.key, entry.node.kind());
    match entry.node.value {
        Value::List(rows) if !rows.is_empty() => Ok(rows),
        Value::List(_) | Value::Null => Err(file.refuse(entry.at, FileProblem::NoRows { key })),
        _ => {
            let problem = FileProblem::Wrong {
                key,
                found,
                expected: "a list of rows",
            };
            Err(file.refuse(entry.node.at, problem))
        }
    }
}

/// The keys of `grid`, each with a list of values.
fn dimensions(file: &SettingsFile, entry: Entry) -> Result<Vec<Entry>, SpecError> {
    let at = entry.at;
    if entry.node.is_null() || entry.node.value == Value::Map(Vec::new()) {
        let key = entry.key;
        return Err(file.refuse(at, FileProblem::NoRows { key }));
    }
    let entries = map(file, entry, "a map from keys to lists of values")?;
    for entry in &entries {
        let key = format!("grid.{}", entry.key);
        match &entry.node.value {
            Value::List(values) if !values.is_empty() => {}
            Value::List(_) => return Err(file.refuse(entry.at, FileProblem::NoRows { key })),
            _ => {
                let problem = FileProblem::Wrong {
                    key,
                    found: entry.node.kind(),
                    expected: "a list of values",
                };
                return Err(file.refuse(entry.node.at, problem));
            }
        }
    }
    Ok(entries)
}

/// The flag of this name that files cannot set, if there is one.
fn flag_only(key: &str) -> Option<&'static str> {
    const FLAGS: [&str; 8] = [
        "--allow-shared-tmp",
        "--array",
        "--dry-run",
        "--durable",
        "--no-auto-include",
        "--no-spot",
        "--wait",
        "--wait-timeout",
    ];
    let flag = format!("--{}", key.replace('_', "-"));
    FLAGS.into_iter().find(|known| *known == flag)
}

/// Refuses a key that is no setting and can hardly be meant as anything else.
pub(crate) fn check_parameter(
    file: &SettingsFile,
    key: &str,
    at: Position,
    warnings: &mut Vec<String>,
) -> Result<(), SpecError> {
    if key.is_empty() {
        return Err(file.refuse(at, FileProblem::EmptyKey));
    }
    match likeness(key) {
        None => Ok(()),
        Some(Likeness::Sure(meant)) => {
            let key = key.to_owned();
            Err(file.refuse(at, FileProblem::NearSetting { key, meant }))
        }
        Some(Likeness::Maybe(meant)) => {
            let label = &file.label;
            let warning =
                format!("{label}:{at}: `{key}` is taken for a parameter; the setting is `{meant}`");
            // A key of `defaults` comes by as one of its rows too.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
            Ok(())
        }
    }
}
