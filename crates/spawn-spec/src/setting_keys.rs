//! The names of settings in files, and what is too close to one to be anything else.

use crate::spelling::{distance, letters};

/// Every setting that `defaults` of a parameter file and `[launch]` of a configuration take.
pub(crate) const SETTINGS: [&str; 39] = [
    "name",
    "user_data",
    "user_data_file",
    "command",
    "include",
    "env",
    "iam_policy",
    "iam_policy_file",
    "iam_managed_policies",
    "iam_role",
    "workers",
    "max_concurrent",
    "provider",
    "instance_type",
    "region",
    "spot",
    "spot_max_price",
    "on_demand_base",
    "spot_fallback",
    "vpc",
    "subnet",
    "security_groups",
    "az",
    "ami",
    "volume_size",
    "volume_type",
    "volume_iops",
    "volume_throughput",
    "tags",
    "on_complete",
    "ttl",
    "timeout",
    "retries",
    "backoff",
    "backoff_max",
    "retry_on",
    "no_retry_on",
    "max_interruptions",
    "max_failures",
];

/// Those that a row may have of its own. Its name is its own too.
pub(crate) const OF_ROWS: [&str; 6] = [
    "name",
    "instance_type",
    "spot",
    "spot_max_price",
    "ttl",
    "timeout",
];

/// Settings of the whole array whose names are words that rows have used for parameters: there
/// they are parameters, and the launch says so.
pub(crate) const PARAMETERS_IN_ROWS: [&str; 6] =
    ["vpc", "subnet", "az", "ami", "volume_size", "volume_type"];

/// The setting of exactly this name, `-` being the same as `_`.
pub(crate) fn setting(key: &str) -> Option<&'static str> {
    let written = key.replace('-', "_");
    SETTINGS.into_iter().find(|name| *name == written)
}

/// How close a key is to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// It can be meant for nothing else.
    Sure(&'static str),
    /// It may be meant for it.
    Maybe(&'static str),
}

/// What setting a key that is none may be meant for.
///
/// Settings of several words are not hit by chance, so a slip or two is enough. Short ones are
/// close to many words: `spots`, `tag`, `worker` and `type` are good names of parameters. Those of
/// [`PARAMETERS_IN_ROWS`] are as close to others: `aim` is no slip of `ami`, and `column_type` none
/// of `volume_type`.
pub(crate) fn likeness(key: &str) -> Option<Likeness> {
    let typed = letters(key);
    let mut maybe = None;
    for name in SETTINGS {
        let meant = letters(name);
        let slips = distance(&typed, &meant);
        if PARAMETERS_IN_ROWS.contains(&name) {
            let more: String = typed
                .strip_prefix(&*meant)
                .unwrap_or(&['-'])
                .iter()
                .collect();
            if matches!(more.as_str(), "" | "s" | "id" | "ids") {
                maybe = Some(Likeness::Maybe(name));
            }
            continue;
        }
        // What only lacks a piece, as `complete` does, may be a word of its own.
        let is_piece = slips == 2 && meant.len() >= 10 && contains(&meant, &typed);
        let sure = match meant.len() {
            // Spelled as one word, or as two.
            _ if slips == 0 => name.contains('_') || key.contains(['_', '-']),
            // Long enough for another ending: `iam_managed_policy`.
            16.. => slips <= 3,
            10.. => slips <= 2 && !is_piece,
            9 => slips <= 1,
            _ => is_doubled(&typed, &meant) || is_swapped(&typed, &meant),
        };
        if sure {
            return Some(Likeness::Sure(name));
        }
        if slips == 0 || is_piece || (meant.len() >= 6 && slips == 1) {
            maybe = Some(Likeness::Maybe(name));
        }
    }
    maybe
}

fn contains(text: &[char], piece: &[char]) -> bool {
    text.windows(piece.len().max(1)).any(|part| part == piece)
}

/// One letter typed twice: `tttl`.
fn is_doubled(typed: &[char], meant: &[char]) -> bool {
    typed.len() == meant.len() + 1
        && (1..typed.len()).any(|at| {
            typed[at] == typed[at - 1] && [&typed[..at], &typed[at + 1..]].concat() == meant
        })
}

/// Two neighbours swapped: `sopt`.
fn is_swapped(typed: &[char], meant: &[char]) -> bool {
    typed.len() == meant.len()
        && (1..typed.len()).any(|at| {
            let mut swapped = typed.to_vec();
            swapped.swap(at - 1, at);
            swapped == meant && typed != meant
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_two_spellings() {
        assert_eq!(setting("instance-type"), Some("instance_type"));
        assert_eq!(setting("spot_max_price"), Some("spot_max_price"));
        assert_eq!(setting("Instance_Type"), None);
        assert_eq!(setting("learning_rate"), None);
    }

    #[test]
    fn slips_are_found() {
        for (key, meant) in [
            ("instance-typ", "instance_type"),
            ("instancetype", "instance_type"),
            ("insance_type", "instance_type"),
            ("InstanceType", "instance_type"),
            ("INSTANCE_TYPE", "instance_type"),
            ("instance_tpye", "instance_type"),
            ("tttl", "ttl"),
            ("sopt", "spot"),
            ("spott", "spot"),
            ("nmae", "name"),
            ("regoin", "region"),
            ("time_out", "timeout"),
            ("max_conc_urrent", "max_concurrent"),
            ("maxfailure", "max_failures"),
            ("on-complet", "on_complete"),
            ("spot_maxprice", "spot_max_price"),
            ("userdata", "user_data"),
            ("retryon", "retry_on"),
            ("security_group", "security_groups"),
            ("securitygroups", "security_groups"),
            ("on_demand_bas", "on_demand_base"),
            ("ondemand_base", "on_demand_base"),
            ("spot_fallbck", "spot_fallback"),
            ("volume_iop", "volume_iops"),
            ("volume_troughput", "volume_throughput"),
            ("iam_policyfile", "iam_policy_file"),
            ("iam_managed_policy", "iam_managed_policies"),
            ("iamrole", "iam_role"),
        ] {
            assert_eq!(likeness(key), Some(Likeness::Sure(meant)), "{key}");
        }
    }

    #[test]
    fn what_may_be_a_slip_is_only_warned_about() {
        for (key, meant) in [
            ("TTL", "ttl"),
            ("Name", "name"),
            ("Region", "region"),
            ("worker", "workers"),
            ("regions", "region"),
            ("legion", "region"),
            ("timeouts", "timeout"),
            ("commands", "command"),
            ("complete", "on_complete"),
            ("use_data", "user_data"),
            ("iam_roles", "iam_role"),
            ("AZ", "az"),
            ("azs", "az"),
            ("subnets", "subnet"),
            ("subnet_id", "subnet"),
            ("vpc_id", "vpc"),
            ("VPC", "vpc"),
            ("ami_ids", "ami"),
            ("VolumeSize", "volume_size"),
        ] {
            assert_eq!(likeness(key), Some(Likeness::Maybe(meant)), "{key}");
        }
    }

    #[test]
    fn ordinary_names_of_parameters_are_let_be() {
        for key in [
            "type",
            "task_type",
            "time",
            "step",
            "steps",
            "rate",
            "learning_rate",
            "lr",
            "seed",
            "spots",
            "spot_size",
            "tag",
            "tail",
            "envs",
            "end",
            "event",
            "names",
            "game",
            "file",
            "instance",
            "instances",
            "price",
            "max_price",
            "max_steps",
            "max_depth",
            "max_tokens",
            "data",
            "user",
            "user_id",
            "try",
            "tries",
            "retry",
            "back",
            "policy",
            "model",
            "batch_size",
            "input",
            "output",
            "index",
            "chunk",
            "total",
            "test",
            "text",
            "till",
            "tool",
            "shot",
            "stop",
            "port",
            "sport",
            "sample",
            "x",
            "",
            "é",
            "array",
            "zone",
            "zones",
            "subset",
            "submit",
            "aim",
            "mai",
            "am",
            "pvc",
            "za",
            "a",
            "z",
            "jazz",
            "volume",
            "volumes",
            "volume_mode",
            "volume_time",
            "column_type",
            "column_size",
            "iops",
            "throughput",
            "size",
            "base",
            "fallback",
            "role",
            "group",
            "groups",
            "image",
            "image_id",
            "policy_file",
            "demand",
        ] {
            assert_eq!(likeness(key), None, "{key}");
        }
    }
}
