//! Texts that never reach a log, and leave no trace in memory once nobody needs them.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

macro_rules! secret {
    ($(#[$doc:meta])* $visibility:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        $visibility struct $name(Arc<Zeroizing<String>>);

        impl $name {
            /// Takes the text as it is. A `String` is taken over, not copied, and overwritten with the last clone.
            $visibility fn new(text: impl Into<String>) -> Self {
                Self(Arc::new(Zeroizing::new(text.into())))
            }
            /// The text itself, for the one request that must carry it.
            $visibility fn reveal(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

secret! {
    /// An access token: opaque, short-lived, and printed by nothing.
    pub AccessToken
}
secret! {
    /// A refresh token: opaque, long-lived, and printed by nothing.
    pub RefreshToken
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Long enough that the allocator, which writes its own notes into a freed block, can't hide all of it.
    const TEXT_BYTES: usize = 2000;

    /// A text whose every 16 bytes occur nowhere else.
    fn unmistakable() -> String {
        let mut text = String::with_capacity(TEXT_BYTES);
        while text.len() + 16 <= TEXT_BYTES {
            write!(text, "{:016x}", rand::random::<u64>()).unwrap();
        }
        text
    }

    /// Our own memory, looked at from outside.
    struct Memory {
        file: File,
        /// Made beforehand, or it would be the first to take over a block that is looked at.
        block: Vec<u8>,
    }

    impl Memory {
        fn open() -> Self {
            Self { file: File::open("/proc/self/mem").unwrap(), block: vec![0; TEXT_BYTES] }
        }

        /// How many pieces of `text` are still at `address`. Whoever took the block over since can't bring one back.
        fn pieces_left(&mut self, text: &str, address: u64) -> usize {
            // Memory that was given back to the system holds nothing.
            if self.file.read_exact_at(&mut self.block, address).is_err() {
                return 0;
            }
            text.as_bytes().chunks(16).zip(self.block.chunks(16)).filter(|(was, is)| was == is).count()
        }
    }

    #[test]
    fn the_last_clone_takes_the_text_out_of_memory() {
        let text = unmistakable();
        let mut memory = Memory::open();
        let token = RefreshToken::new(text.clone());
        let address = token.reveal().as_ptr() as u64;
        let other = token.clone();
        drop(token);
        assert_eq!(memory.pieces_left(&text, address), TEXT_BYTES / 16);
        drop(other);
        assert_eq!(memory.pieces_left(&text, address), 0);
    }

    #[test]
    fn secrets_do_not_print() {
        let token = AccessToken::new("eyJhbGciOi");
        let refresh = RefreshToken::new("0.AXoAeyJ");
        for text in [format!("{token}"), format!("{token:?}"), format!("{refresh}"), format!("{refresh:?}")] {
            assert!(!text.contains("eyJ"), "{text}");
        }
        assert_eq!(token.reveal(), "eyJhbGciOi");
    }
}
