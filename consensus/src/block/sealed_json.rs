//! The one JSON text of a sealed block: what exports, receipts and the HTTP side carry.
//!
//! ```json
//! {"block":"…","proof":{"account":"…"},"votes":{"assent":"…","endorse":"…","seal":"…"}}
//! {"block":"…","proof":{"broker":"…","trust_operator":"…"},"votes":{"word":null}}
//! ```
//! A genesis block's votes append `"transcript":["…","…","…"]`; a word is
//! `{"verb":"…","hash":"…","vote":"…"}`.

use super::reader::{Reader, SyntaxError};
use super::{Block, BlockError, Class, Kind, Proof, Sealed, Votes};
use crate::encoding::{Hash, parse_b64, text_b64};
use crate::vote::{Verb, Vote, Word};

/// Why a text is no sealed block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealedError {
    /// The text leaves the one form it may have.
    #[error("sealed block at byte {}: expected {}", .0.offset, .0.expected)]
    Syntax(SyntaxError),
    /// The block inside is none.
    #[error("block inside the sealed block: {0}")]
    Block(#[from] BlockError),
    /// The text decodes to a sealed block whose encoding is another text.
    #[error("sealed block is not in canonical form")]
    NotCanonical,
}

impl From<SyntaxError> for SealedError {
    fn from(error: SyntaxError) -> SealedError {
        SealedError::Syntax(error)
    }
}

const SIGNATURE: &str = "a signature of 86 characters of base64url";
const VOTE: &str = "a vote, ed25519: and 86 characters of base64url";

impl Sealed {
    /// The sealed block's canonical JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let proof = match &self.proof {
            Proof::Account(signature) => format!(r#""account":"{}""#, text_b64(signature)),
            Proof::Operators {
                broker,
                trust_operator,
            } => format!(
                r#""broker":"{}","trust_operator":"{}""#,
                text_b64(broker),
                text_b64(trust_operator)
            ),
        };
        let votes = match &self.votes {
            Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: [device, broker, trust_operator],
            } => {
                format!(
                    r#"{},"transcript":["{device}","{broker}","{trust_operator}"]"#,
                    agreement(assent, endorse, seal)
                )
            }
            Votes::Admit {
                assent,
                endorse,
                seal,
            } => agreement(assent, endorse, seal),
            Votes::Restrict { word: None } => r#""word":null"#.to_owned(),
            Votes::Restrict {
                word: Some(Word { verb, hash, vote }),
            } => {
                format!(r#""word":{{"verb":"{verb}","hash":"{hash}","vote":"{vote}"}}"#)
            }
        };
        let input = self.block.input();
        format!(r#"{{"block":"{input}","proof":{{{proof}}},"votes":{{{votes}}}}}"#)
    }

    /// Reads the canonical JSON text of a sealed block; nothing is verified but the form.
    ///
    /// # Errors
    /// [`SealedError`] for any text that [`Sealed::to_json`] would not write.
    pub fn from_json(text: &str) -> Result<Sealed, SealedError> {
        let reader = &mut Reader::new(text);
        reader.literal(r#"{"block":""#)?;
        let block = Block::parse(reader.string()?)?;
        let kind = block.claims().kind;
        reader.literal(r#","proof":{"#)?;
        let proof = read_proof(reader, kind.class())?;
        reader.literal(r#"},"votes":{"#)?;
        let votes = read_votes(reader, kind)?;
        reader.literal("}}")?;
        reader.end()?;
        let sealed = Sealed {
            block,
            proof,
            votes,
        };
        if sealed.to_json() == text {
            Ok(sealed)
        } else {
            Err(SealedError::NotCanonical)
        }
    }
}

fn agreement(assent: &Vote, endorse: &Vote, seal: &Vote) -> String {
    format!(r#""assent":"{assent}","endorse":"{endorse}","seal":"{seal}""#)
}

fn read_proof(reader: &mut Reader<'_>, class: Class) -> Result<Proof, SyntaxError> {
    match class {
        Class::Admit => {
            reader.literal(r#""account":""#)?;
            reader.parsed(SIGNATURE, parse_b64).map(Proof::Account)
        }
        Class::Restrict => {
            reader.literal(r#""broker":""#)?;
            let broker = reader.parsed(SIGNATURE, parse_b64)?;
            reader.literal(r#","trust_operator":""#)?;
            let trust_operator = reader.parsed(SIGNATURE, parse_b64)?;
            Ok(Proof::Operators {
                broker,
                trust_operator,
            })
        }
    }
}

fn read_vote(reader: &mut Reader<'_>, before: &'static str) -> Result<Vote, SyntaxError> {
    reader.literal(before)?;
    reader.parsed(VOTE, str::parse)
}

fn read_votes(reader: &mut Reader<'_>, kind: Kind) -> Result<Votes, SyntaxError> {
    if kind.class() == Class::Restrict {
        return read_word(reader).map(|word| Votes::Restrict { word });
    }
    let assent = read_vote(reader, r#""assent":""#)?;
    let endorse = read_vote(reader, r#","endorse":""#)?;
    let seal = read_vote(reader, r#","seal":""#)?;
    if kind != Kind::Genesis {
        return Ok(Votes::Admit {
            assent,
            endorse,
            seal,
        });
    }
    let device = read_vote(reader, r#","transcript":[""#)?;
    let broker = read_vote(reader, r#",""#)?;
    let trust_operator = read_vote(reader, r#",""#)?;
    reader.literal("]")?;
    Ok(Votes::Genesis {
        assent,
        endorse,
        seal,
        transcript: [device, broker, trust_operator],
    })
}

fn read_word(reader: &mut Reader<'_>) -> Result<Option<Word>, SyntaxError> {
    reader.literal(r#""word":"#)?;
    if reader.skip("null") {
        return Ok(None);
    }
    reader.literal(r#"{"verb":""#)?;
    let verb = reader.parsed("deny, disown or freeze", refusing_verb)?;
    reader.literal(r#","hash":""#)?;
    let hash = reader.parsed("a hash of 43 characters of base64url", str::parse::<Hash>)?;
    let vote = read_vote(reader, r#","vote":""#)?;
    reader.literal("}")?;
    Ok(Some(Word { verb, hash, vote }))
}

fn refusing_verb(name: &str) -> Result<Verb, ()> {
    [Verb::Deny, Verb::Disown, Verb::Freeze]
        .into_iter()
        .find(|verb| verb.name() == name)
        .ok_or(())
}
