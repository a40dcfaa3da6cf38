//! `[[broker.witness]]`: public witnesses, who are shown the log's checkpoints and cosign them.
//!
//! Decides whom the broker shows its checkpoints to, and by which key it believes their answers. What is sent is public,
//! and an answer is worth its signature only: plain `http://` is well.

use std::fmt;

use reqwest::Url;
use serde::Deserialize;
use warifu_consensus::log::{Algorithm, LogKeys, NoteKey};

use super::{
    Check, ConfigError,
    file::{Writer, text},
};

/// Most of `[[broker.witness]]`: their lines stand in every checkpoint, and in every proof.
const MOST: usize = 8;

/// One `[[broker.witness]]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WitnessTable {
    /// Its verifier key (C2SP signed-note), of type 0x04.
    pub key: String,
    /// Its submission prefix (C2SP tlog-witness): `add-checkpoint` is asked for below it.
    pub url: String,
}

/// A public witness, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicWitness {
    /// By which its cosignatures verify.
    pub key: NoteKey,
    /// Where checkpoints are posted to.
    pub url: WitnessUrl,
}

/// The address of a witness's `add-checkpoint`: http or https, without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessUrl(Url);

impl WitnessUrl {
    /// From a submission prefix; `None` for what is no such address.
    #[must_use]
    pub fn below(prefix: &str) -> Option<Self> {
        let mut url = Url::parse(prefix).ok()?;
        let is_http = ["http", "https"].contains(&url.scheme()) && url.host_str().is_some();
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_http || !is_bare {
            return None;
        }
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .push("add-checkpoint");
        Some(Self(url))
    }

    /// The whole address.
    #[must_use]
    pub const fn whole(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WitnessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Check<'_> {
    pub(super) fn witnesses(
        &self,
        tables: Vec<WitnessTable>,
    ) -> Result<Vec<PublicWitness>, ConfigError> {
        if tables.len() > MOST {
            let found = tables.len().to_string();
            return Err(self.field("broker.witness", found, format!("at most {MOST}")));
        }
        let mut witnesses: Vec<PublicWitness> = Vec::new();
        for (at, WitnessTable { key, url }) in tables.into_iter().enumerate() {
            let field = |name| format!("broker.witness[{at}].{name}");
            let wrong_key =
                |expected: String| self.field(field("key"), format!("{key:?}"), expected);
            let parsed: NoteKey = key
                .parse()
                .map_err(|error| wrong_key(format!("a verifier key: {error}")))?;
            if parsed.algorithm() != Algorithm::Cosignature {
                return Err(wrong_key("a cosigner's key, of type 0x04".to_owned()));
            }
            if witnesses.iter().any(|other| other.key == parsed) {
                return Err(wrong_key("each witness once".to_owned()));
            }
            let url = WitnessUrl::below(&url).ok_or_else(|| {
                let expected = "http:// or https:// and a host, without user, query and fragment";
                self.field(field("url"), format!("{url:?}"), expected)
            })?;
            witnesses.push(PublicWitness { key: parsed, url });
        }
        Ok(witnesses)
    }

    /// A public witness is neither of the two operators: their lines are there anyway.
    pub(super) fn witnesses_are_others(
        &self,
        witnesses: &[PublicWitness],
        keys: &LogKeys,
    ) -> Result<(), ConfigError> {
        for (at, witness) in witnesses.iter().enumerate() {
            if witness.key.public() == keys.witness.public()
                || witness.key.public() == keys.log.public()
            {
                let field = format!("broker.witness[{at}].key");
                let expected = "another key than the ledger's own two";
                return Err(self.field(field, witness.key.to_string(), expected));
            }
        }
        Ok(())
    }
}

/// Writes the tables, or how to write one.
pub(super) fn render(tables: &[WitnessTable], out: &mut Writer) {
    if tables.is_empty() {
        for line in [
            "Public witnesses of the log (default none): each is shown every checkpoint that both operators signed.",
            "[[broker.witness]]",
            "key = \"witness.example/w1+…\"",
            "url = \"https://witness.example\"",
        ] {
            out.heading(line);
        }
    }
    for table in tables {
        let about =
            "A public witness of the log: shown every checkpoint that both operators signed.";
        out.table_of("broker.witness", about);
        out.field("Its verifier key, of type 0x04.", "key", text(&table.key));
        let about = "Its submission prefix, above /add-checkpoint.";
        out.field(about, "url", text(&table.url));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_prefix_is_an_address_without_secrets() {
        for (prefix, whole) in [
            ("https://w.example", "https://w.example/add-checkpoint"),
            ("https://w.example/", "https://w.example/add-checkpoint"),
            (
                "http://10.0.0.1:80/a/b/",
                "http://10.0.0.1/a/b/add-checkpoint",
            ),
            ("http://[::1]:9/a", "http://[::1]:9/a/add-checkpoint"),
        ] {
            assert_eq!(WitnessUrl::below(prefix).unwrap().to_string(), whole);
        }
        for bad in [
            "w.example",
            "ftp://w.example",
            "https://u@w.example",
            "https://w.example/?q",
            "https://w.example/#f",
            "",
        ] {
            assert!(WitnessUrl::below(bad).is_none(), "{bad}");
        }
    }
}
