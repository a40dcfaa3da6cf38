//! Frames of journal and vault, made by the format's description (docs/protocol.md, Files), so that any
//! payload reaches the code behind the hashes.

fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

/// A segment's file with well-chained frames.
pub struct Segment {
    /// The bytes so far.
    pub bytes: Vec<u8>,
    number: u64,
    /// Chain hash of the last frame.
    pub chain: [u8; 32],
}

impl Segment {
    /// A segment of the ledger `ledger.example` with its header.
    pub fn new(magic: &[u8; 14], number: u64, role: u8, previous: [u8; 32]) -> Self {
        let origin = b"ledger.example";
        let length = 14 + 4 + 8 + 32 + 1 + 8 + origin.len() as u64 + 8;
        let header = [
            &magic[..],
            &2u32.to_le_bytes(),
            &number.to_le_bytes(),
            &previous,
            &[role],
            &(origin.len() as u64).to_le_bytes(),
            origin,
            &(44 + length).to_le_bytes(),
        ]
        .concat();
        let mut segment = Self {
            bytes: Vec::new(),
            number,
            chain: previous,
        };
        segment.push(&header, true);
        segment
    }

    /// Appends a frame.
    pub fn push(&mut self, payload: &[u8], begins_group: bool) {
        let bit = if begins_group { 1 << 31 } else { 0 };
        let length = (u32::try_from(payload.len()).unwrap() | bit).to_le_bytes();
        let offset = self.bytes.len() as u64;
        let parts: [&[u8]; 3] = [&length, &offset.to_le_bytes(), &self.number.to_le_bytes()];
        let check = derive("warifu 2026 journal length v1", &parts);
        self.chain = derive("warifu 2026 journal record v1", &[&self.chain, payload]);
        for part in [&length[..], &check[..8], &self.chain, payload] {
            self.bytes.extend_from_slice(part);
        }
    }
}
