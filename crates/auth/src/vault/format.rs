//! The vault's file, as bytes: what is written where, and what of it can be believed.
//!
//! ```text
//! "CMSVAULT"  version:1  kind of key:1  vault id:16       the header
//! nonce:24  tag:16                                        the key check: nothing, encrypted
//! length:2  account  nonce:24  length:4  ciphertext       a record, as many as there are accounts
//! BLAKE3 of all of the above:32
//! ```
//!
//! Numbers are little-endian. Records are sealed with XChaCha20-Poly1305 under the vault's key; what is authenticated
//! with each is the header and the account, so that none opens for another account or in another vault. The key check
//! tells a wrong key from a damaged record, and the checksum tells damage from either without any key. The checksum
//! guards against accidents only; against intent there are the tags.

use std::fmt;

use chacha20poly1305::aead::{Aead, AeadInOut, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::Key;
use crate::RefreshToken;

/// The version that is written.
pub(crate) const VERSION: u8 = 1;
/// The largest file that is read.
pub(crate) const FILE_BYTES_MAX: usize = 4 << 20;
/// The longest account name, in bytes.
pub(crate) const ACCOUNT_BYTES_MAX: usize = 1024;
/// The longest ciphertext of one record; a refresh token takes some two thousand bytes.
pub(crate) const CIPHERTEXT_BYTES_MAX: usize = 64 << 10;

const MAGIC: &[u8; 8] = b"CMSVAULT";
const HEADER_BYTES: usize = 26;
const TAG_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;
const RECORD_VERSION: u8 = 1;

/// A nonce; each is used once.
pub type Nonce = [u8; 24];

/// Where the key of a vault comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The desktop's keyring holds it.
    Keyring,
    /// It is derived from what a command prints.
    Command,
}

/// Which vault this is: tells its key from others' in the keyring, and salts a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultId(pub [u8; 16]);

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What stands at the beginning of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the key comes from.
    pub kind: KeyKind,
    /// Which vault this is.
    pub id: VaultId,
}

/// What is kept of one account's sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSignIn {
    /// What access tokens are renewed with.
    pub refresh_token: RefreshToken,
    /// Who signed in, as far as the service said.
    pub user: Option<String>,
    /// What the user consented to.
    pub scopes: Vec<String>,
    /// When the user signed in, in seconds since 1970.
    pub signed_in_at: u64,
    /// When the refresh token came, in seconds since 1970.
    pub renewed_at: u64,
}

/// Why bytes aren't a vault, or a record can't be had from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends within its first fields.
    #[error("it is too short")]
    TooShort,
    /// It doesn't begin as a vault does.
    #[error("it doesn't begin as a vault does")]
    NotAVault,
    /// A later version of the program wrote it, or this record of it.
    #[error("it has version {0}")]
    NewerVersion(u8),
    /// The kind of key is none that there is.
    #[error("its key is of an unknown kind ({0})")]
    UnknownKind(u8),
    /// A field reaches beyond the end of the file.
    #[error("a field reaches beyond its end")]
    BeyondEnd,
    /// An account's name is empty or not UTF-8.
    #[error("an account has no proper name")]
    BadName,
    /// Two records are of the same account.
    #[error("it holds two records of {0}")]
    Duplicate(String),
    /// Something is larger than it may be.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The checksum is that of other bytes.
    #[error("its checksum is wrong")]
    Checksum,
    /// The key is right and doesn't open the record of this account.
    #[error("the record of {0} doesn't open")]
    Sealed(String),
    /// The record of this account opens and makes no sense.
    #[error("the record of {0} makes no sense")]
    Content(String),
}

/// A vault's file. Its records stay sealed until one is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultFile {
    header: Header,
    check: Check,
    records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    nonce: Nonce,
    tag: [u8; TAG_BYTES],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    account: String,
    nonce: Nonce,
    ciphertext: Vec<u8>,
}

impl VaultFile {
    /// Begins a vault under this key.
    pub fn new(header: Header, key: &Key, nonce: Nonce) -> Result<Self, FormatError> {
        let sealed = cipher(key)
            .encrypt(&XNonce::from(nonce), Payload { msg: &[], aad: &check_context(&header) })
            .ok()
            .and_then(|sealed| sealed.try_into().ok());
        let tag = sealed.ok_or(FormatError::TooLarge("the key check"))?;
        Ok(Self { header, check: Check { nonce, tag }, records: Vec::new() })
    }

    /// Reads a file that is whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (header, mut rest) = read_header(bytes)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(FormatError::TooLarge("the file"));
        }
        let checksum = rest.take_last::<CHECKSUM_BYTES>().ok_or(FormatError::TooShort)?;
        let check = rest.check().ok_or(FormatError::TooShort)?;
        let mut records: Vec<Record> = Vec::new();
        while !rest.0.is_empty() {
            let record = rest.record()?;
            if records.iter().any(|other| other.account == record.account) {
                return Err(FormatError::Duplicate(record.account));
            }
            records.push(record);
        }
        let (summed, _) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if *blake3::hash(summed).as_bytes() != checksum {
            return Err(FormatError::Checksum);
        }
        Ok(Self { header, check, records })
    }

    /// Reads what can be told apart in a damaged file, up to the first record that can't.
    ///
    /// Only a record that opens can be believed: its tag vouches for it as the checksum no longer does.
    pub fn salvage(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = read_header(bytes.get(..FILE_BYTES_MAX).unwrap_or(bytes)).ok()?;
        let check = rest.check()?;
        let mut records: Vec<Record> = Vec::new();
        while let Ok(record) = rest.record() {
            if records.iter().all(|other| other.account != record.account) {
                records.push(record);
            }
        }
        Some(Self { header, check, records })
    }

    /// The file as it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header_bytes(&self.header).to_vec();
        bytes.extend(self.check.nonce);
        bytes.extend(self.check.tag);
        for record in &self.records {
            // What was parsed or put is within bounds, so neither length is cut.
            let lengths = (u16::try_from(record.account.len()), u32::try_from(record.ciphertext.len()));
            bytes.extend(lengths.0.unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(record.account.as_bytes());
            bytes.extend(record.nonce);
            bytes.extend(lengths.1.unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(&record.ciphertext);
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend(checksum.as_bytes());
        bytes
    }

    /// Which vault this is.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Whether this is the vault's key.
    pub fn opens_with(&self, key: &Key) -> bool {
        let payload = Payload { msg: &self.check.tag, aad: &check_context(&self.header) };
        cipher(key).decrypt(&XNonce::from(self.check.nonce), payload).is_ok()
    }

    /// Whether there is a record of this account. That takes no key.
    pub fn holds(&self, account: &str) -> bool {
        self.records.iter().any(|record| record.account == account)
    }

    /// Whether no account has a record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Opens the record of this account, if there is one.
    pub fn get(&self, key: &Key, account: &str) -> Result<Option<KeptSignIn>, FormatError> {
        let Some(record) = self.records.iter().find(|record| record.account == account) else {
            return Ok(None);
        };
        let mut buffer = Zeroizing::new(record.ciphertext.clone());
        cipher(key)
            .decrypt_in_place(&XNonce::from(record.nonce), &record_context(&self.header, account), &mut *buffer)
            .map_err(|_| FormatError::Sealed(account.to_owned()))?;
        read_plaintext(&buffer, account).map(Some)
    }

    /// Seals the record of this account, in place of the one there was. The nonce must be a new one.
    pub fn put(&mut self, key: &Key, account: &str, kept: &KeptSignIn, nonce: Nonce) -> Result<(), FormatError> {
        if account.is_empty() {
            return Err(FormatError::BadName);
        }
        if account.len() > ACCOUNT_BYTES_MAX {
            return Err(FormatError::TooLarge("the account's name"));
        }
        let mut buffer = plaintext(kept)?;
        cipher(key)
            .encrypt_in_place(&XNonce::from(nonce), &record_context(&self.header, account), &mut *buffer)
            .map_err(|_| FormatError::TooLarge("the record"))?;
        if buffer.len() > CIPHERTEXT_BYTES_MAX {
            return Err(FormatError::TooLarge("the record"));
        }
        let record = Record { account: account.to_owned(), nonce, ciphertext: buffer.to_vec() };
        match self.records.iter_mut().find(|record| record.account == account) {
            Some(place) => *place = record,
            None => self.records.push(record),
        }
        Ok(())
    }

    /// Drops the record of this account; tells whether there was one. That takes no key.
    pub fn remove(&mut self, account: &str) -> bool {
        let before = self.records.len();
        self.records.retain(|record| record.account != account);
        self.records.len() < before
    }

    /// Drops the records that don't open with this key.
    pub fn retain_opening(&mut self, key: &Key) {
        let opening: Vec<bool> =
            self.records.iter().map(|r| !matches!(self.get(key, &r.account), Err(FormatError::Sealed(_)))).collect();
        let mut opening = opening.into_iter();
        self.records.retain(|_| opening.next().unwrap_or_default());
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.as_bytes().into())
}

fn header_bytes(header: &Header) -> [u8; HEADER_BYTES] {
    let kind = match header.kind {
        KeyKind::Keyring => 1,
        KeyKind::Command => 2,
    };
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = VERSION;
    bytes[9] = kind;
    bytes[10..].copy_from_slice(&header.id.0);
    bytes
}

/// What the key check is authenticated with; no record has the same.
fn check_context(header: &Header) -> Vec<u8> {
    [&header_bytes(header)[..], &[0]].concat()
}

/// What a record is authenticated with.
fn record_context(header: &Header, account: &str) -> Vec<u8> {
    [&header_bytes(header)[..], &[1], account.as_bytes()].concat()
}

fn read_header(bytes: &[u8]) -> Result<(Header, Rest<'_>), FormatError> {
    let mut rest = Rest(bytes);
    // A short text that isn't ours at all is told as that.
    let magic = rest.bytes(MAGIC.len().min(bytes.len())).unwrap_or_default();
    if !MAGIC.starts_with(magic) {
        return Err(FormatError::NotAVault);
    }
    match rest.array() {
        None => return Err(FormatError::TooShort),
        Some([0]) => return Err(FormatError::NotAVault),
        Some([VERSION]) => {}
        Some([newer]) => return Err(FormatError::NewerVersion(newer)),
    }
    let kind = match rest.array().ok_or(FormatError::TooShort)? {
        [1] => KeyKind::Keyring,
        [2] => KeyKind::Command,
        [unknown] => return Err(FormatError::UnknownKind(unknown)),
    };
    let id = VaultId(rest.array().ok_or(FormatError::TooShort)?);
    Ok((Header { kind, id }, rest))
}

/// The bytes that aren't read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn take_last<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (rest, array) = self.0.split_last_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn check(&mut self) -> Option<Check> {
        Some(Check { nonce: self.array()?, tag: self.array()? })
    }

    fn record(&mut self) -> Result<Record, FormatError> {
        let name_bytes = usize::from(u16::from_le_bytes(self.array().ok_or(FormatError::BeyondEnd)?));
        if name_bytes > ACCOUNT_BYTES_MAX {
            return Err(FormatError::TooLarge("an account's name"));
        }
        let name = self.bytes(name_bytes).ok_or(FormatError::BeyondEnd)?;
        let account = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or(FormatError::BadName)?;
        let nonce = self.array().ok_or(FormatError::BeyondEnd)?;
        let length = u32::from_le_bytes(self.array().ok_or(FormatError::BeyondEnd)?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > CIPHERTEXT_BYTES_MAX {
            return Err(FormatError::TooLarge("a record"));
        }
        let ciphertext = self.bytes(length).ok_or(FormatError::BeyondEnd)?;
        Ok(Record { account: account.to_owned(), nonce, ciphertext: ciphertext.to_vec() })
    }
}

/// What of a record is no secret by itself. Fields that a later version adds are ignored.
#[derive(Serialize, Deserialize)]
struct Facts {
    user: Option<String>,
    scopes: Vec<String>,
    signed_in_at: u64,
    renewed_at: u64,
}

/// A record before it is sealed: a version, the refresh token after its length, and the rest as JSON.
///
/// The token stays out of the JSON, since a parser of that may keep copies that nobody overwrites.
fn plaintext(kept: &KeptSignIn) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let facts = Facts {
        user: kept.user.clone(),
        scopes: kept.scopes.clone(),
        signed_in_at: kept.signed_in_at,
        renewed_at: kept.renewed_at,
    };
    let facts = serde_json::to_vec(&facts).map_err(|_| FormatError::TooLarge("the record"))?;
    let token = kept.refresh_token.reveal().as_bytes();
    let length = u32::try_from(token.len()).map_err(|_| FormatError::TooLarge("the refresh token"))?;
    // Room for all of it, and the tag: a buffer that grows leaves its contents behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(5 + token.len() + facts.len() + TAG_BYTES));
    buffer.push(RECORD_VERSION);
    buffer.extend(length.to_le_bytes());
    buffer.extend_from_slice(token);
    buffer.extend_from_slice(&facts);
    Ok(buffer)
}

fn read_plaintext(bytes: &[u8], account: &str) -> Result<KeptSignIn, FormatError> {
    let senseless = || FormatError::Content(account.to_owned());
    let mut rest = Rest(bytes);
    match rest.array().ok_or_else(senseless)? {
        [RECORD_VERSION] => {}
        [newer] => return Err(FormatError::NewerVersion(newer)),
    }
    let length = usize::try_from(u32::from_le_bytes(rest.array().ok_or_else(senseless)?)).map_err(|_| senseless())?;
    let token = rest.bytes(length).and_then(|token| std::str::from_utf8(token).ok()).ok_or_else(senseless)?;
    let facts: Facts = serde_json::from_slice(rest.0).map_err(|_| senseless())?;
    Ok(KeptSignIn {
        refresh_token: RefreshToken::new(token),
        user: facts.user,
        scopes: facts.scopes,
        signed_in_at: facts.signed_in_at,
        renewed_at: facts.renewed_at,
    })
}

#[cfg(test)]
mod tests;
