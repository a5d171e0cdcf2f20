//! Tags a user puts on what a launch makes: `--tags project=genome,owner=ana`.
//!
//! Source of the limits: the EC2 user guide, "Tag your Amazon EC2 resources":
//! 50 tags, keys of 1 to 128 and values of 0 to 256 characters, no `aws:`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most tags a user may give: AWS allows 50, and 5 are kept for our own.
pub const MAX_TAGS: usize = 45;
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 256;

/// Valid tags, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one tag.
    ///
    /// # Errors
    /// [`TagError`] if it is not valid, there is one of that key, or there are
    /// [`MAX_TAGS`] already.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), TagError> {
        check_key(key)?;
        check_value(key, value)?;
        if self.0.contains_key(key) {
            return Err(TagError::Twice { key: key.into() });
        }
        if self.0.len() == MAX_TAGS {
            return Err(TagError::TooMany);
        }
        self.0.insert(key.into(), value.into());
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), TagError> {
    if key.is_empty() {
        return Err(TagError::NoKey);
    }
    if key.chars().count() > MAX_KEY_CHARS {
        return Err(TagError::KeyTooLong { key: shorten(key) });
    }
    if key
        .get(..4)
        .is_some_and(|head| head.eq_ignore_ascii_case("aws:"))
    {
        return Err(TagError::Reserved { key: key.into() });
    }
    if key.contains('=') {
        // AWS would take it, but `--tags` could not say it.
        return Err(TagError::Character {
            text: shorten(key),
            found: '=',
        });
    }
    check_chars(key)
}

fn check_value(key: &str, value: &str) -> Result<(), TagError> {
    if value.chars().count() > MAX_VALUE_CHARS {
        return Err(TagError::ValueTooLong { key: key.into() });
    }
    check_chars(value)
}

fn check_chars(text: &str) -> Result<(), TagError> {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(found) => Err(TagError::Character {
            text: shorten(text),
            found,
        }),
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// Reads back with [`FromStr`].
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (key, value)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Tags {
    type Err = TagError;

    /// Reads `k=v,k2=v2`. The first `=` of a piece ends its key, so a value may
    /// hold more of them.
    fn from_str(text: &str) -> Result<Self, TagError> {
        let mut tags = Tags::default();
        for piece in text.split(',') {
            let (key, value) = piece.split_once('=').ok_or_else(|| TagError::NoEquals {
                piece: shorten(piece),
            })?;
            tags.insert(key, value)?;
        }
        Ok(tags)
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = TagError;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, TagError> {
        let mut tags = Tags::default();
        for (key, value) in &map {
            tags.insert(key, value)?;
        }
        Ok(tags)
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

/// Why a text is no set of tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A piece without `=`.
    #[error("`{piece}` is not a tag; expected `KEY=VALUE`, several with commas between")]
    NoEquals {
        /// The piece between commas.
        piece: String,
    },
    /// `=value`.
    #[error("a tag has no key; expected `KEY=VALUE`")]
    NoKey,
    /// A key above 128 characters.
    #[error("the key `{key}` is too long; AWS allows {MAX_KEY_CHARS} characters")]
    KeyTooLong {
        /// The key, cut short.
        key: String,
    },
    /// A value above 256 characters.
    #[error("the value of `{key}` is too long; AWS allows {MAX_VALUE_CHARS} characters")]
    ValueTooLong {
        /// The key.
        key: String,
    },
    /// A key that starts with `aws:`.
    #[error("`{key}` starts with `aws:`, which AWS keeps for itself")]
    Reserved {
        /// The key.
        key: String,
    },
    /// A character no tag may have.
    #[error("`{text}` has {found:?}; a tag takes letters, digits, spaces and `_ . : / = + - @`")]
    Character {
        /// The key or value, cut short.
        text: String,
        /// The first such character.
        found: char,
    },
    /// A key given twice.
    #[error("the key `{key}` is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// More than [`MAX_TAGS`].
    #[error("too many tags; the limit is {MAX_TAGS}")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_read_by_key() {
        let tags: Tags = "owner=ana,project=genome,empty=,formula=a=b"
            .parse()
            .unwrap();
        assert_eq!(tags.len(), 4);
        assert_eq!(tags.get("formula"), Some("a=b"));
        assert_eq!(tags.get("empty"), Some(""));
        assert_eq!(
            tags.to_string(),
            "empty=,formula=a=b,owner=ana,project=genome"
        );
    }

    #[test]
    fn each_refusal_says_what_was_expected() {
        let many: Vec<String> = (0..46).map(|n| format!("k{n}=v")).collect();
        for (text, message) in [
            (
                "",
                "`` is not a tag; expected `KEY=VALUE`, several with commas between".into(),
            ),
            (
                "a",
                "`a` is not a tag; expected `KEY=VALUE`, several with commas between".into(),
            ),
            (
                "a=1,",
                "`` is not a tag; expected `KEY=VALUE`, several with commas between".into(),
            ),
            ("=v", "a tag has no key; expected `KEY=VALUE`".into()),
            (
                "aws:x=1",
                "`aws:x` starts with `aws:`, which AWS keeps for itself".into(),
            ),
            (
                "AWS:x=1",
                "`AWS:x` starts with `aws:`, which AWS keeps for itself".into(),
            ),
            ("a=1,a=2", "the key `a` is given twice".into()),
            (
                "a=b!",
                "`b!` has '!'; a tag takes letters, digits, spaces and `_ . : / = + - @`".into(),
            ),
            (
                &format!("{}=v", "k".repeat(129)),
                format!(
                    "the key `{}...` is too long; AWS allows 128 characters",
                    "k".repeat(40)
                ),
            ),
            (
                &format!("k={}", "v".repeat(257)),
                "the value of `k` is too long; AWS allows 256 characters".into(),
            ),
            (&many.join(","), "too many tags; the limit is 45".into()),
        ] {
            assert_eq!(text.parse::<Tags>().unwrap_err().to_string(), message);
        }
        let longest = format!("{}={}", "é".repeat(128), "é".repeat(256));
        assert_eq!(longest.parse::<Tags>().unwrap().len(), 1);
        assert_eq!(many[..45].join(",").parse::<Tags>().unwrap().len(), 45);
    }

    #[test]
    fn stored_as_a_map_and_checked_again() {
        let tags: Tags = "b=2,a=1".parse().unwrap();
        let json = serde_json::to_string(&tags).unwrap();
        assert_eq!(json, r#"{"a":"1","b":"2"}"#);
        assert_eq!(serde_json::from_str::<Tags>(&json).unwrap(), tags);
        assert!(serde_json::from_str::<Tags>(r#"{"aws:a":"1"}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(
            map in prop::collection::btree_map("[a-z0-9/:@]{1,9}", "[a-z =+-]{0,9}", 1..9)
        ) {
            if let Ok(tags) = Tags::try_from(map) {
                prop_assert_eq!(tags.to_string().parse(), Ok(tags));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<Tags>();
        }
    }
}
