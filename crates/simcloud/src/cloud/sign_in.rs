//! What administrators and people do to signing in.

use std::sync::PoisonError;
use std::time::Duration;

use super::{AdminError, Cloud, lock};
use crate::entra::{
    Audience, ClaimsChallenge, Consent, DEFAULT_CLIENT_ID, DeviceError, PendingDevice, Registration, SignInMode,
    TokenRefusal, TokenRefusalState,
};
use crate::google::GoogleClient;

/// A user who was named; nobody if the name is empty.
fn named(user: &str) -> Option<&str> {
    (!user.is_empty()).then_some(user)
}

impl Cloud {
    /// An access token for Graph, without signing in.
    pub fn access_token(&self, user: &str) -> Result<String, AdminError> {
        Ok(self.tokens(user, DEFAULT_CLIENT_ID, Audience::Graph)?.0)
    }

    /// An access token and a refresh token, without signing in.
    pub fn tokens(&self, user: &str, client_id: &str, audience: Audience) -> Result<(String, String), AdminError> {
        let user = self.known(user)?;
        let life = Duration::from_secs(self.0.knobs().access_token_seconds);
        Ok(self.0.entra.issue(&user, client_id, audience, life))
    }

    /// Lets every access token be expired from now on.
    pub fn expire_access_tokens(&self) {
        self.0.entra.expire_access();
        self.0.google.expire_access();
    }

    /// Revokes a user's refresh tokens, or everybody's if the user is empty; access tokens too if asked to.
    pub fn revoke(&self, user: &str, access_too: bool) {
        self.0.entra.revoke(named(user), access_too);
        self.0.google.revoke(named(user), access_too);
    }

    /// Lets a user's refresh tokens, and the sign-ins that they come from, be older than they are; everybody's if the
    /// user is empty.
    pub fn age_refresh_tokens(&self, user: &str, seconds: u64) {
        self.0.entra.age_refresh(named(user), Duration::from_secs(seconds));
    }

    /// Adds an application, or replaces the one with its client id.
    pub fn register(&self, registration: Registration) {
        self.0.entra.register(registration);
    }

    /// Sets how the sign-in page behaves, Google's too.
    pub fn set_sign_in_mode(&self, mode: SignInMode) {
        self.0.entra.set_mode(mode);
    }

    /// Sets what becomes of consent for an application, or for all of them if the client id is empty.
    pub fn set_consent(&self, client_id: &str, consent: Consent) {
        self.0.entra.set_consent(client_id, consent);
    }

    /// Orders a refusal by the token endpoint, and returns the order's number.
    pub fn refuse_tokens(&self, refusal: TokenRefusal) -> u64 {
        self.0.entra.refuse_tokens(refusal)
    }

    /// The ordered refusals and how far they have come.
    pub fn token_refusals(&self) -> Vec<TokenRefusalState> {
        self.0.entra.token_refusals()
    }

    /// Takes one ordered refusal back; says whether there was one.
    pub fn remove_token_refusal(&self, order: u64) -> bool {
        self.0.entra.remove_token_refusal(order)
    }

    /// Takes all ordered refusals back.
    pub fn clear_token_refusals(&self) {
        self.0.entra.clear_token_refusals();
    }

    /// Lets Graph challenge a user's clients for another token, in place of an earlier challenge.
    pub fn challenge(&self, user: &str, challenge: ClaimsChallenge) -> Result<(), AdminError> {
        let user = self.known(user)?;
        self.0.entra.challenge(&user, challenge).map_err(AdminError::Invalid)
    }

    /// Takes a user's challenge back, or all challenges if the user is empty.
    pub fn clear_challenges(&self, user: &str) {
        self.0.entra.clear_challenges(named(user));
    }

    /// The device codes that nobody has approved or declined yet.
    pub fn pending_devices(&self) -> Vec<PendingDevice> {
        self.0.entra.pending_devices()
    }

    /// Approves a device's request as a user does at the page.
    pub fn approve_device(&self, user_code: &str, user: &str) -> Result<(), AdminError> {
        let user = self.known(user)?;
        self.0.entra.approve_device(&self.0.knobs(), user_code, &user).map_err(|error| refused(error, user_code))
    }

    /// Declines a device's request as a user does at the page.
    pub fn decline_device(&self, user_code: &str) -> Result<(), AdminError> {
        self.0.entra.decline_device(user_code).map_err(|error| refused(error, user_code))
    }

    /// Every secret that was issued or received so far: access and refresh tokens, authorization and device codes, the code
    /// verifiers that clients showed, and the tokens in the addresses of upload sessions.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.0.entra.secrets();
        secrets.extend(self.0.google.secrets());
        secrets.extend(self.0.upload_secrets.lock().unwrap_or_else(PoisonError::into_inner).all());
        secrets
    }

    /// Gives a user a mail address other than the name to sign in with; none if it is empty.
    pub fn set_mail(&self, user: &str, mail: &str) -> Result<(), AdminError> {
        let mailbox = self.0.mailbox(user).ok_or_else(|| AdminError::NoUser(user.to_owned()))?;
        mail.clone_into(&mut lock(mailbox).mail);
        Ok(())
    }

    /// Adds an application that may ask Google for tokens, or replaces the one with its client id.
    pub fn register_google(&self, client: GoogleClient) {
        self.0.google.register(client);
    }

    /// Sets which scopes users untick when they consent at Google.
    pub fn set_google_unticked(&self, scopes: Vec<String>) {
        self.0.google.set_unticked(scopes);
    }

    fn known(&self, user: &str) -> Result<String, AdminError> {
        self.0.user_name(user).ok_or_else(|| AdminError::NoUser(user.to_owned()))
    }
}

fn refused(error: DeviceError, user_code: &str) -> AdminError {
    match error {
        DeviceError::Unknown => AdminError::Invalid(format!("nobody waits for the code `{user_code}`")),
        DeviceError::Refused(sentence) => AdminError::Invalid(sentence),
    }
}
