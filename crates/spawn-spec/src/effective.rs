//! Every setting of a launch with its value and where that comes from, for people to look at.

use spawn_core::budgets::Budgets;
use spawn_core::duration::Span;

use crate::config_files::ConfigFile;
use crate::error::SpecError;
use crate::flags::LaunchArgs;
use crate::origin::{Origin, Sourced};
use crate::resolve::{LaunchContext, Layers, layers};
use crate::settings::{ProgramGiven, Settings, Wait};
use crate::spec::{OnComplete, Provider};

/// What a launch with these flags would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Every setting, in the order of the documentation. Each variable and tag is one of its own:
    /// `env.MODEL`, `tags.project`.
    pub settings: Vec<SettingShown>,
    /// The configuration files that were looked for, the strongest first.
    pub files: Vec<ConfigFile>,
}

/// A setting to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingShown {
    /// Its name in files.
    pub key: String,
    /// Its value; `None` if it has none.
    pub value: Option<String>,
    /// `default`, `--ttl`, `SPAWN_PROVIDER`, `spawn.toml:5`.
    pub origin: String,
}

/// Merges flags, the parameter file they name and the configuration, and shows the result.
/// Reads those files, and neither scripts nor what is shipped.
///
/// # Errors
/// Whatever is wrong with a value or a file.
pub fn effective(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Effective, SpecError> {
    let Layers {
        settings, files, ..
    } = layers(args, ctx)?;
    let settings = shown(&settings);
    Ok(Effective { settings, files })
}

fn shown(settings: &Settings) -> Vec<SettingShown> {
    let budgets = Budgets::default();
    let mut list = List(Vec::new());
    list.add("name", &settings.name, None);
    list.program(settings.program.as_ref());
    let include = settings.include.as_ref().map(|include| {
        let paths = include.value.iter().map(|path| path.display().to_string());
        Sourced::new(joined(paths), include.origin.clone())
    });
    list.add("include", &include, None);
    for env in &settings.env {
        let value = env.value.value.clone();
        let value = value.unwrap_or_else(|| "(from this shell)".into());
        let key = format!("env.{}", env.value.name);
        list.push(key, Some(&Sourced::new(value, env.origin.clone())));
    }
    let ec2 = &settings.ec2;
    list.many("iam_policy", &settings.iam_policy);
    let policy_file = ec2.iam_policy_file.as_ref();
    let policy_file =
        policy_file.map(|path| Sourced::new(path.value.display().to_string(), path.origin.clone()));
    list.add("iam_policy_file", &policy_file, None);
    list.many("iam_managed_policies", &ec2.iam_managed_policies);
    list.add("iam_role", &ec2.iam_role, None);
    list.add("workers", &settings.workers, None);
    list.add("max_concurrent", &settings.max_concurrent, None);
    list.word("provider", &settings.provider, Provider::default());
    list.many("instance_type", &settings.instance_type);
    list.add("region", &settings.region, None);
    list.add("spot", &settings.spot, Some(false));
    list.add("spot_max_price", &settings.spot_max_price, None);
    list.add("on_demand_base", &ec2.on_demand_base, Some(0));
    list.add("spot_fallback", &ec2.spot_fallback, None);
    list.add("vpc", &ec2.vpc, None);
    list.many("subnet", &ec2.subnet);
    list.many("security_groups", &ec2.security_groups);
    list.many("az", &ec2.az);
    list.add("ami", &ec2.ami, None);
    list.add("volume_size", &ec2.volume_size, None);
    list.add("volume_type", &ec2.volume_type, Some("gp3".into()));
    list.add("volume_iops", &ec2.volume_iops, None);
    list.add("volume_throughput", &ec2.volume_throughput, None);
    for tag in &settings.tags {
        let (key, value) = &tag.value;
        let value = Sourced::new(value.clone(), tag.origin.clone());
        list.push(format!("tags.{key}"), Some(&value));
    }
    list.word("on_complete", &settings.on_complete, OnComplete::default());
    list.add("ttl", &settings.ttl, Some(Span::DAY));
    list.add("timeout", &settings.timeout, None);
    list.add("retries", &settings.retries, Some(0));
    list.add(
        "backoff",
        &settings.backoff,
        Some(Wait(budgets.backoff_millis)),
    );
    let max = Wait(budgets.backoff_max_millis);
    list.add("backoff_max", &settings.backoff_max, Some(max));
    list.add("retry_on", &settings.retry_on, None);
    list.add("no_retry_on", &settings.no_retry_on, None);
    let most = settings.max_interruptions.as_ref();
    let most = most.map(|most| Sourced::new(most.value.to_string(), most.origin.clone()));
    let default = format!(
        "{}, or {} lost workers",
        budgets.interrupted, budgets.worker_lost
    );
    list.add("max_interruptions", &most, Some(default));
    list.add("max_failures", &settings.max_failures, None);
    list.0
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

struct List(Vec<SettingShown>);

impl List {
    fn push<T: ToString>(&mut self, key: String, given: Option<&Sourced<T>>) {
        self.0.push(SettingShown {
            key,
            value: given.map(|given| given.value.to_string()),
            origin: given.map_or("default".into(), |given| brief(&given.origin)),
        });
    }

    fn add<T: ToString>(&mut self, key: &str, given: &Option<Sourced<T>>, default: Option<T>) {
        match given {
            Some(given) => self.push(key.into(), Some(given)),
            None => self.0.push(SettingShown {
                key: key.into(),
                value: default.map(|value| value.to_string()),
                origin: "default".into(),
            }),
        }
    }

    fn many<T: ToString>(&mut self, key: &str, given: &Option<Sourced<Vec<T>>>) {
        let given = given.as_ref().map(|given| {
            let texts = given.value.iter().map(ToString::to_string);
            Sourced::new(joined(texts), given.origin.clone())
        });
        self.add(key, &given, None);
    }

    fn word<T: clap::ValueEnum>(&mut self, key: &str, given: &Option<Sourced<T>>, default: T) {
        let word = |value: &T| {
            let possible = value.to_possible_value();
            possible.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let given = given
            .as_ref()
            .map(|given| Sourced::new(word(&given.value), given.origin.clone()));
        self.add(key, &given, Some(word(&default)));
    }

    /// The one that is given, or all three as not given.
    fn program(&mut self, given: Option<&Sourced<ProgramGiven>>) {
        for key in ["user_data", "user_data_file", "command"] {
            let found = given.filter(|given| program_key(&given.origin) == key);
            let found = found.map(|given| {
                let text = match &given.value {
                    ProgramGiven::Inline(text) => text.clone(),
                    ProgramGiven::File(path) if key == "user_data" => {
                        format!("@{}", path.display())
                    }
                    ProgramGiven::File(path) => path.display().to_string(),
                    ProgramGiven::Stdin => "@-".into(),
                    ProgramGiven::Command(words) => words.join(" "),
                };
                Sourced::new(text, given.origin.clone())
            });
            self.add(key, &found, None);
        }
    }
}

fn program_key(origin: &Origin) -> &'static str {
    match origin.name() {
        "--user-data" => "user_data",
        "--user-data-file" => "user_data_file",
        crate::origin::COMMAND => "command",
        key => key,
    }
}

/// Without the column, which nobody needs to find a line.
fn brief(origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) | Origin::Variable(name) => (*name).to_owned(),
        Origin::File(origin) => format!("{}:{}", origin.file, origin.at.line),
    }
}
