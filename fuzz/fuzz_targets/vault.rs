//! The token vault's file: any bytes are read or refused, what was put comes back, and nothing else ever does.
//!
//! The first byte of the input says what the rest is: a file as it is, a file whose checksum is made right first, a
//! list of steps by which a vault is filled and emptied, or such a list and then how its file gets damaged.

#![no_main]

use std::collections::BTreeMap;

use cms_auth::fuzzing::{Header, Key, KeyKind, VaultFile, VaultId};
use cms_auth::{KeptSignIn, RefreshToken};
use libfuzzer_sys::fuzz_target;

const CHECKSUM_BYTES: usize = 32;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 4 {
        0 => read(rest),
        1 => read(&summed(rest)),
        2 => {
            fill(rest);
        }
        _ => damage(rest),
    }
});

fn key() -> Key {
    Key::fill(|key| {
        key.fill(7);
        Ok::<_, ()>(())
    })
    .unwrap()
}

/// These bytes with the checksum that a whole file has.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let checksum = cms_auth::fuzzing::checksum(bytes);
    [bytes, &checksum].concat()
}

/// Whatever is read is written as it was, and nobody without the key made it.
fn read(bytes: &[u8]) {
    if let Ok(file) = VaultFile::parse(bytes) {
        assert_eq!(file.to_bytes(), bytes);
        assert!(!file.opens_with(&key()) || is_genuine(&file));
    }
    if let Some(file) = VaultFile::salvage(bytes) {
        let written = file.to_bytes();
        assert!(written.len() <= bytes.len() + CHECKSUM_BYTES);
    }
}

/// Whether this can be a seed's vault, which was written under the same key.
fn is_genuine(file: &VaultFile) -> bool {
    file.header().id == VaultId([1; 16])
}

/// Puts and removes what the bytes say, and sees that the vault always holds that and nothing else.
fn fill(mut steps: &[u8]) -> (VaultFile, BTreeMap<String, KeptSignIn>) {
    let (key, header) = (key(), Header { kind: KeyKind::Keyring, id: VaultId([1; 16]) });
    let mut file = VaultFile::new(header, &key, [0xff; 24]).unwrap();
    let mut expected = BTreeMap::new();
    let mut step = 0_u64;
    while let Some(account) = text(&mut steps) {
        step += 1;
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&step.to_le_bytes());
        let Some(token) = text(&mut steps) else { break };
        if token.is_empty() {
            assert_eq!(file.remove(&account), expected.remove(&account).is_some());
            continue;
        }
        let kept = KeptSignIn {
            refresh_token: RefreshToken::new(token.as_str()),
            user: text(&mut steps),
            scopes: text(&mut steps).into_iter().collect(),
            signed_in_at: step,
            renewed_at: u64::MAX - step,
        };
        match file.put(&key, &account, &kept, nonce) {
            Ok(()) => {
                expected.insert(account, kept);
            }
            Err(_) => assert!(account.is_empty()),
        }
    }
    let file = VaultFile::parse(&file.to_bytes()).unwrap();
    assert!(file.opens_with(&key));
    assert_eq!(file.is_empty(), expected.is_empty());
    for (account, kept) in &expected {
        assert_eq!(file.get(&key, account).unwrap().as_ref(), Some(kept));
    }
    (file, expected)
}

/// Overwrites bytes of a vault's file, and sees that it is refused and that what is saved of it was in it.
fn damage(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let Some((edits, steps)) = rest.split_at_checked(usize::from(count % 8) * 3) else { return };
    let (file, expected) = fill(steps);
    let whole = file.to_bytes();
    let mut bytes = whole.clone();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[place] = edit[2];
    }
    if bytes == whole {
        return;
    }
    assert!(VaultFile::parse(&bytes).is_err());
    // A checksum that was made right hides the damage from the parser, and from nothing else.
    let disguised = VaultFile::parse(&summed(&bytes[..bytes.len() - CHECKSUM_BYTES])).ok();
    for found in [VaultFile::salvage(&bytes), disguised].into_iter().flatten() {
        for account in expected.keys() {
            if let Ok(Some(kept)) = found.get(&key(), account) {
                assert_eq!(Some(&kept), expected.get(account));
            }
        }
    }
}

/// Takes a text off the front: its length, and as many bytes as there are of it.
fn text(bytes: &mut &[u8]) -> Option<String> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at(usize::from(length).min(rest.len()));
    *bytes = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}
