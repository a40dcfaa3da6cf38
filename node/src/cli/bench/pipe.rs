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
}
