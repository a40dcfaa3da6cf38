//! `[broker.push]`: the operator's push service, which wakes phones.
//!
//! Decides which addresses a bearer token may be sent to. Never shows a whole URL: its path or query
//! may be a secret.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use reqwest::Url;
use serde::Deserialize;

use super::{
    Check, ConfigError,
    file::{Writer, path, text},
};

/// Longest time that one call may take, in seconds.
const MAX_TIMEOUT_S: u64 = 30;

/// `[broker.push]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PushTable {
    /// Where to post.
    pub url: String,
    /// The file of the bearer token.
    #[serde(default = "token_file")]
    pub token_file: PathBuf,
    /// Seconds that one call may take.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
}

fn token_file() -> PathBuf {
    "push.token".into()
}

const fn timeout_s() -> u64 {
    5
}

/// The push service, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PushConfig {
    /// Where to post.
    pub url: PushUrl,
    /// The file of the bearer token, joined to the node's directory.
    pub token_file: PathBuf,
    /// Longest time that one call may take.
    pub timeout: Duration,
}

/// An address that a token may be sent to: https, or http on loopback. Shown without what follows
/// the host.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl(Url);

impl PushUrl {
    /// `None` for another scheme, a host that is not loopback without TLS, a user or a fragment.
    #[must_use]
    pub fn parse(text: &str) -> Option<PushUrl> {
        let url = Url::parse(text).ok()?;
        let host = url.host_str()?;
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback =
            host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (is_private && is_bare).then_some(PushUrl(url))
    }

    /// The whole address, for the request only.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushUrl({self})")
    }
}

impl PushTable {
    pub(super) fn check(self, check: &Check<'_>) -> Result<PushConfig, ConfigError> {
        let url = PushUrl::parse(&self.url).ok_or_else(|| {
            let found = "another address (not shown, it may hold a secret)";
            let expected =
                "https://…, or http:// and a loopback address, without user and fragment";
            check.field("broker.push.url", found, expected)
        })?;
        if !(1..=MAX_TIMEOUT_S).contains(&self.timeout_s) {
            let expected = format!("1 to {MAX_TIMEOUT_S} seconds");
            let found = self.timeout_s.to_string();
            return Err(check.field("broker.push.timeout_s", found, expected));
        }
        Ok(PushConfig {
            url,
            token_file: check.dir.join(&self.token_file),
            timeout: Duration::from_secs(self.timeout_s),
        })
    }
}

/// Writes the table, or how to write it.
pub(super) fn render(table: Option<&PushTable>, out: &mut Writer) {
    let Some(table) = table else {
        for line in [
            "Push (default none): told when a proposal opens for an account whose device has no line.",
            "[broker.push]",
            "url = \"https://push.example/warifu\"",
            "token_file = \"push.token\"",
            "timeout_s = 5",
        ] {
            out.heading(line);
        }
        return;
    };
    let about = "Told when a proposal opens for an account whose device has no line.";
    out.table("broker.push", about);
    out.field(
        "Where to POST {iss, sub, expires_at}: https, or http on loopback.",
        "url",
        text(&table.url),
    );
    out.field(
        "The bearer token for it: one line, mode 0600 (default push.token).",
        "token_file",
        path(&table.token_file),
    );
    out.field(
        "How long one call may take in seconds, 1 to 30 (default 5).",
        "timeout_s",
        table.timeout_s.to_string(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_tls_or_loopback_and_the_path_is_not_shown() {
        for good in [
            "https://push.example/warifu?key=s3cret",
            "http://127.0.0.1:9/x",
            "http://[::1]:9",
            "http://localhost:9",
        ] {
            assert!(PushUrl::parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://push.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://user@push.example",
            "https://push.example/#part",
            "push.example",
            "",
        ] {
            assert!(PushUrl::parse(bad).is_none(), "{bad}");
        }
        let url = PushUrl::parse("https://push.example/warifu?key=s3cret").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://push.example PushUrl(https://push.example)"
        );
    }
}
