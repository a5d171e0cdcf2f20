//! The kinds of worker that the rows need: rows with equal needs share a lane.

use std::collections::HashMap;

use spawn_core::duration::Span;
use spawn_core::index_set::IndexSet;
use spawn_core::instance_type::InstanceType;

use crate::error::{SpecError, SpecErrorKind};
use crate::origin::Sourced;
use crate::param_rows::{OwnSettings, ParamRow};
use crate::settings::Settings;
use crate::spec::{Lane, Row};

/// What the rows come to.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub rows: Vec<Row>,
    /// In order of first appearance; at least one if there are rows.
    pub lanes: Vec<Lane>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Gives each row its lane and its timeout.
pub(crate) fn place(rows: Vec<ParamRow>, array: &Settings) -> Result<Placed, SpecError> {
    let mut placed = Placed::default();
    let mut lanes: Vec<(Lane, Vec<u64>)> = Vec::new();
    let mut known: HashMap<(Vec<InstanceType>, bool, Option<u64>, u64), usize> = HashMap::new();
    let mut overruled: Vec<(&'static str, &'static str, usize)> = Vec::new();
    let mut never_comes = None;
    let none = OwnSettings::default();
    for (index, ParamRow { mut row, own }) in rows.into_iter().enumerate() {
        let own = own.as_deref().unwrap_or(&none);
        let ttl = over(&array.ttl, &own.ttl, &mut overruled);
        let ttl = ttl.map_or(Span::DAY, |ttl| ttl.value);
        let timeout = over(&array.timeout, &own.timeout, &mut overruled);
        let has_own = own.timeout.is_some() || own.ttl.is_some();
        if let Some(timeout) = timeout.filter(|timeout| has_own && timeout.value > ttl) {
            never_comes.get_or_insert((index, timeout.value, ttl));
        }
        let array_timeout = array.timeout.as_ref().map(|timeout| timeout.value);
        row.timeout_ms = timeout
            .map(|timeout| timeout.value)
            .filter(|timeout| Some(*timeout) != array_timeout)
            .map(Span::as_millis);
        let spot = over(&array.spot, &own.spot, &mut overruled).is_some_and(|spot| spot.value);
        let price = over(&array.spot_max_price, &own.spot_max_price, &mut overruled);
        // With `--no-spot` no row is asked about its price.
        let asked = array
            .spot
            .as_ref()
            .is_none_or(|spot| !spot.origin.is_flag());
        if let Some(price) = own.spot_max_price.as_ref().filter(|_| asked && !spot) {
            let origin = price.origin.clone();
            return Err(SpecErrorKind::Needs {
                origin,
                needs: "--spot",
            }
            .into());
        }
        let price = price.filter(|_| spot).map(|price| price.value);
        let types = over(&array.instance_type, &own.instance_type, &mut overruled);
        let types = types.map(|types| types.value.clone()).unwrap_or_default();
        let key = (
            types.clone(),
            spot,
            price.map(f64::to_bits),
            ttl.as_millis(),
        );
        let lane = *known.entry(key).or_insert_with(|| {
            let lane = Lane {
                indices: IndexSet::single(0).expect("0 is an index"),
                instance_type: types.first().cloned(),
                other_types: types.into_iter().skip(1).collect(),
                spot,
                spot_max_price: price,
                ttl_ms: ttl.as_millis(),
            };
            lanes.push((lane, Vec::new()));
            lanes.len() - 1
        });
        lanes[lane].1.push(index as u64);
        placed.rows.push(row);
    }
    placed.lanes = lanes
        .into_iter()
        .map(|(lane, indices)| {
            let indices = IndexSet::from_indices(indices).expect("a lane has a task");
            Lane { indices, ..lane }
        })
        .collect();
    for (flag, key, count) in overruled {
        let plural = if count == 1 { "" } else { "s" };
        placed.notes.push(format!(
            "`{flag}` overrules the `{key}` of {count} row{plural}"
        ));
    }
    if let Some((index, timeout, ttl)) = never_comes {
        placed.warnings.push(format!(
            "the timeout {timeout} of task {index} never comes: its TTL of {ttl} ends the worker before"
        ));
    }
    Ok(placed)
}

/// The array as one lane, without rows.
pub(crate) fn of_array(array: &Settings, indices: &IndexSet) -> Lane {
    let spot = array.spot.as_ref().is_some_and(|spot| spot.value);
    let price = array.spot_max_price.as_ref().filter(|_| spot);
    let types = array.instance_type.iter().flat_map(|given| &given.value);
    let mut types = types.cloned();
    let ttl = array.ttl.as_ref().map_or(Span::DAY, |ttl| ttl.value);
    Lane {
        indices: indices.clone(),
        instance_type: types.next(),
        other_types: types.collect(),
        spot,
        spot_max_price: price.map(|price| price.value),
        ttl_ms: ttl.as_millis(),
    }
}

/// A flag is above the file, its rows included; otherwise a row's own value counts.
fn over<'s, T>(
    array: &'s Option<Sourced<T>>,
    own: &'s Option<Sourced<T>>,
    overruled: &mut Vec<(&'static str, &'static str, usize)>,
) -> Option<&'s Sourced<T>> {
    match (array, own) {
        (Some(flag), Some(own)) if flag.origin.is_flag() => {
            let (name, key) = (flag.origin.name(), own.origin.name());
            match overruled.iter_mut().find(|(other, ..)| *other == name) {
                Some((.., count)) => *count += 1,
                None => overruled.push((name, key, 1)),
            }
            Some(flag)
        }
        (array, own) => own.as_ref().or(array.as_ref()),
    }
}
