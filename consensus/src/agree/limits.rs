//! Every bound of the three machines in one place: how often an account may be asked, how much stands at once,
//! how often something is said again. The table in docs/protocol.md is checked against this file.
//!
//! Times that every party and every verifier must agree on are the ledger's, in `time.rs`; bytes on the wire
//! are `wire.rs`'s. This file never enforces anything: each user of a limit names it.

/// Unsuccessful proposals per account in [`PACE_WINDOW_S`] before `begin` is refused (rule 10): who tries
/// passwords at a login service must not keep a customer's phone busy.
pub(super) const PACE_LIMIT: u32 = 20;

/// The window of [`PACE_LIMIT`] in seconds.
pub(super) const PACE_WINDOW_S: u64 = 600;

/// Restrict blocks that a device alone may cause per account in [`ASKED_WINDOW_S`]: every one is
/// kept for ever by both operators, so a device must not fill their disks.
pub(super) const ASKED_LIMIT: u32 = 30;

/// The window of [`ASKED_LIMIT`] in seconds.
pub(super) const ASKED_WINDOW_S: u64 = 600;

/// Proposals per account in [`PREPARE_WINDOW_S`] before the trust operator refuses (rule 2): each
/// costs it a nonce, and a broker must not choose how much it works.
pub(super) const PREPARE_LIMIT: u32 = 120;

/// The window of [`PREPARE_LIMIT`] in seconds.
pub(super) const PREPARE_WINDOW_S: u64 = 60;

/// Fresh nonces for one block, at most (rule 7).
pub(super) const MAX_TRIES: u8 = 3;

/// Wishes to freeze of one device that stand at once: it repeats them, so nobody needs more than these.
pub(super) const MAX_WORDS: usize = 16;

/// Denials of one device that an operator keeps on one head. Any block answers all of them, so one brings the
/// `deny`; the second is of what was proposed before the first was heard. A device never assents to what it
/// denied, whether an operator kept the word or not, so more of them would only fill disks.
pub(super) const MAX_DENIALS: usize = 2;

/// Restrict blocks that the trust operator completes per account in [`RESTRICT_WINDOW_S`] before it answers
/// *NotYet*: each is kept for ever. An honest broker makes fewer, so none of its own ever waits: at most one for
/// each of [`PREPARE_LIMIT`] proposals, [`ASKED_LIMIT`] for the device, and the desk's freezes. What freezes an
/// active account is never made to wait, whoever made the others.
pub(super) const RESTRICT_LIMIT: u32 = 240;

/// The window of [`RESTRICT_LIMIT`] in seconds.
pub(super) const RESTRICT_WINDOW_S: u64 = 60;

/// How long a restored broker signs nothing, in seconds: the longest lifetime of an admit that it may have
/// forgotten, and twice the 30 s by which two clocks may differ. No honest wait of it is longer.
pub(super) const RESTORED_WAIT_S: u64 = 240;

/// Challenges of earlier admits that the broker's `begin` refuses to take again (rule 6), the newest.
pub(super) const REMEMBERED_CHALLENGES: usize = 256;

/// Blocks from one checkpoint to the next: what a start has to fold at most.
pub(super) const CHECKPOINT_EVERY: u64 = 32;

/// The broker's first pause before it says again what is unanswered, in milliseconds; it doubles.
pub(super) const RETRY_FIRST_MS: u64 = 1_000;

/// The broker's longest pause, in milliseconds.
pub(super) const RETRY_MAX_MS: u64 = 16_000;

/// How often the trust operator repeats an unanswered word of a device to the broker, in milliseconds.
pub(super) const WORD_REPEAT_MS: u64 = 5_000;

/// How often a device tells an unanswered word, or a stale lock, again, in milliseconds.
pub(super) const REPEAT_MS: u64 = 5_000;
