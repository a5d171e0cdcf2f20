//! What the flags say.

use crate::error::{SpecError, SpecErrorKind};
use crate::flags::LaunchArgs;
use crate::origin::{COMMAND, Origin, Sourced};
use crate::resolve::LaunchContext;
use crate::setting_values as read;
use crate::settings::{ProgramGiven, Settings};

/// Reads the flags that files can set too, and `SPAWN_PROVIDER`, which ranks with them.
pub(crate) fn settings(args: &LaunchArgs, ctx: &LaunchContext) -> Result<Settings, SpecError> {
    let tags = Origin::Flag("--tags");
    let tag_list = read::tags(&args.tags, &tags)?;
    Ok(Settings {
        provider: provider(args, ctx)?,
        program: program(args)?,
        name: text("--name", &args.name, crate::name::check)?,
        include: list("--include", &args.include),
        env: env(args)?,
        iam_policy: match args.iam_policy.is_empty() {
            true => None,
            false => {
                let origin = Origin::Flag("--iam-policy");
                let policies = read::policies(&args.iam_policy, &origin)?;
                Some(Sourced::new(policies, origin))
            }
        },
        workers: count("--workers", args.workers)?,
        max_concurrent: count("--max-concurrent", args.max_concurrent)?,
        instance_type: text("--instance-type", &args.instance_type, read::instance_type)?,
        region: text("--region", &args.region, read::region)?,
        spot: match (args.spot, args.no_spot) {
            (true, _) => Some(Sourced::new(true, Origin::Flag("--spot"))),
            (_, true) => Some(Sourced::new(false, Origin::Flag("--no-spot"))),
            (false, false) => None,
        },
        spot_max_price: text("--spot-max-price", &args.spot_max_price, read::price)?,
        tags: tag_list
            .iter()
            .map(|(key, value)| Sourced::new((key.into(), value.into()), tags.clone()))
            .collect(),
        on_complete: flag("--on-complete", args.on_complete),
        ttl: text("--ttl", &args.ttl, read::span)?,
        timeout: text("--timeout", &args.timeout, read::span)?,
        retries: flag("--retries", args.retries),
        backoff: text("--backoff", &args.backoff, read::wait)?,
        backoff_max: text("--backoff-max", &args.backoff_max, read::wait)?,
        retry_on: text("--retry-on", &args.retry_on, read::parsed)?,
        no_retry_on: text("--no-retry-on", &args.no_retry_on, read::parsed)?,
        max_interruptions: flag("--max-interruptions", args.max_interruptions),
        max_failures: text("--max-failures", &args.max_failures, read::parsed)?,
    })
}

fn flag<T>(name: &'static str, value: Option<T>) -> Option<Sourced<T>> {
    value.map(|value| Sourced::new(value, Origin::Flag(name)))
}

fn list<T: Clone>(name: &'static str, values: &[T]) -> Option<Sourced<Vec<T>>> {
    let given = !values.is_empty();
    given.then(|| Sourced::new(values.to_vec(), Origin::Flag(name)))
}

fn text<T>(
    name: &'static str,
    text: &Option<String>,
    read: impl Fn(&str, &Origin) -> Result<T, SpecError>,
) -> Result<Option<Sourced<T>>, SpecError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let origin = Origin::Flag(name);
    let value = read(text, &origin)?;
    Ok(Some(Sourced::new(value, origin)))
}

fn count(name: &'static str, number: Option<u32>) -> Result<Option<Sourced<u32>>, SpecError> {
    let Some(number) = number else {
        return Ok(None);
    };
    let origin = Origin::Flag(name);
    let number = read::at_least_one(number, &origin)?;
    Ok(Some(Sourced::new(number, origin)))
}

fn provider(
    args: &LaunchArgs,
    ctx: &LaunchContext,
) -> Result<Option<Sourced<crate::Provider>>, SpecError> {
    if let Some(provider) = flag("--provider", args.provider) {
        return Ok(Some(provider));
    }
    let text = ctx
        .env
        .get("SPAWN_PROVIDER")
        .filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(None);
    };
    let origin = Origin::Variable("SPAWN_PROVIDER");
    let provider = read::provider(text, &origin)?;
    Ok(Some(Sourced::new(provider, origin)))
}

fn program(args: &LaunchArgs) -> Result<Option<Sourced<ProgramGiven>>, SpecError> {
    let mut given = Vec::new();
    if let Some(text) = &args.user_data {
        let program = match text.strip_prefix('@') {
            Some("-") => ProgramGiven::Stdin,
            Some(file) => ProgramGiven::File(file.into()),
            None => ProgramGiven::Inline(text.clone()),
        };
        given.push(Sourced::new(program, Origin::Flag("--user-data")));
    }
    if let Some(file) = &args.user_data_file {
        let program = ProgramGiven::File(file.clone());
        given.push(Sourced::new(program, Origin::Flag("--user-data-file")));
    }
    if !args.command.is_empty() {
        let program = ProgramGiven::Command(args.command.clone());
        given.push(Sourced::new(program, Origin::Flag(COMMAND)));
    }
    only(given)
}

/// One source may say once what to run.
pub(crate) fn only(
    mut given: Vec<Sourced<ProgramGiven>>,
) -> Result<Option<Sourced<ProgramGiven>>, SpecError> {
    if given.len() > 1 {
        let given = given.into_iter().map(|one| one.origin).collect();
        return Err(SpecErrorKind::ManyPrograms { given }.into());
    }
    Ok(given.pop())
}

/// The variables of `--env`.
pub(crate) fn env(args: &LaunchArgs) -> Result<Vec<Sourced<crate::settings::EnvGiven>>, SpecError> {
    let origin = Origin::Flag("--env");
    let mut given: Vec<Sourced<crate::settings::EnvGiven>> = Vec::new();
    for text in &args.env {
        let variable = read::variable(text, &origin)?;
        if given.iter().any(|one| one.value.name == variable.name) {
            let (origin, name) = (origin, variable.name);
            return Err(SpecErrorKind::EnvTwice { origin, name }.into());
        }
        given.push(Sourced::new(variable, origin.clone()));
    }
    Ok(given)
}
