//! From flags to a launch specification: every check, every default, once.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use spawn_core::budgets::Budgets;
use spawn_core::duration::Span;
use spawn_core::index_set::{ArrayRequest, IndexSet};
use spawn_core::instance_type::InstanceType;
use spawn_core::tags::Tags;

use crate::environment::parse_env;
use crate::error::{ScriptProblem, SpecError, SpecErrorKind};
use crate::flags::LaunchArgs;
use crate::policies::parse_policies;
use crate::program::{self, Work};
use crate::spec::{LaunchSpec, OnComplete, Provider, Row};

/// What the shell around a launch has.
pub struct LaunchContext {
    /// The directory relative paths start from; absolute.
    pub launch_dir: PathBuf,
    /// The variables of the launching shell.
    pub env: BTreeMap<String, String>,
    /// Reads all of standard input; called for `--user-data @-` only.
    pub stdin: Box<dyn Fn() -> io::Result<Vec<u8>>>,
}

impl fmt::Debug for LaunchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("LaunchContext")
            .field("launch_dir", &self.launch_dir)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// A launch that may go ahead.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What the ledger keeps.
    pub spec: LaunchSpec,
    /// Where the workers come from.
    pub provider: Provider,
    /// The bytes of the script, if the program is one.
    pub script: Option<Vec<u8>>,
    /// The files to ship: where each is, and its name in the spec.
    pub ship: Vec<(PathBuf, String)>,
    /// Lines to show.
    pub notes: Vec<String>,
    /// Lines to show as warnings.
    pub warnings: Vec<String>,
    /// Flags given that the local provider records and does not act on.
    pub local_unused: Vec<&'static str>,
    /// S3 buckets the program names, so that missing ones can be told.
    pub buckets: Vec<String>,
    /// Programs it runs out of `aws`, `jq`, `python` and `python3`.
    pub tools: Vec<String>,
    /// How long `--wait` waits at most.
    pub wait_timeout: Option<Span>,
    /// The rows of the parameter file, one for each task, in order of their indices; none without
    /// such a file.
    pub rows: Vec<Row>,
}

impl Resolved {
    /// Whether the instance type says how much memory and how many processors a worker has.
    pub fn bounds_workers(&self) -> bool {
        let instance_type = self.spec.instance_type.as_ref();
        instance_type.is_some_and(|t| t.shape().is_some())
    }
}

/// Checks the flags of a launch against each other and against the files they
/// name, and fills in the defaults. Reads files; starts and writes nothing.
///
/// # Errors
/// The first thing found wrong; flags before files.
pub fn resolve(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Resolved, SpecError> {
    let provider = provider(args, ctx)?;
    let source = program::choose(args)?;
    let mut notes = Vec::new();
    let mut warnings = Vec::new();

    let (indices, max_concurrent) = tasks(args)?;
    let workers = workers(args, &indices, &mut notes)?;
    let ttl = time("--ttl", args.ttl.as_deref())?.unwrap_or(Span::DAY);
    let timeout = time("--timeout", args.timeout.as_deref())?;
    if let Some(timeout) = timeout.filter(|timeout| *timeout > ttl) {
        warnings.push(format!(
            "`--timeout {timeout}` never comes: `--ttl {ttl}` ends the workers before"
        ));
    }
    let wait_timeout = time("--wait-timeout", args.wait_timeout.as_deref())?;
    needs(
        "--wait-timeout",
        wait_timeout.is_some(),
        "--wait",
        args.wait,
    )?;
    let price = args.spot_max_price.as_deref();
    needs("--spot-max-price", price.is_some(), "--spot", args.spot)?;
    let spot_max_price = price.map(parse_price).transpose()?;
    let instance_type = args.instance_type.as_deref().map(str::parse).transpose();
    let instance_type = instance_type.map_err(SpecErrorKind::InstanceType)?;
    let region = args.region.clone().map(check_region).transpose()?;
    let iam_policies = parse_policies(&args.iam_policy)?;
    let tags = tags(&args.tags)?;
    let env = parse_env(&args.env, &ctx.env)?;
    let name = args.name.as_deref().map(crate::name::check).transpose()?;

    let work = program::read(source, args, ctx)?;
    let Work {
        program,
        script,
        shipment,
        default_name,
        mentions,
        warnings: program_warnings,
        label,
    } = work;
    warnings.extend(program_warnings);
    let set_by_user = |name: &String| env.iter().any(|(set, _)| set == name);
    let unknown = mentions.unknown_variables.iter();
    for variable in unknown.filter(|name| !set_by_user(name)) {
        warnings.push(crate::mentions::variable_warning(variable, &label));
    }
    notes.extend(shipment.notes());
    let (shipped, ship) = shipment.into_parts();

    let spec = LaunchSpec {
        name: name.unwrap_or(default_name),
        indices,
        program,
        shipped,
        env,
        workers,
        max_concurrent,
        ttl_ms: ttl.as_millis(),
        timeout_ms: timeout.map(Span::as_millis),
        on_complete: args.on_complete.unwrap_or_default(),
        instance_type,
        iam_policies,
        spot: args.spot,
        spot_max_price,
        region,
        tags,
        allow_shared_tmp: args.allow_shared_tmp,
        durable: args.durable,
        budgets: Budgets::default(),
        max_failures: None,
        has_rows: false,
        lanes: Vec::new(),
    };
    let unused = local_unused(args, spec.instance_type.as_ref());
    Ok(Resolved {
        spec,
        provider,
        script,
        ship,
        notes,
        warnings,
        local_unused: unused,
        buckets: mentions.buckets.into_iter().collect(),
        tools: mentions.tools.into_iter().map(str::to_owned).collect(),
        wait_timeout,
        rows: Vec::new(),
    })
}

/// The flag, else `SPAWN_PROVIDER`, else local.
fn provider(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Provider, SpecError> {
    let from_env = || match ctx.env.get("SPAWN_PROVIDER").map(String::as_str) {
        None | Some("") => Ok(Provider::default()),
        Some("local") => Ok(Provider::Local),
        Some("ec2") => Ok(Provider::Ec2),
        Some(text) => Err(SpecErrorKind::ProviderUnknown { text: text.into() }),
    };
    match args.provider.map_or_else(from_env, Ok)? {
        Provider::Local => Ok(Provider::Local),
        Provider::Ec2 => Err(SpecErrorKind::ProviderMissing.into()),
    }
}

fn tasks(args: &LaunchArgs) -> Result<(IndexSet, Option<u32>), SpecError> {
    let flag = args.max_concurrent;
    if flag == Some(0) {
        let flag = "--max-concurrent";
        return Err(SpecErrorKind::Zero { flag }.into());
    }
    let Some(text) = &args.array else {
        let only = IndexSet::from_indices([0]).expect("0 is an index");
        return Ok((only, flag));
    };
    let ArrayRequest {
        indices,
        max_concurrent,
    } = IndexSet::parse(text)?;
    match (max_concurrent, flag) {
        (Some(in_array), Some(flag)) if in_array != flag => {
            Err(SpecErrorKind::ConcurrencyDisagrees { in_array, flag }.into())
        }
        (in_array, flag) => Ok((indices, in_array.or(flag))),
    }
}

fn workers(
    args: &LaunchArgs,
    indices: &IndexSet,
    notes: &mut Vec<String>,
) -> Result<Option<u32>, SpecError> {
    let flag = "--workers";
    let tasks = u32::try_from(indices.len()).unwrap_or(u32::MAX);
    match args.workers {
        Some(0) => Err(SpecErrorKind::Zero { flag }.into()),
        Some(asked) if asked > tasks => {
            let plural = if tasks == 1 { "" } else { "s" };
            notes.push(format!(
                "{tasks} worker{plural} instead of {asked}: there are no more tasks"
            ));
            Ok(Some(tasks))
        }
        workers => Ok(workers),
    }
}

fn time(flag: &'static str, text: Option<&str>) -> Result<Option<Span>, SpecError> {
    let span = text.map(str::parse).transpose();
    span.map_err(|error| SpecErrorKind::Time { flag, error }.into())
}

fn needs(
    flag: &'static str,
    given: bool,
    needs: &'static str,
    there: bool,
) -> Result<(), SpecError> {
    match given && !there {
        true => Err(SpecErrorKind::Needs { flag, needs }.into()),
        false => Ok(()),
    }
}

fn parse_price(text: &str) -> Result<f64, SpecError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let price = text.parse().ok().filter(|price: &f64| {
        // Above any machine there is; a slipped point should not pass.
        plain && *price > 0.0 && *price <= 1000.0
    });
    price.ok_or_else(|| SpecErrorKind::SpotPrice { text: text.into() }.into())
}

fn check_region(text: String) -> Result<String, SpecError> {
    match is_region(&text) {
        true => Ok(text),
        false => Err(SpecErrorKind::Region { text }.into()),
    }
}

/// The shape of a region's name: `us-east-1`, `us-gov-west-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let word = |part: &&str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [words @ .., number] => {
            (2..=3).contains(&words.len())
                && words.iter().all(word)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        [] => false,
    }
}

fn tags(values: &[String]) -> Result<Tags, SpecError> {
    let mut tags = Tags::default();
    for value in values {
        let more: Tags = value.parse().map_err(SpecErrorKind::Tags)?;
        for (key, value) in more.iter() {
            tags.insert(key, value).map_err(SpecErrorKind::Tags)?;
        }
    }
    Ok(tags)
}

/// The flags given that the local provider does nothing with. An instance type bounds its workers
/// if its processors and memory are known.
fn local_unused(args: &LaunchArgs, instance_type: Option<&InstanceType>) -> Vec<&'static str> {
    let stays = args
        .on_complete
        .is_some_and(|action| action != OnComplete::Terminate);
    [
        (
            "--instance-type",
            instance_type.is_some_and(|t| t.shape().is_none()),
        ),
        ("--spot", args.spot),
        ("--spot-max-price", args.spot_max_price.is_some()),
        ("--region", args.region.is_some()),
        ("--tags", !args.tags.is_empty()),
        ("--iam-policy", !args.iam_policy.is_empty()),
        ("--on-complete", stays),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect()
}

pub(crate) fn stdin_failed(error: &io::Error) -> SpecError {
    crate::script::refused(
        "the script on standard input",
        ScriptProblem::Unreadable(error.kind()),
    )
}
