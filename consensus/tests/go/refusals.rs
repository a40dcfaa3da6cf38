//! Keys, names, checkpoints and paths that one side or both refuse. Where the two differ, the case says why; any other
//! difference fails.

use warifu_consensus::log::{Algorithm, Checkpoint, EMPTY_ROOT, NoteKey, Tile};

use super::{
    Answer, Go, b64, digest, json,
    notes::{log, witness},
};

/// Who takes a text.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    Both,
    Neither,
    /// The reference alone, and why not this project.
    There(&'static str),
    /// This project alone, and why.
    Here(&'static str),
}
use Taken::{Both, Here, Neither, There};

pub(super) const LENIENT: &str = "RFC 4648 §3.5: a decoder may refuse padding bits that are not zero; here a note has \
                                  one text. The reference's decoder ignores them, and line ends within";

impl Taken {
    pub(super) fn check(self, what: &str, here: bool, there: &Answer) {
        let (expected, why) = match self {
            Both => ((true, true), "of both"),
            Neither => ((false, false), "of neither"),
            There(why) => ((false, true), why),
            Here(why) => ((true, false), why),
        };
        let found = (here, there.is_ok());
        assert_eq!(found, expected, "{what}: expected {why}; {there:?}");
    }
}

/// A verifier key of any name and any typed key, with the ID that these have.
fn key_text(name: &str, typed: &[u8]) -> String {
    format!(
        "{name}+{:08x}+{}",
        signed_note::key_id(name, typed),
        b64(typed)
    )
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_keys() {
    let mut go = Go::start();
    let (good, cosigner) = (log().public().to_string(), witness().public().to_string());
    let typed = [&[1][..], log().public().public()].concat();
    let (name, rest) = good.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let unknown = [&[6][..], &[1; 32]].concat();
    let capitals = NoteKey::new("capitals.example", Algorithm::Ed25519, [0xab; 32]).unwrap();
    let (capital_id, capital_key) = (
        format!("{:08X}", capitals.id()),
        [&[1][..], &[0xab; 32]].concat(),
    );
    assert!(
        capital_id.chars().any(|c| c.is_ascii_uppercase()),
        "{capital_id}"
    );
    let cases = [
        (good.clone(), Both),
        (String::new(), Neither),
        (name.to_owned(), Neither),
        (format!("{name}+{id}"), Neither),
        (format!("{name}+{id}+"), Neither),
        (format!("+{id}+{key}"), Neither),
        (format!("other+{id}+{key}"), Neither),
        (format!("{name}+0{id}+{key}"), Neither),
        (format!("{name}+{}+{key}", &id[1..]), Neither),
        (format!("{name}+0x{}+{key}", &id[2..]), Neither),
        (format!("{name}+{id}+{key}="), Neither),
        (format!("{name}+{id}+{key}+"), Neither),
        (format!("{name} +{id}+{key}"), Neither),
        (format!(" {good}"), Neither),
        (format!("{good} "), Neither),
        (key_text(name, &typed[..32]), Neither),
        (key_text(name, &[&typed[..], &[0]].concat()), Neither),
        (key_text(name, &[]), Neither),
        (key_text(name, &unknown), Neither),
        (key_text("a b", &typed), Neither),
        (key_text("割符", &typed), Both),
        (
            format!("capitals.example+{capital_id}+{}", b64(capital_key)),
            There(
                "signed-note prints a key ID as %08x; the reference reads capitals too, here a key has one text",
            ),
        ),
        (format!("{good}\n"), There(LENIENT)),
        (
            cosigner,
            Here("type 0x04 is C2SP tlog-cosignature's, which x/mod does not implement"),
        ),
    ];
    for (key, taken) in cases {
        let there = go.ask(json!({"op": "key", "keys": [key]}));
        let here = key.parse::<NoteKey>();
        taken.check(&key, here.is_ok(), &there);
        if let (Ok(here), Ok(there)) = (here, there) {
            assert_eq!(
                there,
                json!({"name": here.name(), "id": here.id()}),
                "{key}"
            );
        }
    }
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_names() {
    let mut go = Go::start();
    let typed = [&[1][..], log().public().public()].concat();
    // Past U+3000 Unicode has no white space.
    let characters: Vec<char> = ('\0'..='\u{30ff}')
        .chain(['\u{d7ff}', '\u{e000}', '\u{feff}', '\u{fffd}', '\u{10ffff}'])
        .collect();
    let keys: Vec<String> = characters
        .iter()
        .map(|c| key_text(&format!("a{c}b"), &typed))
        .collect();
    let requests = keys
        .iter()
        .map(|key| json!({"op": "key", "keys": [key]}))
        .collect();
    for ((character, key), there) in characters.iter().zip(&keys).zip(go.ask_all(requests)) {
        let here = key.parse::<NoteKey>().is_ok();
        let taken = match character {
            '+' => Neither,
            c if c.is_whitespace() => Neither,
            c if c.is_control() => There(
                "signed-note, Format: no note can carry U+0000 to U+001F; U+007F to U+009F are refused with them in \
                 an operator's own key, where they could only deceive a reader",
            ),
            _ => Both,
        };
        taken.check(&format!("{character:?}"), here, &there);
    }
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_checkpoints() {
    // The reference knows this origin alone, which no key's name can be; here any will do.
    const ORIGIN: &str = "go.sum database tree";
    let mut go = Go::start();
    let root = b64([0xc3; 32]);
    let with = |size: &str, root: &str| format!("{ORIGIN}\n{size}\n{root}\n");
    let large = "tlog-checkpoint has no bound on a size; the reference's numbers are signed";
    let more = "tlog-checkpoint does not recommend extension lines, and the log's origin never writes any: what is not \
                understood is not cosigned";
    let cases = [
        (with("600", &root), Both),
        (with("0", &b64(EMPTY_ROOT)), Both),
        (with("9223372036854775807", &root), Both),
        (with("9223372036854775808", &root), Here(large)),
        (with("18446744073709551615", &root), Here(large)),
        (with("18446744073709551616", &root), Neither),
        (with("", &root), Neither),
        (with("00", &root), Neither),
        (with("0600", &root), Neither),
        (with("+600", &root), Neither),
        (with("-1", &root), Neither),
        (with("-0", &root), Neither),
        (with(" 600", &root), Neither),
        (with("600 ", &root), Neither),
        (with("0x10", &root), Neither),
        (with("6e2", &root), Neither),
        (with("6_00", &root), Neither),
        (with("٦٠٠", &root), Neither),
        (with("600", ""), Neither),
        (with("600", &b64([1; 31])), Neither),
        (with("600", &b64([1; 33])), Neither),
        (with("600", root.trim_end_matches('=')), Neither),
        (with("600", &format!("{root} ")), Neither),
        (with("600", &root.replace("M=", "N=")), There(LENIENT)),
        (with("600", &format!("{root}\r")), There(LENIENT)),
        (String::new(), Neither),
        (format!("{ORIGIN}\n600\n"), Neither),
        (format!("{ORIGIN}\n600\n{root}"), Neither),
        (format!("{ORIGIN}\n\n600\n{root}\n"), Neither),
        (format!("\n{ORIGIN}\n600\n{root}\n"), Neither),
        (format!("{}an extension\n", with("600", &root)), There(more)),
        (format!("{}\n", with("600", &root)), There(more)),
        (format!("{}an extension", with("600", &root)), There(more)),
        (
            with("600", &root).replace(ORIGIN, "ledger.example"),
            Here("the reference's one origin"),
        ),
    ];
    for (text, taken) in cases {
        let there = go.ask(json!({"op": "tree text", "text": b64(&text)}));
        let here = text.parse::<Checkpoint>();
        taken.check(&text, here.is_ok(), &there);
        if let (Ok(here), Ok(there)) = (here, there) {
            assert_eq!(
                (there["size"].as_u64(), digest(&there["root"])),
                (Some(here.size), here.root)
            );
        }
    }
}

#[test]
#[ignore = "needs Go"]
fn both_refuse_the_same_tile_paths() {
    let mut go = Go::start();
    let deeper = "tlog-tiles has levels to 63; a tree of 2^64 leaves has none above 7";
    let large = "tlog-tiles has no bound on an index; the reference's numbers are signed";
    let cases = [
        ("0/000", Both),
        ("0/x001/x234/067", Both),
        ("7/999.p/255", Both),
        ("0/000.p/1", Both),
        ("8/000", There(deeper)),
        ("63/000", There(deeper)),
        ("0/x009/x223/x372/x036/x854/x775/808", Here(large)),
        ("0/x018/x446/x744/x073/x709/x551/616", Neither),
        ("", Neither),
        ("0", Neither),
        ("0/", Neither),
        ("0/0", Neither),
        ("0/00", Neither),
        ("0/0000", Neither),
        ("0/001/000", Neither),
        ("0/x001", Neither),
        ("0/x000/000", Neither),
        ("0/x001/x000", Neither),
        ("0/X001/000", Neither),
        ("0/+01", Neither),
        ("0/-01", Neither),
        ("00/000", Neither),
        ("-1/000", Neither),
        ("x/000", Neither),
        ("0/000/", Neither),
        ("0//000", Neither),
        ("0/000.p", Neither),
        ("0/000.p/", Neither),
        ("0/000.p/0", Neither),
        ("0/000.p/01", Neither),
        ("0/000.p/+1", Neither),
        ("0/000.p/256", Neither),
        ("0/000.p/257", Neither),
        ("0/000.p/1.p/1", Neither),
        ("entries/000", Neither),
        (
            "data/000",
            There("x/mod's own bundles of records; C2SP's are tile/entries, and no tile of hashes"),
        ),
    ];
    for (path, taken) in cases {
        let there = go.ask(json!({"op": "tile path", "path": format!("tile/8/{path}")}));
        taken.check(path, path.parse::<Tile>().is_ok(), &there);
    }
}
