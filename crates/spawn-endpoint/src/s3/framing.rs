//! The framing of uploads that are sent as `aws-chunked`, watched as it passes.
//!
//! `s3s` decodes the chunks and checks their signatures. It takes a body that breaks off between two
//! chunks, or before an announced trailer, for a whole one, and it gathers each chunk in memory,
//! however large. So what it gets passes through here: ends and trailers are checked, unsigned
//! chunks are cut into the pieces that they arrive in, and the size of signed ones is made known
//! before they come.
//!
//! ```text
//! 10000;chunk-signature=...\r\n  DATA  \r\n     ...     0;chunk-signature=...\r\n
//! x-amz-checksum-crc32:...\r\n  x-amz-trailer-signature:...\r\n  \r\n
//! ```

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;

use crate::authorization::only;
use crate::bodies::{BodyFault, MAX_BODY};

/// The longest line before a chunk.
const MAX_LINE: usize = 1024;
/// The most that may follow the last chunk.
const MAX_TRAILERS: usize = 16 * 1024;
/// Signed chunks up to this size need no room of their own.
const SMALL: usize = 128 * 1024;

/// Where in the body we are.
enum State {
    /// In the line before a chunk.
    Line(BytesMut),
    /// In the data of a chunk, of which so many bytes are to come.
    Data(usize),
    /// In the line end after the data, of which so much is to come.
    LineEnd(&'static [u8]),
    /// After the last chunk.
    Trailers(BytesMut),
}

/// Watches one body.
pub(super) struct Framing {
    signed: bool,
    /// The trailers that must come; nothing if none may.
    announced: Option<BTreeSet<String>>,
    /// What the data must add up to.
    announced_length: Option<u64>,
    length: u64,
    state: State,
}

impl Framing {
    /// For a request whose head says that its body is framed; nothing for any other.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = only(headers, "x-amz-content-sha256")?;
        let rest = kind.strip_prefix("STREAMING-")?;
        let names = headers.get_all("x-amz-trailer").iter();
        let names = names.flat_map(|value| value.to_str().unwrap_or_default().split(','));
        let names = names.map(|name| name.trim().to_ascii_lowercase());
        Some(Self {
            signed: rest != "UNSIGNED-PAYLOAD-TRAILER",
            announced: rest.ends_with("-TRAILER").then(|| names.collect()),
            announced_length: only(headers, "x-amz-decoded-content-length")
                .and_then(|length| length.parse().ok()),
            length: 0,
            state: State::Line(BytesMut::new()),
        })
    }

    /// Takes in what has arrived and appends what is to be handed on. Says how much memory the chunk
    /// that begins will take before anything of it is taken in; then it is to be called again.
    pub(super) fn feed(
        &mut self,
        input: &mut Bytes,
        output: &mut VecDeque<Bytes>,
    ) -> Result<Option<usize>, BodyFault> {
        while !input.is_empty() {
            match &mut self.state {
                State::Line(line) => {
                    let end = input.iter().position(|byte| *byte == b'\n');
                    let taken = input.split_to(end.map_or(input.len(), |end| end + 1));
                    line.extend_from_slice(&taken);
                    if line.len() > MAX_LINE {
                        return Err(BodyFault::Incomplete("The line before a chunk is too long"));
                    }
                    if end.is_some() {
                        let line = std::mem::take(line).freeze();
                        let size = self.begin(&line, output)?;
                        if self.signed && size > SMALL {
                            return Ok(Some(size));
                        }
                    }
                }
                State::Data(left) => {
                    let data = input.split_to((*left).min(input.len()));
                    *left -= data.len();
                    let ended = *left == 0;
                    if self.signed {
                        output.push_back(data);
                    } else {
                        output.push_back(Bytes::from(format!("{:x}\r\n", data.len())));
                        output.push_back(data);
                        output.push_back(Bytes::from_static(b"\r\n"));
                    }
                    if ended {
                        self.state = State::LineEnd(b"\r\n");
                    }
                }
                State::LineEnd(expected) => {
                    let byte = input.split_to(1);
                    if byte[0] != expected[0] {
                        return Err(BodyFault::Incomplete(
                            "A chunk is longer than its size says",
                        ));
                    }
                    if self.signed {
                        output.push_back(byte);
                    }
                    let rest = &expected[1..];
                    self.state = if rest.is_empty() {
                        State::Line(BytesMut::new())
                    } else {
                        State::LineEnd(rest)
                    };
                }
                State::Trailers(text) => {
                    text.extend_from_slice(&std::mem::take(input));
                    if text.len() > MAX_TRAILERS {
                        let how = "The trailers of the body are too long";
                        return Err(BodyFault::MalformedTrailer(how.to_owned()));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads the line before a chunk and says how long the chunk is.
    fn begin(&mut self, line: &Bytes, output: &mut VecDeque<Bytes>) -> Result<usize, BodyFault> {
        let wrong =
            BodyFault::Incomplete("The line before a chunk is not `SIZE;chunk-signature=...`");
        let text = line
            .strip_suffix(b"\r\n")
            .and_then(|text| std::str::from_utf8(text).ok());
        let text = text.ok_or(wrong.clone())?;
        let (size, extension) = text
            .split_once(';')
            .map_or((text, None), |(s, e)| (s, Some(e)));
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let signature = extension.and_then(|text| text.strip_prefix("chunk-signature="));
        let signed = signature.is_some_and(|text| text.len() == 64 && hex(text));
        if signed != self.signed || extension.is_some() != self.signed {
            return Err(wrong);
        }
        if size.is_empty() || size.len() > 8 || !hex(size) {
            return Err(BodyFault::Incomplete("The size of a chunk is not a number"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| wrong)?;
        self.length += size as u64;
        if self
            .announced_length
            .is_some_and(|length| self.length > length)
        {
            return Err(BodyFault::Incomplete(
                "The body is longer than x-amz-decoded-content-length says",
            ));
        }
        if self.signed && size > MAX_BODY {
            return Err(BodyFault::TooLarge);
        }
        if self.signed {
            output.push_back(line.clone());
        }
        self.state = match size {
            0 => State::Trailers(BytesMut::new()),
            size => State::Data(size),
        };
        Ok(size)
    }

    /// Whether the body may end here; appends what was held back of it.
    pub(super) fn end(&mut self, output: &mut VecDeque<Bytes>) -> Result<(), BodyFault> {
        let State::Trailers(text) = &mut self.state else {
            return Err(BodyFault::Incomplete("The body ends before its last chunk"));
        };
        if self
            .announced_length
            .is_some_and(|length| self.length != length)
        {
            return Err(BodyFault::Incomplete(
                "You did not provide the number of bytes specified by x-amz-decoded-content-length",
            ));
        }
        let text = std::mem::take(text).freeze();
        check_trailers(&text, self.announced.as_ref())?;
        if !self.signed {
            output.push_back(Bytes::from_static(b"0\r\n"));
        }
        output.push_back(text);
        Ok(())
    }
}

/// Exactly what was announced must have come.
fn check_trailers(text: &[u8], announced: Option<&BTreeSet<String>>) -> Result<(), BodyFault> {
    let malformed = |how: String| Err(BodyFault::MalformedTrailer(how));
    let text = String::from_utf8_lossy(text);
    if !text.is_empty() && !text.ends_with('\n') {
        return malformed("The trailers of the body break off".to_owned());
    }
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            return malformed(format!("`{line}` is not a trailer"));
        };
        let name = name.trim().to_ascii_lowercase();
        if value.trim().is_empty() || !found.insert(name.clone()) {
            return malformed(format!("The trailer {name} is empty or is given twice"));
        }
    }
    found.remove("x-amz-trailer-signature");
    let none = BTreeSet::new();
    let announced = announced.unwrap_or(&none);
    if let Some(missing) = announced.difference(&found).next() {
        return malformed(format!(
            "The trailer {missing} was announced and did not come"
        ));
    }
    if let Some(extra) = found.difference(announced).next() {
        return malformed(format!("The trailer {extra} was not announced"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(kind: &str, trailer: Option<&str>, length: &str) -> Framing {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-content-sha256", kind.parse().unwrap());
        headers.insert("x-amz-decoded-content-length", length.parse().unwrap());
        if let Some(trailer) = trailer {
            headers.insert("x-amz-trailer", trailer.parse().unwrap());
        }
        Framing::of(&headers).unwrap()
    }

    /// Feeds `text` in pieces of `size` bytes.
    fn pass(mut framing: Framing, text: &str, size: usize) -> Result<String, BodyFault> {
        let mut output = VecDeque::new();
        for piece in text.as_bytes().chunks(size) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                framing.feed(&mut piece, &mut output)?;
            }
        }
        framing.end(&mut output)?;
        Ok(String::from_utf8(output.into_iter().flatten().collect()).unwrap())
    }

    fn unsigned() -> Framing {
        let kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
        framing(kind, Some("x-amz-checksum-crc32"), "5")
    }

    #[test]
    fn unsigned_chunks_are_cut_as_they_arrive() {
        let text = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        assert_eq!(pass(unsigned(), text, 1000).unwrap(), text);
        assert_eq!(
            pass(unsigned(), text, 5).unwrap(),
            "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
        );
        for size in 1..text.len() {
            pass(unsigned(), text, size).unwrap();
        }
    }

    #[test]
    fn signed_chunks_pass_as_they_are() {
        let signature = "a".repeat(64);
        let text = format!(
            "5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\n\r\n"
        );
        for size in 1..text.len() {
            let framing = framing("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None, "5");
            assert_eq!(pass(framing, &text, size).unwrap(), text);
        }
    }

    #[test]
    fn a_large_signed_chunk_is_known_before_it_comes() {
        let mut framing = framing("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None, "1048576");
        let line = format!("100000;chunk-signature={}\r\nx", "a".repeat(64));
        let mut input = Bytes::from(line);
        let mut output = VecDeque::new();
        assert_eq!(framing.feed(&mut input, &mut output), Ok(Some(1 << 20)));
        assert_eq!(&input[..], b"x", "nothing of it was taken in");
    }

    #[test]
    fn what_breaks_off_is_not_whole() {
        let incomplete = |text: &str| {
            let done = pass(unsigned(), text, 1000);
            assert!(
                matches!(done, Err(BodyFault::Incomplete(_))),
                "{text:?}: {done:?}"
            );
        };
        incomplete("");
        incomplete("5\r\nhel");
        incomplete("5\r\nhello");
        incomplete("5\r\nhello\r\n");
        incomplete("5\r\nhello\r\n0");
        incomplete("0\r\n\r\n");
        incomplete("6\r\nhello!\r\n0\r\n\r\n");
        incomplete("5\r\nhello!\r\n0\r\n\r\n");
        incomplete("5zz\r\nhello\r\n0\r\n\r\n");
        incomplete("\r\nhello\r\n0\r\n\r\n");
        incomplete("-5\r\nhello\r\n0\r\n\r\n");
        incomplete("ffffffffff\r\nhello\r\n0\r\n\r\n");
        let signature = "a".repeat(64);
        incomplete(&format!(
            "5;chunk-signature={signature}\r\nhello\r\n0\r\n\r\n"
        ));
    }

    #[test]
    fn trailers_are_those_that_were_announced() {
        for trailers in [
            "",
            "\r\n",
            "x-amz-checksum-crc32:AAAA",
            "x-amz-checksum-crc32:\r\n\r\n",
            "x-amz-checksum-sha1:AAAA\r\n\r\n",
            "x-amz-checksum-crc32:A\r\nx-amz-checksum-crc32:A\r\n\r\n",
            "x-amz-checksum-crc32:A\r\nx-amz-meta-a:b\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let text = format!("5\r\nhello\r\n0\r\n{trailers}");
            let done = pass(unsigned(), &text, 1000);
            assert!(
                matches!(done, Err(BodyFault::MalformedTrailer(_))),
                "{trailers:?}: {done:?}"
            );
        }
    }
}
