//! The completion file: what a script writes to `/tmp/SPAWN_COMPLETE`, plain or JSON.

use crate::outcome::{Completion, Status};

/// A completion file that says nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the completion file says {found:?}; expected `success`, `failed` or `skipped`, or JSON with a `status`"
)]
pub struct UnknownCompletion {
    /// The beginning of what it says.
    pub found: String,
}

/// The longest message that is kept, in characters; the rest is cut off.
pub const LONGEST_MESSAGE: usize = 4096;

/// Reads a completion file.
///
/// An empty file means success: `touch /tmp/SPAWN_COMPLETE` is how the simplest scripts say it.
/// Otherwise either JSON, `{"status": "failed", "message": "..."}`, or plain text whose first
/// word is the status and whose rest is the message.
pub fn parse(content: &[u8]) -> Result<Completion, UnknownCompletion> {
    let text = String::from_utf8_lossy(content);
    let text = text.trim();
    let unknown = || UnknownCompletion {
        found: text.chars().take(60).collect(),
    };
    if text.is_empty() {
        return Ok(Completion {
            status: Status::Success,
            message: None,
        });
    }
    if text.starts_with('{') {
        return json(text).ok_or_else(unknown);
    }
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let status = Status::from_word(word.trim_end_matches(':')).ok_or_else(unknown)?;
    let rest = rest.trim();
    Ok(Completion {
        status,
        message: kept(rest),
    })
}

fn json(text: &str) -> Option<Completion> {
    #[derive(serde::Deserialize)]
    struct Wire {
        status: String,
        message: Option<String>,
    }
    let wire: Wire = serde_json::from_str(text).ok()?;
    Some(Completion {
        status: Status::from_word(&wire.status)?,
        message: wire.message.as_deref().and_then(kept),
    })
}

fn kept(message: &str) -> Option<String> {
    (!message.is_empty()).then(|| message.chars().take(LONGEST_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(Status, Option<String>)> {
        parse(text.as_bytes()).ok().map(|c| (c.status, c.message))
    }

    #[test]
    fn plain_and_json_both_speak() {
        assert_eq!(read(""), Some((Status::Success, None)));
        assert_eq!(read("success\n"), Some((Status::Success, None)));
        assert_eq!(
            read("failed: no space left"),
            Some((Status::Failed, Some("no space left".into())))
        );
        assert_eq!(
            read(r#"{"status":"failed","message":"bad row","exit":3}"#),
            Some((Status::Failed, Some("bad row".into())))
        );
        assert_eq!(
            read(r#"{"status":"skipped"}"#),
            Some((Status::Skipped, None))
        );
        let long = format!("failed {}", "é".repeat(5000));
        let message = read(&long).and_then(|(_, message)| message);
        assert_eq!(message.map(|m| m.chars().count()), Some(LONGEST_MESSAGE));
        assert_eq!(read("maybe"), None);
        assert_eq!(read("{\"status\":"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_likely_text_is_read_or_refused(
            text in r#"(success|failed|skipped|\{"status": ?"[a-z]{0,9}"\}?)?[ :\n{}"]{0,3}\PC{0,40}"#,
        ) {
            if let Ok(read) = parse(text.as_bytes()) {
                let long = read.message.map_or(0, |m| m.chars().count());
                prop_assert!(long <= LONGEST_MESSAGE);
            }
        }

        #[test]
        fn a_message_is_kept_whole_or_cut_at_a_character(message in "\\PC{1,30}", times in 1_usize..400) {
            let message = message.repeat(times);
            let json = serde_json::json!({"status": "failed", "message": message}).to_string();
            let read = parse(json.as_bytes()).unwrap().message.unwrap();
            prop_assert!(message.starts_with(&read));
            prop_assert_eq!(read.chars().count(), message.chars().count().min(LONGEST_MESSAGE));
        }
    }
}
