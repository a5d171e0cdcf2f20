//! Which of a lane's types are started, and for which architecture.
//!
//! One template starts a lane's machines, and it names one image: all types of a lane run one
//! architecture.

use spawn_spec::Lane;

use crate::facts::Facts;
use crate::plan::{DEFAULT_TYPE, PlanError};

/// What a lane starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Those that can be had, in order of preference; at least one.
    pub types: Vec<String>,
    /// What all of them run, of which there is an image.
    pub architecture: String,
}

/// The types that a lane names, in order of preference, each once.
pub(crate) fn named(lane: &Lane) -> Vec<&str> {
    let first = lane.instance_type.as_ref().map(|t| t.as_str());
    let mut names = vec![first.unwrap_or(DEFAULT_TYPE)];
    for other in lane.other_types.iter().map(|t| t.as_str()) {
        if !names.contains(&other) {
            names.push(other);
        }
    }
    names
}

/// Whether the region offers a type.
pub(crate) fn is_offered(facts: &Facts, name: &str) -> bool {
    let zones = facts.offered.get(name);
    facts.types.contains_key(name) && zones.is_some_and(|zones| !zones.is_empty())
}

/// The types that a lane names and the region offers, in order of preference.
pub(crate) fn offered<'a>(lane: &'a Lane, facts: &Facts) -> Vec<&'a str> {
    let mut names = named(lane);
    names.retain(|name| is_offered(facts, name));
    names
}

/// What is started of the types that a lane names.
pub(crate) fn kinds(lane: &Lane, facts: &Facts) -> Result<Kinds, PlanError> {
    let types = offered(lane, facts);
    let Some(first) = types.first() else {
        return Err(PlanError::UnknownType(named(lane).join("`, `")));
    };
    let runs =
        |name: &str, architecture: &String| facts.types[name].architectures.contains(architecture);
    let shared: Vec<&String> = facts.types[*first]
        .architectures
        .iter()
        .filter(|a| types.iter().all(|name| runs(name, a)))
        .collect();
    if shared.is_empty() {
        return Err(PlanError::Architectures(described(&types, facts)));
    }
    let found = shared.iter().find(|a| facts.images.contains_key(**a));
    let found = found.ok_or_else(|| PlanError::NoImage((*first).to_owned()))?;
    Ok(Kinds {
        architecture: (*found).clone(),
        types: types.into_iter().map(str::to_owned).collect(),
    })
}

/// `c7i.large (x86_64), m7g.large (arm64)`
fn described(types: &[&str], facts: &Facts) -> String {
    let each = |name: &&str| format!("{name} ({})", facts.types[*name].architectures.join(", "));
    types.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// The most vCPUs that one machine of a lane has, by what `quota` counts a type against: whichever
/// type is started, no more are used.
pub(crate) fn largest<'a, Q: Ord>(
    lane: &'a Lane,
    facts: &Facts,
    quota: impl Fn(&'a str) -> Option<Q>,
) -> std::collections::BTreeMap<Q, u32> {
    let mut most = std::collections::BTreeMap::new();
    for name in offered(lane, facts) {
        if let Some(quota) = quota(name) {
            let vcpus: &mut u32 = most.entry(quota).or_default();
            *vcpus = facts.types[name].vcpus.max(*vcpus);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::tests::{facts, spec};

    fn lane(types: &[&str]) -> Lane {
        let spec = spec(json!({ "instance_type": types[0], "other_types": types[1..] }));
        spec.all_lanes().remove(0)
    }

    fn with_more() -> Facts {
        let mut facts = facts();
        for (name, vcpus, architectures) in [
            ("m5.large", 2, vec!["x86_64"]),
            ("m5.xlarge", 4, vec!["x86_64"]),
            ("b9.large", 2, vec!["arm64", "x86_64"]),
        ] {
            let kind = crate::facts::TypeFacts {
                vcpus,
                architectures: architectures.into_iter().map(str::to_owned).collect(),
                has_spot: true,
                memory_mib: 4096,
                hibernates: true,
            };
            facts.types.insert(name.to_owned(), kind);
            let zones = facts.offered["c7i.large"].clone();
            facts.offered.insert(name.to_owned(), zones);
        }
        facts
    }

    #[test]
    fn types_keep_their_order_and_those_that_are_not_offered_are_left_out() {
        for (named, types, architecture) in [
            (vec!["c7i.large"], vec!["c7i.large"], "x86_64"),
            (
                vec!["m5.xlarge", "c7i.large", "m5.large", "c7i.large"],
                vec!["m5.xlarge", "c7i.large", "m5.large"],
                "x86_64",
            ),
            (vec!["p5.48xlarge", "m7g.large"], vec!["m7g.large"], "arm64"),
            (vec!["b9.large"], vec!["b9.large"], "arm64"),
            (
                vec!["b9.large", "c7i.large"],
                vec!["b9.large", "c7i.large"],
                "x86_64",
            ),
        ] {
            let found = kinds(&lane(&named), &with_more()).unwrap();
            assert_eq!(found.types, types);
            assert_eq!(found.architecture, architecture);
        }
    }

    #[test]
    fn types_of_two_architectures_are_refused_by_name() {
        assert_eq!(
            kinds(&lane(&["c7i.large", "m7g.large"]), &facts()),
            Err(PlanError::Architectures(
                "c7i.large (x86_64), m7g.large (arm64)".to_owned()
            ))
        );
        assert_eq!(
            kinds(&lane(&["p5.48xlarge", "p4d.24xlarge"]), &facts()),
            Err(PlanError::UnknownType(
                "p5.48xlarge`, `p4d.24xlarge".to_owned()
            ))
        );
    }

    #[test]
    fn the_largest_type_of_each_quota_counts() {
        let lane = lane(&["m5.large", "m5.xlarge", "b9.large"]);
        let most = largest(&lane, &with_more(), |name| name.split('.').next());
        assert_eq!(most.into_iter().collect::<Vec<_>>(), [("b9", 2), ("m5", 4)]);
    }
}
