//! Signing in: applications, pages, consent, device codes, tokens and what becomes of them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Order, Reply, done, ok};
use crate::cloud::AdminError;
use crate::entra::{Audience, ClaimsChallenge, Consent, DEFAULT_CLIENT_ID, Registration, SignInMode, TokenRefusal};
use crate::google::GoogleClient;
use crate::reply::Answer;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Revocation {
    access_too: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct TokenWish {
    client_id: String,
    audience: Audience,
}

impl Default for TokenWish {
    fn default() -> Self {
        Self { client_id: DEFAULT_CLIENT_ID.to_owned(), audience: Audience::Graph }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ageing {
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    user_code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    mail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unticked {
    scopes: Vec<String>,
}

pub(super) fn answer(order: &Order<'_>, method: &str, segments: &[&str]) -> Reply {
    pages(order, method, segments).or_else(|| tokens(order, method, segments))
}

/// Reads the body, does something that can't fail with it, and says that it is done.
fn take<T: DeserializeOwned>(order: &Order<'_>, act: impl FnOnce(T)) -> Result<Answer, AdminError> {
    order.read::<T>().and_then(|body| {
        act(body);
        done()
    })
}

/// What happens before there is a token.
fn pages(order: &Order<'_>, method: &str, segments: &[&str]) -> Reply {
    let (cloud, user) = (order.cloud, order.user());
    Some(match (method, segments) {
        ("POST", ["registrations"]) => take(order, |registration: Registration| cloud.register(registration)),
        ("POST", ["sign-in"]) => take(order, |mode: SignInMode| cloud.set_sign_in_mode(mode)),
        ("POST", ["consent"]) => {
            let client_id = order.query.get("client_id").unwrap_or_default();
            take(order, |consent: Consent| cloud.set_consent(client_id, consent))
        }
        ("GET", ["devices"]) => ok(&cloud.pending_devices()),
        ("POST", ["devices", "approve"]) => order
            .read::<Device>()
            .and_then(|device| cloud.approve_device(&device.user_code, user))
            .and_then(|()| done()),
        ("POST", ["devices", "decline"]) => {
            order.read::<Device>().and_then(|device| cloud.decline_device(&device.user_code)).and_then(|()| done())
        }
        ("POST", ["account", "mail"]) => {
            order.read::<Mail>().and_then(|mail| cloud.set_mail(user, &mail.mail)).and_then(|()| done())
        }
        ("POST", ["google", "clients"]) => take(order, |client: GoogleClient| cloud.register_google(client)),
        ("POST", ["google", "unticked"]) => take(order, |body: Unticked| cloud.set_google_unticked(body.scopes)),
        _ => return None,
    })
}

/// What happens to tokens.
fn tokens(order: &Order<'_>, method: &str, segments: &[&str]) -> Reply {
    let (cloud, user) = (order.cloud, order.user());
    Some(match (method, segments) {
        ("POST", ["token"]) => order
            .read::<TokenWish>()
            .and_then(|wish| cloud.tokens(user, &wish.client_id, wish.audience))
            .and_then(|(access, refresh)| ok(&json!({"access_token": access, "refresh_token": refresh}))),
        ("POST", ["tokens", "expire"]) => {
            cloud.expire_access_tokens();
            done()
        }
        ("POST", ["tokens", "revoke"]) => {
            take(order, |revocation: Revocation| cloud.revoke(user, revocation.access_too))
        }
        ("POST", ["tokens", "age"]) => take(order, |ageing: Ageing| cloud.age_refresh_tokens(user, ageing.seconds)),
        ("GET", ["secrets"]) => ok(&cloud.secrets()),
        ("POST", ["challenges"]) => {
            order.read::<ClaimsChallenge>().and_then(|challenge| cloud.challenge(user, challenge)).and_then(|()| done())
        }
        ("DELETE", ["challenges"]) => {
            cloud.clear_challenges(user);
            done()
        }
        ("GET", ["token-refusals"]) => ok(&cloud.token_refusals()),
        ("POST", ["token-refusals"]) => order
            .read::<TokenRefusal>()
            .map(|refusal| cloud.refuse_tokens(refusal))
            .and_then(|number| ok(&json!({"order": number}))),
        ("DELETE", ["token-refusals"]) => {
            cloud.clear_token_refusals();
            done()
        }
        ("DELETE", ["token-refusals", number]) => match number.parse().map(|number| cloud.remove_token_refusal(number))
        {
            Ok(true) => done(),
            _ => Err(AdminError::Invalid(format!("there is no ordered refusal `{number}`"))),
        },
        _ => return None,
    })
}
