//! In which of the two languages a page is written.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Query},
    http::{header, request::Parts},
};

use crate::words::Both;

/// A page's language; its code in a query and in a header is RFC 5646's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Language {
    /// Whoever asks for neither.
    #[default]
    English,
    Japanese,
}

impl Language {
    pub(crate) const fn say(self, (japanese, english): Both) -> &'static str {
        match self {
            Self::Japanese => japanese,
            Self::English => english,
        }
    }

    pub(crate) const fn code(self) -> &'static str {
        self.say(("ja", "en"))
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Japanese => Self::English,
            Self::English => Self::Japanese,
        }
    }

    /// Of a code such as `ja` or `en-GB`.
    fn of(code: &str) -> Option<Self> {
        let primary = code.trim().split('-').next().unwrap_or_default();
        [Self::Japanese, Self::English]
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.code()))
    }

    /// The best liked of the two in an `Accept-Language` (RFC 9110 §12.5.4); the earlier of equals.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for part in header.split(',') {
            let (code, weight) = part.split_once(';').unwrap_or((part, "q=1"));
            let weight = weight.trim().strip_prefix("q=");
            let weight = weight.and_then(|q| q.parse::<f32>().ok()).unwrap_or(0.0);
            let Some(language) = Self::of(code).filter(|_| weight > 0.0) else {
                continue;
            };
            if best.is_none_or(|(_, most)| weight > most) {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
    }
}

/// `?lang=` goes before `Accept-Language`, and what is neither is English.
impl<S: Send + Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let asked = pairs.ok().and_then(|Query(pairs)| {
            let mut asked = pairs.iter().filter(|(name, _)| name == "lang");
            asked.next().and_then(|(_, code)| Self::of(code))
        });
        let accepted = || {
            let header = parts.headers.get(header::ACCEPT_LANGUAGE)?;
            Self::accepted(header.to_str().ok()?)
        };
        Ok(asked.or_else(accepted).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_language_is_spoken() {
        use Language::{English, Japanese};
        for (header, expected) in [
            ("ja", Some(Japanese)),
            ("ja-JP,ja;q=0.9,en;q=0.8", Some(Japanese)),
            ("en-GB, ja;q=0.9", Some(English)),
            ("fr;q=1, ja;q=0.2, en;q=0.3", Some(English)),
            ("ja;q=0, en;q=0.1", Some(English)),
            ("JA;q=0.5,en;q=0.5", Some(Japanese)),
            ("fr, de", None),
            ("ja;q=x", None),
            ("", None),
        ] {
            assert_eq!(Language::accepted(header), expected, "{header}");
        }
    }
}
