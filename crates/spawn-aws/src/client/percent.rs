//! Percent-encoding as signatures want it: everything but unreserved characters.

/// Encodes one part of a path or query; bytes of `keep` stay.
#[must_use]
pub fn encode(text: &str, keep: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// `a=b&c=d` of pairs; a pair without value is `a=`.
#[must_use]
pub fn pairs<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    pairs
        .iter()
        .map(|(n, v)| format!("{}={}", encode(n.as_ref(), b""), encode(v.as_ref(), b"")))
        .collect::<Vec<_>>()
        .join("&")
}

/// The bytes that `%XX` and other characters stand for, read as UTF-8.
#[must_use]
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(encode("a b/ü~*+%", b""), "a%20b%2F%C3%BC~%2A%2B%25");
        assert_eq!(encode("a/b", b"/"), "a/b");
        assert_eq!(decode(&encode("a b/ü~*+%\u{0}", b"")), "a b/ü~*+%\u{0}");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(pairs(&[("a", ""), ("b", "c d")]), "a=&b=c%20d");
    }
}
