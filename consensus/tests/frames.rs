//! Frames that no honest party sends: each is refused with found and expected, none panics.

use proptest::prelude::*;
use warifu_consensus::{
    chain::Head,
    encoding::Hash,
    enrol::EnrolMessage,
    party::Sub,
    wire::{Agree, Clock, MAX_FRAME, Message, SaltBytes, WIRE_VERSION, WireError, decode, encode},
};

fn message() -> Message {
    Message::Agree {
        sub: Sub([7; 16]),
        agree: Box::new(Agree::Ack {
            head: Head {
                height: 300,
                hash: Hash([9; 32]),
            },
        }),
    }
}

#[test]
fn a_frame_is_one_version_byte_and_one_spelling() {
    let frame = message().to_frame().unwrap();
    assert_eq!(frame[0], WIRE_VERSION);
    assert_eq!(Message::from_frame(&frame).unwrap(), message());
}

#[test]
fn operators_clocks_have_their_documented_bytes() {
    let (asked, at) = (1_790_000_000_000, 1_790_000_000_250);
    for (said, bytes) in [
        (Clock::Ask { asked }, "010200fd006c50c4a0010000"),
        (
            Clock::Answer { asked, at },
            "010201fd006c50c4a0010000fdfa6c50c4a0010000",
        ),
    ] {
        let frame = crate::signed_bytes::hex(bytes);
        assert_eq!(Message::Clock(said).to_frame().unwrap(), frame);
        assert_eq!(Message::from_frame(&frame).unwrap(), Message::Clock(said));
    }
}

#[test]
fn another_version_is_named() {
    let mut frame = message().to_frame().unwrap();
    frame[0] = 9;
    let refused = Message::from_frame(&frame).unwrap_err();
    assert_eq!(refused, WireError::Version { found: 9 });
    assert_eq!(refused.to_string(), "message has version 9, expected 1");
}

#[test]
fn trailing_and_missing_bytes_are_refused() {
    let frame = message().to_frame().unwrap();
    let mut longer = frame.clone();
    longer.push(0);
    assert_eq!(
        Message::from_frame(&longer).unwrap_err(),
        WireError::NotCanonical {
            found: frame.len(),
            expected: frame.len() - 1
        }
    );
    for end in 0..frame.len() {
        Message::from_frame(&frame[..end]).unwrap_err();
    }
}

#[test]
fn a_longer_spelling_of_an_integer_is_refused() {
    // Height 300 is a marker 251 and two bytes; marker 252 and four bytes say the same.
    let frame = message().to_frame().unwrap();
    let at = frame.iter().position(|b| *b == 251).unwrap();
    let mut other = frame.clone();
    other[at] = 252;
    other.splice(at + 3..at + 3, [0, 0]);
    assert!(matches!(
        Message::from_frame(&other),
        Err(WireError::NotCanonical { .. })
    ));
}

#[test]
fn oversize_is_refused_before_it_is_read() {
    let refused = Message::from_frame(&vec![WIRE_VERSION; MAX_FRAME + 1]).unwrap_err();
    let (found, limit) = (MAX_FRAME + 1, MAX_FRAME);
    assert_eq!(refused, WireError::TooLong { found, limit });
    assert_eq!(
        refused.to_string(),
        "message has 65537 bytes, at most 65536 allowed"
    );
}

/// A message whose frame has so many bytes.
fn long_message(frame: usize) -> Message {
    let ended = |length| {
        Message::Enrol(Box::new(EnrolMessage::Ended {
            session: [7; 32],
            reason: "x".repeat(length),
        }))
    };
    let around = ended(60_000).to_frame().unwrap().len() - 60_000;
    ended(frame - around)
}

#[test]
fn the_longest_frame_is_64_kib_for_who_sends_and_who_reads() {
    let longest = long_message(MAX_FRAME);
    let frame = longest.to_frame().unwrap();
    assert_eq!(frame.len(), MAX_FRAME);
    assert_eq!(Message::from_frame(&frame).unwrap(), longest);
    assert_eq!(
        long_message(MAX_FRAME + 1).to_frame().unwrap_err(),
        WireError::TooLong {
            found: MAX_FRAME,
            limit: MAX_FRAME - 1
        }
    );
}

#[test]
fn a_record_keeps_its_limit_when_it_is_written_and_when_it_is_read() {
    let record = |length| vec![5_u8; length];
    // A byte says the length.
    let bytes = encode::<_, 8>(&record(7)).unwrap();
    assert_eq!(bytes.len(), 8);
    assert_eq!(decode::<Vec<u8>, 8>(&bytes).unwrap(), record(7));
    for length in [8, 30] {
        let (found, limit) = (length + 1, 8);
        let too_long = WireError::TooLong { found, limit };
        let written = encode::<_, 8>(&record(length)).unwrap_err();
        assert_eq!(written, too_long);
        let bytes = encode::<_, 64>(&record(length)).unwrap();
        assert_eq!(decode::<Vec<u8>, 8>(&bytes).unwrap_err(), too_long);
    }
}

#[test]
fn a_salt_on_its_way_is_never_printed() {
    let printed = format!("{:?}", SaltBytes([0x5a; 32]));
    assert_eq!(printed, "SaltBytes(<redacted>)");
}

#[test]
fn a_huge_length_inside_a_small_frame_allocates_nothing() {
    // Blocks with a list of 2^60 sealed blocks, said in nine bytes.
    let mut frame = vec![WIRE_VERSION, 0];
    frame.extend([7; 16]);
    frame.push(14);
    frame.push(253);
    frame.extend((1_u64 << 60).to_le_bytes());
    assert!(matches!(
        Message::from_frame(&frame),
        Err(WireError::Malformed { .. })
    ));
}

proptest! {
    #[test]
    fn reading_a_frame_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::from_frame(&bytes) {
            prop_assert_eq!(message.to_frame().unwrap(), bytes);
        }
    }

    #[test]
    fn reading_a_changed_frame_never_panics(at in 0_usize..60, to in any::<u8>()) {
        let mut frame = message().to_frame().unwrap();
        let at = at % frame.len();
        frame[at] = to;
        if let Ok(message) = Message::from_frame(&frame) {
            prop_assert_eq!(message.to_frame().unwrap(), frame);
        }
    }
}

#[test]
fn what_is_nothing_but_small_numbers_is_read_too() {
    // The decoder's own bound counts each of them at its full width.
    let numbers = vec![0_u64; 60_000];
    let bytes = encode::<Vec<u64>, { 64 * 1024 }>(&numbers).unwrap();
    assert_eq!(decode::<Vec<u64>, { 64 * 1024 }>(&bytes), Ok(numbers));
}
