//! From the settings of EC2 to what the record keeps: the checks of these settings against each
//! other, and which of them a launch has no use for.

use std::path::Path;

use spawn_core::duration::Span;

use crate::ec2_values::region_of;
use crate::error::{SpecError, SpecErrorKind};
use crate::lanes::Placed;
use crate::origin::{Origin, Sourced};
use crate::policy_file;
use crate::settings::Settings;
use crate::spec::{Ec2Choices, Lane};

/// Operations per second that a `gp3` volume has unasked.
const GP3_IOPS: u32 = 3000;
/// `gp3` takes at most one MiB per second for each four operations per second.
const IOPS_PER_MIB: u32 = 4;

/// What a launch asks of EC2.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub choices: Ec2Choices,
    /// Settings that this launch has no use for on EC2, by their names.
    pub unused: Vec<&'static str>,
    pub warnings: Vec<String>,
}

/// Checks the settings against each other, and reads the policy file.
pub(crate) fn choose(
    settings: &Settings,
    placed: Option<&Placed>,
    launch_dir: &Path,
) -> Result<Chosen, SpecError> {
    let given = &settings.ec2;
    let mut unused = Vec::new();
    let is_spot = check_spot(settings, placed, &mut unused)?;
    let warnings = fallback_comes(settings, placed, is_spot)?;
    check_zones(settings)?;
    let volume = volume(settings, &mut unused)?;
    let policy = given.iam_policy_file.as_ref();
    let policy = policy
        .map(|path| policy_file::read(&path.value, launch_dir))
        .transpose()?;
    let choices = Ec2Choices {
        on_demand_base: value(&given.on_demand_base)
            .filter(|_| is_spot)
            .unwrap_or_default(),
        spot_fallback_ms: value(&given.spot_fallback)
            .filter(|_| is_spot)
            .map(Span::as_millis),
        vpc: value(&given.vpc),
        subnets: value(&given.subnet).unwrap_or_default(),
        zones: value(&given.az).unwrap_or_default(),
        security_groups: value(&given.security_groups).unwrap_or_default(),
        ami: value(&given.ami),
        volume_gib: value(&given.volume_size),
        volume_type: value(&given.volume_type),
        volume_iops: volume.iops,
        volume_throughput: volume.throughput,
        policy_document: policy,
        managed_policies: value(&given.iam_managed_policies).unwrap_or_default(),
        role: value(&given.iam_role),
    };
    Ok(Chosen {
        choices,
        unused,
        warnings,
    })
}

fn value<T: Clone>(given: &Option<Sourced<T>>) -> Option<T> {
    given.as_ref().map(|given| given.value.clone())
}

/// What is only about spot capacity says nothing where nothing is spot. A configuration may say
/// it for other launches, and `--no-spot` overrules a file as a whole. Tells whether spot
/// capacity is used.
fn check_spot(
    settings: &Settings,
    placed: Option<&Placed>,
    unused: &mut Vec<&'static str>,
) -> Result<bool, SpecError> {
    let spot = settings.spot.as_ref();
    let used = match placed {
        None => spot.is_some_and(|spot| spot.value),
        Some(placed) => placed.lanes.iter().any(|lane| lane.spot),
    };
    if used {
        return Ok(true);
    }
    let is_overruled = spot.is_some_and(|spot| spot.origin.is_flag());
    let origins = [
        settings.spot_max_price.as_ref().map(|given| &given.origin),
        settings
            .ec2
            .on_demand_base
            .as_ref()
            .map(|given| &given.origin),
        settings
            .ec2
            .spot_fallback
            .as_ref()
            .map(|given| &given.origin),
    ];
    for origin in origins.into_iter().flatten() {
        if !origin.is_config() && (!is_overruled || origin.is_flag()) {
            let (origin, needs) = (origin.clone(), "--spot");
            return Err(SpecErrorKind::Needs { origin, needs }.into());
        }
        unused.push(origin.name());
    }
    Ok(false)
}

/// A time at which everything is over already is refused. A configuration speaks for longer
/// launches too, and some rows may be shorter than others: that is warned about.
fn fallback_comes(
    settings: &Settings,
    placed: Option<&Placed>,
    is_spot: bool,
) -> Result<Vec<String>, SpecError> {
    let Some(fallback) = settings.ec2.spot_fallback.as_ref().filter(|_| is_spot) else {
        return Ok(Vec::new());
    };
    let of_array = settings.ttl.as_ref().map_or(Span::DAY, |ttl| ttl.value);
    let lanes: &[Lane] = placed.map_or(&[], |placed| &placed.lanes);
    let of_lanes = lanes.iter().filter(|lane| lane.spot);
    let of_lanes: Vec<u64> = of_lanes.map(|lane| lane.ttl_ms).collect();
    let at = fallback.value.as_millis();
    let longest = of_lanes.iter().max().copied();
    let longest = longest.unwrap_or(of_array.as_millis());
    let asked = fallback.origin.with(fallback.value);
    if at < longest {
        let is_late = of_lanes.iter().any(|ttl| at >= *ttl);
        let warning = format!("{asked} never comes for some tasks: their TTL ends them before");
        return Ok(is_late.then_some(warning).into_iter().collect());
    }
    let ttl = match &settings.ttl {
        Some(ttl) if ttl.value.as_millis() == longest => ttl.origin.with(ttl.value),
        None if longest == Span::DAY.as_millis() => format!("the default TTL of {}", Span::DAY),
        _ => {
            let longest = Span::from_millis(longest).unwrap_or(of_array);
            format!("the rows' longest TTL of {longest}")
        }
    };
    match fallback.origin.is_config() {
        true => Ok(vec![format!(
            "{asked} never comes: {ttl} ends the workers before"
        )]),
        false => mismatch(asked, ttl, "a time that is shorter"),
    }
}

fn mismatch<T>(
    one: String,
    other: impl Into<String>,
    expected: impl Into<String>,
) -> Result<T, SpecError> {
    Err(SpecErrorKind::Mismatch {
        one,
        other: other.into(),
        expected: expected.into(),
    }
    .into())
}

/// Zones are of one region, and of the one that is given.
fn check_zones(settings: &Settings) -> Result<(), SpecError> {
    let Some(zones) = &settings.ec2.az else {
        return Ok(());
    };
    let mut first: Option<&str> = None;
    for zone in &zones.value {
        let region = region_of(zone).unwrap_or_default();
        if let Some(given) = settings.region.as_ref().filter(|it| it.value != region) {
            return mismatch(
                zones.origin.with(zone),
                given.origin.with(&given.value),
                "zones of that region",
            );
        }
        let first = *first.get_or_insert(zone);
        if region_of(first) != Some(region) {
            return mismatch(
                zones.origin.with(zone),
                format!("`{first}`"),
                "zones of one region",
            );
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Volume {
    iops: Option<u32>,
    throughput: Option<u32>,
}

/// Which speeds a type of volume takes. What a configuration says about another type than the one
/// that is chosen above it is left out.
///
/// Source of the bounds: <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html>
fn volume(settings: &Settings, unused: &mut Vec<&'static str>) -> Result<Volume, SpecError> {
    let ec2 = &settings.ec2;
    let chosen = ec2.volume_type.as_ref();
    let kind = chosen.map_or("gp3", |chosen| chosen.value.as_str());
    let named = chosen.map_or("the default type `gp3`".to_owned(), |chosen| {
        chosen.origin.with(kind)
    });
    let is_below = |origin: &Origin| {
        let above = chosen.is_some_and(|chosen| !chosen.origin.is_config());
        above && origin.is_config()
    };
    let (range, taking) = match kind {
        "gp3" => (Some((GP3_IOPS, 16_000)), true),
        "io1" | "io2" => (Some((100, 64_000)), false),
        _ => (None, false),
    };
    let mut volume = Volume::default();
    match (&ec2.volume_iops, range) {
        (Some(iops), Some((least, most))) if (least..=most).contains(&iops.value) => {
            volume.iops = Some(iops.value);
        }
        (Some(iops), _) if is_below(&iops.origin) => unused.push(iops.origin.name()),
        (Some(iops), Some((least, most))) => {
            let one = iops.origin.with(iops.value);
            return mismatch(one, named, format!("{least} to {most}"));
        }
        (Some(iops), None) => {
            let one = iops.origin.with(iops.value);
            return mismatch(one, named, "the type `gp3`, `io1` or `io2`");
        }
        (None, _) => {}
    }
    if let (Some(chosen), None, "io1" | "io2") = (chosen, volume.iops, kind) {
        return Err(SpecErrorKind::VolumeNeedsIops {
            origin: chosen.origin.clone(),
            kind: kind.to_owned(),
        }
        .into());
    }
    if let Some(throughput) = &ec2.volume_throughput {
        let most = volume.iops.unwrap_or(GP3_IOPS) / IOPS_PER_MIB;
        let one = throughput.origin.with(throughput.value);
        match taking {
            true if throughput.value <= most => volume.throughput = Some(throughput.value),
            true => {
                let needed = throughput.value * IOPS_PER_MIB;
                let other = match &ec2.volume_iops {
                    Some(iops) => iops.origin.with(iops.value),
                    None => format!("the default of {GP3_IOPS} operations per second"),
                };
                let iops = throughput.origin.calls("--volume-iops");
                let expected = format!("at most {most}, or {iops} of {needed} or more");
                return mismatch(one, other, expected);
            }
            false if is_below(&throughput.origin) => unused.push(throughput.origin.name()),
            false => return mismatch(one, named, "the type `gp3`"),
        }
    }
    Ok(volume)
}
