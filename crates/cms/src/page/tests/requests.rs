//! What is answered, and what is refused.

use super::*;

#[tokio::test]
async fn the_page_is_complete_and_closed_to_others() {
    let served = serve(samples::needed());
    let answer = served.get("/", "").await;
    assert_eq!(status_of(&answer), 200);
    for text in [
        "Sign-in needed for 2 accounts",
        "1 of 2",
        "data-account=\"0\"",
        "data-sign-in=\"needed\"",
        "12\u{202f}345 messages",
    ] {
        assert!(answer.contains(text), "{text}");
    }
    let policy = header(&answer, "content-security-policy").unwrap();
    let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split('\'').next().unwrap();
    assert!(answer.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(answer.contains(&format!("<style nonce=\"{nonce}\">")));
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.ends_with("; form-action 'self' https://login.example"), "{policy}");
    assert!(!served.get("/", "").await.contains(nonce), "a nonce is used once");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(header(&answer, name), Some(value), "{name}");
    }
    assert!(!answer.to_lowercase().contains("access-control-"));
}

#[tokio::test]
async fn names_from_outside_stay_text() {
    let mut status = samples::trouble();
    let evil = "\"'><script>alert(1)</script>\r\n\r\ndata: x";
    status.accounts[0].name = evil.to_owned();
    status.accounts[0].service = evil.to_owned();
    status.command = evil.to_owned();
    status.mailboxes[0].name = evil.to_owned();
    status.mailboxes[0].trouble = Some(Trouble { what: evil.to_owned(), remedy: Some(evil.to_owned()) });
    let states = [
        SignInStatus::Needed { reason: evil.to_owned() },
        SignInStatus::Failed { reason: evil.to_owned(), remedy: Some(evil.to_owned()) },
        SignInStatus::Unreachable { reason: evil.to_owned() },
        SignInStatus::SignedIn { user: Some(evil.to_owned()), renewed_at: None, kept: false },
        SignInStatus::WithCode { user_code: evil.to_owned(), address: format!("javascript:{evil}"), expires_at: 0 },
    ];
    for state in states {
        samples::set(&mut status, 0, state);
        let answer = serve(status.clone()).get("/", "").await;
        assert_eq!(answer.matches("<script").count(), 1);
        assert!(!answer.contains("href=\"javascript:"));
        assert!(answer.contains("&lt;script&gt;"));
    }
}

#[tokio::test]
async fn each_state_of_a_sign_in_says_what_to_do() {
    let served = serve(samples::needed());
    for (status, texts) in [
        (samples::needed(), &["data-action=\"sign-in\"", "data-action=\"code\""][..]),
        (samples::in_browser(), &["in the other tab", "data-action=\"cancel\""]),
        (
            samples::with_code(),
            &["id=\"user-code\">GTHK-QPXW<", "href=\"https://microsoft.com/devicelogin\"", "data-until="],
        ),
        (samples::failed(), &["Try again", "Ask its administrator", "data-sign-in=\"failed\""]),
    ] {
        served.board.update(|shown| *shown = status);
        let answer = served.get("/", "").await;
        assert!(answer.contains("id=\"next-sign-in\""));
        for text in texts {
            assert!(answer.contains(text), "{text}");
        }
    }
    served.board.update(|status| *status = samples::in_sync());
    let answer = served.get("/", "").await;
    assert!(!answer.contains("id=\"next-sign-in\""));
    assert!(answer.contains("All accounts are signed in.") && answer.contains("You can close this tab."));
    assert!(!serve(samples::in_sync()).get("/", "").await.contains("id=\"all-done\""), "nobody had to sign in");
}

#[tokio::test]
async fn a_form_of_ours_begins_and_cancels() {
    let served = serve(samples::needed());
    let answer = served.post_well("/sign-in", "account=1&method=browser").await;
    assert_eq!((status_of(&answer), header(&answer, "location")), (303, Some(SIGN_IN)));
    assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
    let answer = served.post_well("/sign-in", "account=0&method=code").await;
    assert_eq!((status_of(&answer), header(&answer, "location")), (303, Some("/")));
    let answer = served.post_well("/cancel", "account=0").await;
    assert_eq!((status_of(&answer), header(&answer, "location")), (303, Some("/")));
    assert_eq!(served.desk.asked(), ["begin 1", "code 0", "cancel 0"]);
}

#[tokio::test]
async fn held_deletions_are_shown_and_a_form_of_ours_says_what_becomes_of_them() {
    let served = serve(samples::held());
    let answer = served.get("/", "").await;
    for text in [
        "1 mailbox needs attention",
        "data-held=\"9000\"",
        "9000 of 12345 messages of `inbox` were deleted here",
        "Don&#39;t delete the state directory",
        "Minutes of Monday",
        "(no subject)",
        "Ann &lt;ann@example.com&gt;",
        "and 8\u{202f}998 more",
        "data-action=\"held-restore\"",
        "data-action=\"held-apply\"",
    ] {
        assert!(answer.contains(text), "{text}: {answer}");
    }
    for word in ["restore", "apply"] {
        let answer = served.post_well("/held", &format!("held=0123456789abcdef&word={word}")).await;
        assert_eq!((status_of(&answer), header(&answer, "location")), (303, Some("/")));
    }
    let answer = served.post_well("/held", "held=old&word=apply").await;
    assert_eq!(status_of(&answer), 409);
    assert!(answer.contains("What is &lt;held&gt; has changed meanwhile."), "{answer}");
    for fields in ["held=x", "word=apply", "held=x&word=delete", "held=&word="] {
        assert_eq!(status_of(&served.post_well("/held", fields).await), 400, "{fields}");
    }
    assert_eq!(served.desk.asked(), ["Restore 0123456789abcdef", "Apply 0123456789abcdef", "Apply old"]);
}

#[tokio::test]
async fn headlines_from_outside_stay_text() {
    let mut status = samples::held();
    let evil = "\"'><script>alert(1)</script>\r\n\r\ndata: x";
    let held = &mut status.mailboxes[0].held[0];
    for text in [&mut held.id, &mut held.cause, &mut held.mailbox] {
        *text = evil.to_owned();
    }
    let (subject, sender, received) = (evil.to_owned(), evil.to_owned(), evil.to_owned());
    held.samples[0] = Headline { subject, sender, received };
    let answer = serve(status).get("/", "").await;
    assert_eq!(answer.matches("<script").count(), 1);
    assert!(answer.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn what_cannot_begin_is_told_on_the_page() {
    let served = serve(samples::needed());
    let answer = served.post_well("/sign-in", "account=2&method=browser").await;
    assert_eq!(status_of(&answer), 409);
    assert!(answer.contains("The &lt;sign-in&gt; service doesn&#39;t answer."), "{answer}");
    for fields in
        ["account=3&method=browser", "account=x&method=browser", "method=browser", "account=0", "account=0&method=x"]
    {
        assert_eq!(status_of(&served.post_well("/sign-in", fields).await), 400, "{fields}");
    }
    assert_eq!(served.desk.asked(), ["begin 2"]);
}

#[tokio::test]
async fn a_sign_in_service_is_never_reached_in_an_unsafe_way() {
    for address in
        ["http://login.example/", "javascript:alert(1)", "file:///etc/passwd", "http://127.0.0.1.evil.example/"]
    {
        let served =
            serve_with(samples::needed(), Notebook { sign_in: Some(address.to_owned()), ..Notebook::default() });
        let answer = served.post_well("/sign-in", "account=0&method=browser").await;
        assert_eq!((status_of(&answer), header(&answer, "location")), (409, None), "{address}");
    }
}

#[tokio::test]
async fn f39_other_pages_change_nothing() {
    let served = serve(samples::needed());
    let (host, key) = (served.host(), served.key().await);
    let own = format!("Origin: http://{host}\r\n");
    let good = format!("account=0&method=browser&key={key}");
    for (headers, body) in [
        (String::new(), good.clone()),
        ("Origin: null\r\n".to_owned(), good.clone()),
        ("Origin: https://evil.example\r\n".to_owned(), good.clone()),
        (format!("Origin: https://{host}\r\n"), good.clone()),
        (format!("{own}{own}"), good.clone()),
        (format!("{own}Sec-Fetch-Site: cross-site\r\n"), good.clone()),
        (format!("{own}Sec-Fetch-Site: same-site\r\n"), good.clone()),
        (own.clone(), "account=0&method=browser".to_owned()),
        (own.clone(), format!("account=0&method=browser&key={}", "0".repeat(64))),
        (own.clone(), format!("account=0&method=browser&key={}", &key[..63])),
    ] {
        for target in ["/sign-in", "/cancel", "/held"] {
            assert_eq!(status_of(&served.post(target, &headers, &body).await), 403, "{headers} {body}");
        }
    }
    assert_eq!(served.desk.asked(), [""; 0]);
    assert_eq!(status_of(&served.post("/sign-in", &own, &good).await), 303);
}

#[tokio::test]
async fn f39_other_names_are_not_answered() {
    let served = serve(samples::needed());
    let port = served.page.address().port();
    for host in ["evil.example", "localhost", &format!("evil.example:{port}"), "localhost:1"] {
        let answer = served.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n"), "").await;
        assert_eq!(status_of(&answer), 403, "{host}");
    }
    for head in [
        "GET / HTTP/1.0\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: localhost:{port}\r\n"),
        format!("GET http://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n"),
        format!("GET http://evil.example/ HTTP/1.1\r\nHost: localhost:{port}\r\n"),
    ] {
        assert!(matches!(status_of(&served.ask(&head, "").await), 400 | 403), "{head}");
    }
    for host in ["127.0.0.1", "LocalHost", "[::1]"] {
        let answer = served.ask(&format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\n"), "").await;
        assert_eq!(status_of(&answer), 200, "{host}");
    }
}

#[tokio::test]
async fn other_pages_read_nothing() {
    let served = serve(samples::needed());
    for target in ["/events", "/status.json"] {
        for header in [
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Origin: null\r\n",
            "Origin: http://evil.example\r\n",
        ] {
            assert_eq!(status_of(&served.get(target, header).await), 403, "{target} {header}");
        }
    }
    let frame = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n";
    assert_eq!(status_of(&served.get("/", frame).await), 403);
    let answer = served.get("/status.json", "").await;
    let status: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(status["accounts"][0]["sign_in"]["state"], "needed");
    assert_eq!(status["mailboxes"][0]["activity"]["state"], "waiting");
}

#[tokio::test]
async fn the_browser_comes_back() {
    let served = serve(samples::needed());
    let from_elsewhere = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let answer = served.get("/oauth2/msal?code=c&state=known", from_elsewhere).await;
    assert_eq!(status_of(&answer), 200);
    assert!(answer.contains("id=\"banner\"") && answer.contains("Signed in as jane@example.com"));
    assert!(!answer.contains("code=c"), "the code stays out of the page");
    let answer = served.get("/oauth2/msal?error=access_denied&state=known", from_elsewhere).await;
    assert_eq!(status_of(&answer), 400);
    assert!(answer.contains("The service said &lt;no&gt;."));
    let answer = served.get("/oauth2/msal?code=c&state=guessed", from_elsewhere).await;
    assert_eq!(status_of(&answer), 400);
    assert!(answer.contains("Not this sign-in"));
    let asked = served.desk.asked().len();
    let head = format!("HEAD /oauth2/msal?code=c&state=known HTTP/1.1\r\nHost: {}\r\n", served.host());
    assert_eq!(status_of(&served.ask(&head, "").await), 200);
    assert_eq!(served.desk.asked().len(), asked, "to look is not to come back");
}

#[tokio::test]
async fn there_is_nothing_else() {
    let served = serve(samples::needed());
    let host = served.host();
    for target in ["/x", "/oauth2", "/oauth2/msal/", "//evil.example/", "/../", "/%2e", "/index.html", "/favicon.ico"] {
        assert_eq!(status_of(&served.get(target, "").await), 404, "{target}");
    }
    for (method, target, allow) in [
        ("GET", "/sign-in", "POST"),
        ("PUT", "/cancel", "POST"),
        ("GET", "/held", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("OPTIONS", "/events", "GET, HEAD"),
        ("DELETE", "/oauth2/msal", "GET, HEAD"),
    ] {
        let answer = served.ask(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n"), "").await;
        assert_eq!((status_of(&answer), header(&answer, "allow")), (405, Some(allow)), "{method} {target}");
    }
    for target in ["/", "/events", "/status.json"] {
        let answer = served.ask(&format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n"), "").await;
        assert_eq!(status_of(&answer), 200, "{target}");
        assert!(answer.ends_with("\r\n\r\n"), "a head has no body: {target}");
    }
}

#[tokio::test]
async fn bodies_are_small_forms() {
    let served = serve(samples::needed());
    let own = format!("Origin: http://{}\r\n", served.host());
    assert_eq!(status_of(&served.post("/cancel", &own, &"x".repeat(5000)).await), 413);
    let chunked = format!(
        "POST /cancel HTTP/1.1\r\nHost: {}\r\n{own}Transfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n",
        served.host()
    );
    let chunk = format!("1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5000));
    assert_eq!(status_of(&served.ask(&chunked, &chunk).await), 413);
    let json = format!(
        "POST /cancel HTTP/1.1\r\nHost: {}\r\n{own}Content-Type: text/plain\r\nContent-Length: 2\r\n",
        served.host()
    );
    assert_eq!(status_of(&served.ask(&json, "{}").await), 415);
    assert_eq!(served.desk.asked(), [""; 0]);
}

#[tokio::test]
async fn odd_bytes_close_the_connection_and_nothing_else() {
    let served = serve(samples::needed());
    for wire in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n"]
    {
        let answer = ask(served.page.address(), wire).await;
        assert!(matches!(status_of(&answer), 0 | 400 | 505), "{answer}");
    }
    assert_eq!(status_of(&served.get("/", "").await), 200);
}
