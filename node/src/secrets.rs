//! Files that only their owner may read: identity seeds, master keys, and callers' tokens.
//!
//! Decides how a secret reaches the disk (whole or not at all, mode 0600, synced, never over
//! another one) and that a file open to others is refused, not repaired. Tokens are kept as hashes
//! only. No error and no `Debug` shows a secret.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use warifu_client_sdk::{store::MasterKey, transport::IdentitySecret};
use warifu_consensus::{encoding::text_b64, signature::IdentityKey};
use zeroize::Zeroizing;

/// BLAKE3 `derive_key` context of a token's hash.
const TOKEN_CONTEXT: &str = "warifu/1 caller token";

/// What a token begins with, so that a scanner recognises a leaked one.
const TOKEN_PREFIX: &str = "warifu-token-";

/// Longest file of tokens in bytes.
const MAX_TOKENS_FILE: u64 = 1 << 20;

/// Why a secret could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The operating system refused.
    #[error("could not {action} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The group or others may do something with the file.
    #[error("{} has mode {found:04o}, expected 0600: only its owner may read it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// The file has another length than its kind of secret.
    #[error("{} has {found} bytes, expected {expected}", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The file of tokens is not of its form.
    #[error("{}: {reason}", .path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness for {}", .path.display())]
    Randomness {
        /// The file that was to be made.
        path: PathBuf,
    },
}

impl SecretError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretError {
        let path = path.to_path_buf();
        move |source| SecretError::Io {
            action,
            path,
            source,
        }
    }
}

/// An operator's identity: a 32-byte Ed25519 seed (RFC 8032 §5.1.5). Wiped on drop.
pub struct IdentitySeed(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for IdentitySeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentitySeed(<redacted>)")
    }
}

impl IdentitySeed {
    /// Reads a seed's file: exactly 32 bytes, mode 0600.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<IdentitySeed, SecretError> {
        read_32(path).map(IdentitySeed)
    }

    /// Reads the seed, or makes one if there is no such file; an existing file is never replaced.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_or_create(path: &Path) -> Result<IdentitySeed, SecretError> {
        create_32(path)?;
        IdentitySeed::read(path)
    }

    /// The key that signs votes.
    #[must_use]
    pub fn key(&self) -> IdentityKey {
        IdentityKey::from_seed(*self.0)
    }

    /// The key that authenticates the wire's lines.
    #[must_use]
    pub fn wire(&self) -> IdentitySecret {
        IdentitySecret::new(*self.0)
    }

    /// The 32-byte public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key().public()
    }
}

/// Reads a 32-byte seed, mode 0600; `make` makes one if there is no such file.
///
/// # Errors
/// [`SecretError`].
pub(crate) fn read_seed(path: &Path, make: bool) -> Result<Zeroizing<[u8; 32]>, SecretError> {
    if make {
        create_32(path)?;
    }
    read_32(path)
}

/// Reads the vault's master key: exactly 32 bytes, mode 0600.
///
/// # Errors
/// [`SecretError`].
pub fn read_master_key(path: &Path) -> Result<MasterKey, SecretError> {
    read_32(path).map(MasterKey::from_bytes)
}

/// Makes a master key if there is no such file; an existing file is never replaced.
///
/// # Errors
/// [`SecretError`], also when the existing file is unsafe or has another length.
pub fn ensure_master_key(path: &Path) -> Result<(), SecretError> {
    create_32(path)?;
    read_32(path).map(drop)
}

fn create_32(path: &Path) -> Result<(), SecretError> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let mut bytes = Zeroizing::new([0; 32]);
    fill(path, bytes.as_mut())?;
    create_new(path, bytes.as_ref())
}

fn fill(path: &Path, bytes: &mut [u8]) -> Result<(), SecretError> {
    getrandom::fill(bytes).map_err(|_| SecretError::Randomness {
        path: path.to_path_buf(),
    })
}

fn read_32(path: &Path) -> Result<Zeroizing<[u8; 32]>, SecretError> {
    let (mut file, found) = open_private(path)?;
    if found != 32 {
        return Err(SecretError::Length {
            path: path.to_path_buf(),
            found,
            expected: 32,
        });
    }
    let mut bytes = Zeroizing::new([0; 32]);
    file.read_exact(bytes.as_mut())
        .map_err(SecretError::io("read", path))?;
    Ok(bytes)
}

/// Opens a regular file that only its owner may use; also tells its length in bytes.
fn open_private(path: &Path) -> Result<(fs::File, u64), SecretError> {
    let file = fs::File::open(path).map_err(SecretError::io("open", path))?;
    let metadata = file.metadata().map_err(SecretError::io("examine", path))?;
    let found = metadata.mode() & 0o7777;
    if found & 0o077 != 0 {
        let path = path.to_path_buf();
        return Err(SecretError::Mode { path, found });
    }
    Ok((file, metadata.len()))
}

/// The content of a private file (mode 0600) of at most `limit` bytes.
///
/// # Errors
/// [`SecretError`].
pub(crate) fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (file, found) = open_private(path)?;
    if found > limit {
        return Err(SecretError::Length {
            path: path.to_path_buf(),
            found,
            expected: limit,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(SecretError::io("read", path))?;
    Ok(bytes)
}

/// Writes a new private file (0600): whole or not at all, durable when this returns.
///
/// # Errors
/// [`SecretError::Io`], also when the file exists.
pub(crate) fn create_new(path: &Path, bytes: &[u8]) -> Result<(), SecretError> {
    let temporary = write_temporary(path, bytes, 0o600)?;
    // Unlike a rename, a link fails when the name is taken.
    let linked = fs::hard_link(&temporary, path).map_err(SecretError::io("create", path));
    let removed = fs::remove_file(&temporary).map_err(SecretError::io("remove", &temporary));
    linked?;
    removed?;
    sync_parent(path)
}

/// Replaces a file's content: old or new after a crash, durable when this returns. `mode` are its
/// permission bits.
///
/// # Errors
/// [`SecretError::Io`].
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SecretError> {
    let temporary = write_temporary(path, bytes, mode)?;
    fs::rename(&temporary, path).map_err(SecretError::io("replace", path))?;
    sync_parent(path)
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, SecretError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SecretError::io("remove", &temporary)(error));
        }
        // A leftover of a run that was cut short.
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(SecretError::io("create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(SecretError::io("write", &temporary))?;
    Ok(temporary)
}

fn sync_parent(path: &Path) -> Result<(), SecretError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(SecretError::io("sync", parent))
}

/// What a caller's token allows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Begin, watch and cancel logins.
    Login,
    /// Issue tickets, confirm enrolments.
    Enrol,
    /// Read accounts' histories.
    History,
    /// Freeze accounts.
    Freeze,
    /// A service desk's: unfreeze after re-identification.
    Desk,
    /// Erase accounts for good. `init` gives the scope to nobody.
    Erase,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 6] = [
        Scope::Login,
        Scope::Enrol,
        Scope::History,
        Scope::Freeze,
        Scope::Desk,
        Scope::Erase,
    ];

    /// Scopes that `init` gives to the first caller: all but what can't be undone.
    pub const USUAL: [Scope; 5] = [
        Scope::Login,
        Scope::Enrol,
        Scope::History,
        Scope::Freeze,
        Scope::Desk,
    ];

    /// Its name in `tokens.toml` and in `/openapi.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Login => "login",
            Scope::Enrol => "enrol",
            Scope::History => "history",
            Scope::Freeze => "freeze",
            Scope::Desk => "desk",
            Scope::Erase => "erase",
        }
    }
}

/// A program that may call the HTTP side.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Caller {
    /// Its name: logins belong to it.
    pub name: String,
    /// The relying party that its blocks name, whatever its requests say.
    pub aud: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// BLAKE3 `derive_key` of the token with context `warifu/1 caller token`: 64 hex digits.
    pub hash: String,
}

impl Caller {
    /// Whether the caller has a scope.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// All callers of a broker's HTTP side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tokens {
    /// One entry for each caller.
    #[serde(rename = "caller")]
    callers: Vec<Caller>,
}

/// `tokens.toml` as it stands in the file; scopes are names yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default, rename = "caller")]
    callers: Vec<CallerTable>,
}

/// `[[caller]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerTable {
    name: String,
    aud: String,
    scopes: Vec<String>,
    hash: String,
}

impl CallerTable {
    /// Names the caller and the first scope that is none.
    fn check(self) -> Result<Caller, String> {
        let named = |name: &String| Scope::ALL.into_iter().find(|scope| scope.name() == name);
        let mut scopes = Vec::new();
        for name in &self.scopes {
            let expected = Scope::ALL.map(Scope::name).join(", ");
            scopes.push(named(name).ok_or_else(|| {
                format!(
                    "caller {:?} has scope {name:?}, expected some of {expected}",
                    self.name
                )
            })?);
        }
        Ok(Caller {
            name: self.name,
            aud: self.aud,
            scopes,
            hash: self.hash,
        })
    }
}

impl Tokens {
    /// Callers that were checked elsewhere (tests, other sources).
    #[must_use]
    pub fn new(callers: Vec<Caller>) -> Tokens {
        Tokens { callers }
    }

    /// Reads `tokens.toml`: mode 0600, names unique, hashes of 64 hex digits.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Tokens, SecretError> {
        let (mut file, length) = open_private(path)?;
        let refuse = |reason: String| SecretError::Tokens {
            path: path.to_path_buf(),
            reason,
        };
        if length > MAX_TOKENS_FILE {
            let reason = format!("found {length} bytes, at most {MAX_TOKENS_FILE} allowed");
            return Err(refuse(reason));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(SecretError::io("read", path))?;
        let file: TokensFile =
            toml::from_str(&text).map_err(|error| refuse(error.message().to_owned()))?;
        let callers: Result<Vec<Caller>, String> =
            file.callers.into_iter().map(CallerTable::check).collect();
        let tokens = Tokens {
            callers: callers.map_err(refuse)?,
        };
        let mut names = std::collections::BTreeSet::new();
        for Caller { name, hash, .. } in &tokens.callers {
            if !names.insert(name) {
                return Err(refuse(format!(
                    "caller {name:?} stands twice, expected once"
                )));
            }
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if hash.len() != 64 || !hash.bytes().all(lower) {
                let reason = format!("hash of caller {name:?} is not 64 lower-case hex digits");
                return Err(refuse(reason));
            }
        }
        Ok(tokens)
    }

    /// The caller with this token, compared by hash in constant time.
    #[must_use]
    pub fn caller(&self, token: &str) -> Option<&Caller> {
        let hash = token_hash(token);
        self.callers.iter().fold(None, |found, caller| {
            let same: bool = caller.hash.as_bytes().ct_eq(hash.as_bytes()).into();
            if same { Some(caller) } else { found }
        })
    }

    /// All callers.
    #[must_use]
    pub fn callers(&self) -> &[Caller] {
        &self.callers
    }

    pub(crate) fn render(&self) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(self)?;
        Ok(format!(
            "# Who may call this broker's HTTP side. A token itself is never here: hash is BLAKE3\n\
             # derive_key (context {TOKEN_CONTEXT:?}) of it. aud is what the caller's blocks name.\n\
             # scopes: login, enrol, history, freeze, desk, erase.\n\n{text}"
        ))
    }
}

/// The hash of a token as `tokens.toml` keeps it: 64 lower-case hex digits.
#[must_use]
pub fn token_hash(token: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(TOKEN_CONTEXT);
    hasher.update(token.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Reads a token's file (mode 0600), or makes one with 32 random bytes; never replaces one.
///
/// # Errors
/// [`SecretError`].
pub fn read_or_create_token(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    if path.symlink_metadata().is_err() {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(path, bytes.as_mut())?;
        let encoded = Zeroizing::new(text_b64(bytes.as_ref()));
        let text = Zeroizing::new(format!("{TOKEN_PREFIX}{}\n", encoded.as_str()));
        create_new(path, text.as_bytes())?;
    }
    read_token(path)
}

/// Reads a token's file: one line, mode 0600.
///
/// # Errors
/// [`SecretError`].
pub fn read_token(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    const MAX: u64 = 1024;
    let (mut file, length) = open_private(path)?;
    let length_error = |found| SecretError::Length {
        path: path.to_path_buf(),
        found,
        expected: MAX,
    };
    if length > MAX {
        return Err(length_error(length));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)
        .map_err(SecretError::io("read", path))?;
    let token = Zeroizing::new(text.trim().to_owned());
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(SecretError::Tokens {
            path: path.to_path_buf(),
            reason: "expected one token on one line".to_owned(),
        });
    }
    Ok(token)
}
