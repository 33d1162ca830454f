//! What the fuzz targets need and nobody else should use.

pub use crate::vault::format::{FormatError, Header, KeyKind, Nonce, VaultFile, VaultId};
pub use crate::vault::key::Key;

/// The checksum at the end of a vault's file.
pub fn checksum(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
