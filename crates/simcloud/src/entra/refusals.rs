//! Refusals that the token endpoint gives because it was told to.

use serde::{Deserialize, Serialize};

use super::Entra;
use super::refused::{Refused, words};

/// A refusal that is ordered for requests to the token endpoint. Nothing is redeemed by a request that it strikes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRefusal {
    /// Such as `interaction_required`.
    pub error: String,
    /// The number of the AADSTS message.
    pub number: u32,
    /// The words of the message; the usual ones for the number if empty.
    pub text: String,
    /// Such as `basic_action`.
    pub suberror: Option<String>,
    /// What the client must pass on, as JSON text.
    pub claims: Option<String>,
    /// Another status than 400 (401 for `invalid_client`).
    pub status: Option<u16>,
    /// Whose tokens; everybody's if empty.
    pub user: String,
    /// Which grant type, such as `refresh_token`; all if empty.
    pub grant_type: String,
    /// Which application; all if empty.
    pub client_id: String,
    /// How many requests pass first.
    pub skip: u64,
    /// How many are refused; all if missing.
    pub count: Option<u64>,
}

impl TokenRefusal {
    /// Refuses the next request.
    pub fn once(error: &str, number: u32) -> Self {
        Self { error: error.to_owned(), number, count: Some(1), ..Self::default() }
    }
}

/// An ordered refusal, and how far it has come.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRefusalState {
    /// Its number among the orders.
    pub order: u64,
    /// What was ordered.
    pub refusal: TokenRefusal,
    /// How many requests it was meant for, those that passed included.
    pub seen: u64,
    /// How many were refused.
    pub refused: u64,
}

/// All refusals that were ordered.
#[derive(Default)]
pub(super) struct Refusals {
    orders: Vec<TokenRefusalState>,
    last: u64,
}

/// What a request to the token endpoint is known by.
pub(super) struct Asked<'a> {
    pub(super) client_id: &'a str,
    pub(super) grant_type: &'a str,
    pub(super) user: &'a str,
}

impl Refusals {
    /// The refusal for a request, by the first order that strikes.
    pub(super) fn strike(&mut self, asked: &Asked<'_>) -> Result<(), Refused> {
        for order in &mut self.orders {
            let rule = &order.refusal;
            let meant = (rule.user.is_empty() || rule.user.eq_ignore_ascii_case(asked.user))
                && (rule.grant_type.is_empty() || rule.grant_type == asked.grant_type)
                && (rule.client_id.is_empty() || rule.client_id == asked.client_id);
            if !meant {
                continue;
            }
            order.seen += 1;
            if order.seen <= rule.skip || rule.count.is_some_and(|count| order.refused >= count) {
                continue;
            }
            order.refused += 1;
            let text = if rule.text.is_empty() { words(rule.number) } else { &rule.text };
            let mut refused = Refused::new(rule.error.clone(), rule.number, text);
            refused.suberror.clone_from(&rule.suberror);
            refused.claims.clone_from(&rule.claims);
            refused.status = rule.status;
            return Err(refused);
        }
        Ok(())
    }
}

impl Entra {
    /// Orders a refusal, and returns the order's number.
    pub(crate) fn refuse_tokens(&self, refusal: TokenRefusal) -> u64 {
        let refusals = &mut self.state().refusals;
        refusals.last += 1;
        let order = refusals.last;
        refusals.orders.push(TokenRefusalState { order, refusal, seen: 0, refused: 0 });
        order
    }

    /// The orders and how far they have come.
    pub(crate) fn token_refusals(&self) -> Vec<TokenRefusalState> {
        self.state().refusals.orders.clone()
    }

    /// Takes one order back; says whether there was one.
    pub(crate) fn remove_token_refusal(&self, order: u64) -> bool {
        let orders = &mut self.state().refusals.orders;
        let before = orders.len();
        orders.retain(|one| one.order != order);
        orders.len() < before
    }

    /// Takes all orders back.
    pub(crate) fn clear_token_refusals(&self) {
        self.state().refusals.orders.clear();
    }
}
