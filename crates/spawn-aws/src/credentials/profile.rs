//! The shared files `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;

use crate::credentials::CredentialsError;
use crate::environment::Environment;

type Section = BTreeMap<String, String>;

/// The profiles of both files. No `Debug` of values: secrets are among them.
#[derive(Clone, Default)]
pub struct Profiles {
    selected: String,
    profiles: BTreeMap<String, Section>,
    services: BTreeMap<String, Section>,
}

impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiles")
            .field("selected", &self.selected)
            .field("profiles", &self.profiles.keys())
            .finish_non_exhaustive()
    }
}

impl Profiles {
    /// Reads the files that `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE` name, or those in
    /// `~/.aws`; files that do not exist are empty. `profile` comes before `AWS_PROFILE`.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn load(
        environment: &Environment,
        profile: Option<&str>,
    ) -> Result<Self, CredentialsError> {
        let read = |variable: &str, name: &str| {
            let Some(path) = environment.aws_file(variable, name) else {
                return Ok(String::new());
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(text),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
                Err(e) => Err(CredentialsError::File {
                    path: path.display().to_string(),
                    reason: e.to_string(),
                }),
            }
        };
        let config = read("AWS_CONFIG_FILE", "config")?;
        let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let selected = profile
            .or_else(|| environment.var("AWS_PROFILE"))
            .or_else(|| environment.var("AWS_DEFAULT_PROFILE"))
            .unwrap_or("default");
        Ok(Self::parse(&config, &credentials, selected))
    }

    /// Of the texts of both files; the second comes before the first.
    #[must_use]
    pub fn parse(config: &str, credentials: &str, selected: &str) -> Self {
        let mut found = Self {
            selected: selected.to_owned(),
            ..Self::default()
        };
        sections(config, |header, key, value| {
            let (kind, name) = header
                .split_once(char::is_whitespace)
                .unwrap_or(("", header));
            let name = name.trim().trim_matches(['"', '\'']);
            let into = match kind {
                "" if name == "default" => &mut found.profiles,
                "profile" => &mut found.profiles,
                "services" => &mut found.services,
                _ => return,
            };
            put(into, name, key, value);
        });
        sections(credentials, |name, key, value| {
            put(&mut found.profiles, name, key, value);
        });
        found
    }

    /// The profile in use.
    #[must_use]
    pub fn selected(&self) -> &str {
        &self.selected
    }

    /// Whether a profile is in either file.
    #[must_use]
    pub fn has(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }

    /// What a profile says for `key`.
    #[must_use]
    pub fn value(&self, profile: &str, key: &str) -> Option<&str> {
        self.profiles
            .get(profile)?
            .get(key)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// What a `[services]` section says for `key` of a service.
    #[must_use]
    pub fn service_value(&self, section: &str, service: &str, key: &str) -> Option<&str> {
        self.services
            .get(section)?
            .get(&format!("{service}.{key}"))
            .map(String::as_str)
    }
}

fn put(into: &mut BTreeMap<String, Section>, name: &str, key: Option<String>, value: &str) {
    let section = into.entry(name.to_owned()).or_default();
    if let Some(key) = key {
        section.insert(key, value.to_owned());
    }
}

/// Calls `each` for every section once without a key, and for every key. A key of an indented line
/// is `parent.key`.
fn sections(text: &str, mut each: impl FnMut(&str, Option<String>, &str)) {
    let mut header = None;
    let mut parent = String::new();
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').filter(|_| !indented) {
            let name = name.split(']').next().unwrap_or_default().trim();
            each(name, None, "");
            header = Some(name);
            parent.clear();
            continue;
        }
        let (Some(header), Some((key, value))) = (header, line.split_once('=')) else {
            continue;
        };
        let key = key.trim().to_ascii_lowercase();
        // A comment after a value needs a blank before it; secrets may hold `#`.
        let value = value.trim();
        let value = value.split(" #").next().unwrap_or(value);
        let value = value.split(" ;").next().unwrap_or(value).trim();
        if indented && !parent.is_empty() {
            each(header, Some(format!("{parent}.{key}")), value);
        } else {
            parent.clone_from(&key);
            each(header, Some(key), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_one_profile() {
        let found = Profiles::parse(
            "# mine\n[default]\nregion = eu-west-1 # home\naws_secret_access_key=wrong\n\
             [profile \"two words\"]\nRegion=us-east-1\ns3 =\n  max_concurrent = 5\nrole_arn=x\n\
             [sso-session corp]\nregion = nowhere\n[stray]\nregion = no\n[profile empty]\n",
            "[default]\naws_access_key_id = A\naws_secret_access_key = a+b/c#=\n",
            "default",
        );
        assert_eq!(found.value("default", "region"), Some("eu-west-1"));
        assert_eq!(
            found.value("default", "aws_secret_access_key"),
            Some("a+b/c#=")
        );
        assert_eq!(found.value("two words", "region"), Some("us-east-1"));
        assert_eq!(found.value("two words", "s3.max_concurrent"), Some("5"));
        assert_eq!(found.value("two words", "role_arn"), Some("x"));
        assert!(found.has("empty") && !found.has("stray") && !found.has("corp"));
        assert!(!format!("{found:?}").contains("a+b"));
    }
}
