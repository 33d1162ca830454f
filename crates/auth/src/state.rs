//! How a sign-in stands, for whoever shows it.

/// How an account's sign-in stands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum SignInState {
    /// Nobody has needed it yet.
    #[default]
    Unknown,
    /// Tokens can be had.
    SignedIn {
        /// Who, as far as the service told.
        user: Option<String>,
        /// When a token was last had from the service, in seconds since 1970.
        renewed_at: u64,
        /// Why the sign-in ends with this process; nothing if it is kept.
        not_kept: Option<String>,
    },
    /// The user must sign in, and hasn't begun to.
    Needed {
        /// Why, in words.
        reason: String,
    },
    /// The user is signing in in a browser.
    InBrowser,
    /// The user is to type a code on some device (RFC 8628).
    WithCode {
        /// What is to be typed.
        user_code: String,
        /// Where.
        address: String,
        /// Until when, in seconds since 1970.
        expires_at: u64,
    },
    /// A sign-in is kept, but the keyring with its key is locked or away.
    WaitingForKeyring,
    /// The sign-in service can't be reached.
    Unreachable {
        /// Why, in words.
        reason: String,
    },
    /// The last attempt failed; another one may be begun.
    Failed {
        /// Why, and what to do, in words.
        reason: String,
    },
}

impl SignInState {
    /// Whether the user is at it.
    pub fn is_under_way(&self) -> bool {
        matches!(self, Self::InBrowser | Self::WithCode { .. })
    }

    /// Whether nothing goes on before the user has signed in.
    pub fn needs_user(&self) -> bool {
        self.is_under_way() || matches!(self, Self::Needed { .. } | Self::Failed { .. })
    }
}

/// What the browser is told when it has come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Whether the account is signed in.
    pub good: bool,
    /// A few words.
    pub heading: String,
    /// A sentence or two; empty where there is nothing more to say.
    pub words: String,
}

/// What is known of an account's sign-in, for `cms check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignInReport {
    /// Who has signed in, as far as the service told.
    pub user: Option<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// When the user signed in, in seconds since 1970.
    pub signed_in_at: u64,
    /// When a token was last had from the service.
    pub renewed_at: u64,
    /// When the user must sign in again whatever happens, where that is known.
    pub ends_at: Option<u64>,
    /// Why the sign-in ends with this process; nothing if it is kept.
    pub not_kept: Option<String>,
    /// What is wrong with this computer's clock.
    pub clock: Option<String>,
}
