//! What `defaults` of a parameter file, or `[launch]` of a configuration, say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spawn_core::instance_type::InstanceType;
use spawn_core::tags::Tags;

use crate::document::{Entry, Malformed, Node, Value};
use crate::ec2_settings::{self, check_grants};
use crate::error::{SpecError, SpecErrorKind};
use crate::file_problem::FileProblem;
use crate::origin::{FileOrigin, Origin, Sourced};
use crate::position::Position;
use crate::setting_values as read;
use crate::settings::{EnvGiven, ProgramGiven, Settings};
use crate::settings_of_flags::only;

/// A file that settings are read from.
#[derive(Clone, Debug)]
pub(crate) struct SettingsFile {
    /// What messages call it.
    pub label: Arc<str>,
    /// Where its relative paths start: its directory.
    pub base: PathBuf,
    pub is_config: bool,
}

/// A time, as messages describe it.
const A_TIME: &str = "a time such as `2h`";
const A_NUMBER: &str = "a whole number";

impl SettingsFile {
    pub fn refuse(&self, at: Position, problem: FileProblem) -> SpecError {
        self.malformed(Malformed::new(at, problem))
    }

    pub fn malformed(&self, malformed: Malformed) -> SpecError {
        let Malformed { at, problem } = malformed;
        let (file, problem) = (self.label.to_string(), Box::new(problem));
        SpecErrorKind::File { file, at, problem }.into()
    }

    pub fn origin(&self, key: &'static str, at: Position) -> Origin {
        Origin::File(Arc::new(FileOrigin {
            file: self.label.clone(),
            at,
            key,
            is_config: self.is_config,
        }))
    }

    fn wrong(&self, entry: &Entry, node: &Node, expected: &'static str) -> SpecError {
        let key = entry.key.clone();
        let problem = match node.is_null() {
            true => FileProblem::NoValue { key, expected },
            false => FileProblem::Wrong {
                key,
                found: node.kind(),
                expected,
            },
        };
        self.refuse(node.at, problem)
    }

    /// The text of a single value.
    fn text<'e>(&self, entry: &'e Entry, expected: &'static str) -> Result<&'e str, SpecError> {
        let text = entry.node.scalar().filter(|_| !entry.node.is_null());
        text.ok_or_else(|| self.wrong(entry, &entry.node, expected))
    }

    /// The texts of a list of single values, or the one text where there is no list.
    fn texts(&self, entry: &Entry, expected: &'static str) -> Result<Vec<String>, SpecError> {
        let Value::List(items) = &entry.node.value else {
            return self.text(entry, expected).map(|text| vec![text.to_owned()]);
        };
        if items.is_empty() {
            return Err(self.refuse(
                entry.node.at,
                FileProblem::NoValue {
                    key: entry.key.clone(),
                    expected,
                },
            ));
        }
        let texts = items.iter().map(|item| match item.scalar() {
            Some(text) if !item.is_null() => Ok(text.to_owned()),
            _ => Err(self.wrong(entry, item, expected)),
        });
        texts.collect()
    }

    /// Reads the value of one setting.
    pub fn value<T>(
        &self,
        key: &'static str,
        entry: &Entry,
        expected: &'static str,
        read: impl Fn(&str, &Origin) -> Result<T, SpecError>,
    ) -> Result<Option<Sourced<T>>, SpecError> {
        let text = self.text(entry, expected)?;
        let origin = self.origin(key, entry.node.at);
        let value = read(text, &origin)?;
        Ok(Some(Sourced::new(value, origin)))
    }

    pub fn span(
        &self,
        key: &'static str,
        entry: &Entry,
    ) -> Result<Option<Sourced<spawn_core::duration::Span>>, SpecError> {
        self.value(key, entry, A_TIME, read::span)
    }

    pub fn spot(
        &self,
        key: &'static str,
        entry: &Entry,
    ) -> Result<Option<Sourced<bool>>, SpecError> {
        self.value(key, entry, "`true` or `false`", read::yes_or_no)
    }

    pub fn price(
        &self,
        key: &'static str,
        entry: &Entry,
    ) -> Result<Option<Sourced<f64>>, SpecError> {
        self.value(key, entry, "USD per hour, such as `0.05`", read::price)
    }

    pub fn instance_type(
        &self,
        key: &'static str,
        entry: &Entry,
    ) -> Result<Option<Sourced<Vec<InstanceType>>>, SpecError> {
        let texts = self.texts(entry, "a name such as `c7i.large`, or a list of them")?;
        let origin = self.origin(key, entry.node.at);
        let types = read::instance_types(&texts, &origin)?;
        Ok(Some(Sourced::new(types, origin)))
    }
}

/// Settings of one file, as they are read one by one.
#[derive(Debug)]
pub(crate) struct FileSettings<'f> {
    file: &'f SettingsFile,
    settings: Settings,
    programs: Vec<Sourced<ProgramGiven>>,
    /// How each was spelled, and where.
    seen: BTreeMap<&'static str, (String, Position)>,
}

impl<'f> FileSettings<'f> {
    pub fn of(file: &'f SettingsFile) -> Self {
        Self {
            file,
            settings: Settings::default(),
            programs: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    pub fn finish(self) -> Result<Settings, SpecError> {
        let program = only(self.programs)?;
        let settings = Settings {
            program,
            ..self.settings
        };
        check_grants(&settings)?;
        Ok(settings)
    }

    /// Reads the setting `key` from an entry that may spell it with `-`.
    pub fn set(&mut self, key: &'static str, entry: &Entry) -> Result<(), SpecError> {
        let file = self.file;
        let spelled = (entry.key.clone(), entry.at);
        if let Some((other, first)) = self.seen.insert(key, spelled) {
            let key = entry.key.clone();
            let problem = match key == other {
                true => FileProblem::KeyTwice { key, first },
                false => FileProblem::SettingTwice { key, other },
            };
            return Err(file.refuse(entry.at, problem));
        }
        let settings = &mut self.settings;
        let origin = file.origin(key, entry.node.at);
        match key {
            "name" => settings.name = file.value(key, entry, "a name", crate::name::check)?,
            "user_data" | "user_data_file" | "command" => {
                let program = program(file, key, entry)?;
                self.programs.push(Sourced::new(program, origin));
            }
            "include" => {
                let paths = file.texts(entry, "a path, or a list of them")?;
                let paths = paths.iter().map(|path| below(&file.base, path)).collect();
                settings.include = Some(Sourced::new(paths, origin));
            }
            "env" => settings.env = env(file, entry)?,
            "iam_policy" => {
                let texts = file.texts(entry, "a list such as `[s3:FullAccess]`")?;
                let policies = read::policies(&texts, &origin)?;
                settings.iam_policy = Some(Sourced::new(policies, origin));
            }
            "workers" => settings.workers = file.value(key, entry, A_NUMBER, read::count)?,
            "max_concurrent" => {
                settings.max_concurrent = file.value(key, entry, A_NUMBER, read::count)?;
            }
            "provider" => {
                settings.provider = file.value(key, entry, "`local` or `ec2`", read::provider)?;
            }
            "instance_type" => settings.instance_type = file.instance_type(key, entry)?,
            "region" => {
                settings.region =
                    file.value(key, entry, "a name such as `us-east-1`", read::region)?;
            }
            "spot" => settings.spot = file.spot(key, entry)?,
            "spot_max_price" => settings.spot_max_price = file.price(key, entry)?,
            "tags" => settings.tags = tags(file, entry, &origin)?,
            "on_complete" => {
                let expected = "`terminate`, `stop`, `hibernate` or `none`";
                settings.on_complete = file.value(key, entry, expected, read::on_complete)?;
            }
            "ttl" => settings.ttl = file.span(key, entry)?,
            "timeout" => settings.timeout = file.span(key, entry)?,
            "retries" => settings.retries = file.value(key, entry, A_NUMBER, read::number)?,
            "backoff" => settings.backoff = file.value(key, entry, A_TIME, read::wait)?,
            "backoff_max" => settings.backoff_max = file.value(key, entry, A_TIME, read::wait)?,
            "retry_on" | "no_retry_on" => {
                let codes = file.texts(entry, "exit codes such as `75` or `1,100-110`")?;
                let codes = read::parsed(&codes.join(","), &origin)?;
                let place = match key {
                    "retry_on" => &mut settings.retry_on,
                    _ => &mut settings.no_retry_on,
                };
                *place = Some(Sourced::new(codes, origin));
            }
            "max_interruptions" => {
                settings.max_interruptions = file.value(key, entry, A_NUMBER, read::number)?;
            }
            "max_failures" => {
                let expected = "a count such as `10`, or a share such as `5%`";
                settings.max_failures = file.value(key, entry, expected, read::parsed)?;
            }
            "iam_policy_file" => {
                let path = file.text(entry, "the path of a policy document in JSON")?;
                let path = below(&file.base, path);
                settings.ec2.iam_policy_file = Some(Sourced::new(path, origin));
            }
            _ => {
                let texts = match expected_of_ec2(key) {
                    (true, expected) => file.texts(entry, expected)?,
                    (false, expected) => vec![file.text(entry, expected)?.to_owned()],
                };
                ec2_settings::set(&mut settings.ec2, key, &texts, origin)?;
            }
        }
        Ok(())
    }
}

/// Whether a setting of EC2 may be a list, and what it is to be.
fn expected_of_ec2(key: &str) -> (bool, &'static str) {
    match key {
        "subnet" => (
            true,
            "an id such as `subnet-0a1b2c3d4e5f67890`, or a list of them",
        ),
        "security_groups" => (
            true,
            "an id such as `sg-0a1b2c3d4e5f67890`, or a list of them",
        ),
        "az" => (true, "a zone such as `eu-west-1a`, or a list of them"),
        "iam_managed_policies" => (true, "a list such as `[AmazonS3ReadOnlyAccess]`"),
        "spot_fallback" => (false, A_TIME),
        "vpc" => (false, "an id such as `vpc-0a1b2c3d4e5f67890`"),
        "ami" => (false, "an id such as `ami-0a1b2c3d4e5f67890`"),
        "volume_type" => (false, "a type such as `gp3`"),
        "iam_role" => (false, "the name of a role"),
        _ => (false, A_NUMBER),
    }
}

/// A path of a file, from the directory of the launch.
fn below(base: &Path, path: &str) -> PathBuf {
    match path {
        // Joined, it would name the base.
        "" => PathBuf::new(),
        _ => base.join(path),
    }
}

fn program(
    file: &SettingsFile,
    key: &'static str,
    entry: &Entry,
) -> Result<ProgramGiven, SpecError> {
    match key {
        "user_data" => {
            let text = file.text(entry, "the text of a script, or `@FILE`")?;
            Ok(match text.strip_prefix('@') {
                Some("-") => ProgramGiven::Stdin,
                Some(path) => ProgramGiven::File(below(&file.base, path)),
                None => ProgramGiven::Inline(text.to_owned()),
            })
        }
        "user_data_file" => {
            let path = file.text(entry, "the path of a script")?;
            Ok(ProgramGiven::File(below(&file.base, path)))
        }
        _ => {
            let expected = "a list of words, or one text that bash reads";
            let words = file.texts(entry, expected)?;
            if words.iter().all(|word| word.trim().is_empty()) {
                let key = entry.key.clone();
                return Err(file.refuse(entry.node.at, FileProblem::NoValue { key, expected }));
            }
            Ok(ProgramGiven::Command(match entry.node.value {
                Value::List(_) => words,
                _ => ["bash", "-c"]
                    .into_iter()
                    .map(str::to_owned)
                    .chain(words)
                    .collect(),
            }))
        }
    }
}

fn env(file: &SettingsFile, entry: &Entry) -> Result<Vec<Sourced<EnvGiven>>, SpecError> {
    let expected = "a map such as `MODEL: large`, or a list of `NAME=VALUE`";
    let mut given: Vec<Sourced<EnvGiven>> = Vec::new();
    match &entry.node.value {
        Value::Map(entries) => {
            for variable in entries {
                let origin = file.origin("env", variable.at);
                crate::environment::check_name(&variable.key, &origin)?;
                let expected = "a text; `\"\"` if it is to be empty";
                let value = file.text(variable, expected)?;
                check_value(value, &variable.key, file, variable.node.at)?;
                let variable = EnvGiven {
                    name: variable.key.clone(),
                    value: Some(value.to_owned()),
                };
                given.push(Sourced::new(variable, origin));
            }
        }
        Value::List(items) => {
            for item in items {
                let text = item.scalar().filter(|_| !item.is_null());
                let text = text.ok_or_else(|| file.wrong(entry, item, expected))?;
                let origin = file.origin("env", item.at);
                let variable = read::variable(text, &origin)?;
                let value = variable.value.as_deref().unwrap_or_default();
                check_value(value, &variable.name, file, item.at)?;
                if given.iter().any(|one| one.value.name == variable.name) {
                    let name = variable.name;
                    return Err(SpecErrorKind::EnvTwice { origin, name }.into());
                }
                given.push(Sourced::new(variable, origin));
            }
        }
        _ => return Err(file.wrong(entry, &entry.node, expected)),
    }
    Ok(given)
}

fn check_value(text: &str, key: &str, file: &SettingsFile, at: Position) -> Result<(), SpecError> {
    match text.contains('\0') {
        true => Err(file.refuse(at, FileProblem::ZeroByte { key: key.into() })),
        false => Ok(()),
    }
}

fn tags(
    file: &SettingsFile,
    entry: &Entry,
    origin: &Origin,
) -> Result<Vec<Sourced<(String, String)>>, SpecError> {
    let expected = "a map such as `project: genome`";
    let Value::Map(entries) = &entry.node.value else {
        let text = file.text(entry, expected)?;
        let tags = read::tags(&[text.to_owned()], origin)?;
        let tags = tags.iter().map(|(key, value)| (key.into(), value.into()));
        return Ok(tags.map(|tag| Sourced::new(tag, origin.clone())).collect());
    };
    let mut tags = Tags::default();
    let mut given = Vec::new();
    for tag in entries {
        let value = match tag.node.scalar() {
            Some(value) => value,
            None => return Err(file.wrong(tag, &tag.node, "a single value")),
        };
        let origin = file.origin("tags", tag.at);
        tags.insert(&tag.key, value).map_err(|error| {
            let origin = origin.clone();
            SpecErrorKind::Tags { origin, error }
        })?;
        given.push(Sourced::new((tag.key.clone(), value.to_owned()), origin));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;
    use crate::flags::LaunchArgs;
    use crate::setting_keys::SETTINGS;

    #[test]
    fn every_setting_is_read_and_is_a_flag() {
        let flags = LaunchArgs::augment_args(Command::new("launch"));
        let file = SettingsFile {
            label: "x.yaml".into(),
            base: PathBuf::new(),
            is_config: false,
        };
        for key in SETTINGS {
            let flag = key.replace('_', "-");
            let same = |arg: &clap::Arg| arg.get_long() == Some(&*flag) || arg.get_id() == key;
            assert!(flags.get_arguments().any(same), "{key}");
            let entry = Entry {
                key: key.into(),
                at: Position::START,
                node: Node {
                    at: Position::START,
                    value: Value::Plain("1".into()),
                },
            };
            // Whether `1` will do or not, it is looked at.
            let _ = FileSettings::of(&file).set(key, &entry);
        }
    }
}
