//! The bearer token of a login service: read from a file, never from an argument or the
//! environment, where other processes could read it; wiped on drop, never printed.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest token in bytes.
pub const MAX_TOKEN: usize = 256;

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("token file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("token file {path} has mode {found:03o}, expected 600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Permission bits found.
        found: u32,
    },
    /// Not 16 to 256 characters of the bearer alphabet (RFC 6750 §2.1).
    #[error(
        "token has {found} bytes or a character outside the bearer alphabet, expected 16 to {MAX_TOKEN} of it"
    )]
    Form {
        /// Bytes found.
        found: usize,
    },
}

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes a token's text; white space around it is dropped.
    ///
    /// # Errors
    /// [`TokenError::Form`].
    pub fn new(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        let found = text.len();
        let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if (16..=MAX_TOKEN).contains(&found) && text.bytes().all(in_alphabet) {
            Ok(Token(Zeroizing::new(text.to_owned())))
        } else {
            Err(TokenError::Form { found })
        }
    }

    /// Reads a token from a file that only its owner may read.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_file(path: &Path) -> Result<Token, TokenError> {
        let failed = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        check_mode(path, &file.metadata().map_err(failed)?)?;
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN * 2));
        let limit = u64::try_from(MAX_TOKEN * 2).unwrap_or(u64::MAX);
        file.take(limit).read_to_string(&mut text).map_err(failed)?;
        Token::new(&text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), TokenError> {
    use std::os::unix::fs::PermissionsExt;
    let found = metadata.permissions().mode() & 0o777;
    if found & 0o077 == 0 {
        return Ok(());
    }
    Err(TokenError::Mode {
        path: path.to_owned(),
        found,
    })
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), TokenError> {
    Ok(())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<redacted>)")
    }
}
