//! Which of the settings given the provider of a launch does nothing with: they are recorded, and
//! a launch says so.

use std::collections::BTreeSet;

use spawn_core::instance_type::InstanceType;

use crate::origin::{Origin, Sourced};
use crate::settings::Settings;
use crate::spec::{Lane, OnComplete};

/// Those that workers on this machine have no use for. An instance type bounds them if its
/// processors and memory are known.
pub(crate) fn on_local(settings: &Settings, lanes: &[Lane]) -> Vec<&'static str> {
    let mut unused = Vec::new();
    let unbounded = |t: &InstanceType| t.shape().is_none();
    let mut types = lanes.iter().filter_map(|lane| lane.instance_type.as_ref());
    let array = settings.instance_type.as_ref();
    match array {
        Some(given) if lanes.is_empty() && given.value.first().is_some_and(unbounded) => {
            unused.push(given.origin.name());
        }
        given if types.any(unbounded) => {
            unused.push(given.map_or("instance_type", |given| given.origin.name()));
        }
        _ => {}
    }
    match settings.spot.as_ref().filter(|spot| spot.value) {
        Some(spot) => unused.push(spot.origin.name()),
        None if lanes.iter().any(|lane| lane.spot) => unused.push("spot"),
        None => {}
    }
    let of_rows = lanes.iter().any(|lane| lane.spot_max_price.is_some());
    let price = name(settings.spot_max_price.as_ref());
    unused.extend(price.or(of_rows.then_some("spot_max_price")));
    unused.extend(name(settings.region.as_ref()));
    let tags = settings.tags.iter().map(|given| given.origin.name());
    unused.extend(tags.collect::<BTreeSet<_>>());
    unused.extend(name(settings.iam_policy.as_ref()));
    unused.extend(settings.ec2.origins().map(Origin::name));
    let stays = settings.on_complete.as_ref();
    unused.extend(name(
        stays.filter(|action| action.value != OnComplete::Terminate),
    ));
    unused
}

fn name<T>(given: Option<&Sourced<T>>) -> Option<&'static str> {
    given.map(|given| given.origin.name())
}

/// Workers on this machine go by one type; with several, by the one that is preferred.
pub(crate) fn note_of_types(settings: &Settings, lanes: &[Lane]) -> Option<String> {
    let has_more = match lanes.is_empty() {
        true => settings
            .instance_type
            .as_ref()
            .is_some_and(|given| given.value.len() > 1),
        false => lanes.iter().any(|lane| !lane.other_types.is_empty()),
    };
    let given = name(settings.instance_type.as_ref()).unwrap_or("instance_type");
    has_more.then(|| format!("on this machine, the first type of `{given}` counts"))
}
