//! The user data: a script that brings the programs onto a machine and starts them.
//!
//! It runs under cloud-init as root, on Amazon Linux 2023, Debian and Ubuntu, with no HOME, in `/`,
//! and needs bash, a curl that signs all `x-amz-` headers (7.88 does), coreutils and systemd. It tries for
//! ten minutes; a machine that is not ready then leaves a note in the bucket and is switched off. So does
//! one whose service cannot stay up. Its group replaces it: when there are [`Boot::most_failures`] notes,
//! the machine stops its group's launches first. One that cannot do all that stays and tries again: no
//! other would take its place, only its costs.
//!
//! Only root may enter the directories that it makes, whatever the umask was.

use sha2::{Digest, Sha256};

use crate::config::NodeConfig;

/// EC2 takes no more, in bytes.
pub const LONGEST: usize = 16 << 10;

/// An object of the bucket, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its key: letters, digits and `/._-`.
    pub key: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// A program that scripts name and that an image may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `jq`.
    Jq,
    /// The AWS CLI.
    Aws,
    /// `python3`.
    Python3,
}

impl Need {
    /// The command, its package with dnf, and with apt.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Need::Jq => ("jq", "jq", "jq"),
            Need::Aws => ("aws", "awscli-2", "awscli"),
            Need::Python3 => ("python3", "python3", "python3"),
        }
    }
}

/// What a machine is started with.
#[derive(Debug, Clone)]
pub struct Boot {
    /// What the program is told. Its bundle lies below [`Boot::home`].
    pub config: NodeConfig,
    /// `spored-node`, for the machine's processor.
    pub node: Fetched,
    /// `spored`, for the machine's processor.
    pub spored: Fetched,
    /// The bundle.
    pub bundle: Fetched,
    /// What has to be there.
    pub needs: Vec<Need>,
    /// Where the bucket is: [`bucket_url`], or an address of one's own.
    pub bucket_url: String,
    /// Where Auto Scaling is: [`scaling_url`], or an address of one's own.
    pub scaling_url: String,
    /// The machine whose note is this one, and each later one, stops the launches of its group, the
    /// first in [`NodeConfig::made`]. From 1 to [`MOST_LISTED`]; [`most_failures`] says how many.
    pub most_failures: u32,
    /// Where the metadata service is: [`METADATA`], or an address of one's own.
    pub metadata_url: String,
    /// What all paths on the machine begin with; empty on a machine of its own.
    pub root: String,
    /// How long it is tried, in seconds. A tenth of it lies between the tries after that.
    pub patience_s: u32,
}

/// The address of every instance's metadata service.
pub const METADATA: &str = "http://169.254.169.254";

/// How long a machine tries to get ready, in seconds.
pub const PATIENCE_S: u32 = 600;

/// As many notes are counted, in one list.
pub const MOST_LISTED: u32 = 1_000;

/// How many of an array's machines may fail before its groups start no more: a tenth, and at least
/// five, since a few bad machines are no news.
pub fn most_failures(machines: u64) -> u32 {
    let tenth = u32::try_from(machines.div_ceil(10)).unwrap_or(u32::MAX);
    tenth.clamp(5, MOST_LISTED)
}

/// Why there is no user data.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A key or a hash that is no such thing.
    #[error("`{0}` is neither a plain key nor a SHA-256")]
    Word(String),
    /// EC2 would refuse it.
    #[error("the user data would have {0} bytes; EC2 takes 16,384")]
    Length(usize),
}

/// What the addresses of a region's services end with.
fn suffix(region: &str) -> &'static str {
    match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    }
}

/// The address of Auto Scaling.
pub fn scaling_url(region: &str) -> String {
    format!("https://autoscaling.{region}.{}", suffix(region))
}

/// The address of a bucket. Certificates cover one label: a bucket with a dot goes into the path.
pub fn bucket_url(bucket: &str, region: &str) -> String {
    let suffix = suffix(region);
    match bucket.contains('.') {
        true => format!("https://s3.{region}.{suffix}/{bucket}"),
        false => format!("https://{bucket}.s3.{region}.{suffix}"),
    }
}

impl Boot {
    /// Where the programs lie.
    pub fn home(&self) -> String {
        format!("{}/opt/spawn", self.root)
    }

    /// The script, as bash reads it.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn user_data(&self) -> Result<String, BootError> {
        for fetched in [&self.node, &self.spored, &self.bundle] {
            check(fetched)?;
        }
        let fetches = [
            (&self.node, "spored-node", "700"),
            (&self.spored, "spored", "700"),
            (&self.bundle, "bundle", "600"),
        ]
        .map(|(fetched, name, mode)| {
            let Fetched { key, sha256 } = fetched;
            format!("  fetch {key} {sha256} {name} {mode} || return 1\n")
        })
        .concat();
        let needs: String = self
            .needs
            .iter()
            .map(|need| {
                let (command, dnf, apt) = need.names();
                format!("  need {command} {dnf} {apt} || return 1\n")
            })
            .collect();
        let suspend = self.config.made.first().map_or_else(String::new, |own| {
            let group = encoded(&own.group);
            format!(
                "Action=SuspendProcesses&AutoScalingGroupName={group}&ScalingProcesses.member.1=Launch&Version=2011-01-01"
            )
        });
        let config = serde_json::to_string(&self.config).unwrap_or_default();
        let script = TEMPLATE
            .replace("@PATIENCE@", &self.patience_s.to_string())
            .replace("@PAUSE@", &(self.patience_s / 10).max(1).to_string())
            .replace(
                "@MOST@",
                &self.most_failures.clamp(1, MOST_LISTED).to_string(),
            )
            .replace("@LISTED@", &quoted(&encoded(&self.failures_prefix())))
            .replace(
                "@SUSPENDS@",
                if suspend.is_empty() {
                    ""
                } else {
                    "  suspend_launches\n"
                },
            )
            .replace("@SUSPEND@", &quoted(&suspend))
            .replace("@SCALING@", &quoted(&self.scaling_url))
            .replace("@METADATA@", &quoted(&self.metadata_url))
            .replace("@BUCKET@", &quoted(&self.bucket_url))
            .replace("@REGION@", &quoted(&self.config.region))
            .replace(
                "@NOTES@",
                &quoted(&encoded(&self.failures_prefix()).replace("%2F", "/")),
            )
            .replace("@ROOT@", &quoted(&self.root))
            .replace("@DIR@", &quoted(&self.config.dir.to_string_lossy()))
            .replace("@NONE@", &hex(&Sha256::digest(b"")))
            .replace("@FETCHES@", &fetches)
            .replace("@NEEDS@", &needs)
            // Last: what is in it is nobody's placeholder.
            .replace("@CONFIG@", &quoted(&config));
        match script.len() {
            n if n > LONGEST => Err(BootError::Length(n)),
            _ => Ok(script),
        }
    }

    /// What the keys of notes of failed boots begin with; one note for each machine that failed.
    pub fn failures_prefix(&self) -> String {
        let NodeConfig { prefix, array, .. } = &self.config;
        format!("{prefix}arrays/{}/boot-failures/", array.as_str())
    }
}

fn check(fetched: &Fetched) -> Result<(), BootError> {
    let Fetched { key, sha256 } = fetched;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if key.is_empty() || key.starts_with(['/', '-']) || !key.chars().all(is_plain) {
        return Err(BootError::Word(key.clone()));
    }
    if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BootError::Word(sha256.clone()));
    }
    Ok(())
}

/// One word of the shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// As it stands in a query: what is neither letter, digit nor `-._~` by its bytes.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TEMPLATE: &str = include_str!("boot.sh");
