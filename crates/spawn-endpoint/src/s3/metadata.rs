//! What is kept of an object beside its content.

use std::collections::BTreeMap;

use s3s::dto::Timestamp;
use serde::{Deserialize, Serialize};

use super::checksums::Checksums;

/// Headers, user metadata, tags and checksums of an object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) user: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Checksums::is_empty")]
    pub(super) checksums: Checksums,
    /// Sizes of the parts of a multipart upload, in bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) part_sizes: Vec<u64>,
}

/// The metadata in the input of an operation that creates an object.
macro_rules! metadata_of {
    ($input:expr) => {
        Metadata {
            content_type: $input.content_type.take(),
            content_encoding: $crate::s3::metadata::stored_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            content_disposition: $input.content_disposition.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take(),
            user: $input
                .metadata
                .take()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            tags: $crate::s3::tags::from_header($input.tagging.as_deref()),
            ..Metadata::default()
        }
    };
}
pub(super) use metadata_of;

/// `aws-chunked` is how a body travelled, not what it is.
pub(super) fn stored_encoding(header: Option<String>) -> Option<String> {
    let header = header?;
    let kept: Vec<_> = header
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && *encoding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}
