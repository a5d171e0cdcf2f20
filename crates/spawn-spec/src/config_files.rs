//! Configuration: `spawn.toml` of the project, and the user's own below it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::document::{self, Entry, Value};
use crate::error::SpecError;
use crate::file_problem::FileProblem;
use crate::resolve::LaunchContext;
use crate::setting_keys::{SETTINGS, setting};
use crate::settings::Settings;
use crate::settings_of_file::{FileSettings, SettingsFile};
use crate::spelling::closest;

/// The project's configuration, in the directory of the launch or above it.
pub const PROJECT_FILE: &str = "spawn.toml";
/// The user's, below `XDG_CONFIG_HOME`, else `~/.config`.
pub const USER_FILE: &str = "spawn/config.toml";

/// A configuration file that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// What messages call it: relative to the directory of the launch, or from `~`.
    pub path: String,
    /// What came of it.
    pub state: ConfigState,
}

/// What came of looking for a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// It was read.
    Read,
    /// There is none.
    Missing,
    /// It belongs to somebody else, who could make launches run anything. It was not read.
    NotTrusted,
}

/// The configuration of a launch.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub settings: Settings,
    /// The project's first.
    pub files: Vec<ConfigFile>,
}

/// Finds and reads both files; the project's is above the user's.
pub(crate) fn read(ctx: &LaunchContext) -> Result<Config, SpecError> {
    let mut config = Config::default();
    let user = user_file(ctx);
    for found in project_file(ctx).into_iter().chain(user) {
        let Found { file, path, state } = found;
        if state == ConfigState::Read {
            let below = read_file(&file, &path)?;
            config.settings = config.settings.over(below);
        }
        config.files.push(ConfigFile {
            path: file.label.to_string(),
            state,
        });
    }
    Ok(config)
}

struct Found {
    file: SettingsFile,
    path: PathBuf,
    state: ConfigState,
}

/// The nearest `spawn.toml`, from the launch directory up to a repository's top, the home
/// directory or the root.
fn project_file(ctx: &LaunchContext) -> Option<Found> {
    // `..` goes where the kernel says, so links are followed first.
    let followed = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let home = ctx.env.get("HOME").map(|home| followed(Path::new(home)));
    let mut base = PathBuf::new();
    for dir in followed(&ctx.launch_dir).ancestors() {
        let path = dir.join(PROJECT_FILE);
        if path.is_file() {
            let state = match is_trusted(&path, &ctx.launch_dir) {
                true => ConfigState::Read,
                false => ConfigState::NotTrusted,
            };
            return Some(found(base.join(PROJECT_FILE), base, path, state));
        }
        if dir.join(".git").exists() || Some(dir) == home.as_deref() {
            break;
        }
        base.push("..");
    }
    let label = PathBuf::from(PROJECT_FILE);
    let path = ctx.launch_dir.join(PROJECT_FILE);
    Some(found(label, PathBuf::new(), path, ConfigState::Missing))
}

/// A file above the launch directory may lie where anybody can write, such as in `/tmp`. Trusted
/// is whom the launch directory belongs to, and root.
fn is_trusted(path: &Path, launch_dir: &Path) -> bool {
    let owner = |path: &Path| path.metadata().map(|meta| meta.uid()).ok();
    let of_file = owner(path);
    of_file == Some(0) || of_file == owner(launch_dir)
}

fn user_file(ctx: &LaunchContext) -> Option<Found> {
    let absolute = |name: &str| {
        let path = ctx.env.get(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let home = absolute("HOME");
    let config_home = absolute("XDG_CONFIG_HOME");
    let config_home = config_home.or_else(|| Some(home.as_ref()?.join(".config")))?;
    let path = config_home.join(USER_FILE);
    let label = match home.and_then(|home| path.strip_prefix(home).map(Path::to_owned).ok()) {
        Some(below) => Path::new("~").join(below),
        None => path.clone(),
    };
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let state = match path.is_file() {
        true => ConfigState::Read,
        false => ConfigState::Missing,
    };
    Some(found(label, base, path, state))
}

fn found(label: PathBuf, base: PathBuf, path: PathBuf, state: ConfigState) -> Found {
    let file = SettingsFile {
        label: label.display().to_string().into(),
        base,
        is_config: true,
    };
    Found { file, path, state }
}

fn read_file(file: &SettingsFile, path: &Path) -> Result<Settings, SpecError> {
    let text = crate::text_file::read(path).map_err(|malformed| file.malformed(malformed))?;
    let root = document::toml::read(&text).map_err(|malformed| file.malformed(malformed))?;
    let mut settings = FileSettings::of(file);
    for entry in entries(&root.value) {
        if entry.key != "launch" {
            let known = setting(&entry.key).is_some();
            let problem = FileProblem::UnknownKey {
                key: entry.key.clone(),
                expected: match known {
                    true => "it below `[launch]`",
                    false => "the table `[launch]`",
                },
                meant: closest(&entry.key, &["launch"]),
            };
            return Err(file.refuse(entry.at, problem));
        }
        let Value::Map(launch) = &entry.node.value else {
            let problem = FileProblem::Wrong {
                key: entry.key.clone(),
                found: entry.node.kind(),
                expected: "a table of settings",
            };
            return Err(file.refuse(entry.node.at, problem));
        };
        for entry in launch {
            let Some(key) = setting(&entry.key) else {
                let problem = FileProblem::UnknownKey {
                    key: entry.key.clone(),
                    expected: "a setting of a launch",
                    meant: closest(&entry.key, &SETTINGS),
                };
                return Err(file.refuse(entry.at, problem));
            };
            settings.set(key, entry)?;
        }
    }
    settings.finish()
}

fn entries(value: &Value) -> &[Entry] {
    match value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}
