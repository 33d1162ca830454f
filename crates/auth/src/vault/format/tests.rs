//! What the format promises, for any bytes.

use proptest::prelude::*;

use super::*;

const HEADER: Header = Header { kind: KeyKind::Keyring, id: VaultId([7; 16]) };

fn key(byte: u8) -> Key {
    Key::fill(|key| {
        key.fill(byte);
        Ok::<_, ()>(())
    })
    .unwrap()
}

fn sign_in(token: &str) -> KeptSignIn {
    KeptSignIn {
        refresh_token: RefreshToken::new(token),
        user: Some("user@domain.com".to_owned()),
        scopes: vec!["Mail.ReadWrite".to_owned(), "offline_access".to_owned()],
        signed_in_at: 1_700_000_000,
        renewed_at: 1_700_003_600,
    }
}

/// A vault of these accounts, each with its own token.
fn vault(accounts: &[&str]) -> VaultFile {
    let mut file = VaultFile::new(HEADER, &key(1), [0; 24]).unwrap();
    for (number, account) in (1..).zip(accounts) {
        file.put(&key(1), account, &sign_in(&format!("token of {account}")), [number; 24]).unwrap();
    }
    file
}

fn token(file: &VaultFile, account: &str) -> Option<String> {
    file.get(&key(1), account).ok()?.map(|kept| kept.refresh_token.reveal().to_owned())
}

/// Whether every account of a vault of two has what it had.
fn has_both(file: &VaultFile) -> bool {
    ["one", "two"].iter().all(|account| token(file, account) == Some(format!("token of {account}")))
}

#[test]
fn another_key_is_told_from_a_damaged_record() {
    let mut file = vault(&["one"]);
    assert!(file.opens_with(&key(1)));
    assert!(!file.opens_with(&key(2)));
    file.records[0].ciphertext[3] ^= 1;
    assert!(file.opens_with(&key(1)));
    assert_eq!(file.get(&key(1), "one"), Err(FormatError::Sealed("one".to_owned())));
}

#[test]
fn a_record_opens_for_its_account_in_its_vault_only() {
    let mut file = vault(&["one", "two"]);
    let (first, second) = file.records.split_at_mut(1);
    std::mem::swap(&mut first[0].account, &mut second[0].account);
    let swapped = VaultFile::parse(&file.to_bytes()).unwrap();
    assert_eq!(swapped.get(&key(1), "one"), Err(FormatError::Sealed("one".to_owned())));
    assert_eq!(swapped.get(&key(1), "two"), Err(FormatError::Sealed("two".to_owned())));

    let mut elsewhere = VaultFile::new(Header { id: VaultId([8; 16]), ..HEADER }, &key(1), [0; 24]).unwrap();
    elsewhere.records = vault(&["one"]).records;
    assert_eq!(elsewhere.get(&key(1), "one"), Err(FormatError::Sealed("one".to_owned())));

    // Neither does the key check pass for a record.
    let mut disguised = vault(&[]);
    let Check { nonce, tag } = disguised.check.clone();
    disguised.records.push(Record { account: "one".to_owned(), nonce, ciphertext: tag.to_vec() });
    assert_eq!(disguised.get(&key(1), "one"), Err(FormatError::Sealed("one".to_owned())));
}

#[test]
fn what_is_no_vault_is_told() {
    let whole = vault(&["one", "two"]).to_bytes();
    assert_eq!(VaultFile::parse(b""), Err(FormatError::TooShort));
    assert_eq!(VaultFile::parse(b"CMSV"), Err(FormatError::TooShort));
    assert_eq!(VaultFile::parse(b"{\"a\":1}"), Err(FormatError::NotAVault));
    let mut newer = whole.clone();
    newer[8] = 2;
    assert_eq!(VaultFile::parse(&newer), Err(FormatError::NewerVersion(2)));
    // Of a later version, nothing but that is known.
    assert_eq!(VaultFile::parse(&newer[..9]), Err(FormatError::NewerVersion(2)));
    let mut kind = whole.clone();
    kind[9] = 9;
    assert_eq!(VaultFile::parse(&kind), Err(FormatError::UnknownKind(9)));
    let mut more = whole.clone();
    more.push(0);
    assert!(VaultFile::parse(&more).is_err());
    assert_eq!(VaultFile::parse(&vec![0; FILE_BYTES_MAX + 1]), Err(FormatError::NotAVault));
    let mut large = whole[..HEADER_BYTES].to_vec();
    large.resize(FILE_BYTES_MAX + 1, 0);
    assert_eq!(VaultFile::parse(&large), Err(FormatError::TooLarge("the file")));

    let mut twice = vault(&["one"]);
    twice.records.push(twice.records[0].clone());
    assert_eq!(VaultFile::parse(&twice.to_bytes()), Err(FormatError::Duplicate("one".to_owned())));
}

#[test]
fn lengths_are_bounded_both_ways() {
    let mut file = vault(&[]);
    let kept = sign_in(&"x".repeat(CIPHERTEXT_BYTES_MAX));
    assert_eq!(file.put(&key(1), "one", &kept, [1; 24]), Err(FormatError::TooLarge("the record")));
    let long = "x".repeat(ACCOUNT_BYTES_MAX + 1);
    assert_eq!(file.put(&key(1), &long, &sign_in(""), [1; 24]), Err(FormatError::TooLarge("the account's name")));
    assert_eq!(file.put(&key(1), "", &sign_in(""), [1; 24]), Err(FormatError::BadName));
    assert!(file.is_empty());
    // A length that promises four gigabytes takes none of them.
    let mut bytes = vault(&["one"]).to_bytes();
    let length_at = HEADER_BYTES + 40 + 2 + 3 + 24;
    bytes[length_at..length_at + 4].fill(0xff);
    assert_eq!(VaultFile::parse(&bytes), Err(FormatError::TooLarge("a record")));
}

#[test]
fn a_record_of_a_later_version_is_no_damage() {
    let mut file = vault(&[]);
    let sealed = cipher(&key(1))
        .encrypt(&XNonce::from([1; 24]), Payload { msg: &[9, 1, 2], aad: &record_context(&HEADER, "one") })
        .unwrap();
    file.records.push(Record { account: "one".to_owned(), nonce: [1; 24], ciphertext: sealed });
    assert_eq!(file.get(&key(1), "one"), Err(FormatError::NewerVersion(9)));
    file.retain_opening(&key(1));
    assert!(file.holds("one"));
}

#[test]
fn the_records_beside_a_damaged_one_are_saved() {
    let whole = vault(&["one", "two"]).to_bytes();
    // The middle of the first record's ciphertext.
    let mut damaged = whole.clone();
    damaged[HEADER_BYTES + 40 + 2 + 3 + 24 + 4 + 10] ^= 0x40;
    assert_eq!(VaultFile::parse(&damaged), Err(FormatError::Checksum));
    let mut saved = VaultFile::salvage(&damaged).unwrap();
    saved.retain_opening(&key(1));
    assert!(!saved.holds("one"));
    assert_eq!(token(&saved, "two").unwrap(), "token of two");
    // Cut off within the second record.
    let cut = &whole[..whole.len() - CHECKSUM_BYTES - 10];
    let mut saved = VaultFile::salvage(cut).unwrap();
    saved.retain_opening(&key(1));
    assert_eq!(token(&saved, "one").unwrap(), "token of one");
    assert!(!saved.holds("two"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = vault(&["one", "two"]).to_bytes();
    for length in 0..whole.len() {
        assert!(VaultFile::parse(&whole[..length]).is_err(), "{length}");
        if let Some(saved) = VaultFile::salvage(&whole[..length]) {
            assert!(!has_both(&saved) || length >= whole.len() - CHECKSUM_BYTES);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let whole = vault(&["one", "two"]).to_bytes();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(VaultFile::parse(&flipped).is_err(), "bit {bit}");
        // Whatever is saved of it is what was kept.
        let Some(saved) = VaultFile::salvage(&flipped) else { continue };
        for account in ["one", "two"] {
            assert!(token(&saved, account).is_none_or(|token| token == format!("token of {account}")), "bit {bit}");
        }
    }
}

fn sign_ins() -> impl Strategy<Value = Vec<(String, KeptSignIn)>> {
    let kept = (any::<String>(), any::<Option<String>>(), any::<Vec<String>>(), any::<u64>(), any::<u64>()).prop_map(
        |(token, user, scopes, signed_in_at, renewed_at)| KeptSignIn {
            refresh_token: RefreshToken::new(token),
            user,
            scopes,
            signed_in_at,
            renewed_at,
        },
    );
    proptest::collection::vec((".{1,40}", kept), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_kept_comes_back(sign_ins in sign_ins(), id: [u8; 16], key_byte: u8) {
        let (key, header) = (key(key_byte), Header { kind: KeyKind::Command, id: VaultId(id) });
        let mut file = VaultFile::new(header, &key, [0xff; 24]).unwrap();
        let mut expected = std::collections::BTreeMap::new();
        for (number, (account, kept)) in (1..).zip(sign_ins) {
            file.put(&key, &account, &kept, [number; 24]).unwrap();
            expected.insert(account, kept);
        }
        let bytes = file.to_bytes();
        let mut read = VaultFile::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &file);
        prop_assert_eq!(read.header(), header);
        prop_assert!(read.opens_with(&key));
        for (account, kept) in &expected {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let token = kept.refresh_token.reveal();
            prop_assert!(token.len() < 8 || !text.contains(token));
            prop_assert_eq!(read.get(&key, account).unwrap().unwrap(), kept.clone());
        }
        for account in expected.keys() {
            prop_assert!(read.remove(account));
        }
        prop_assert!(read.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(file) = VaultFile::parse(&bytes) {
            prop_assert_eq!(file.to_bytes(), bytes.clone());
        }
        let _ = VaultFile::salvage(&bytes);
    }

    #[test]
    fn any_bytes_after_a_header_are_read_or_refused(tail: Vec<u8>, summed: bool) {
        let mut bytes = vault(&[]).to_bytes();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes.extend(tail);
        if summed {
            let checksum = blake3::hash(&bytes);
            bytes.extend(checksum.as_bytes());
        }
        if let Ok(file) = VaultFile::parse(&bytes) {
            prop_assert_eq!(file.to_bytes(), bytes.clone());
        }
        let _ = VaultFile::salvage(&bytes);
    }
}
