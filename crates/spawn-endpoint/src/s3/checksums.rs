//! The checksums that clients send beside the ETag, and how those of parts make one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum_combine};
use hyper::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use serde::{Deserialize, Serialize};

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Algorithm {
    #[serde(rename = "CRC32")]
    Crc32,
    #[serde(rename = "CRC32C")]
    Crc32c,
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    #[serde(rename = "SHA1")]
    Sha1,
    #[serde(rename = "SHA256")]
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn crc(self) -> Option<(CrcAlgorithm, usize)> {
        match self {
            Self::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
            Self::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
            Self::Crc64Nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// Checksums in base64, by algorithm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksums {
    #[serde(flatten)]
    values: BTreeMap<Algorithm, String>,
    /// Whether the values are of the concatenated checksums of parts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) composite: bool,
}

impl Checksums {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn get(&self, algorithm: Algorithm) -> Option<String> {
        self.values.get(&algorithm).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Algorithm, &str)> {
        self.values
            .iter()
            .map(|(algorithm, value)| (*algorithm, value.as_str()))
    }

    pub(super) fn insert(&mut self, algorithm: Algorithm, value: String) {
        self.values.insert(algorithm, value);
    }

    /// The values in the headers of a request.
    pub(super) fn in_headers(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers
                .get(algorithm.header())
                .and_then(|v| v.to_str().ok())
            {
                found.insert(algorithm, value.trim().to_owned());
            }
        }
        found
    }
}

/// The algorithms that the headers of an upload give, announce as trailers, or name.
pub(super) fn wanted(headers: &HeaderMap) -> Vec<Algorithm> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let trailers = text("x-amz-trailer");
    Algorithm::ALL
        .into_iter()
        .filter(|algorithm| {
            headers.contains_key(algorithm.header())
                || trailers
                    .split(',')
                    .any(|name| name.trim().eq_ignore_ascii_case(algorithm.header()))
                || ["x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"]
                    .iter()
                    .any(|name| text(name).eq_ignore_ascii_case(algorithm.name()))
        })
        .collect()
}

/// A hasher of `algorithms` in one pass.
pub(super) fn hasher(algorithms: &[Algorithm]) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for algorithm in algorithms {
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Algorithm::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
    }
    hasher
}

/// What `hasher` found.
pub(super) fn finish(hasher: ChecksumHasher) -> Checksums {
    let found = hasher.finalize();
    let values = [
        (Algorithm::Crc32, found.checksum_crc32),
        (Algorithm::Crc32c, found.checksum_crc32c),
        (Algorithm::Crc64Nvme, found.checksum_crc64nvme),
        (Algorithm::Sha1, found.checksum_sha1),
        (Algorithm::Sha256, found.checksum_sha256),
    ];
    Checksums {
        values: values
            .into_iter()
            .filter_map(|(algorithm, value)| Some((algorithm, value?)))
            .collect(),
        composite: false,
    }
}

/// The checksum of an object from those of its parts: of the whole content, or of the parts'
/// checksums one after another. Nothing if a part has none.
pub(super) fn of_parts(
    algorithm: Algorithm,
    full_object: bool,
    parts: &[(u64, Checksums)],
) -> Option<Checksums> {
    let decoded: Vec<(u64, Vec<u8>)> = parts
        .iter()
        .map(|(size, checksums)| Some((*size, BASE64.decode(checksums.get(algorithm)?).ok()?)))
        .collect::<Option<_>>()?;
    let mut made = Checksums::default();
    if full_object {
        let (crc, width) = algorithm.crc()?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u64, |n, byte| (n << 8) | u64::from(*byte))
        };
        let mut parts = decoded.iter();
        let mut whole = number(&parts.next()?.1);
        for (size, checksum) in parts {
            whole = checksum_combine(crc, whole, number(checksum), *size);
        }
        made.insert(algorithm, BASE64.encode(&whole.to_be_bytes()[8 - width..]));
    } else {
        let mut hasher = hasher(&[algorithm]);
        decoded
            .iter()
            .for_each(|(_, checksum)| hasher.update(checksum));
        let value = finish(hasher).get(algorithm)?;
        made.insert(algorithm, format!("{value}-{}", parts.len()));
        made.composite = true;
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, content: &[u8]) -> Checksums {
        let mut hasher = hasher(&[algorithm]);
        hasher.update(content);
        finish(hasher)
    }

    #[test]
    fn the_crc_of_parts_is_that_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts: Vec<_> = [&b"hello "[..], b"", b"wide world"]
                .iter()
                .map(|part| (part.len() as u64, of(algorithm, part)))
                .collect();
            let combined = of_parts(algorithm, true, &parts).unwrap();
            assert_eq!(
                combined,
                of(algorithm, b"hello wide world"),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn the_check_value_of_crc64nvme() {
        let found = of(Algorithm::Crc64Nvme, b"123456789")
            .get(Algorithm::Crc64Nvme)
            .unwrap();
        assert_eq!(
            BASE64.decode(found).unwrap(),
            0xae8b_1486_0a79_9888_u64.to_be_bytes()
        );
    }
}
