//! One reader for each kind of value, whatever source it comes from.

use std::str::FromStr;

use spawn_core::duration::{Span, SpanError, SpanErrorKind};
use spawn_core::instance_type::InstanceType;
use spawn_core::tags::Tags;

use crate::environment::check_name;
use crate::error::{SpecError, SpecErrorKind};
use crate::origin::Origin;
use crate::policies::PolicyTemplate;
use crate::settings::{EnvGiven, Wait};
use crate::spec::{OnComplete, Provider};

pub(crate) fn span(text: &str, origin: &Origin) -> Result<Span, SpecError> {
    text.parse().map_err(|error| time_error(error, origin))
}

/// A time, or none at all: `0s`.
pub(crate) fn wait(text: &str, origin: &Origin) -> Result<Wait, SpecError> {
    match text.parse::<Span>() {
        Ok(span) => Ok(Wait(span.as_millis())),
        Err(error) if error.kind == SpanErrorKind::Zero => Ok(Wait(0)),
        Err(error) => Err(time_error(error, origin)),
    }
}

fn time_error(error: SpanError, origin: &Origin) -> SpecError {
    let origin = origin.clone();
    SpecErrorKind::Time { origin, error }.into()
}

fn instance_type(text: &str, origin: &Origin) -> Result<InstanceType, SpecError> {
    text.parse().map_err(|error| {
        let origin = origin.clone();
        SpecErrorKind::InstanceType { origin, error }.into()
    })
}

/// The types of a list, in order of preference.
pub(crate) fn instance_types(
    texts: &[String],
    origin: &Origin,
) -> Result<Vec<InstanceType>, SpecError> {
    crate::ec2_values::list(texts, origin, instance_type)
}

pub(crate) fn price(text: &str, origin: &Origin) -> Result<f64, SpecError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let price = text.parse().ok().filter(|price: &f64| {
        // Above any machine there is; a slipped point should not pass.
        plain && *price > 0.0 && *price <= 1000.0
    });
    price.ok_or_else(|| {
        let (origin, text) = (origin.clone(), text.into());
        SpecErrorKind::SpotPrice { origin, text }.into()
    })
}

pub(crate) fn region(text: &str, origin: &Origin) -> Result<String, SpecError> {
    match is_region(text) {
        true => Ok(text.to_owned()),
        false => {
            let (origin, text) = (origin.clone(), text.into());
            Err(SpecErrorKind::Region { origin, text }.into())
        }
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

pub(crate) fn provider(text: &str, origin: &Origin) -> Result<Provider, SpecError> {
    match text {
        "local" => Ok(Provider::Local),
        "ec2" => Ok(Provider::Ec2),
        _ => {
            let (origin, text) = (origin.clone(), text.into());
            Err(SpecErrorKind::ProviderUnknown { origin, text }.into())
        }
    }
}

pub(crate) fn on_complete(text: &str, origin: &Origin) -> Result<OnComplete, SpecError> {
    <OnComplete as clap::ValueEnum>::from_str(text, false)
        .map_err(|_| unexpected(text, origin, "`terminate`, `stop`, `hibernate` or `none`"))
}

pub(crate) fn yes_or_no(text: &str, origin: &Origin) -> Result<bool, SpecError> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(unexpected(text, origin, "`true` or `false`")),
    }
}

pub(crate) fn number(text: &str, origin: &Origin) -> Result<u32, SpecError> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or_else(|| unexpected(text, origin, "a whole number"))
}

/// A number of 1 or more.
pub(crate) fn count(text: &str, origin: &Origin) -> Result<u32, SpecError> {
    at_least_one(number(text, origin)?, origin)
}

pub(crate) fn at_least_one(number: u32, origin: &Origin) -> Result<u32, SpecError> {
    match number {
        0 => {
            let origin = origin.clone();
            Err(SpecErrorKind::Zero { origin }.into())
        }
        number => Ok(number),
    }
}

/// Values whose error needs no word from here: exit codes, numbers of failures.
pub(crate) fn parsed<T>(text: &str, origin: &Origin) -> Result<T, SpecError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| {
        let (origin, error) = (origin.clone(), error.to_string());
        SpecErrorKind::Value { origin, error }.into()
    })
}

/// A list with commas. Templates named twice count once; the result is sorted.
pub(crate) fn policies(
    values: &[String],
    origin: &Origin,
) -> Result<Vec<PolicyTemplate>, SpecError> {
    let mut policies = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|text| {
            PolicyTemplate::read(text).map_err(|meant| {
                let (origin, text) = (origin.clone(), text.to_owned());
                SpecErrorKind::Policy {
                    origin,
                    text,
                    meant,
                }
                .into()
            })
        })
        .collect::<Result<Vec<PolicyTemplate>, SpecError>>()?;
    policies.sort_unstable();
    policies.dedup();
    Ok(policies)
}

/// Texts such as `k=v,k2=v2`; a key may come once in all of them.
pub(crate) fn tags(values: &[String], origin: &Origin) -> Result<Tags, SpecError> {
    let fail = |error| {
        let origin = origin.clone();
        SpecError::from(SpecErrorKind::Tags { origin, error })
    };
    let mut tags = Tags::default();
    for value in values {
        let more: Tags = value.parse().map_err(fail)?;
        for (key, value) in more.iter() {
            tags.insert(key, value).map_err(fail)?;
        }
    }
    Ok(tags)
}

/// `NAME=VALUE`, or `NAME` to take it from the launching shell.
pub(crate) fn variable(text: &str, origin: &Origin) -> Result<EnvGiven, SpecError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    check_name(name, origin)?;
    let name = name.to_owned();
    Ok(EnvGiven { name, value })
}

pub(crate) fn unexpected(text: &str, origin: &Origin, expected: &'static str) -> SpecError {
    let (origin, text) = (origin.clone(), text.to_owned());
    SpecErrorKind::Unexpected {
        origin,
        text,
        expected,
    }
    .into()
}
