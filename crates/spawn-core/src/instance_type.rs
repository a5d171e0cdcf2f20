//! EC2 instance types: `c7i.large`, `m7i.2xlarge`, `u-6tb1.metal`.
//!
//! Only the shape of the name is checked; whether a region offers the type is
//! for the provider to say. vCPUs and memory are derived where the family's
//! published rule is fixed, and are unknown otherwise.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NAMED_SIZES: [&str; 7] = [
    "nano", "micro", "small", "medium", "large", "xlarge", "metal",
];

/// The name of an EC2 instance type, `FAMILY.SIZE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceType(String);

/// What a machine of a type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl InstanceType {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the dot: `c7i`.
    pub fn family(&self) -> &str {
        self.split().0
    }

    /// What is after the dot: `2xlarge`.
    pub fn size(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        // A value is only made with a dot in it.
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }

    /// vCPUs and memory, where the family's rule is known; `None` otherwise
    /// (bare metal, accelerated, storage, and older families).
    ///
    /// Source: the family tables at <https://aws.amazon.com/ec2/instance-types/>.
    /// From generation 5 on, a `large` has 2 vCPUs and an `Nxlarge` has 4N, with
    /// 2 GiB per vCPU in C (C5n: 2.625), 4 in M, 8 in R, and 16 in X2gd, X2idn
    /// and X8g, 32 in X2iedn and X2iezn. T2, T3, T3a and T4g have a table of
    /// their own.
    pub fn shape(&self) -> Option<Shape> {
        let (family, size) = self.split();
        if let Some(burstable) = burstable(family, size) {
            return Some(burstable);
        }
        let vcpus = vcpus_of_size(size)?;
        let memory_mib = u64::from(vcpus) * mib_per_vcpu(family)?;
        Some(Shape { vcpus, memory_mib })
    }
}

fn burstable(family: &str, size: &str) -> Option<Shape> {
    let t2 = match family {
        "t2" => true,
        "t3" | "t3a" | "t4g" => false,
        _ => return None,
    };
    let (vcpus, memory_mib) = match size {
        "nano" => (2, 512),
        "micro" => (2, 1024),
        "small" => (2, 2048),
        "medium" => (2, 4096),
        "large" => (2, 8192),
        "xlarge" => (4, 16_384),
        "2xlarge" => (8, 32_768),
        _ => return None,
    };
    let one_vcpu = t2 && matches!(size, "nano" | "micro" | "small");
    Some(Shape {
        vcpus: if one_vcpu { 1 } else { vcpus },
        memory_mib,
    })
}

fn vcpus_of_size(size: &str) -> Option<u32> {
    match size {
        "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => {
            let times: u32 = size.strip_suffix("xlarge")?.parse().ok()?;
            times.checked_mul(4)
        }
    }
}

fn mib_per_vcpu(family: &str) -> Option<u64> {
    const GIB: u64 = 1024;
    match family {
        "c5n" => return Some(2688),
        "x2gd" | "x2idn" | "x8g" => return Some(16 * GIB),
        "x2iedn" | "x2iezn" => return Some(32 * GIB),
        _ => {}
    }
    let mut chars = family.chars();
    let ratio = match chars.next()? {
        'c' => 2,
        'm' => 4,
        'r' => 8,
        _ => return None,
    };
    // One digit of generation; later generations are not published yet.
    matches!(chars.next()?, '5'..='8').then_some(())?;
    Some(ratio * GIB)
}

fn is_family(text: &str) -> bool {
    text.len() <= 24
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_size(text: &str) -> bool {
    let times = |number: &str| {
        (1..=3).contains(&number.len())
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit())
    };
    NAMED_SIZES.contains(&text)
        || text.strip_suffix("xlarge").is_some_and(times)
        || text
            .strip_prefix("metal-")
            .and_then(|rest| rest.strip_suffix("xl"))
            .is_some_and(times)
}

fn is_instance_type(text: &str) -> bool {
    text.split_once('.')
        .is_some_and(|(family, size)| is_family(family) && is_size(size))
}

/// What the user may have meant: a wrong case, or a forgotten dot.
fn suggestion(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    if is_instance_type(&lower) {
        return Some(lower);
    }
    if lower.contains('.') {
        return None;
    }
    let bare = lower.replace(['-', '_', ' '], "");
    // The longest size that leaves a family: `c7i2xlarge` is `c7i.2xlarge`.
    (1..bare.len())
        .filter(|at| bare.is_char_boundary(*at))
        .map(|at| format!("{}.{}", &bare[..at], &bare[at..]))
        .find(|candidate| is_instance_type(candidate))
}

impl fmt::Display for InstanceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InstanceType {
    type Err = InstanceTypeError;

    fn from_str(text: &str) -> Result<Self, InstanceTypeError> {
        match is_instance_type(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(InstanceTypeError {
                text: text.chars().take(60).collect(),
                suggestion: (text.len() <= 40).then(|| suggestion(text)).flatten(),
            }),
        }
    }
}

impl Serialize for InstanceType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for InstanceType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not of the form `FAMILY.SIZE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`"
)]
pub struct InstanceTypeError {
    /// The text, cut short if it is very long.
    pub text: String,
    /// A type of the right form that the user may have meant.
    pub suggestion: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_of_the_right_form_are_taken() {
        for text in [
            "c7i.large",
            "m7i.2xlarge",
            "t3.medium",
            "u-6tb1.metal",
            "mac2-m2.metal",
            "c7i.metal-24xl",
            "u7i-12tb.224xlarge",
            "m7i-flex.large",
            "p4d.24xlarge",
            "t4g.nano",
            "a1.metal",
        ] {
            let found: InstanceType = text.parse().unwrap();
            assert_eq!(format!("{}.{}", found.family(), found.size()), text);
        }
    }

    #[test]
    fn others_are_refused_with_what_was_meant() {
        for (text, suggestion) in [
            ("c7ilarge", Some("c7i.large")),
            ("c7i2xlarge", Some("c7i.2xlarge")),
            ("c7i-large", Some("c7i.large")),
            ("C7i.Large", Some("c7i.large")),
            ("t3", None),
            ("large", None),
            ("c7i.huge", None),
            ("c7i.0xlarge", None),
            ("", None),
            ("c7i.large.large", None),
            ("é7.large", None),
        ] {
            let error = text.parse::<InstanceType>().unwrap_err();
            assert_eq!(error.suggestion.as_deref(), suggestion, "{text}");
            assert_eq!(
                error.to_string(),
                format!(
                    "`{text}` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`"
                )
            );
        }
    }

    #[test]
    fn known_families_have_a_shape() {
        for (text, shape) in [
            ("c7i.large", Some((2, 4.0))),
            ("c7i.xlarge", Some((4, 8.0))),
            ("c5n.large", Some((2, 5.25))),
            ("c5.18xlarge", Some((72, 144.0))),
            ("c7g.medium", Some((1, 2.0))),
            ("m7i.2xlarge", Some((8, 32.0))),
            ("m7i-flex.large", Some((2, 8.0))),
            ("r6i.4xlarge", Some((16, 128.0))),
            ("x2gd.large", Some((2, 32.0))),
            ("x2iedn.xlarge", Some((4, 128.0))),
            ("t3.medium", Some((2, 4.0))),
            ("t3.nano", Some((2, 0.5))),
            ("t2.micro", Some((1, 1.0))),
            ("t4g.2xlarge", Some((8, 32.0))),
            ("c4.8xlarge", None),
            ("m7i.metal-24xl", None),
            ("mac2-m2.metal", None),
            ("p4d.24xlarge", None),
        ] {
            let found = text.parse::<InstanceType>().unwrap().shape();
            let expected = shape.map(|(vcpus, gib): (u32, f64)| Shape {
                vcpus,
                memory_mib: (gib * 1024.0) as u64,
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<InstanceType>();
        }

        #[test]
        fn any_likely_text_is_read_or_refused(text in "[a-zA-Z0-9.é-]{0,20}(large)?") {
            if let Ok(found) = text.parse::<InstanceType>() {
                prop_assert_eq!(found.to_string(), text);
                found.shape();
            }
        }
    }
}
