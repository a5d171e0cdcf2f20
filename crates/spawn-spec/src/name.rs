//! What an array is called.

use spawn_core::array_id::ArrayId;

use crate::error::{SpecError, SpecErrorKind};
use crate::origin::Origin;

const MAX_CHARS: usize = 64;

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Makes a name of a text: what is not allowed becomes `-`. `None` if nothing
/// is left that could be read.
pub(crate) fn sanitise(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(MAX_CHARS)
        .collect();
    let name = name.trim_matches(['-', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Checks a name that the user chose.
pub(crate) fn check(text: &str, origin: &Origin) -> Result<String, SpecError> {
    let given = || (origin.clone(), text.to_owned());
    let fits = !text.is_empty()
        && text.len() <= MAX_CHARS
        && text.chars().all(allowed)
        && !text.starts_with(['-', '.']);
    if !fits {
        let (origin, text) = given();
        return Err(SpecErrorKind::Name { origin, text }.into());
    }
    if is_misleading(text) {
        let (origin, text) = given();
        return Err(SpecErrorKind::NameMisleads { origin, text }.into());
    }
    Ok(text.to_owned())
}

/// Makes a name of where the program comes from: a file's stem, a command.
pub(crate) fn derive(from: &str) -> String {
    let stem = match from.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => from,
    };
    match sanitise(stem) {
        Some(name) if !is_misleading(&name) => name,
        _ => "script".into(),
    }
}

/// Other commands take an id, a name or `last`; a name must not look like the others.
fn is_misleading(name: &str) -> bool {
    name == "last" || name.parse::<ArrayId>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, SpecError> {
        super::check(text, &Origin::Flag("--name"))
    }

    #[test]
    fn names_come_from_files() {
        for (from, name) in [
            ("process-chunk.sh", "process-chunk"),
            ("train.v2.py", "train.v2"),
            ("my script (1).sh", "my-script--1"),
            (".hidden", "hidden"),
            ("---", "script"),
            ("last.sh", "script"),
            ("", "script"),
            ("é.sh", "script"),
        ] {
            assert_eq!(derive(from), name, "{from}");
        }
        assert_eq!(derive(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn chosen_names_are_checked() {
        assert_eq!(check("genome_2.1-a").unwrap(), "genome_2.1-a");
        for bad in ["", "a b", "-x", "../x", "a/b", "é", &"x".repeat(65)] {
            assert!(matches!(
                check(bad).unwrap_err().kind,
                SpecErrorKind::Name { .. }
            ));
        }
        for bad in ["last", "array-20260127-abc123"] {
            let error = check(bad).unwrap_err();
            assert!(
                matches!(error.kind, SpecErrorKind::NameMisleads { .. }),
                "{bad}"
            );
        }
    }
}
