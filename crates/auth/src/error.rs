//! Why a token can't be had, and what to do about it.

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The user must sign in: nobody did yet, or the service ended the sign-in.
    #[error("signing in to {account} is needed: {reason}")]
    SignInNeeded {
        /// Who, as far as that is known.
        account: String,
        /// What ended the sign-in and what to do, in words.
        reason: String,
    },
    /// The sign-in was refused, or the user declined it. To ask again without a change makes no sense.
    #[error("the sign-in was refused: {reason}")]
    Refused {
        /// Why, and what to do, in words.
        reason: String,
    },
    /// The sign-in service can't be reached or makes no sense now. What is signed in stays signed in.
    #[error("the sign-in service can't be reached: {0}")]
    Unreachable(String),
    /// Nobody finished the sign-in in the browser in time.
    #[error("nobody finished the sign-in within {} minutes", .0.as_secs() / 60)]
    TimedOut(std::time::Duration),
    /// The registration can't work as it is configured.
    #[error("the sign-in is configured wrongly: {0}")]
    Configuration(String),
}

/// The number in a description such as `AADSTS50173: The provided grant has expired …`.
pub(crate) fn aadsts_number(description: &str) -> Option<u32> {
    let (_, rest) = description.split_once("AADSTS")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Whether words of the service are about an `Origin` header that should or shouldn't have been there.
pub(crate) fn is_about_origin(words: &str) -> bool {
    matches!(aadsts_number(words), Some(9_002_326 | 9_002_327))
}

/// The service's words without the trace that follows them, with the remedy where one is known. `consent_page` is where
/// an administrator can consent for everybody.
pub(crate) fn explain(error: &str, description: &str, consent_page: Option<&str>) -> String {
    let words = description.lines().next().unwrap_or_default().trim();
    let said = match (words.is_empty(), words.contains(error)) {
        (true, _) => error.to_owned(),
        (false, true) => words.to_owned(),
        (false, false) => format!("{error}: {words}"),
    };
    let number = aadsts_number(description);
    let Some(remedy) = number.and_then(remedy).or_else(|| remedy_by_error(error)) else { return said };
    match consent_page.filter(|_| number.is_some_and(is_about_consent)) {
        Some(page) => format!("{said} ({remedy}; administrators do at {page})"),
        None => format!("{said} ({remedy})"),
    }
}

/// Whether it is consent that is missing, so that an administrator's would help.
fn is_about_consent(number: u32) -> bool {
    matches!(number, 65001 | 90008 | 90094 | 90095)
}

/// What helps, by Microsoft's number (Microsoft Entra authentication and authorization error codes).
fn remedy(number: u32) -> Option<&'static str> {
    Some(match number {
        50074 | 50076 | 50078 | 50079 => "sign in again; the second factor is asked for",
        50173 => "sign in again; the password was changed or an administrator ended all sessions",
        70008 | 700_082 => "sign in again; the sign-in wasn't used for too long",
        70043 => "sign in again; the organisation's sign-in frequency policy will ask for it from time to time",
        700_084 => {
            "sign in again; the redirect address is registered as `spa`, which ends a sign-in after 24 hours: \
             register it as a mobile and desktop application"
        }
        54005 => "the code was used already: sign in again",
        50147 | 50148 | 501_481 | 501_491 => {
            "the answer doesn't belong to the sign-in that this program began: sign in again, from one window only"
        }
        700_005 => "the answer came from another tenant: check `tenant`, then sign in again",
        28000 | 700_022 => "a token is for one service only: check `scopes`",
        70011 | 650_053 => "a scope isn't known to the service: check `scopes`",
        70018 => "that isn't the code that was shown: begin again",
        // A policy against codes is told to the person alone; the program sees nothing but that time runs out.
        70019 => CODE_EXPIRED,
        90033 | 90006 | 50033 | 90024 => "this passes by itself: try again in a while",
        65001 | 90008 => "sign in again and consent, or ask an administrator to consent for the organisation",
        65002 => "this client id may not use this service: use another",
        65004 => "the consent was declined",
        90094 | 90095 => "an administrator must approve this client id for the organisation",
        700_016 => "the client id isn't known in this tenant: check `tenant` and `client_id`",
        7_000_218 => "the client id isn't registered as a public client: allow public client flows",
        700_025 => "a public client must not send a secret",
        50011 | 70004 | 900_971 => {
            "the redirect address isn't registered: check `redirect_host` (`127.0.0.1` or `localhost`) and `redirect_path`"
        }
        9_002_327 => "the redirect address is registered as `spa`: set `send_origin`",
        9_002_326 => "the redirect address isn't registered as `spa`: leave out `send_origin`",
        50105 => "an administrator must assign the user to this application",
        53000 | 53001 | 53003 | 530_032 | 50005 => {
            "the organisation's Conditional Access doesn't let this device or application in: ask an administrator"
        }
        50196 => "too many sign-in attempts in a row: wait some minutes",
        50020 | 90072 => "this account isn't in that tenant: use another account or tenant",
        50194 => "the client id works in its own tenant only: set `tenant`",
        90002 | 90038 => "the tenant isn't in this cloud: check `tenant` and the national cloud",
        50034 => "there is no such user",
        50055 => "the password has expired: change it, then sign in again",
        50057 => "the account is disabled: ask an administrator",
        _ => return None,
    })
}

const CODE_EXPIRED: &str = "the code wasn't entered in time, or the organisation doesn't allow signing in by code, which \
                            only the page where it is entered tells: begin again, or sign in in a browser here";

/// What helps, by the error of RFC 6749, where no number says it better.
fn remedy_by_error(error: &str) -> Option<&'static str> {
    Some(match error {
        "authorization_declined" => "the sign-in was declined on the other device",
        "expired_token" => CODE_EXPIRED,
        "access_denied" => "the sign-in was declined, or an administrator doesn't allow it",
        "consent_required" => "sign in again and consent, or ask an administrator to",
        "invalid_grant" | "interaction_required" | "login_required" => "sign in again",
        "invalid_client" => "check the client id and its secret",
        "unauthorized_client" => "check that the client id may be used so",
        "invalid_scope" => "check `scopes`",
        "temporarily_unavailable" | "server_error" => "this passes by itself: try again in a while",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_wherever_it_stands() {
        assert_eq!(aadsts_number("AADSTS50173: The grant"), Some(50173));
        assert_eq!(aadsts_number("x AADSTS7000218"), Some(7_000_218));
        assert_eq!(aadsts_number("AADSTS: none"), None);
        assert_eq!(aadsts_number("no number"), None);
        assert_eq!(aadsts_number("AADSTS99999999999999"), None);
    }

    #[test]
    fn an_explanation_keeps_the_number_drops_the_trace_and_names_the_remedy() {
        let text =
            explain("invalid_grant", "AADSTS50173: The provided grant has expired.\r\nTrace ID: 1-2\r\n", Some("x"));
        assert!(text.contains("AADSTS50173"), "{text}");
        assert!(text.contains("invalid_grant"), "{text}");
        assert!(text.contains("the password was changed"), "{text}");
        assert!(!text.contains("Trace"), "{text}");
        assert_eq!(explain("invalid_resource", "", None), "invalid_resource");
    }

    #[test]
    fn missing_consent_names_the_page_where_administrators_give_it() {
        let page = Some("https://login.example/common/adminconsent?client_id=id");
        let text = explain("access_denied", "AADSTS90094: Admin consent is required.", page);
        assert!(
            text.ends_with("; administrators do at https://login.example/common/adminconsent?client_id=id)"),
            "{text}"
        );
    }
}
