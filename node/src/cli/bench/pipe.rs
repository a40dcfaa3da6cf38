//! What the bench and its process of devices say to each other: one JSON value a line, on private
//! pipes. The two-digit number of a page reaches the device this way, as it reaches a customer's
//! eyes: never over the parties' lines.

use serde::{Deserialize, Serialize};

/// What the bench tells the devices.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Told {
    /// The first line: what the bench wrote beside the devices that it made. Others are not opened.
    Marker {
        /// 43 characters of base64url.
        marker: String,
    },
    /// A page shows this ticket to a device's customer.
    Ticket {
        /// Which device, from 0.
        device: usize,
        /// The ticket's URI; a secret.
        uri: String,
    },
    /// A page shows this number to a device's customer.
    Number {
        /// Which device.
        device: usize,
        /// The challenge of the login, as the device will be asked about it.
        nonce: String,
        /// Two digits.
        number: u8,
    },
    /// How many devices have their line to the broker?
    Lines,
    /// Hostile peers only: send, or be quiet.
    Flood {
        /// Whether to send.
        on: bool,
    },
    /// An operator of the bench of the log only: seal until there are so many blocks.
    Feed {
        /// Blocks in all.
        until: u64,
    },
    /// The same: what happened since this was asked last?
    Times,
    /// The same, once everything that was sealed is logged.
    CatchUp,
    /// The same: what does the log hold on the disk?
    Bytes,
}

/// What the devices say.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// All devices have started.
    Ready {
        /// How many.
        devices: usize,
    },
    /// The six digits on a device's screen.
    Digits {
        /// Which device.
        device: usize,
        /// Six digits.
        digits: String,
    },
    /// A device could not do what its customer wanted.
    Failed {
        /// Which device.
        device: usize,
        /// Found and expected.
        reason: String,
    },
    /// The answer to [`Told::Lines`].
    Lines {
        /// Devices whose line to the broker is up.
        up: usize,
    },
    /// What the hostile peers did so far; the answer to [`Told::Flood`].
    Flooded {
        /// Connections that were made.
        connections: u64,
        /// Noise handshakes that an operator worked on.
        handshakes: u64,
        /// Frames that were handed to lines.
        frames: u64,
        /// Bytes that were sent, as frames or as noise.
        bytes: u64,
    },
    /// An operator of the bench of the log has started.
    Listening {
        /// Where; empty for the one that dials.
        address: String,
    },
    /// The answer to [`Told::Feed`]: the blocks are durable.
    Fed {
        /// Blocks in all.
        until: u64,
        /// Leaves of the last checkpoint that both signed.
        cosigned: u64,
    },
    /// The answer to [`Told::Times`] and [`Told::CatchUp`].
    Times(LogTimes),
    /// The answer to [`Told::Bytes`].
    Bytes(LogBytes),
}

/// What one operator saw of the log in a while.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTimes {
    /// How long the while was.
    pub(super) seconds: f64,
    /// Blocks of which a proof could be made from then on.
    pub(super) blocks: usize,
    /// From durable here until then: the median.
    pub(super) p50_ms: f64,
    /// The slowest hundredth.
    pub(super) p99_ms: f64,
    /// The slowest.
    pub(super) max_ms: f64,
    /// Proofs that were made, and verified.
    pub(super) proofs: usize,
    /// How long one took: the median.
    pub(super) prove_p50_us: f64,
    /// The slowest hundredth.
    pub(super) prove_p99_us: f64,
}

/// What the log holds on one operator's disk, in bytes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogBytes {
    /// Leaves.
    pub(super) blocks: u64,
    /// Batches that they came in.
    pub(super) batches: u64,
    /// The blocks' own records in the journal: what the log is beside.
    pub(super) sealed: u64,
    /// The log's stream in the journal, framing included.
    pub(super) stream: u64,
    /// The files beside it.
    pub(super) files: u64,
    /// Openers in the vault, framing included.
    pub(super) openers: u64,
    /// Entries of the index, as long as they are.
    pub(super) index: u64,
}

impl LogBytes {
    /// All of it for each block.
    pub(super) fn per_block(&self) -> f64 {
        let all = self.stream + self.files + self.openers + self.index;
        super::measured::real(all) / super::measured::real(self.blocks.max(1))
    }
}
