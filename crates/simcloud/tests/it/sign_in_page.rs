use simcloud::{Options, SignInMode};

use crate::client::Fixture;
use crate::oauth::{authorize, authorize_target, order, page, post, returned, text, token};

async fn with_form() -> Fixture {
    let users = vec!["first@domain.com".to_owned(), "second@domain.com".to_owned()];
    let it = Fixture::new(Options { users, ..Options::default() }).await;
    it.cloud.set_sign_in_mode(SignInMode::Form);
    it
}

#[tokio::test]
async fn a_person_picks_any_account() {
    let it = with_form().await;
    let answer = authorize(&it, &[("login_hint", "Second@domain.com")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    let html = page(&answer);
    for id in ["account-0", "account-1", "sign-in", "cancel"] {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(html.contains("value=\"second@domain.com\" checked") && html.matches("checked").count() == 1);
    let target = authorize_target(&[("login_hint", "Second@domain.com")]);
    assert!(html.contains(&format!("action=\"{}\"", target.replace('&', "&amp;"))));
    let picked = [("account", "first@domain.com"), ("action", "sign-in")];
    let answer = post(&it, &target, &picked).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code"))]).await.json();
    assert_eq!(crate::oauth::me(&it, &text(&tokens, "access_token")).await.json()["mail"], "first@domain.com");
}

#[tokio::test]
async fn giving_up_sends_the_browser_back() {
    let it = with_form().await;
    let answer = post(&it, &authorize_target(&[]), &[("action", "cancel")]).await;
    assert_eq!((returned(&answer, "error").as_str(), returned(&answer, "state").as_str()), ("access_denied", "st&te"));
    assert!(returned(&answer, "error_description").starts_with("AADSTS65004: User declined"));
}

#[tokio::test]
async fn a_form_without_an_account_is_shown_again() {
    let it = with_form().await;
    let answer = post(&it, &authorize_target(&[]), &[("action", "sign-in")]).await;
    assert!(answer.status == 200 && page(&answer).contains("account-1"));
    let answer = post(&it, &authorize_target(&[]), &[("account", "third@x"), ("action", "sign-in")]).await;
    assert!(answer.status == 400 && page(&answer).contains("AADSTS50034"));
}

#[tokio::test]
async fn prompts_are_those_of_the_service() {
    let it = with_form().await;
    for prompt in ["", "login", "select_account", "consent"] {
        assert_eq!(authorize(&it, &[("prompt", prompt)]).await.status, 200, "{prompt}");
    }
    assert_eq!(returned(&authorize(&it, &[("prompt", "none")]).await, "error"), "login_required");
    let answer = authorize(&it, &[("prompt", "please")]).await;
    assert_eq!(returned(&answer, "error"), "invalid_request");
    assert!(returned(&answer, "error_description").starts_with("AADSTS90023: "));
    it.cloud.set_sign_in_mode(SignInMode::Immediate);
    for prompt in ["login", "select_account", "none"] {
        assert_ne!(returned(&authorize(&it, &[("prompt", prompt)]).await, "code"), "", "{prompt}");
    }
}

#[tokio::test]
async fn the_mode_is_set_over_http_and_a_test_browser_can_pick() {
    let it = with_form().await;
    it.cloud.set_sign_in_mode(SignInMode::Immediate);
    assert_eq!(order(&it, "POST", "/sign-in", &serde_json::json!({"mode": "form"})).await.status, 200);
    assert_eq!(authorize(&it, &[]).await.status, 200);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect = format!("http://{}/oauth2/msal", listener.local_addr().unwrap());
    let url = format!("{}{}", it.server.url(), authorize_target(&[("redirect_uri", &redirect)]));
    let browser = std::thread::spawn(move || simcloud::visit_as(&url, Some("second@domain.com")));
    let back = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend_from_slice(&byte);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8_lossy(&head).into_owned()
    });
    assert!(back.await.unwrap().starts_with("GET /oauth2/msal?code="));
    assert_eq!(browser.join().unwrap().unwrap(), 204);
}
