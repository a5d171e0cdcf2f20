//! Frames: four bytes of length, little-endian, then that much JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A longer frame is a broken peer.
pub const LONGEST: usize = 64 << 20;

/// Appends a message to `out` as one frame.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, message).expect("messages are plain data");
    let len = u32::try_from(out.len() - start - 4).expect("a frame is shorter than 4 GiB");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Bytes received and not yet taken as frames.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Inbox {
        Inbox::default()
    }

    /// Reads once. The number of bytes; 0 means the peer is gone.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        let mut chunk = [0u8; 8192];
        let n = from.read(&mut chunk)?;
        self.bytes.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// The next whole frame, if one is there.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let rest = &self.bytes[self.taken..];
        let Some((len, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*len) as usize;
        if len > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {len} bytes"),
            ));
        }
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.taken += 4 + len;
        Ok(Some(message))
    }
}

/// Writes one message and waits until it is on its way.
pub fn send<T: Serialize>(message: &T, to: &mut impl Write) -> io::Result<()> {
    let mut out = Vec::with_capacity(256);
    encode(message, &mut out);
    to.write_all(&out)
}

/// Waits for one message. `UnexpectedEof` if the peer is gone.
pub fn receive<T: DeserializeOwned>(inbox: &mut Inbox, from: &mut impl Read) -> io::Result<T> {
    loop {
        if let Some(message) = inbox.take()? {
            return Ok(message);
        }
        match inbox.fill(from) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        for n in 0..3u32 {
            encode(&vec![n; 5], &mut wire);
        }
        for cut in 0..wire.len() {
            let mut inbox = Inbox::new();
            let mut got: Vec<Vec<u32>> = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                inbox.fill(&mut &part[..]).unwrap();
                while let Some(m) = inbox.take().unwrap() {
                    got.push(m);
                }
            }
            assert_eq!(got, [vec![0; 5], vec![1; 5], vec![2; 5]]);
        }
    }

    #[test]
    fn a_record_with_all_its_parts_crosses_the_wire() {
        use spawn_core::counts::Counts;
        use spawn_core::moment::UnixMicros;
        use spawn_ports::ledger::{ArrayRecord, LaneCounts, NewArray};
        let record = ArrayRecord {
            submitted: NewArray {
                id: "array-20260127-abc123".parse().unwrap(),
                name: "n".into(),
                spec: "{}".into(),
                total: 3,
                budgets: Default::default(),
                deadline: UnixMicros(5),
                lanes: vec![1, 2],
            },
            created_at: UnixMicros(1),
            started_at: None,
            ended_at: None,
            intent: Default::default(),
            counts: Counts::untouched(3),
            interrupted: 0,
            workers_lost: 0,
            lanes: vec![LaneCounts::default(); 2],
        };
        let mut wire = Vec::new();
        encode(&record, &mut wire);
        let mut inbox = Inbox::new();
        inbox.fill(&mut &wire[..]).unwrap();
        assert_eq!(inbox.take::<ArrayRecord>().unwrap(), Some(record));
    }

    #[test]
    fn a_broken_peer_is_an_error() {
        let mut inbox = Inbox::new();
        inbox.fill(&mut &[255u8; 8][..]).unwrap();
        assert!(inbox.take::<u32>().is_err());
        let mut inbox = Inbox::new();
        inbox.fill(&mut &[1u8, 0, 0, 0, b'{'][..]).unwrap();
        assert!(inbox.take::<u32>().is_err());
    }
}
