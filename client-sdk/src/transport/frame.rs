//! Frames on a line: a length (u32 big-endian) and that many bytes.
//!
//! Decides where a frame begins and ends, and refuses a length above [`MAX_FRAME_BYTES`] before it
//! allocates. Memory grows with the bytes that arrived, never with a length that was announced.
//! Length 0 is a ping: it says "alive" and is never handed on. No IO and no clock here.

use super::event::Misbehaviour;
use super::limits::MAX_FRAME_BYTES;

/// Bytes of the length before each frame.
pub(super) const HEADER_BYTES: usize = 4;

/// First capacity of a frame's buffer; it grows as bytes arrive.
const FIRST_CAPACITY: usize = 4096;

/// Cuts a byte stream into frames.
#[derive(Default)]
pub(super) struct Decoder {
    header: [u8; HEADER_BYTES],
    /// Bytes of `header` that have arrived, 0..=4.
    header_len: usize,
    /// The frame's length once the header is complete; at most [`MAX_FRAME_BYTES`].
    expected: usize,
    body: Vec<u8>,
}

impl Decoder {
    /// Whether a frame has begun and is not finished.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.header_len > 0
    }

    /// Takes the bytes that arrived, calls `frame` for each frame that they complete, and returns
    /// how many were completed, pings included.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut frame: impl FnMut(Vec<u8>),
    ) -> Result<usize, Misbehaviour> {
        let mut completed = 0;
        while !bytes.is_empty() {
            if self.header_len < HEADER_BYTES {
                bytes = self.take_header(bytes)?;
            }
            if self.header_len == HEADER_BYTES {
                let missing = self.expected - self.body.len();
                let (now, later) = bytes.split_at(missing.min(bytes.len()));
                self.body.extend_from_slice(now);
                bytes = later;
                if self.body.len() == self.expected {
                    completed += 1;
                    self.header_len = 0;
                    if self.expected > 0 {
                        frame(std::mem::take(&mut self.body));
                    }
                }
            }
        }
        Ok(completed)
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Misbehaviour> {
        let mut used = 0;
        for (slot, byte) in self.header.iter_mut().skip(self.header_len).zip(bytes) {
            *slot = *byte;
            used += 1;
        }
        self.header_len += used;
        if self.header_len == HEADER_BYTES {
            let length = u32::from_be_bytes(self.header);
            self.expected = usize::try_from(length).unwrap_or(usize::MAX);
            if self.expected > MAX_FRAME_BYTES {
                return Err(Misbehaviour::OversizeFrame { length });
            }
            self.body = Vec::with_capacity(self.expected.min(FIRST_CAPACITY));
        }
        Ok(bytes.get(used..).unwrap_or_default())
    }
}

/// Appends `frame` with its length. The caller has checked the length against
/// [`MAX_FRAME_BYTES`]; a longer frame would be cut off by the other end.
pub(super) fn encode(frame: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER_BYTES + frame.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_in_chunks(bytes: &[u8], chunk: usize) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for part in bytes.chunks(chunk) {
            decoder.feed(part, |frame| frames.push(frame)).unwrap();
        }
        assert!(!decoder.is_mid_frame());
        frames
    }

    #[test]
    fn frames_survive_every_cut() {
        let sent = [vec![1; 1], vec![2; 300], vec![3; MAX_FRAME_BYTES], vec![4]];
        let mut bytes = Vec::new();
        for frame in &sent {
            encode(frame, &mut bytes);
            encode(&[], &mut bytes);
        }
        for chunk in [1, 2, 3, 4, 5, 7, 8192, bytes.len()] {
            assert_eq!(decode_in_chunks(&bytes, chunk), sent, "chunks of {chunk}");
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing_beyond_what_came() {
        let mut decoder = Decoder::default();
        let length = u32::try_from(MAX_FRAME_BYTES).unwrap();
        decoder.feed(&length.to_be_bytes(), |_| {}).unwrap();
        decoder.feed(&[0; 16], |_| {}).unwrap();
        assert!(decoder.body.capacity() <= FIRST_CAPACITY);
    }

    #[test]
    fn one_byte_too_long_is_refused_at_its_length() {
        let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
        let mut decoder = Decoder::default();
        let refused = decoder.feed(&length.to_be_bytes(), |_| {});
        assert_eq!(refused, Err(Misbehaviour::OversizeFrame { length }));
        assert_eq!(decoder.body.capacity(), 0);
    }
}
