//! Settings as one source gives them: flags, a parameter file, a configuration. Each value keeps
//! its origin, and sources are laid over each other once.

use std::path::PathBuf;

use spawn_core::duration::Span;
use spawn_core::exit_codes::ExitCodes;
use spawn_core::instance_type::InstanceType;
use spawn_core::max_failures::MaxFailures;

use crate::ec2_settings::{Ec2Settings, without_overruled_grants};
use crate::origin::{Origin, Sourced};
use crate::policies::PolicyTemplate;
use crate::spec::{OnComplete, Provider};

/// What one source says. `None`: it does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    pub name: Option<Sourced<String>>,
    pub program: Option<Sourced<ProgramGiven>>,
    pub include: Option<Sourced<Vec<PathBuf>>>,
    /// By name, in the order given.
    pub env: Vec<Sourced<EnvGiven>>,
    pub iam_policy: Option<Sourced<Vec<PolicyTemplate>>>,
    pub workers: Option<Sourced<u32>>,
    pub max_concurrent: Option<Sourced<u32>>,
    pub provider: Option<Sourced<Provider>>,
    /// In order of preference; never empty.
    pub instance_type: Option<Sourced<Vec<InstanceType>>>,
    pub region: Option<Sourced<String>>,
    pub spot: Option<Sourced<bool>>,
    pub spot_max_price: Option<Sourced<f64>>,
    /// By key.
    pub tags: Vec<Sourced<(String, String)>>,
    pub on_complete: Option<Sourced<OnComplete>>,
    pub ttl: Option<Sourced<Span>>,
    pub timeout: Option<Sourced<Span>>,
    pub retries: Option<Sourced<u32>>,
    pub backoff: Option<Sourced<Wait>>,
    pub backoff_max: Option<Sourced<Wait>>,
    pub retry_on: Option<Sourced<ExitCodes>>,
    pub no_retry_on: Option<Sourced<ExitCodes>>,
    pub max_interruptions: Option<Sourced<u32>>,
    pub max_failures: Option<Sourced<MaxFailures>>,
    pub ec2: Ec2Settings,
}

/// What to run, before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProgramGiven {
    /// The text of a script.
    Inline(String),
    /// A script's file: absolute, or from the directory of the launch.
    File(PathBuf),
    Stdin,
    /// A program and its arguments.
    Command(Vec<String>),
}

/// A variable for each task. Without a value it is taken from the launching shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvGiven {
    pub name: String,
    pub value: Option<String>,
}

/// A time that may be none at all: `0s`. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wait(pub u64);

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Span::from_millis(self.0) {
            Some(span) => write!(f, "{span}"),
            None => f.write_str("0s"),
        }
    }
}

impl Settings {
    /// Lays these over others. Variables and tags are merged by name; everything else that is
    /// said here replaces what is said below; a role replaces grants, and grants a role.
    pub fn over(self, below: Settings) -> Settings {
        let below = without_overruled_grants(&self, below);
        Settings {
            name: self.name.or(below.name),
            program: self.program.or(below.program),
            include: self.include.or(below.include),
            env: merge(self.env, below.env, |env| &env.name),
            iam_policy: self.iam_policy.or(below.iam_policy),
            workers: self.workers.or(below.workers),
            max_concurrent: self.max_concurrent.or(below.max_concurrent),
            provider: self.provider.or(below.provider),
            instance_type: self.instance_type.or(below.instance_type),
            region: self.region.or(below.region),
            spot: self.spot.or(below.spot),
            spot_max_price: self.spot_max_price.or(below.spot_max_price),
            tags: merge(self.tags, below.tags, |(key, _)| key),
            on_complete: self.on_complete.or(below.on_complete),
            ttl: self.ttl.or(below.ttl),
            timeout: self.timeout.or(below.timeout),
            retries: self.retries.or(below.retries),
            backoff: self.backoff.or(below.backoff),
            backoff_max: self.backoff_max.or(below.backoff_max),
            retry_on: self.retry_on.or(below.retry_on),
            no_retry_on: self.no_retry_on.or(below.no_retry_on),
            max_interruptions: self.max_interruptions.or(below.max_interruptions),
            max_failures: self.max_failures.or(below.max_failures),
            ec2: self.ec2.over(below.ec2),
        }
    }
}

macro_rules! origin {
    ($given:expr) => {
        $given.as_ref().map(|given| &given.origin)
    };
}

impl Settings {
    /// Where the values come from.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        let single = [
            origin!(self.name),
            origin!(self.program),
            origin!(self.include),
            origin!(self.iam_policy),
            origin!(self.workers),
            origin!(self.max_concurrent),
            origin!(self.provider),
            origin!(self.instance_type),
            origin!(self.region),
            origin!(self.spot),
            origin!(self.spot_max_price),
            origin!(self.on_complete),
            origin!(self.ttl),
            origin!(self.timeout),
            origin!(self.retries),
            origin!(self.backoff),
            origin!(self.backoff_max),
            origin!(self.retry_on),
            origin!(self.no_retry_on),
            origin!(self.max_interruptions),
            origin!(self.max_failures),
        ];
        let env = self.env.iter().map(|given| &given.origin);
        let tags = self.tags.iter().map(|given| &given.origin);
        let ec2 = self.ec2.origins();
        let single = single.into_iter().flatten();
        single.chain(env).chain(tags).chain(ec2)
    }
}

/// Those below first, each replaced in its place.
fn merge<T>(
    above: Vec<Sourced<T>>,
    below: Vec<Sourced<T>>,
    name: impl Fn(&T) -> &String,
) -> Vec<Sourced<T>> {
    let mut merged = below;
    for given in above {
        let place = merged
            .iter_mut()
            .find(|other| name(&other.value) == name(&given.value));
        match place {
            Some(place) => *place = given,
            None => merged.push(given),
        }
    }
    merged
}
