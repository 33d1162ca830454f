use serde_json::json;
use simcloud::{Consent, DEFAULT_CLIENT_ID, Registration};

use crate::client::{Answer, Fixture};
use crate::oauth::{me, number, order, page, post, text};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const SCOPE: &str = "https://graph.microsoft.com/Mail.ReadWrite offline_access";

/// Without a pause between polls.
async fn impatient() -> Fixture {
    let it = Fixture::calm(1).await;
    it.cloud.turn(|knobs| knobs.device_interval_seconds = 0);
    it
}

async fn begin(it: &Fixture) -> serde_json::Value {
    let answer =
        post(it, "/common/oauth2/v2.0/devicecode", &[("client_id", DEFAULT_CLIENT_ID), ("scope", SCOPE)]).await;
    assert_eq!(answer.status, 200, "{}", page(&answer));
    answer.json()
}

async fn poll_at(it: &Fixture, tenant: &str, client_id: &str, device_code: &str) -> Answer {
    let form = [("grant_type", GRANT_TYPE), ("client_id", client_id), ("device_code", device_code)];
    post(it, &format!("/{tenant}/oauth2/v2.0/token"), &form).await
}

async fn poll(it: &Fixture, device_code: &str) -> Answer {
    poll_at(it, "common", DEFAULT_CLIENT_ID, device_code).await
}

fn refusal(answer: &Answer) -> (String, i64) {
    assert_eq!(answer.status, 400);
    (text(&answer.json(), "error"), number(answer))
}

fn is(error: &str, number: i64) -> (String, i64) {
    (error.to_owned(), number)
}

#[tokio::test]
async fn an_approved_device_gets_tokens_once() {
    let it = impatient().await;
    it.cloud.turn(|knobs| knobs.device_interval_seconds = 5);
    let json = begin(&it).await;
    assert_eq!((&json["expires_in"], &json["interval"]), (&json!(900), &json!(5)));
    assert!(json.get("verification_uri_complete").is_none());
    let (uri, user_code) = (text(&json, "verification_uri"), text(&json, "user_code"));
    assert_eq!(uri, format!("{}/devicelogin", it.server.url()));
    assert!(text(&json, "message").contains(&uri) && text(&json, "message").contains(&user_code));
    it.cloud.turn(|knobs| knobs.device_interval_seconds = 0);
    let json = begin(&it).await;
    let (code, user_code) = (text(&json, "device_code"), text(&json, "user_code"));
    assert_eq!(refusal(&poll(&it, &code).await), is("authorization_pending", 70_016));
    let pending = it.cloud.pending_devices();
    assert_eq!((pending.len(), pending[1].user_code.as_str(), pending[1].polls), (2, user_code.as_str(), 1));
    it.cloud.approve_device(&user_code.to_lowercase(), "").unwrap();
    assert!(it.cloud.approve_device(&user_code, "").is_err());
    let tokens = poll(&it, &code).await.json();
    assert_eq!(me(&it, &text(&tokens, "access_token")).await.status, 200);
    assert!(tokens["refresh_token"].is_string() && tokens["id_token"].is_null());
    assert_eq!(refusal(&poll(&it, &code).await), is("invalid_grant", 54_005));
}

#[tokio::test]
async fn a_declined_device_is_told() {
    let it = impatient().await;
    let json = begin(&it).await;
    it.cloud.decline_device(&text(&json, "user_code")).unwrap();
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await), is("authorization_declined", 70_017));
}

#[tokio::test]
async fn an_unknown_code_is_refused() {
    let it = impatient().await;
    assert_eq!(refusal(&poll(&it, "Dnothing").await), is("bad_verification_code", 70_018));
    it.cloud.register(Registration { client_id: "other".to_owned(), ..Registration::default() });
    let code = text(&begin(&it).await, "device_code");
    assert_eq!(refusal(&poll_at(&it, "common", "other", &code).await), is("bad_verification_code", 70_018));
    assert_eq!(refusal(&poll_at(&it, "organizations", DEFAULT_CLIENT_ID, &code).await), is("invalid_grant", 700_005));
    assert!(it.cloud.approve_device("WRONG", "").is_err() && it.cloud.decline_device("WRONG").is_err());
}

#[tokio::test]
async fn a_code_expires() {
    let it = impatient().await;
    it.cloud.turn(|knobs| knobs.device_code_seconds = 0);
    let json = begin(&it).await;
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await), is("expired_token", 70_019));
    assert!(it.cloud.pending_devices().is_empty());
    assert!(it.cloud.approve_device(&text(&json, "user_code"), "").is_err());
}

#[tokio::test]
async fn polling_too_early_is_a_violation_and_makes_the_interval_longer() {
    let it = impatient().await;
    it.cloud.turn(|knobs| knobs.device_interval_seconds = 1);
    let json = begin(&it).await;
    let code = text(&json, "device_code");
    assert_eq!(refusal(&poll(&it, &code).await), is("authorization_pending", 70_016));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(refusal(&poll(&it, &code).await), is("authorization_pending", 70_016));
    assert_eq!(it.cloud.counters().violation_count, 0);
    assert_eq!(refusal(&poll(&it, &code).await).0, "slow_down");
    assert_eq!(it.cloud.counters().violation_count, 1);
    assert_eq!(it.cloud.pending_devices()[0].interval_seconds, 6);
}

#[tokio::test]
async fn the_page_approves_and_declines() {
    let it = impatient().await;
    let html = page(&it.send(it.http.get(format!("{}/devicelogin", it.server.url()))).await);
    for id in ["user-code", "account-0", "sign-in", "cancel"] {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let json = begin(&it).await;
    let user_code = text(&json, "user_code");
    let form = |action: &'static str, account: &'static str| [("action", action), ("account", account)];
    let send = async |code: &str, fields: [(&str, &str); 2]| {
        post(&it, "/devicelogin", &[("user_code", code), fields[0], fields[1]]).await
    };
    assert!(page(&send(&user_code, form("sign-in", "")).await).contains("id=\"user-code\""));
    assert_eq!(send("WRONG", form("sign-in", "user@domain.com")).await.status, 400);
    assert!(page(&send(&user_code, form("sign-in", "user@domain.com")).await).contains("id=\"outcome\""));
    assert_eq!(poll(&it, &text(&json, "device_code")).await.status, 200);
    let json = begin(&it).await;
    assert_eq!(send(&text(&json, "user_code"), form("cancel", "")).await.status, 200);
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await).0, "authorization_declined");
}

#[tokio::test]
async fn a_policy_blocks_the_person_and_leaves_the_program_waiting() {
    let it = impatient().await;
    it.cloud.turn(|knobs| knobs.device_code_blocked = true);
    let json = begin(&it).await;
    let user_code = text(&json, "user_code");
    let form = [("user_code", user_code.as_str()), ("action", "sign-in"), ("account", "user@domain.com")];
    let answer = post(&it, "/devicelogin", &form).await;
    assert!(answer.status == 400 && page(&answer).contains("AADSTS53003"));
    assert!(it.cloud.approve_device(&user_code, "").is_err());
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await).0, "authorization_pending");
}

#[tokio::test]
async fn consent_is_asked_at_the_device_page_too() {
    let it = impatient().await;
    let json = begin(&it).await;
    it.cloud.set_consent("", Consent::AdminRequired);
    let refused = it.cloud.approve_device(&text(&json, "user_code"), "").unwrap_err();
    assert!(refused.to_string().contains("AADSTS90094"));
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await).0, "authorization_pending");
    it.cloud.set_consent("", Consent::UserDeclines);
    assert!(it.cloud.approve_device(&text(&json, "user_code"), "").is_err());
    assert_eq!(refusal(&poll(&it, &text(&json, "device_code")).await).0, "authorization_declined");
}

#[tokio::test]
async fn a_confidential_application_has_no_device_codes() {
    let it = impatient().await;
    let code = text(&begin(&it).await, "device_code");
    it.cloud.register(Registration { public_client: false, ..Registration::default() });
    let form = [("client_id", DEFAULT_CLIENT_ID), ("scope", SCOPE)];
    let answer = post(&it, "/common/oauth2/v2.0/devicecode", &form).await;
    assert_eq!((answer.status, number(&answer)), (401, 7_000_218));
    let answer = poll(&it, &code).await;
    assert_eq!(
        (answer.status, number(&answer), text(&answer.json(), "error").as_str()),
        (401, 7_000_218, "invalid_client")
    );
}

#[tokio::test]
async fn the_device_endpoint_wants_its_parameters() {
    let it = impatient().await;
    let ask = async |form: &[(&str, &str)]| number(&post(&it, "/common/oauth2/v2.0/devicecode", form).await);
    assert_eq!(ask(&[("client_id", DEFAULT_CLIENT_ID)]).await, 900_144);
    assert_eq!(ask(&[("scope", SCOPE)]).await, 900_144);
    assert_eq!(ask(&[("client_id", "nobody"), ("scope", SCOPE)]).await, 700_016);
    assert_eq!(ask(&[("client_id", DEFAULT_CLIENT_ID), ("scope", "https://example.com/x")]).await, 70_011);
    let url = format!("{}/common/oauth2/v2.0/devicecode", it.server.url());
    assert_eq!(number(&it.send(it.http.get(url)).await), 900_561);
    let answer =
        post(&it, "/common/oauth2/v2.0/devicecode?mkt=de-DE", &[("client_id", DEFAULT_CLIENT_ID), ("scope", SCOPE)]);
    assert!(text(&answer.await.json(), "message").starts_with("Um sich anzumelden"));
    let form = [("grant_type", GRANT_TYPE), ("client_id", DEFAULT_CLIENT_ID)];
    assert_eq!(number(&post(&it, "/common/oauth2/v2.0/token", &form).await), 900_144);
    let two = format!("{SCOPE} https://outlook.office.com/mail.read");
    let form = [("grant_type", GRANT_TYPE), ("client_id", DEFAULT_CLIENT_ID), ("device_code", "x"), ("scope", &two)];
    assert_eq!(number(&post(&it, "/common/oauth2/v2.0/token", &form).await), 700_022);
}

#[tokio::test]
async fn devices_are_approved_over_http() {
    let it = impatient().await;
    let (first, second) = (begin(&it).await, begin(&it).await);
    assert_eq!(order(&it, "GET", "/devices", &json!({})).await.json()[0]["user_code"], first["user_code"]);
    let body = |one: &serde_json::Value| json!({"user_code": one["user_code"]});
    assert_eq!(order(&it, "POST", "/devices/approve?user=user@domain.com", &body(&first)).await.status, 200);
    assert_eq!(order(&it, "POST", "/devices/decline", &body(&second)).await.status, 200);
    assert_eq!(order(&it, "POST", "/devices/decline", &body(&second)).await.status, 400);
    assert_eq!(poll(&it, &text(&first, "device_code")).await.status, 200);
    assert_eq!(refusal(&poll(&it, &text(&second, "device_code")).await).0, "authorization_declined");
}
