//! Failures, and failed AWS calls, by what they have in common: so that a thousand of them are
//! read in three lines.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::observed::FailedCall;
use crate::outcome::{Cause, Ending};

/// Failed tasks that look alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureGroup {
    /// Why they failed.
    pub cause: Cause,
    /// The exit code of all of them, if they exited.
    pub exit_code: Option<i32>,
    /// The signal that ended all of them, if one did.
    pub signal: Option<i32>,
    /// The last line of standard error of the first of them, or its message. Those of the others
    /// differ in numbers at most.
    pub line: Option<String>,
    /// How many there are.
    pub count: u64,
    /// Positions of the first few, in the order they were given.
    pub examples: Vec<u64>,
}

/// AWS calls that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallGroup {
    /// `s3`, `sqs`, `dynamodb`, ...
    pub service: String,
    /// The API operation.
    pub operation: String,
    /// The error code.
    pub code: String,
    /// What one of them was about.
    pub resource: Option<String>,
    /// Failed calls.
    pub calls: u64,
    /// Tasks that made them.
    pub tasks: u64,
    /// Positions of the first few of these tasks.
    pub examples: Vec<u64>,
}

/// Positions kept as examples of a group.
const EXAMPLES: usize = 3;

/// Groups failures; the largest group first, then the one met first.
pub fn group_failures<'a>(
    failures: impl IntoIterator<Item = (u64, &'a Ending)>,
) -> Vec<FailureGroup> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    let mut known = HashMap::new();
    for (position, ending) in failures {
        let line = ending.message.as_ref().or(ending.last_stderr.as_ref());
        let alike = line.map(|line| without_numbers(line));
        let key = (ending.cause, ending.exit_code, ending.signal, alike);
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(FailureGroup {
                cause: ending.cause,
                exit_code: ending.exit_code,
                signal: ending.signal,
                line: line.cloned(),
                count: 0,
                examples: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].count += 1;
        if groups[at].examples.len() < EXAMPLES {
            groups[at].examples.push(position);
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// Groups failed calls; the one that most tasks made first.
pub fn group_calls<'a>(tasks: impl IntoIterator<Item = (u64, &'a [FailedCall])>) -> Vec<CallGroup> {
    let mut groups: Vec<CallGroup> = Vec::new();
    for (position, calls) in tasks {
        for call in calls {
            let alike = |group: &&mut CallGroup| {
                (&group.service, &group.operation, &group.code)
                    == (&call.service, &call.operation, &call.code)
            };
            let group = match groups.iter_mut().find(alike) {
                Some(group) => group,
                None => {
                    groups.push(CallGroup {
                        service: call.service.clone(),
                        operation: call.operation.clone(),
                        code: call.code.clone(),
                        resource: call.resource.clone(),
                        calls: 0,
                        tasks: 0,
                        examples: Vec::new(),
                    });
                    groups.last_mut().expect("one was just added")
                }
            };
            group.calls += call.count;
            if group.examples.last() != Some(&position) {
                group.tasks += 1;
                if group.examples.len() < EXAMPLES {
                    group.examples.push(position);
                }
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.tasks));
    groups
}

/// The text with every run of digits as one `#`: what tells `file-00017.csv` from `file-00018.csv`
/// does not tell one failure from another.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed(code: i32, line: &str) -> Ending {
        Ending {
            exit_code: Some(code),
            last_stderr: (!line.is_empty()).then(|| line.to_owned()),
            ..Ending::of(Cause::Exit)
        }
    }

    #[test]
    fn failures_that_differ_in_numbers_only_are_one_group() {
        let endings = [
            failed(2, ""),
            failed(1, "cannot open file-00017.csv"),
            failed(1, "cannot open file-00018.csv"),
            failed(1, "out of cheese"),
            failed(1, "cannot open file-9.csv"),
            Ending::of(Cause::Timeout),
        ];
        let rows = endings.iter().enumerate().map(|(i, e)| (i as u64, e));
        let groups = group_failures(rows);
        assert_eq!(groups.len(), 4);
        assert_eq!(groups[0].count, 3);
        assert_eq!(
            groups[0].line.as_deref(),
            Some("cannot open file-00017.csv")
        );
        assert_eq!(groups[0].examples, [1, 2, 4]);
        assert_eq!((groups[1].exit_code, groups[1].count), (Some(2), 1));
    }

    #[test]
    fn calls_are_counted_by_task_and_by_call() {
        let call = |operation: &str, count| FailedCall {
            service: "s3".into(),
            operation: operation.into(),
            code: "NoSuchBucket".into(),
            resource: Some("b/k".into()),
            count,
        };
        let tasks = [
            (0, vec![call("HeadObject", 1)]),
            (1, vec![call("PutObject", 3), call("HeadObject", 1)]),
            (2, vec![call("PutObject", 1)]),
            (3, vec![call("PutObject", 1)]),
            (4, vec![call("PutObject", 1)]),
        ];
        let groups = group_calls(tasks.iter().map(|(at, calls)| (*at, calls.as_slice())));
        assert_eq!(groups[0].operation, "PutObject");
        assert_eq!((groups[0].tasks, groups[0].calls), (4, 6));
        assert_eq!(groups[0].examples, [1, 2, 3]);
        assert_eq!((groups[1].tasks, groups[1].calls), (2, 2));
    }

    proptest! {
        #[test]
        fn no_failure_is_lost(codes in prop::collection::vec((0i32..4, "[a-c0-9]{0,3}"), 0..50)) {
            let endings: Vec<Ending> = codes.iter().map(|(c, l)| failed(*c, l)).collect();
            let groups = group_failures(endings.iter().enumerate().map(|(i, e)| (i as u64, e)));
            prop_assert_eq!(groups.iter().map(|g| g.count).sum::<u64>(), endings.len() as u64);
            prop_assert!(groups.windows(2).all(|w| w[0].count >= w[1].count));
        }
    }
}
