//! An IAM policy document from a file: read, held against the grammar of policies, and made small.

use std::path::Path;

use crate::document::{self, Entry, Malformed, Node, Value};
use crate::error::{SpecError, SpecErrorKind};
use crate::file_problem::FileProblem;
use crate::position::Position;
use crate::spelling::closest;

/// What a role's inline policies may have in all, in characters without white space.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const MAX_CHARACTERS: usize = 10_240;

const OF_POLICY: [&str; 3] = ["Version", "Id", "Statement"];
const OF_STATEMENT: [&str; 7] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];
const PRINCIPALS: [&str; 2] = ["Principal", "NotPrincipal"];

/// What is wrong with a policy, beside its JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind and field is")]
pub enum PolicyProblem {
    #[error("is empty; expected a policy document in JSON")]
    Empty,
    #[error("the policy is {found}; expected an object with `Statement`")]
    NotAnObject { found: &'static str },
    #[error("the policy has no `Statement`; expected a list of statements")]
    NoStatement,
    #[error("a statement is {found}; expected an object with `Effect`, `Action` and `Resource`")]
    StatementNotAnObject { found: &'static str },
    #[error("the statement has no {expected}")]
    Lacks { expected: &'static str },
    #[error("`{one}` and `{other}` are in one statement; expected one of them")]
    Both {
        one: &'static str,
        other: &'static str,
    },
    #[error("`{key}` is not for what a role may do: it is the role that may")]
    Principal { key: String },
    #[error("the action `{text}` names no service; expected such as `s3:GetObject`, or `*`")]
    Action { text: String },
    #[error("the resource `{text}` is no ARN; expected such as `arn:aws:s3:::bucket/*`, or `*`")]
    Resource { text: String },
    #[error(
        "the policy has {size} characters without white space, above the limit of {MAX_CHARACTERS}"
    )]
    TooLong { size: usize },
}

impl PolicyProblem {
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Principal { key } => format!("leave `{key}` out"),
            Self::TooLong { .. } => {
                "make it a managed policy, and give its ARN to `--iam-managed-policies`".into()
            }
            _ => return None,
        })
    }
}

/// Reads a policy document; gives it as JSON without white space, otherwise as it was.
pub(crate) fn read(path: &Path, launch_dir: &Path) -> Result<String, SpecError> {
    let text = crate::text_file::read(&launch_dir.join(path));
    text.and_then(|text| minified(&text))
        .map_err(|malformed| in_file(path, malformed))
}

fn in_file(path: &Path, malformed: Malformed) -> SpecError {
    let Malformed { at, problem } = malformed;
    let (file, problem) = (path.display().to_string(), Box::new(problem));
    SpecErrorKind::File { file, at, problem }.into()
}

fn malformed(at: Position, problem: PolicyProblem) -> Malformed {
    Malformed::new(at, FileProblem::Policy(problem))
}

fn minified(text: &str) -> Result<String, Malformed> {
    let root = document::json::read(text)?;
    let root = root.ok_or(Malformed {
        at: None,
        problem: FileProblem::Policy(PolicyProblem::Empty),
    })?;
    check(&root)?;
    let json = root.to_text();
    let size = json.chars().filter(|c| !c.is_whitespace()).count();
    match size {
        ..=MAX_CHARACTERS => Ok(json),
        _ => Err(malformed(root.at, PolicyProblem::TooLong { size })),
    }
}

fn check(root: &Node) -> Result<(), Malformed> {
    let Value::Map(entries) = &root.value else {
        let found = root.kind();
        return Err(malformed(root.at, PolicyProblem::NotAnObject { found }));
    };
    check_keys(entries, &OF_POLICY, "`Version`, `Id` or `Statement`")?;
    if let Some(version) = find(entries, "Version") {
        let expected = "`2012-10-17` or `2008-10-17`";
        let text = text(version, &version.node, expected)?;
        if !matches!(text, "2012-10-17" | "2008-10-17") {
            return Err(wrong(version, &version.node, expected));
        }
    }
    match find(entries, "Statement") {
        None => Err(malformed(root.at, PolicyProblem::NoStatement)),
        Some(Entry { node, .. }) => match &node.value {
            Value::List(statements) if statements.is_empty() => {
                Err(malformed(node.at, PolicyProblem::NoStatement))
            }
            Value::List(statements) => statements.iter().try_for_each(check_statement),
            _ => check_statement(node),
        },
    }
}

fn check_statement(node: &Node) -> Result<(), Malformed> {
    let Value::Map(entries) = &node.value else {
        let found = node.kind();
        let problem = PolicyProblem::StatementNotAnObject { found };
        return Err(malformed(node.at, problem));
    };
    check_keys(entries, &OF_STATEMENT, "an element of a statement")?;
    let lacks = |expected| malformed(node.at, PolicyProblem::Lacks { expected });

    let allow_or_deny = "`Allow` or `Deny`";
    let effect = find(entries, "Effect").ok_or_else(|| lacks("`Effect`"))?;
    if !matches!(text(effect, &effect.node, allow_or_deny)?, "Allow" | "Deny") {
        return Err(wrong(effect, &effect.node, allow_or_deny));
    }

    let actions = either(entries, "Action", "NotAction")?;
    let actions = actions.ok_or_else(|| lacks("`Action` or `NotAction`"))?;
    for (at, text) in texts(actions, "actions such as `s3:GetObject`")? {
        let names_service = text
            .split_once(':')
            .is_some_and(|(service, action)| !service.is_empty() && !action.is_empty());
        if text != "*" && !names_service {
            let text = text.to_owned();
            return Err(malformed(at, PolicyProblem::Action { text }));
        }
    }

    let resources = either(entries, "Resource", "NotResource")?;
    let resources = resources.ok_or_else(|| lacks("`Resource` or `NotResource`"))?;
    for (at, text) in texts(resources, "ARNs such as `arn:aws:s3:::bucket/*`")? {
        if text != "*" && !text.starts_with("arn:") {
            let text = text.to_owned();
            return Err(malformed(at, PolicyProblem::Resource { text }));
        }
    }

    let condition = find(entries, "Condition");
    match condition.map(|entry| (entry, &entry.node.value)) {
        None | Some((_, Value::Map(_))) => Ok(()),
        Some((entry, _)) => Err(wrong(entry, &entry.node, "an object of operators")),
    }
}

fn check_keys(
    entries: &[Entry],
    known: &[&'static str],
    expected: &'static str,
) -> Result<(), Malformed> {
    for entry in entries {
        let key = entry.key.clone();
        if PRINCIPALS.contains(&key.as_str()) {
            return Err(malformed(entry.at, PolicyProblem::Principal { key }));
        }
        if !known.contains(&key.as_str()) {
            let problem = FileProblem::UnknownKey {
                meant: closest(&key, known),
                key,
                expected,
            };
            return Err(Malformed::new(entry.at, problem));
        }
    }
    Ok(())
}

fn find<'e>(entries: &'e [Entry], key: &str) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.key == key)
}

fn either<'e>(
    entries: &'e [Entry],
    one: &'static str,
    other: &'static str,
) -> Result<Option<&'e Entry>, Malformed> {
    match (find(entries, one), find(entries, other)) {
        (Some(_), Some(second)) => Err(malformed(second.at, PolicyProblem::Both { one, other })),
        (first, second) => Ok(first.or(second)),
    }
}

fn wrong(entry: &Entry, node: &Node, expected: &'static str) -> Malformed {
    let key = entry.key.clone();
    let problem = match &node.value {
        Value::Text(found) => FileProblem::WrongText {
            key,
            found: found.clone(),
            expected,
        },
        _ => FileProblem::Wrong {
            key,
            found: node.kind(),
            expected,
        },
    };
    Malformed::new(node.at, problem)
}

/// A JSON string; numbers and words such as `true` are none.
fn text<'e>(entry: &Entry, node: &'e Node, expected: &'static str) -> Result<&'e str, Malformed> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong(entry, node, expected)),
    }
}

/// One string or a list of them, at least one.
fn texts<'e>(
    entry: &'e Entry,
    expected: &'static str,
) -> Result<Vec<(Position, &'e str)>, Malformed> {
    let nodes = match &entry.node.value {
        Value::List(nodes) if !nodes.is_empty() => nodes.as_slice(),
        Value::List(_) => {
            let key = entry.key.clone();
            let problem = FileProblem::NoValue { key, expected };
            return Err(Malformed::new(entry.node.at, problem));
        }
        _ => std::slice::from_ref(&entry.node),
    };
    let texts = nodes
        .iter()
        .map(|node| Ok((node.at, text(entry, node, expected)?)));
    texts.collect()
}
