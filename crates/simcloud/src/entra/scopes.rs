//! Scopes, and the resources that they belong to.

use serde::{Deserialize, Serialize};
use url::Url;

/// What an access token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Microsoft Graph.
    Graph,
    /// `outlook.office.com`.
    Outlook,
}

/// Scopes that belong to no resource.
pub(super) fn is_general(scope: &str) -> bool {
    matches!(scope, "openid" | "profile" | "email" | "offline_access")
}

/// Which resource a scope belongs to; nothing if to none that exists.
pub(super) fn audience_of(scope: &str) -> Option<Audience> {
    if !scope.contains("://") {
        return Some(Audience::Graph);
    }
    let url = Url::parse(scope).ok()?;
    match url.host_str()? {
        "graph.microsoft.com"
        | "graph.microsoft.us"
        | "dod-graph.microsoft.us"
        | "microsoftgraph.chinacloudapi.cn"
        | "127.0.0.1"
        | "localhost" => Some(Audience::Graph),
        "outlook.office.com" | "outlook.office365.com" => Some(Audience::Outlook),
        _ => None,
    }
}

/// Whether every scope belongs to a resource that exists, or to none.
pub(super) fn all_known(scopes: &[String]) -> bool {
    scopes.iter().all(|scope| is_general(scope) || audience_of(scope).is_some())
}

/// Whether the scopes belong to more than one resource.
pub(super) fn several_resources(scopes: &[String]) -> bool {
    let mut resources = scopes.iter().filter(|scope| !is_general(scope)).map(|scope| audience_of(scope));
    let first = resources.next();
    first.is_some_and(|first| resources.any(|other| other != first))
}

/// The scopes of the first resource that is named; `None` if none is.
pub(super) fn of_first_resource(scopes: &[String]) -> Option<(Audience, Vec<String>)> {
    let first = scopes.iter().find(|scope| !is_general(scope)).and_then(|scope| audience_of(scope))?;
    let same = scopes.iter().filter(|scope| !is_general(scope) && audience_of(scope) == Some(first));
    Some((first, same.cloned().collect()))
}

/// The scopes in a parameter.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The last part of a scope: `Mail.ReadWrite` of `https://graph.microsoft.com/Mail.ReadWrite`.
fn short(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

/// Whether two spellings are one scope; `.default` is every scope of its resource.
pub(super) fn same(one: &str, other: &str) -> bool {
    audience_of(one) == audience_of(other)
        && (short(one).eq_ignore_ascii_case(short(other)) || short(other) == ".default")
}

/// Whether a scope lets its holder read mail.
pub(super) fn is_mail(scope: &str) -> bool {
    let scope = short(scope).to_ascii_lowercase();
    scope.starts_with("mail") || scope == ".default"
}

/// Whether a scope lets its holder change what isn't a draft.
pub(super) fn is_advanced(scope: &str) -> bool {
    short(scope).eq_ignore_ascii_case("Mail-Advanced.ReadWrite")
}

/// Whether a scope lets its holder into others' mailboxes, as far as they allow it.
pub(super) fn is_shared(scope: &str) -> bool {
    short(scope).eq_ignore_ascii_case("Mail.ReadWrite.Shared")
}

/// Scopes as the service tells them: in another order and spelling than they were asked for, with some more.
pub(super) fn told(wanted: &[String]) -> String {
    let mut told: Vec<String> = wanted
        .iter()
        .rev()
        .map(|scope| match audience_of(scope) {
            Some(Audience::Outlook) => format!("https://outlook.office.com/{}", short(scope)),
            _ => format!("https://graph.microsoft.com/{}", short(scope)),
        })
        .collect();
    told.push("profile openid email".to_owned());
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_know_their_resource() {
        assert_eq!(audience_of("Mail.Read"), Some(Audience::Graph));
        assert_eq!(audience_of("https://outlook.office.com/mail.read"), Some(Audience::Outlook));
        assert_eq!(audience_of("https://example.com/x"), None);
        assert!(same("https://graph.microsoft.com/Mail.ReadWrite", "mail.readwrite"));
        assert!(several_resources(&split("Mail.Read openid https://outlook.office.com/mail.read")));
        assert!(!several_resources(&split("Mail.Read openid offline_access User.Read")));
    }
}
