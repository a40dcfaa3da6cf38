//! Notes that one side or both refuse, by their form or for whom they are signed by.

use base64ct::{Base64, Encoding};
use warifu_consensus::log::{Algorithm, NoteKey, SignedNote};

use super::{
    Answer, Go, b64, bytes,
    notes::{checkpoint, log, open, witness},
    refusals::{LENIENT, Taken, Taken::*},
};

const STRICT: &str = "RFC 8032 §5.1.3 refuses a key's second encoding, and points of small order sign every message: the \
                      ledger's one strict verdict is the log's too";

/// Whether a note is one here, signed under the key.
fn takes(note: &[u8], key: &NoteKey) -> bool {
    SignedNote::parse(note).is_ok_and(|note| note.verify(key).is_ok())
}

/// A signature line under any name, of any bytes.
fn line(name: &str, payload: impl AsRef<[u8]>) -> String {
    format!("\u{2014} {name} {}\n", b64(payload))
}

/// A note's text with its blank line, and the log's line below.
fn parts() -> (String, String) {
    let signed = checkpoint(600).signed(&log()).to_string();
    let (text, line) = signed.rsplit_once("\n\n").unwrap();
    (format!("{text}\n\n"), line.to_owned())
}

/// Strangers' lines, as many as wanted, all different.
fn strangers(count: u8) -> String {
    (0..count)
        .map(|at| line("stranger.example", [at; 68]))
        .collect()
}

/// The order of Ed25519's group, little endian (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The log's line with the order added to the signature's S, which the equation alone does not notice.
fn with_large_s(line: &str) -> String {
    let (head, payload) = line.trim_end().rsplit_once(' ').unwrap();
    let mut payload = bytes(&payload.into());
    let mut carry = 0;
    for (byte, add) in payload[4 + 32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    format!("{head} {}\n", b64(payload))
}

/// A note, and what is wrong with it.
type Form = (&'static str, String, Taken);

/// Notes whose text, lines or spaces are not in their places.
fn misplaced() -> Vec<Form> {
    let (text, own) = parts();
    let good = format!("{text}{own}");
    let (wide, tab) = (own.replace("log ", "log  "), own.replace("log ", "log\t"));
    let refused = [
        ("nothing", String::new()),
        ("text alone", text.clone()),
        ("a line alone", own.clone()),
        ("no blank line", good.replace("\n\n", "\n")),
        ("two blank lines", format!("{text}\n{own}")),
        ("no line end", good.trim_end().to_owned()),
        ("a line end more", format!("{good}\n")),
        ("CRLF", good.replace('\n', "\r\n")),
        ("a hyphen", good.replace('\u{2014}', "-")),
        (
            "no space before the name",
            good.replace("\u{2014} ", "\u{2014}"),
        ),
        (
            "two before the name",
            good.replace("\u{2014} ", "\u{2014}  "),
        ),
        ("two after the name", format!("{text}{wide}")),
        ("a tab", format!("{text}{tab}")),
        ("a space at the end", format!("{text}{} \n", own.trim_end())),
        ("NUL in the text", good.replacen("600", "6\u{0}0", 1)),
        ("a byte order mark", format!("\u{feff}{good}")),
    ];
    let refused = refused.map(|(what, note)| (what, note, Neither));
    [vec![("a note", good, Both)], refused.to_vec()].concat()
}

/// A good note with a stranger's line below, of any name.
fn named() -> Vec<Form> {
    let (text, own) = parts();
    let names = [
        ("no name", "", Neither),
        ("a name with a plus", "a+b", Neither),
        ("a name with a space", "a b", Neither),
        ("a name with U+3000", "a\u{3000}b", Neither),
        ("a name with U+0085", "a\u{85}b", Neither),
        ("a name with U+200B", "a\u{200b}b", Both),
        ("a name with U+007F", "a\u{7f}b", Both),
        ("a name in Japanese", "割符", Both),
    ];
    let below = |(what, name, taken)| (what, format!("{text}{own}{}", line(name, [1; 68])), taken);
    names.map(below).to_vec()
}

/// A good note with a stranger's line below, of any payload.
fn paid() -> Vec<Form> {
    let (text, own) = parts();
    let payloads = [
        ("a payload of nothing", b64([]), Neither),
        ("an ID alone", b64([1; 4]), Neither),
        ("an ID and a byte", b64([1; 5]), Both),
        ("a post-quantum payload", b64([1; 4 + 8 + 2420]), Both),
        ("base64url", b64([0xfb; 6]).replace('+', "-"), Neither),
        ("no padding", "AAAAAAE".to_owned(), Neither),
        ("padding in the middle", "AAAAAAE=AAAA".to_owned(), Neither),
        ("padding bits", "AAAAAAF=".to_owned(), There(LENIENT)),
    ];
    let below =
        |(what, payload, taken)| (what, format!("{text}{own}\u{2014} a {payload}\n"), taken);
    payloads.map(below).to_vec()
}

/// Lines of the log's key, one or more, good or not, and how many others there are.
fn counted() -> Vec<Form> {
    let (text, own) = parts();
    let bad = with_large_s(&own);
    // The last character before the padding carries two bits of nothing, zeros as it is written.
    let mut loose = own.trim_end().strip_suffix('=').unwrap().to_owned();
    let last = loose.pop().unwrap();
    loose.push(char::from(last as u8 + 1));
    let first_only = "signed-note, Signatures: clients should reject a note if a known key's signature fails; the \
                      reference looks at a key's first line only";
    let limit = "signed-note, Format: verifiers should limit a note's size; 64 KiB hold more than 16 post-quantum \
                 signatures, and 16 is the least that must be read";
    vec![
        (
            "padding bits of the key",
            format!("{text}{loose}=\n"),
            There(LENIENT),
        ),
        ("the same line twice", format!("{text}{own}{own}"), Both),
        ("S and the order", format!("{text}{bad}"), Neither),
        ("a bad line first", format!("{text}{bad}{own}"), Neither),
        (
            "a bad line last",
            format!("{text}{own}{bad}"),
            There(first_only),
        ),
        ("only strangers", format!("{text}{}", strangers(2)), Neither),
        (
            "strangers around",
            format!("{text}{}{own}{}", strangers(3), strangers(3)),
            Both,
        ),
        ("16 lines", format!("{text}{}{own}", strangers(15)), Both),
        ("100 lines", format!("{text}{}{own}", strangers(99)), Both),
        (
            "101 lines",
            format!("{text}{}{own}", strangers(100)),
            Neither,
        ),
        (
            "more than 64 KiB",
            long_note(&"x".repeat(64 * 1024)),
            There(limit),
        ),
    ]
}

fn long_note(text: &str) -> String {
    let mut note = SignedNote::new(format!("{text}\n"));
    note.sign(&log(), 0);
    note.to_string()
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_notes() {
    let (mut go, key) = (Go::start(), log());
    let cases = [misplaced(), named(), paid(), counted()].concat();
    let requests = cases
        .iter()
        .map(|(_, note, _)| open(note, &[key.public()]))
        .collect();
    let answers = go.ask_all(requests);
    for ((what, note, taken), there) in cases.iter().zip(&answers) {
        taken.check(what, takes(note.as_bytes(), key.public()), there);
    }
    for (what, bytes) in [
        (
            "a lone continuation byte",
            b"\x80\n\n\xe2\x80\x94 a AAAAAAA=\n".to_vec(),
        ),
        (
            "a surrogate",
            b"\xed\xa0\x80\n\n\xe2\x80\x94 a AAAAAAA=\n".to_vec(),
        ),
        (
            "an overlong line end",
            b"a\xc0\x8a\n\n\xe2\x80\x94 a AAAAAAA=\n".to_vec(),
        ),
    ] {
        let there = go.ask(open(&bytes, &[key.public()]));
        Neither.check(what, takes(&bytes, key.public()), &there);
        // Nobody signed; but it must be the form that is refused.
        assert!(there.unwrap_err().contains("malformed") && SignedNote::parse(&bytes).is_err());
    }
}

#[test]
#[ignore = "needs Go"]
fn weak_keys_sign_for_the_reference_alone() {
    let mut go = Go::start();
    let mut one = [0; 32];
    one[0] = 1;
    // y = p + 1: the same point, in an encoding that is none.
    let mut beyond = [0xff; 32];
    (beyond[0], beyond[31]) = (0xee, 0x7f);
    for public in [one, beyond] {
        let key = NoteKey::new("weak.example", Algorithm::Ed25519, public).unwrap();
        let payload = [&key.id().to_be_bytes()[..], &one, &[0; 32]].concat();
        let note = format!("whatever\n\n{}", line("weak.example", payload));
        let there = go.ask(open(&note, &[&key]));
        There(STRICT).check("a key of small order", takes(note.as_bytes(), &key), &there);
    }
}

/// A note with every byte once flipped in every bit, left out, doubled, cut off there, or with something put before.
fn mutations(note: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..note.len() {
        let (before, after) = note.split_at(at);
        all.extend((0..8).map(|bit| [before, &[after[0] ^ (1 << bit)], &after[1..]].concat()));
        all.push([before, &after[1..]].concat());
        all.push(before.to_vec());
        let put: [&[u8]; 9] = [
            b"\n",
            b"\n\n",
            b"\r",
            b" ",
            b"+",
            b"=",
            b"A",
            b"\xff",
            "\u{2014}".as_bytes(),
        ];
        all.extend(put.map(|put| [before, put, after].concat()));
        all.push([before, &after[..1], after].concat());
    }
    all
}

/// Whether the reference took base64 that has another text.
fn is_lenient(there: &Answer) -> bool {
    let Ok(opened) = there else { return false };
    let lines = ["verified", "unverified"].map(|of| opened[of].as_array().unwrap());
    let mut lines = lines.into_iter().flatten();
    lines.any(|line| Base64::decode_vec(line["base64"].as_str().unwrap()).is_err())
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_mutations_of_a_note() {
    let (mut go, key) = (Go::start(), log());
    let mut note = checkpoint(600).signed(&key);
    note.sign(&witness(), 1_790_000_000);
    // A stranger's line may be altered without harm: there, forms alone decide.
    let note = format!("{note}{}", line("stranger.example/log", [9; 20]));
    let mutations = mutations(note.as_bytes());
    let requests = mutations
        .iter()
        .map(|note| open(note, &[key.public()]))
        .collect();
    let mut taken = 0;
    for (note, there) in mutations.iter().zip(go.ask_all(requests)) {
        let here = takes(note, key.public());
        let who = match (here, is_lenient(&there)) {
            (_, true) => There(LENIENT),
            (true, false) => Both,
            (false, false) => Neither,
        };
        who.check(&String::from_utf8_lossy(note), here, &there);
        taken += usize::from(here);
    }
    assert!(
        taken > 500 && taken < mutations.len() / 2,
        "{taken} of {}",
        mutations.len()
    );
}
