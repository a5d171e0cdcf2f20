//! From flags to a launch specification: every check, every default, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;

use spawn_core::duration::Span;
use spawn_core::index_set::{ArrayRequest, IndexSet};
use spawn_core::tags::Tags;

use crate::config_files::{self, ConfigFile, ConfigState};
use crate::ec2_choices;
use crate::environment;
use crate::error::{ScriptProblem, SpecError, SpecErrorKind};
use crate::flags::LaunchArgs;
use crate::lanes::{self, Placed};
use crate::mentions::{Mentions, variable_warning};
use crate::origin::{Origin, Sourced};
use crate::param_file::{self, ParamFile};
use crate::param_rows;
use crate::program::{self, Along, Work};
use crate::retries;
use crate::setting_values;
use crate::settings::{ProgramGiven, Settings};
use crate::settings_of_flags;
use crate::spec::{LaunchSpec, OnComplete, Provider, Row};
use crate::unused;

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
    /// Settings given that are recorded, and without effect with this provider: flags with their
    /// dashes, those of files by their keys.
    pub unused: Vec<&'static str>,
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

/// Everything that says something about a launch, merged.
#[derive(Debug)]
pub(crate) struct Layers {
    pub settings: Settings,
    pub param_file: Option<ParamFile>,
    pub files: Vec<ConfigFile>,
}

/// Lays the flags over the parameter file, and that over the configuration.
pub(crate) fn layers(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Layers, SpecError> {
    let flags = settings_of_flags::settings(args, ctx)?;
    let path = args.param_file.as_deref();
    if path.is_some() && args.array.is_some() {
        return Err(SpecErrorKind::ArrayAndParamFile.into());
    }
    let mut param_file = path
        .map(|path| param_file::read(path, &ctx.launch_dir))
        .transpose()?;
    let of_file = param_file
        .as_mut()
        .map(|file| std::mem::take(&mut file.settings));
    let config = config_files::read(ctx)?;
    let settings = flags
        .over(of_file.unwrap_or_default())
        .over(config.settings);
    Ok(Layers {
        settings,
        param_file,
        files: config.files,
    })
}

/// Checks the flags of a launch against each other and against the files they
/// name, and fills in the defaults. Reads files; starts and writes nothing.
///
/// # Errors
/// The first thing found wrong; flags before files.
pub fn resolve(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Resolved, SpecError> {
    let Layers {
        settings,
        param_file,
        files,
    } = layers(args, ctx)?;
    let provider = settings.provider.as_ref();
    let provider = provider.map_or_else(Provider::default, |given| given.value);
    if provider == Provider::Ec2 {
        refuse_local_only(args)?;
    }
    let program_given = settings.program.as_ref().ok_or_else(|| no_program(args))?;
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    notes.extend(config_notes(&settings, &files));
    warnings.extend(not_trusted(&files));

    let wait_timeout = wait_timeout(args)?;
    let budgets = retries::budgets(&settings)?;
    let env = environment::complete(&settings.env, &ctx.env)?;
    let placed = match &param_file {
        None => None,
        Some(file) => {
            warnings.extend(file.warnings.iter().cloned());
            let taken = settings.env.iter().map(|given| {
                let name = given.value.name.clone();
                (name, given.origin.clone())
            });
            let rows = param_rows::rows(file, &taken.collect(), &mut warnings)?;
            Some(lanes::place(rows, &settings)?)
        }
    };
    let chosen = ec2_choices::choose(&settings, placed.as_ref(), &ctx.launch_dir)?;
    let (indices, max_concurrent) = tasks(args, &settings, placed.as_ref())?;
    let workers = workers(&settings, &indices, &mut notes);
    warnings.extend(never_comes(&settings));

    let along = Along {
        include: settings.include.as_ref(),
        no_auto_include: args.no_auto_include,
    };
    let work = program::read(program_given, along, provider, ctx)?;
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
    let Placed {
        rows,
        mut lanes,
        notes: row_notes,
        warnings: row_warnings,
    } = placed.unwrap_or_default();
    notes.extend(row_notes);
    warnings.extend(row_warnings);
    warnings.extend(unknown_variables(&mentions, &label, &env, &rows));
    notes.extend(shipment.notes());
    let (shipped, ship) = shipment.into_parts();

    warnings.extend(chosen.warnings);
    let unused = match provider {
        Provider::Local => {
            notes.extend(unused::note_of_types(&settings, &lanes));
            unused::on_local(&settings, &lanes)
        }
        Provider::Ec2 => chosen.unused,
    };
    let longest = lanes.iter().map(|lane| lane.ttl_ms).max();
    // What the array itself says: as its only lane, or as its flags.
    let array = match lanes.len() {
        1 => lanes.remove(0),
        _ => lanes::of_array(&settings, &indices),
    };
    let name = settings.name.as_ref().map(|name| name.value.clone());
    let spec = LaunchSpec {
        name: name.unwrap_or_else(|| name_of(args, &program_given.value, default_name)),
        indices,
        program,
        shipped,
        env,
        workers,
        max_concurrent,
        ttl_ms: longest.unwrap_or(array.ttl_ms),
        timeout_ms: settings.timeout.map(|timeout| timeout.value.as_millis()),
        on_complete: settings
            .on_complete
            .map_or_else(OnComplete::default, |given| given.value),
        instance_type: array.instance_type,
        other_types: array.other_types,
        iam_policies: settings
            .iam_policy
            .map(|given| given.value)
            .unwrap_or_default(),
        spot: array.spot,
        spot_max_price: array.spot_max_price,
        region: settings.region.map(|region| region.value),
        tags: all_tags(&settings.tags)?,
        allow_shared_tmp: args.allow_shared_tmp,
        durable: args.durable,
        budgets,
        max_failures: settings.max_failures.map(|most| most.value),
        has_rows: param_file.is_some(),
        lanes,
        ec2: chosen.choices,
    };
    Ok(Resolved {
        spec,
        provider,
        script,
        ship,
        notes,
        warnings,
        unused,
        buckets: mentions.buckets.into_iter().collect(),
        tools: mentions.tools.into_iter().map(str::to_owned).collect(),
        wait_timeout,
        rows,
    })
}

/// Flags that say how this machine is to run tasks, and nothing to machines of their own.
fn refuse_local_only(args: &LaunchArgs) -> Result<(), SpecError> {
    let (flag, reason) = match (args.allow_shared_tmp, args.durable) {
        (true, _) => (
            "--allow-shared-tmp",
            "each worker on EC2 is a machine with a /tmp of its own",
        ),
        (_, true) => (
            "--durable",
            "on EC2 results are in DynamoDB and S3, which outlive any machine",
        ),
        (false, false) => return Ok(()),
    };
    Err(SpecErrorKind::LocalOnly { flag, reason }.into())
}

/// After a script's file; a command or a text says less than the parameter file.
fn name_of(args: &LaunchArgs, program: &ProgramGiven, default: String) -> String {
    match (&args.param_file, program) {
        (None, _) | (_, ProgramGiven::File(_)) => default,
        (Some(path), _) => {
            let file_name = path.file_name().unwrap_or_default();
            crate::name::derive(&file_name.to_string_lossy())
        }
    }
}

fn never_comes(settings: &Settings) -> Option<String> {
    let timeout = settings.timeout.as_ref()?;
    let ttl = settings.ttl.as_ref().map_or(Span::DAY, |ttl| ttl.value);
    let ends = match &settings.ttl {
        Some(given) => given.origin.with(ttl),
        None => format!("`--ttl {ttl}`"),
    };
    let never = timeout.origin.with(timeout.value);
    let warning = || format!("{never} never comes: {ends} ends the workers before");
    (timeout.value > ttl).then(warning)
}

/// What the program reads and no task has, neither from spawn nor from the user.
fn unknown_variables(
    mentions: &Mentions,
    label: &str,
    env: &[(String, String)],
    rows: &[Row],
) -> Vec<String> {
    let given = |name: &String| {
        let mut vars = rows.iter().flat_map(|row| &row.vars).chain(env);
        vars.any(|(set, _)| set == name)
    };
    let params = rows.first().into_iter().flat_map(|row| &row.vars);
    let params = params.map(|(name, _)| name.as_str());
    let params: Vec<&str> = params.filter(|name| name.starts_with("PARAM_")).collect();
    let unknown = mentions.unknown_variables.iter();
    unknown
        .filter(|name| !given(name))
        .map(|name| variable_warning(name, label, &params))
        .collect()
}

fn no_program(args: &LaunchArgs) -> SpecError {
    let param_file = args.param_file.as_ref();
    SpecErrorKind::NoProgram {
        param_file: param_file.map(|path| path.display().to_string()),
        config: config_files::PROJECT_FILE.into(),
    }
    .into()
}

/// What a configuration decides is said, since nothing on the command line shows it.
fn config_notes(settings: &Settings, files: &[ConfigFile]) -> Vec<String> {
    let read = files.iter().filter(|file| file.state == ConfigState::Read);
    read.filter_map(|file| {
        let origins = settings.origins();
        let from_file = origins.filter_map(|origin| match origin {
            Origin::File(from) if from.is_config && *from.file == *file.path => Some(from.key),
            _ => None,
        });
        let keys: BTreeSet<&str> = from_file.collect();
        let keys: Vec<String> = keys.into_iter().map(|key| format!("`{key}`")).collect();
        let path = &file.path;
        (!keys.is_empty()).then(|| format!("{} from {path}", keys.join(", ")))
    })
    .collect()
}

fn not_trusted(files: &[ConfigFile]) -> impl Iterator<Item = String> {
    let ignored = files
        .iter()
        .filter(|file| file.state == ConfigState::NotTrusted);
    ignored.map(|file| {
        let path = &file.path;
        format!("{path} is not read: it belongs to another user than the directory of the launch")
    })
}

fn wait_timeout(args: &LaunchArgs) -> Result<Option<Span>, SpecError> {
    let origin = Origin::Flag("--wait-timeout");
    let text = args.wait_timeout.as_deref();
    let span = text.map(|text| setting_values::span(text, &origin));
    let span = span.transpose()?;
    match span.is_some() && !args.wait {
        true => {
            let needs = "--wait";
            Err(SpecErrorKind::Needs { origin, needs }.into())
        }
        false => Ok(span),
    }
}

fn tasks(
    args: &LaunchArgs,
    settings: &Settings,
    placed: Option<&Placed>,
) -> Result<(IndexSet, Option<u32>), SpecError> {
    let most = settings.max_concurrent.as_ref();
    let count = placed.map_or(1, |placed| placed.rows.len() as u64);
    let Some(text) = &args.array else {
        let indices = IndexSet::first(count).expect("there is a task");
        return Ok((indices, most.map(|most| most.value)));
    };
    let ArrayRequest {
        indices,
        max_concurrent,
    } = IndexSet::parse(text)?;
    match (max_concurrent, most.filter(|most| most.origin.is_flag())) {
        (Some(in_array), Some(most)) if in_array != most.value => {
            Err(SpecErrorKind::ConcurrencyDisagrees {
                in_array,
                origin: most.origin.clone(),
                other: most.value,
            }
            .into())
        }
        (in_array, _) => Ok((indices, in_array.or(most.map(|most| most.value)))),
    }
}

fn workers(settings: &Settings, indices: &IndexSet, notes: &mut Vec<String>) -> Option<u32> {
    let asked = settings.workers.as_ref()?.value;
    let tasks = u32::try_from(indices.len()).unwrap_or(u32::MAX);
    if asked <= tasks {
        return Some(asked);
    }
    let plural = if tasks == 1 { "" } else { "s" };
    notes.push(format!(
        "{tasks} worker{plural} instead of {asked}: there are no more tasks"
    ));
    Some(tasks)
}

/// Sources may have valid tags each that are too many together.
fn all_tags(given: &[Sourced<(String, String)>]) -> Result<Tags, SpecError> {
    let mut tags = Tags::default();
    for tag in given {
        let (key, value) = &tag.value;
        tags.insert(key, value).map_err(|error| {
            let origin = tag.origin.clone();
            SpecErrorKind::Tags { origin, error }
        })?;
    }
    Ok(tags)
}

pub(crate) fn stdin_failed(error: &io::Error) -> SpecError {
    crate::script::refused(
        "the script on standard input",
        ScriptProblem::Unreadable(error.kind()),
    )
}
