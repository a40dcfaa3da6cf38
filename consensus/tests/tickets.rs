//! A ticket begins an enrolment on the device's own ledger, in its time, and nowhere else.

use warifu_consensus::{
    encoding::{parse_b64_vec, text_b64},
    enrol::{MAX_TICKET, MAX_TICKET_S, SixDigits, Ticket, TicketError, TicketSecret},
    party::Role,
    signature::IdentityKey,
    time::{MAX_AHEAD_S, Time},
    vote::Vote,
};

use crate::enrolments::{NOW, Session, key, ledger};

const PREFIX: &str = "warifu:enrol?ticket=";

fn ticket() -> Ticket {
    Session::begin(1).ticket
}

fn pinned(error: &TicketError) -> &'static str {
    match error {
        TicketError::Pinned { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[test]
fn a_device_accepts_tickets_of_its_own_ledger_and_operators_only() {
    let ticket = ticket();
    ticket.check(&ledger(), NOW).unwrap();
    let stranger = IdentityKey::from_seed([66; 32]);
    // Each is signed as it should be, by the broker that it names: the pins alone tell.
    let mut other = ticket.clone();
    other.ledger.iss = "https://ledger.example.evil".to_owned();
    let other = other.sign(&key(Role::Broker));
    assert_eq!(pinned(&other.check(&ledger(), NOW).unwrap_err()), "ledger");
    let mut other = ticket.clone();
    other.ledger.broker = stranger.public();
    let error = other.sign(&stranger).check(&ledger(), NOW).unwrap_err();
    assert_eq!(pinned(&error), "broker");
    // A broker that would be both operators.
    let mut other = ticket;
    other.ledger.trust_operator = stranger.public();
    let other = other.sign(&key(Role::Broker));
    let error = other.check(&ledger(), NOW).unwrap_err();
    assert_eq!(pinned(&error), "trust operator");
    let text = error.to_string();
    let keys = [&stranger.public(), &ledger().trust_operator].map(|key| text_b64(key));
    assert!(keys.iter().all(|key| text.contains(key)), "{text}");
}

#[test]
fn whatever_is_altered_on_a_ticket_breaks_its_brokers_vote() {
    type Change = fn(&mut Ticket);
    let changes: [Change; 6] = [
        |t| t.session[31] ^= 1,
        |t| t.broker_addresses[0] = "/ip4/203.0.113.66/tcp/7101".to_owned(),
        |t| t.trust_operator_addresses.clear(),
        // The same addresses, cut elsewhere.
        |t| t.trust_operator_addresses.append(&mut t.broker_addresses),
        |t| t.secret = TicketSecret::from_bytes([0; 32]),
        |t| t.exp += 1,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut altered = ticket();
        change(&mut altered);
        let checked = altered.check(&ledger(), NOW);
        assert_eq!(checked, Err(TicketError::Vote), "{at}");
    }
    let unsigned = Ticket {
        vote: Vote::Ed25519([0; 64]),
        ..ticket()
    };
    assert_eq!(unsigned.check(&ledger(), NOW), Err(TicketError::Vote));
    let by_the_other = ticket().sign(&key(Role::TrustOperator));
    assert_eq!(by_the_other.check(&ledger(), NOW), Err(TicketError::Vote));
}

#[test]
fn a_ticket_is_good_until_its_end_and_never_for_longer_than_tickets_live() {
    let ticket = ticket();
    let check = |now_s| ticket.check(&ledger(), Time::from_seconds(now_s));
    let longest = MAX_TICKET_S + MAX_AHEAD_S;
    for (left_s, expected) in [
        (1, Ok(())),
        (longest, Ok(())),
        (0, Err(TicketError::Expired { ago_s: 0 })),
        (
            longest + 1,
            Err(TicketError::TooLong {
                found_s: longest + 1,
            }),
        ),
    ] {
        assert_eq!(check(ticket.exp - left_s), expected, "{left_s}");
    }
    let late = Err(TicketError::Expired { ago_s: 7 });
    assert_eq!(check(ticket.exp + 7), late);
}

#[test]
fn a_scanned_text_is_that_one_ticket_or_none() {
    let ticket = ticket();
    let uri = ticket.to_uri().unwrap();
    // A scanner may add a line's end.
    assert_eq!(Ticket::from_uri(&format!(" {uri}\n")), Ok(ticket.clone()));
    let text = uri.strip_prefix(PREFIX).unwrap();
    let zeros = |length| format!("{PREFIX}{}", "A".repeat(length));
    for other in [
        String::new(),
        text.to_owned(),
        format!("WARIFU:enrol?ticket={text}"),
        format!("https://enrol?ticket={text}"),
        format!("{PREFIX}{text}="),
        format!("{PREFIX}{}+", &text[1..]),
        // Longer than a ticket can be is not even decoded.
        zeros(2 * MAX_TICKET + 2),
    ] {
        let read = Ticket::from_uri(&other);
        assert_eq!(read, Err(TicketError::NotATicket), "{other}");
    }
    let bytes = parse_b64_vec(text).unwrap();
    let longer = [&bytes[..], &[0]].concat();
    for other in [
        zeros(2 * MAX_TICKET),
        format!("{PREFIX}{}", text_b64(&bytes[..bytes.len() - 1])),
        format!("{PREFIX}{}", text_b64(&longer)),
    ] {
        let error = Ticket::from_uri(&other).unwrap_err();
        assert!(matches!(error, TicketError::Bytes(_)), "{other}: {error}");
    }
    let too_large = Ticket {
        broker_addresses: vec!["/dns/".repeat(MAX_TICKET / 5)],
        ..ticket
    };
    let error = too_large.to_uri().unwrap_err();
    assert!(matches!(error, TicketError::Bytes(_)), "{error}");
}

#[test]
fn six_digits_are_six_digits() {
    for good in ["000000", "000001", "039129", "999999"] {
        let digits = SixDigits::parse(good).unwrap();
        assert_eq!(digits.to_string(), good);
        assert!(digits.is(SixDigits::parse(good).unwrap()));
        assert!(!digits.is(SixDigits::parse("123456").unwrap()));
    }
    for bad in [
        "",
        "12345",
        "1234567",
        "12345a",
        "+12345",
        "-12345",
        " 12345",
        "12 345",
        "１２",
        "１２３４５６",
        "0x1234",
    ] {
        assert_eq!(SixDigits::parse(bad), None, "{bad}");
    }
}

#[test]
fn what_would_enrol_somebody_else_is_never_printed() {
    let ticket = ticket();
    assert_eq!(format!("{:?}", ticket.secret), "TicketSecret(<redacted>)");
    assert!(format!("{ticket:?}").contains("secret: TicketSecret(<redacted>)"));
    // Whoever reads the digits in a log could confirm another device.
    let digits = SixDigits::parse("039129").unwrap();
    assert_eq!(format!("{digits:?}"), "SixDigits(<redacted>)");
}
