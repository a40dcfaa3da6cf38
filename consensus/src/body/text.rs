//! What a body says: a strict schema whose texts show on a screen exactly as they are written.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Longest channel in bytes of UTF-8.
pub const MAX_CHANNEL: usize = 64;
/// Longest address in bytes of UTF-8.
pub const MAX_ADDRESS: usize = 256;
/// Most details of one body.
pub const MAX_DETAILS: usize = 16;
/// Longest label of a detail in bytes of UTF-8.
pub const MAX_LABEL: usize = 96;
/// Longest value of a detail in bytes of UTF-8.
pub const MAX_VALUE: usize = 512;
/// Longest re-identification reference in bytes of UTF-8.
pub const MAX_REFERENCE: usize = 128;
/// A padded body's length is a multiple of this many bytes, so that lengths tell little.
pub const PADDING_BLOCK: usize = 256;
/// Longest padded body in bytes; the longest that the limits above allow fits.
pub const MAX_PADDED: usize = 24 * 1024;

/// One thing the customer approves, as label and value.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// What it is: 1 to 96 bytes of UTF-8.
    pub label: String,
    /// Its value: at most 512 bytes of UTF-8.
    pub value: String,
}

/// What a body says. All texts are UTF-8 without control, bidirectional or invisible characters.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// How the customer reached the login service, such as `web`: 1 to 64 bytes of UTF-8.
    pub channel: String,
    /// From where, as the broker saw it: at most 256 bytes of UTF-8.
    pub address: String,
    /// What is approved, at most 16.
    pub details: Vec<Detail>,
    /// Reference of the re-identification behind an `unfreeze`: at most 128 bytes of UTF-8.
    #[serde(deserialize_with = "Option::deserialize")]
    pub reference: Option<String>,
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detail(<redacted>)")
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(<redacted>)")
    }
}

/// Why a body was not sealed or not opened. Never says what the body holds.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// A text is too short or too long.
    #[error("body's {field} has {found} bytes, expected {min} to {max}")]
    Length {
        /// The field.
        field: &'static str,
        /// Bytes found.
        found: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// Too many details.
    #[error("body has {found} details, at most {MAX_DETAILS} allowed")]
    Details {
        /// Details found.
        found: usize,
    },
    /// A character that a screen would not show as itself.
    #[error("body's {field} holds U+{found:04X}, a control, bidirectional or invisible character")]
    Character {
        /// The field.
        field: &'static str,
        /// The code point.
        found: u32,
    },
    /// The block claims no body.
    #[error("block claims no body, expected a hash")]
    NoClaim,
    /// The sealed body is not the one that the block claims.
    #[error("sealed body does not match the block's body claim")]
    Claim,
    /// Content key, salt or place in the chain are not those that the body was sealed with.
    #[error("body's key commitment does not match")]
    Commitment,
    /// The ciphertext's length is not that of a padded body.
    #[error(
        "body's ciphertext has {found} bytes, expected a multiple of 256 and 16, at most {max}"
    )]
    CiphertextLength {
        /// Bytes found.
        found: usize,
        /// Most allowed.
        max: usize,
    },
    /// The ciphertext was not sealed with this key and these claims.
    #[error("body does not open with this key and these claims")]
    Aead,
    /// The padding is not the shortest one.
    #[error("body's padding is not canonical")]
    Padding,
    /// The text is not the canonical JSON of a body.
    #[error("body is not the canonical json of its schema")]
    Schema,
}

impl Body {
    /// Checks lengths and characters of every text.
    ///
    /// # Errors
    /// [`BodyError`] naming the field.
    pub fn validate(&self) -> Result<(), BodyError> {
        check("channel", &self.channel, 1, MAX_CHANNEL)?;
        check("address", &self.address, 0, MAX_ADDRESS)?;
        if self.details.len() > MAX_DETAILS {
            return Err(BodyError::Details {
                found: self.details.len(),
            });
        }
        for detail in &self.details {
            check("detail label", &detail.label, 1, MAX_LABEL)?;
            check("detail value", &detail.value, 0, MAX_VALUE)?;
        }
        match &self.reference {
            Some(reference) => check("reference", reference, 1, MAX_REFERENCE),
            None => Ok(()),
        }
    }

    /// Canonical JSON, byte 0x80, then zeros to a multiple of 256 (ISO/IEC 7816-4 padding).
    pub(super) fn to_padded(&self) -> Result<Vec<u8>, BodyError> {
        self.validate()?;
        let mut padded = serde_json::to_vec(self).map_err(|_| BodyError::Schema)?;
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(PADDING_BLOCK), 0);
        Ok(padded)
    }

    /// The inverse of [`Body::to_padded`], accepting nothing else.
    pub(super) fn from_padded(padded: &[u8]) -> Result<Body, BodyError> {
        let end = padded
            .iter()
            .rposition(|byte| *byte != 0)
            .ok_or(BodyError::Padding)?;
        let (json, padding) = padded.split_at(end);
        if padding.first() != Some(&0x80) || padding.len() > PADDING_BLOCK {
            return Err(BodyError::Padding);
        }
        let body: Body = serde_json::from_slice(json).map_err(|_| BodyError::Schema)?;
        body.validate()?;
        match serde_json::to_vec(&body) {
            Ok(canonical) if canonical == json => Ok(body),
            _ => Err(BodyError::Schema),
        }
    }
}

fn check(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), BodyError> {
    let found = text.len();
    if !(min..=max).contains(&found) {
        return Err(BodyError::Length {
            field,
            found,
            min,
            max,
        });
    }
    let mut before = None;
    for character in text.chars() {
        let selects_variant =
            is_ideographic_selector(character) && before.is_some_and(is_ideograph);
        if is_hidden(character) && !selects_variant {
            return Err(BodyError::Character {
                field,
                found: u32::from(character),
            });
        }
        before = Some(character);
    }
    Ok(())
}

/// Selects a written form of the kanji before it, as Japanese names need; shown nowhere else.
fn is_ideographic_selector(character: char) -> bool {
    matches!(character, '\u{e0100}'..='\u{e01ef}')
}

fn is_ideograph(character: char) -> bool {
    matches!(character,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}

/// Characters that a screen does not show as themselves: Unicode's Cc, Cf, Zl, Zp, Co and
/// noncharacters, everything in `Default_Ignorable_Code_Point`, and spaces other than U+0020 and
/// U+3000 (Unicode 16).
pub(crate) fn is_hidden(character: char) -> bool {
    is_control_or_format(character) || is_blank(character) || is_unassigned_for_text(character)
}

fn is_control_or_format(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{13455}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_blank(character: char) -> bool {
    matches!(character,
        '\u{a0}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{1680}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}')
}

fn is_unassigned_for_text(character: char) -> bool {
    let code = u32::from(character);
    matches!(character,
        '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'..='\u{10ffff}')
        || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(json: &[u8], marker: &[u8], length: usize) -> Vec<u8> {
        let mut padded = [json, marker].concat();
        padded.resize(length, 0);
        padded
    }

    const JSON: &str = r#"{"channel":"web","address":"a","details":[],"reference":null}"#;

    #[test]
    fn only_the_shortest_padding_is_read() {
        let json = JSON.as_bytes();
        let body = Body::from_padded(&padded(json, &[0x80], 256)).unwrap();
        assert_eq!(body.to_padded().unwrap(), padded(json, &[0x80], 256));
        for wrong in [
            padded(json, &[0x80], 512),
            padded(json, &[], 256),
            padded(json, &[0x81], 256),
            padded(json, &[0x80, 0, 1], 256),
            padded(&[], &[], 256),
            Vec::new(),
        ] {
            assert_eq!(Body::from_padded(&wrong), Err(BodyError::Padding));
        }
    }

    #[test]
    fn other_json_for_the_same_body_is_rejected() {
        let altered = [
            JSON.replace(r#","address""#, r#", "address""#),
            JSON.replace(r#","address""#, r#","channel":"web","address""#),
            JSON.replace("null}", r#"null,"extra":1}"#),
            JSON.replace(r#","reference":null"#, ""),
            JSON.replace(
                r#""channel":"web","address":"a""#,
                r#""address":"a","channel":"web""#,
            ),
            JSON.replace("web", r"\u0077eb"),
            JSON.replace("web", r"\ud800"),
            JSON.replace("[]", r#"[{"label":"a"}]"#),
            JSON.replace("[]", r#"[{"value":"a","label":"a"}]"#),
            JSON.replace("[]", &format!("{}{}", "[".repeat(200), "]".repeat(200))),
            JSON.replace("null", "7"),
            format!("{JSON}{JSON}"),
            r#"["web","a",[],null]"#.to_owned(),
            String::new(),
        ];
        for json in altered {
            assert_ne!(json, JSON);
            let length = (json.len() + 1).next_multiple_of(PADDING_BLOCK);
            let read = Body::from_padded(&padded(json.as_bytes(), &[0x80], length));
            assert_eq!(read, Err(BodyError::Schema), "{json}");
        }
        let mut bytes = padded(JSON.as_bytes(), &[0x80], 256);
        bytes[13] = 0xff;
        assert_eq!(Body::from_padded(&bytes), Err(BodyError::Schema));
    }

    #[test]
    fn a_body_that_hides_characters_does_not_open() {
        let json = JSON.replace("web", "w\u{202e}eb");
        let read = Body::from_padded(&padded(json.as_bytes(), &[0x80], 256));
        assert_eq!(
            read,
            Err(BodyError::Character {
                field: "channel",
                found: 0x202e
            })
        );
    }
}
