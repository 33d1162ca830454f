//! The page's listener: any request is answered or refused, and none changes anything without the key and the origin
//! of the page itself. The assertions are those of `cms::page::fuzz`, which debug builds check.

#![no_main]

use cms::page::fuzz::{KEY, PORT, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The key and the port are long to find by chance, and what lies behind them is worth reaching.
    let wire = replaced(&replaced(data, b"$KEY", KEY.as_bytes()), b"$PORT", PORT.to_string().as_bytes());
    if let Some(status) = request(&wire) {
        assert!((200..600).contains(&status), "{status} is no answer");
        assert_ne!(status, 500);
    }
});

fn replaced(bytes: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len() + value.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(name.len()).position(|window| window == name) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(value);
        rest = &rest[at + name.len()..];
    }
    result.extend_from_slice(rest);
    result
}
