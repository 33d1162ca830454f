//! Texts that never reach a log.

use std::fmt;
use std::sync::Arc;

macro_rules! secret {
    ($(#[$doc:meta])* $visibility:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        $visibility struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            $visibility fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
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
    pub(crate) RefreshToken
}

#[cfg(test)]
mod tests {
    use super::*;

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
