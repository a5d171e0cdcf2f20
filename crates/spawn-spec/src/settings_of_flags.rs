//! What the flags say.

use crate::ec2_settings::{self, Ec2Settings, check_grants};
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
    let settings = Settings {
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
        instance_type: match args.instance_type.is_empty() {
            true => None,
            false => {
                let origin = Origin::Flag("--instance-type");
                let types = read::instance_types(&args.instance_type, &origin)?;
                Some(Sourced::new(types, origin))
            }
        },
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
        ec2: ec2(args)?,
    };
    check_grants(&settings)?;
    Ok(settings)
}

fn ec2(args: &LaunchArgs) -> Result<Ec2Settings, SpecError> {
    fn one(given: Option<impl ToString>) -> Vec<String> {
        given.iter().map(ToString::to_string).collect()
    }
    let mut settings = Ec2Settings {
        iam_policy_file: flag("--iam-policy-file", args.iam_policy_file.clone()),
        ..Ec2Settings::default()
    };
    let ec2 = &args.ec2;
    let managed = &args.iam_managed_policies;
    for (key, flag, texts) in [
        (
            "on_demand_base",
            "--on-demand-base",
            &one(ec2.on_demand_base),
        ),
        (
            "spot_fallback",
            "--spot-fallback",
            &one(ec2.spot_fallback.as_ref()),
        ),
        ("vpc", "--vpc", &one(ec2.vpc.as_ref())),
        ("subnet", "--subnet", &ec2.subnet),
        ("security_groups", "--security-groups", &ec2.security_groups),
        ("az", "--az", &ec2.az),
        ("ami", "--ami", &one(ec2.ami.as_ref())),
        (
            "volume_size",
            "--volume-size",
            &one(ec2.volume_size.as_ref()),
        ),
        (
            "volume_type",
            "--volume-type",
            &one(ec2.volume_type.as_ref()),
        ),
        ("volume_iops", "--volume-iops", &one(ec2.volume_iops)),
        (
            "volume_throughput",
            "--volume-throughput",
            &one(ec2.volume_throughput),
        ),
        ("iam_managed_policies", "--iam-managed-policies", managed),
        ("iam_role", "--iam-role", &one(args.iam_role.as_ref())),
    ] {
        if !texts.is_empty() {
            ec2_settings::set(&mut settings, key, texts, Origin::Flag(flag))?;
        }
    }
    Ok(settings)
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
