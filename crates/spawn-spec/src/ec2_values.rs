//! One reader for each kind of value that EC2 and IAM have: ids, zones, volumes, roles.

use crate::error::{SpecError, SpecErrorKind};
use crate::origin::Origin;
use crate::setting_values::{is_region, unexpected};

/// The most managed policies that AWS attaches to a role.
const MAX_MANAGED: usize = 10;

/// Types of volume that a machine boots from.
const ROOT_TYPES: &str = "`gp3`, `gp2`, `io1`, `io2` or `standard`";

type Read<T> = fn(&str, &Origin) -> Result<T, SpecError>;

/// The items of texts such as `a,b`, in their order, each once.
pub(crate) fn list<T: PartialEq>(
    texts: &[String],
    origin: &Origin,
    read: impl Fn(&str, &Origin) -> Result<T, SpecError>,
) -> Result<Vec<T>, SpecError> {
    let mut items = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        let item = read(text.trim(), origin)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

/// `vpc-0123456789abcdef0`
pub(crate) const VPC: Read<String> = |text, origin| {
    let expected = "an id such as `vpc-0a1b2c3d4e5f67890`";
    id(text, "vpc-", origin, expected)
};

/// `subnet-0123456789abcdef0`
pub(crate) const SUBNET: Read<String> = |text, origin| {
    let expected = "ids such as `subnet-0a1b2c3d4e5f67890`";
    id(text, "subnet-", origin, expected)
};

/// `sg-0123456789abcdef0`
pub(crate) const SECURITY_GROUP: Read<String> = |text, origin| {
    let expected = "ids such as `sg-0a1b2c3d4e5f67890`";
    id(text, "sg-", origin, expected)
};

/// `ami-0123456789abcdef0`
pub(crate) const AMI: Read<String> = |text, origin| {
    let expected = "an id such as `ami-0a1b2c3d4e5f67890`";
    id(text, "ami-", origin, expected)
};

/// Old ids have 8 hexadecimal digits, those made since 2018 have 17.
fn id(
    text: &str,
    prefix: &str,
    origin: &Origin,
    expected: &'static str,
) -> Result<String, SpecError> {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match (8..=17).contains(&digits.len()) && digits.bytes().all(is_hex) {
        true => Ok(text.to_owned()),
        false => Err(unexpected(text, origin, expected)),
    }
}

pub(crate) fn zone(text: &str, origin: &Origin) -> Result<String, SpecError> {
    match region_of(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(SpecErrorKind::Zone {
            origin: origin.clone(),
            text: text.to_owned(),
        }
        .into()),
    }
}

/// The region of a zone: of `eu-west-1a`, or of a local one such as `us-west-2-lax-1a`.
pub(crate) fn region_of(zone: &str) -> Option<&str> {
    let (before, letter) = zone.split_at_checked(zone.len().checked_sub(1)?)?;
    letter
        .bytes()
        .all(|b| b.is_ascii_lowercase())
        .then_some(())?;
    if is_region(before) {
        return Some(before);
    }
    let (region, place) = before.rsplit_once('-').and_then(|(rest, number)| {
        let is_number = number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| rest.rsplit_once('-')).flatten()
    })?;
    let is_place = place.len() == 3 && place.bytes().all(|b| b.is_ascii_lowercase());
    (is_place && is_region(region)).then_some(region)
}

/// GiB: `100`, and `100G` and `100GiB`, which say the same.
pub(crate) fn volume_size(text: &str, origin: &Origin) -> Result<u32, SpecError> {
    let number = text.strip_suffix("GiB").or(text.strip_suffix('G'));
    let size = plain(number.unwrap_or(text)).filter(|size| (1..=16_384).contains(size));
    size.ok_or_else(|| unexpected(text, origin, "a size from 1 to 16384, in GiB"))
}

pub(crate) fn volume_type(text: &str, origin: &Origin) -> Result<String, SpecError> {
    match text {
        "gp3" | "gp2" | "io1" | "io2" | "standard" => Ok(text.to_owned()),
        "st1" | "sc1" => {
            let error = format!("no machine boots from `{text}`; expected {ROOT_TYPES}");
            let origin = origin.clone();
            Err(SpecErrorKind::Value { origin, error }.into())
        }
        _ => Err(unexpected(text, origin, ROOT_TYPES)),
    }
}

/// Operations per second; which of them a type takes is told when it is known.
pub(crate) fn volume_iops(text: &str, origin: &Origin) -> Result<u32, SpecError> {
    let iops = plain(text).filter(|iops| (100..=64_000).contains(iops));
    iops.ok_or_else(|| {
        let expected = "100 to 64000 operations per second";
        unexpected(text, origin, expected)
    })
}

/// MiB per second.
pub(crate) fn volume_throughput(text: &str, origin: &Origin) -> Result<u32, SpecError> {
    let throughput = plain(text).filter(|throughput| (125..=1000).contains(throughput));
    throughput.ok_or_else(|| unexpected(text, origin, "125 to 1000, in MiB per second"))
}

fn plain(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

pub(crate) fn managed_policies(
    texts: &[String],
    origin: &Origin,
) -> Result<Vec<String>, SpecError> {
    let policies = list(texts, origin, managed_policy)?;
    match policies.len() {
        ..=MAX_MANAGED => Ok(policies),
        count => {
            let error = format!("{count} policies; a role takes at most {MAX_MANAGED}");
            let origin = origin.clone();
            Err(SpecErrorKind::Value { origin, error }.into())
        }
    }
}

fn managed_policy(text: &str, origin: &Origin) -> Result<String, SpecError> {
    let is_policy = match Arn::of(text) {
        Some(arn) => {
            let owned = arn.account == "aws" || is_account(arn.account);
            owned && arn.resource.strip_prefix("policy/").is_some_and(is_path)
        }
        // AWS has some of its own below paths: `service-role/...`.
        None => is_path(text),
    };
    match is_policy {
        true => Ok(text.to_owned()),
        false => {
            let expected =
                "ARNs of policies, or names of AWS's own such as `AmazonS3ReadOnlyAccess`";
            Err(unexpected(text, origin, expected))
        }
    }
}

/// A role's name, also from its ARN, whose path AWS does not want beside the name.
pub(crate) fn role(text: &str, origin: &Origin) -> Result<String, SpecError> {
    let name = match Arn::of(text) {
        None => Some(text),
        Some(arn) => arn
            .resource
            .strip_prefix("role/")
            .filter(|path| is_account(arn.account) && is_path(path))
            .and_then(|path| path.rsplit('/').next()),
    };
    match name.filter(|name| is_name(name) && name.len() <= 64) {
        Some(name) => Ok(name.to_owned()),
        None => Err(SpecErrorKind::Role {
            origin: origin.clone(),
            text: text.to_owned(),
        }
        .into()),
    }
}

/// `arn:aws:iam::123456789012:role/name`
struct Arn<'a> {
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Of IAM, which is in no region; `None` for anything else.
    fn of(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("arn:aws")?;
        let (partition, rest) = rest.split_once(":iam::")?;
        let (account, resource) = rest.split_once(':')?;
        // `aws`, `aws-cn`, `aws-us-gov`
        let known = partition.is_empty() || partition.starts_with('-');
        let word = partition
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-');
        (known && word).then_some(Self { account, resource })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Names with `/` between them, as IAM has them.
fn is_path(text: &str) -> bool {
    text.len() <= 512 && text.split('/').all(is_name)
}

fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Origin = Origin::Flag("--x");

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn ids_have_a_prefix_and_8_to_17_digits() {
        for (read, prefix) in [
            (VPC, "vpc-"),
            (SUBNET, "subnet-"),
            (SECURITY_GROUP, "sg-"),
            (AMI, "ami-"),
        ] {
            for digits in ["0a1b2c3d", "0a1b2c3d4e5f67890"] {
                let text = format!("{prefix}{digits}");
                assert_eq!(read(&text, &FROM).unwrap(), text);
            }
            for bad in [
                "",
                "0a1b2c3",
                "0a1b2c3d4e5f678901",
                "0A1B2C3D",
                "0a1b2c3g",
                "0a1b2c3d ",
            ] {
                let error = read(&format!("{prefix}{bad}"), &FROM).unwrap_err();
                assert!(error.to_string().contains(&format!("`{prefix}")), "{error}");
            }
            for bad in ["", "0a1b2c3d", "x-0a1b2c3d", "é"] {
                assert!(read(bad, &FROM).is_err(), "{prefix} {bad}");
            }
        }
    }

    #[test]
    fn zones_know_their_region() {
        for (zone, region) in [
            ("eu-west-1a", Some("eu-west-1")),
            ("us-gov-west-1b", Some("us-gov-west-1")),
            ("us-west-2-lax-1a", Some("us-west-2")),
            ("ap-southeast-2-per-1a", Some("ap-southeast-2")),
            ("eu-west-1", None),
            ("eu-west-1A", None),
            ("eu-west-1ab", None),
            ("euw1-az1", None),
            ("us-west-2-la-1a", None),
            ("us-west-2-lax-a", None),
            ("a", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(region_of(zone), region, "{zone}");
        }
    }

    #[test]
    fn lists_keep_their_order_and_each_item_once() {
        let read = |text: &[&str]| list(&texts(text), &FROM, zone);
        assert_eq!(
            read(&["eu-west-1b, eu-west-1a", "eu-west-1b"]).unwrap(),
            ["eu-west-1b", "eu-west-1a"]
        );
        for bad in ["", "eu-west-1a,", ",eu-west-1a", "eu-west-1a,,eu-west-1b"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_in_gib() {
        for (text, size) in [
            ("1", Some(1)),
            ("100", Some(100)),
            ("100G", Some(100)),
            ("100GiB", Some(100)),
            ("16384", Some(16_384)),
            ("0", None),
            ("16385", None),
            ("+5", None),
            ("1.5", None),
            ("1T", None),
            ("100GB", None),
            ("99999999999", None),
            ("GiB", None),
            ("", None),
        ] {
            assert_eq!(volume_size(text, &FROM).ok(), size, "{text}");
        }
    }

    #[test]
    fn speeds_have_bounds() {
        for (text, is_iops, is_throughput) in [
            ("99", false, false),
            ("100", true, false),
            ("125", true, true),
            ("1000", true, true),
            ("1001", true, false),
            ("64000", true, false),
            ("64001", false, false),
            ("1e3", false, false),
        ] {
            assert_eq!(volume_iops(text, &FROM).is_ok(), is_iops, "{text}");
            assert_eq!(
                volume_throughput(text, &FROM).is_ok(),
                is_throughput,
                "{text}"
            );
        }
    }

    #[test]
    fn types_of_volume_are_those_to_boot_from() {
        for text in ["gp3", "gp2", "io1", "io2", "standard"] {
            assert_eq!(volume_type(text, &FROM).unwrap(), text);
        }
        for (text, message) in [
            (
                "st1",
                "`--x`: no machine boots from `st1`; expected `gp3`, `gp2`, `io1`, `io2` or `standard`",
            ),
            (
                "sc1",
                "`--x`: no machine boots from `sc1`; expected `gp3`, `gp2`, `io1`, `io2` or `standard`",
            ),
            (
                "GP3",
                "`--x`: found `GP3`; expected `gp3`, `gp2`, `io1`, `io2` or `standard`",
            ),
        ] {
            let error = volume_type(text, &FROM).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn managed_policies_are_arns_or_names() {
        for text in [
            "AmazonS3ReadOnlyAccess",
            "service-role/AmazonEC2RoleforSSM",
            "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            "arn:aws:iam::aws:policy/service-role/AmazonEC2RoleforSSM",
            "arn:aws-us-gov:iam::123456789012:policy/mine",
            "arn:aws-cn:iam::123456789012:policy/team/mine",
        ] {
            let found = managed_policies(&texts(&[text]), &FROM);
            assert_eq!(found.unwrap(), [text]);
        }
        for text in [
            "",
            "a b",
            "/x",
            "x/",
            "s3:FullAccess",
            "arn:aws:iam::aws:policy/",
            "arn:aws:iam::aws:role/x",
            "arn:aws:iam::1234:policy/x",
            "arn:aws:iam:eu-west-1:aws:policy/x",
            "arn:awsome:iam::aws:policy/x",
            "arn:aws:s3:::bucket",
        ] {
            let error = managed_policies(&texts(&[text]), &FROM).unwrap_err();
            assert!(error.to_string().contains("ARNs of policies"), "{error}");
        }
    }

    #[test]
    fn a_role_takes_ten_managed_policies() {
        let names: Vec<String> = (0..11).map(|n| format!("P{n}")).collect();
        let ten = managed_policies(&[names[..10].join(","), "P0".into()], &FROM);
        assert_eq!(ten.unwrap(), names[..10]);
        let error = managed_policies(&names, &FROM).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--x`: 11 policies; a role takes at most 10"
        );
    }

    #[test]
    fn roles_go_by_name() {
        let longest = "r".repeat(64);
        for (text, name) in [
            ("worker", "worker"),
            ("a+b=c,d.e@f_g-h", "a+b=c,d.e@f_g-h"),
            (&longest, &longest),
            ("arn:aws:iam::123456789012:role/worker", "worker"),
            ("arn:aws:iam::123456789012:role/team/worker", "worker"),
        ] {
            assert_eq!(role(text, &FROM).unwrap(), name);
        }
        for text in [
            "",
            "a b",
            "team/worker",
            "rôle",
            &"r".repeat(65),
            "arn:aws:iam::aws:role/worker",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:user/worker",
        ] {
            assert!(role(text, &FROM).is_err(), "{text}");
        }
        let profile = "arn:aws:iam::123456789012:instance-profile/worker";
        assert_eq!(
            role(profile, &FROM).unwrap_err().hint.as_deref(),
            Some("that is an instance profile; give the name of its role")
        );
    }
}
