//! The key under which a vault's records are encrypted.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// Thirty-two bytes that nothing prints, overwritten with the last clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Arc<Zeroizing<[u8; KEY_BYTES]>>);

impl Key {
    /// Makes a key by filling it where it will stay, so that no copy is left behind on the stack.
    pub fn fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut shared = Arc::new(Zeroizing::new([0; KEY_BYTES]));
        // Nobody else has it yet, so this never copies.
        fill(Arc::make_mut(&mut shared).as_mut_slice())?;
        Ok(Self(shared))
    }

    /// Reads what [`Key::to_text`] wrote.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        // The decoder wants room for what padding may hide.
        let mut decoded = Zeroizing::new([0; KEY_BYTES + 4]);
        let text = text.trim_ascii();
        let length = STANDARD.decode_slice(text, decoded.as_mut_slice()).ok()?;
        let decoded = decoded.get(..length).filter(|decoded| decoded.len() == KEY_BYTES)?;
        Self::fill(|key| {
            key.copy_from_slice(decoded);
            Ok::<_, ()>(())
        })
        .ok()
    }

    /// The key as text, which any keyring keeps as it is.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES * 2));
        STANDARD.encode_string(self.as_bytes(), &mut text);
        text
    }

    /// The bytes, for the cipher.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_text_and_does_not_print() {
        let key = Key::fill(|bytes| {
            bytes.copy_from_slice(&(0..32).collect::<Vec<u8>>());
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(Key::from_text(key.to_text().as_bytes()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert_eq!(Key::from_text(b"AAAA"), None);
        assert_eq!(Key::from_text(&[b'A'; 400]), None);
        assert_eq!(Key::from_text(b"!"), None);
    }
}
