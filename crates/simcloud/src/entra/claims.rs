//! Claims challenges (continuous access evaluation): a resource wants another token before the old one has expired.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Entra;
use super::grants::Access;
use super::refused::Refused;
use crate::reply::Answer;

/// A demand for another token, which Graph makes of one user's clients until it is met.
///
/// It is met once a token was obtained with a `claims` parameter that contains `claims`, at the token endpoint or when
/// signing in. Tokens from before that stay bad.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimsChallenge {
    /// The JSON text that Graph sends in base64.
    pub claims: String,
    /// The status of Graph's refusal: 401, or 403 where a policy blocks access.
    pub status: u16,
    /// Whether clients that didn't declare the capability `cp1` are challenged as well.
    pub force: bool,
    /// Whether a refresh with the claims is answered with a token; otherwise the user must sign in.
    pub silent: bool,
}

impl Default for ClaimsChallenge {
    fn default() -> Self {
        let now = crate::clock::now();
        Self {
            claims: format!("{{\"access_token\":{{\"nbf\":{{\"essential\":true,\"value\":\"{now}\"}}}}}}"),
            status: 401,
            force: false,
            silent: true,
        }
    }
}

struct Pending {
    user: String,
    challenge: ClaimsChallenge,
    demanded: Value,
    /// The first access token with which it was met.
    met_by: Option<u64>,
}

/// The challenges to all users, one for each.
#[derive(Default)]
pub(super) struct Challenges(Vec<Pending>);

/// What a challenged client is told.
#[derive(Clone, Debug)]
pub(crate) struct Challenged {
    client_id: String,
    claims: String,
    status: u16,
}

impl Challenged {
    /// The refusal with the challenge, behind a header that is of no use to the client.
    pub(super) fn answer(&self, base: &str) -> Answer {
        let text = if self.status == 403 {
            "Access has been blocked by Conditional Access policies."
        } else {
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenCreatedWithOutdatedPolicies"
        };
        let code = if self.status == 403 { "AccessDenied" } else { "InvalidAuthenticationToken" };
        Answer::error(self.status, code, text).with("WWW-Authenticate", "PoP realm=\"\", nonce=\"bm90aGluZw==\"").with(
            "WWW-Authenticate",
            format!(
                "Bearer realm=\"\", authorization_uri=\"{base}/common/oauth2/authorize\", client_id=\"{}\", error=\"insufficient_claims\", claims=\"{}\"",
                self.client_id,
                STANDARD.encode(&self.claims)
            ),
        )
    }
}

impl Challenges {
    /// The challenge that an access token runs into.
    pub(super) fn meet(&self, access: &Access) -> Option<Challenged> {
        let pending = self.of(&access.user)?;
        let met = pending.met_by.is_some_and(|first| access.serial >= first);
        let meant = pending.challenge.force || access.understands_claims;
        (meant && !met).then(|| Challenged {
            client_id: access.client_id.clone(),
            claims: pending.challenge.claims.clone(),
            status: pending.challenge.status,
        })
    }

    /// Refuses a refresh that answers a challenge for which the user must sign in.
    pub(super) fn check_refresh(&self, user: &str, claims: Option<&Value>) -> Result<(), Refused> {
        let Some(pending) = self.of(user).filter(|one| one.met_by.is_none() && !one.challenge.silent) else {
            return Ok(());
        };
        if !claims.is_some_and(|claims| contains(claims, &pending.demanded)) {
            return Ok(());
        }
        let mut refused = Refused::numbered("interaction_required", 50_076);
        refused.suberror = Some("basic_action".to_owned());
        refused.claims = Some(pending.challenge.claims.clone());
        Err(refused)
    }

    /// Notes that an access token was obtained with these claims.
    pub(super) fn obtained(&mut self, user: &str, claims: &[&Value], serial: u64) {
        if let Some(pending) = self.0.iter_mut().find(|one| one.user.eq_ignore_ascii_case(user))
            && pending.met_by.is_none()
            && claims.iter().any(|claims| contains(claims, &pending.demanded))
        {
            pending.met_by = Some(serial);
        }
    }

    fn of(&self, user: &str) -> Option<&Pending> {
        self.0.iter().find(|one| one.user.eq_ignore_ascii_case(user))
    }
}

impl Entra {
    /// Challenges a user's clients, in place of an earlier challenge. Says what is wrong with it, if anything is.
    pub(crate) fn challenge(&self, user: &str, challenge: ClaimsChallenge) -> Result<(), String> {
        let demanded: Value = serde_json::from_str(&challenge.claims).map_err(|error| error.to_string())?;
        if !matches!(challenge.status, 401 | 403) {
            return Err("a challenge comes with status 401 or 403".to_owned());
        }
        let pending = &mut self.state().challenges.0;
        pending.retain(|one| !one.user.eq_ignore_ascii_case(user));
        pending.push(Pending { user: user.to_owned(), challenge, demanded, met_by: None });
        Ok(())
    }

    /// Takes the challenges back, to one user or to all.
    pub(crate) fn clear_challenges(&self, user: Option<&str>) {
        self.state().challenges.0.retain(|one| user.is_some_and(|user| !one.user.eq_ignore_ascii_case(user)));
    }
}

/// Reads a `claims` parameter.
pub(super) fn read(parameter: Option<&str>) -> Result<Option<Value>, Refused> {
    let Some(text) = parameter.filter(|text| !text.is_empty()) else { return Ok(None) };
    match serde_json::from_str::<Value>(text) {
        Ok(claims) if claims.is_object() => Ok(Some(claims)),
        _ => Err(Refused::new("invalid_request", 90_015, "The 'claims' parameter is not valid JSON.")),
    }
}

/// Whether the claims declare that the client understands challenges.
pub(super) fn declares_capability(claims: &Value) -> bool {
    let values = claims.pointer("/access_token/xms_cc/values").and_then(Value::as_array);
    values.is_some_and(|values| {
        values.iter().filter_map(Value::as_str).any(|capability| capability.eq_ignore_ascii_case("cp1"))
    })
}

/// Whether claims contain all that is demanded, whatever else they contain.
fn contains(claims: &Value, demanded: &Value) -> bool {
    match (claims, demanded) {
        (Value::Object(claims), Value::Object(demanded)) => {
            demanded.iter().all(|(name, demanded)| claims.get(name).is_some_and(|claimed| contains(claimed, demanded)))
        }
        (Value::Array(claims), Value::Array(demanded)) => demanded.iter().all(|one| claims.contains(one)),
        (claims, demanded) => claims == demanded,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merged_claims_contain_the_challenge() {
        let demanded = json!({"access_token": {"nbf": {"essential": true, "value": "1"}}});
        let merged = json!({"access_token": {"nbf": {"value": "1", "essential": true}, "xms_cc": {"values": ["cp1"]}}});
        assert!(contains(&merged, &demanded) && !contains(&demanded, &merged));
        assert!(declares_capability(&merged) && !declares_capability(&demanded));
    }
}
