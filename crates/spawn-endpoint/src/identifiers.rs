//! Random identifiers, from the operating system.

/// `N` random bytes, or nothing if the operating system has none to give.
pub(crate) fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// `2 * N` random hexadecimal digits.
///
/// # Panics
/// If the operating system gives no random bytes. Linux does so only before its pool is first
/// filled, and then the endpoint's credentials could not have been made either.
pub(crate) fn hex<const N: usize>() -> String {
    to_hex(&bytes::<N>().expect("the operating system gives random bytes"))
}

/// An identifier in the shape of a random UUID, as AWS uses for messages and requests.
pub(crate) fn uuid() -> String {
    let digits = hex::<16>();
    format!(
        "{}-{}-4{}-a{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    )
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
