//! What tells the service's notifications from a stranger's.

use std::fmt;
use std::fmt::Write as _;

/// Known to the service and to this process alone, new with each subscription. It stands in no log.
#[derive(Clone)]
pub(super) struct ClientState(String);

impl ClientState {
    /// One that nobody can guess: 256 bits, in half of the characters that the service takes.
    pub(super) fn new() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// As the service is told it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it; how long that takes tells nothing of where they differ.
    pub(super) fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let difference = own.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b));
        own.len() == given.len() && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientState(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_of_it_is_it() {
        let (state, other) = (ClientState::new(), ClientState::new());
        assert_eq!(state.reveal().len(), 64);
        assert!(state.is(state.reveal()));
        for wrong in [other.reveal(), "", &state.reveal()[..63], &format!("{}0", state.reveal())] {
            assert!(!state.is(wrong), "{wrong}");
        }
    }

    #[test]
    fn it_is_never_printed() {
        let state = ClientState::new();
        assert!(!format!("{state:?}").contains(&state.reveal()[..8]));
    }
}
