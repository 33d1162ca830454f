//! A web page from elsewhere in the same browser learns nothing and begins nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;

use crate::browser::chromium::Chromium;
use crate::browser::{daemon_without_browser, offered, two_users};

/// What the page of a stranger does, and where it writes down how that went.
const SCRIPT: &str = r"
const page = 'PAGE';
const outcomes = {};
async function attempt(name, what) {
  try { outcomes[name] = `done: ${await what()}`; } catch (error) { outcomes[name] = 'refused'; }
}
function listen() {
  return new Promise((done, refused) => {
    const stream = new EventSource(`${page}/events`);
    stream.onmessage = (event) => done(event.data);
    stream.addEventListener('page', (event) => done(event.data));
    stream.onerror = () => { stream.close(); refused(new Error('refused')); };
  });
}
function frame() {
  return new Promise((done, refused) => {
    const frame = document.createElement('iframe');
    frame.onload = () => {
      try { done(frame.contentWindow.document.body.innerText); } catch (error) { refused(error); }
    };
    frame.src = `${page}/`;
    document.body.append(frame);
  });
}
function post(path, target) {
  return new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.name = target;
    document.body.append(frame);
    const sent = document.createElement('form');
    Object.assign(sent, { method: 'post', action: page + path, target });
    for (const [name, value] of [['account', '0'], ['method', 'browser'], ['key', '']]) {
      const field = document.createElement('input');
      Object.assign(field, { type: 'hidden', name, value });
      sent.append(field);
    }
    document.body.append(sent);
    frame.onload = () => done('sent');
    sent.submit();
  });
}
(async () => {
  await attempt('status', async () => (await fetch(`${page}/status.json`)).text());
  await attempt('page', async () => (await fetch(`${page}/`)).text());
  await attempt('events', listen);
  await attempt('frame', frame);
  const begin = { method: 'POST', mode: 'no-cors', body: new URLSearchParams({ account: 0, method: 'browser' }) };
  await attempt('begin', async () => (await fetch(`${page}/sign-in`, begin)).text());
  await attempt('own', async () => (await fetch('/')).text());
  await post('/sign-in', 'one');
  await post('/cancel', 'two');
  window.outcomes = outcomes;
})();
";

/// Serves the page of a stranger on this machine, for as long as the test runs, and returns its port.
fn serve_stranger(page: &str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let html = format!("<!doctype html><title>Stranger</title><body><script>{}</script>", SCRIPT.replace("PAGE", page));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            // A request fits into one packet here, and what it says makes no difference.
            let _ = stream.read(&mut [0; 8192]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}",
                html.len()
            );
        }
    });
    port
}

#[test]
fn another_page_reads_nothing_and_begins_nothing() {
    let Some(browser) = Chromium::start("stranger") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    let port = serve_stranger(&page);
    browser.go(&page);
    let first = offered(&browser, "1 of 2");
    let code = browser.text("#user-code");
    let (ours, theirs) = (browser.tab(), browser.new_tab());
    browser.show(theirs);
    // Another site, and another port of the same site.
    for host in ["127.0.0.1", "localhost"] {
        browser.go(&format!("http://{host}:{port}/"));
        browser.wait_until("typeof window.outcomes === 'object'");
        let outcomes = browser.value("window.outcomes").unwrap();
        for attempt in ["status", "page", "events", "frame", "begin"] {
            assert_eq!(outcomes[attempt], "refused", "{host}: {outcomes}");
        }
        // What it may do, it can.
        assert!(outcomes["own"].as_str().unwrap().starts_with("done"), "{host}: {outcomes}");
    }
    browser.show(ours);
    let status = "(async () => (await fetch('/status.json')).json())()";
    let status = browser.value(status).unwrap();
    assert_eq!(status["accounts"][first]["sign_in"]["state"], "with_code", "{status}");
    assert_eq!(status["accounts"][first]["sign_in"]["user_code"], Value::String(code), "{status}");
    assert_eq!(status["accounts"][1 - first]["sign_in"]["state"], "needed", "{status}");
    assert_eq!(world.cloud.counters().requests.get("authorize"), None, "no browser was sent to the service");
    assert!(daemon.stop().status.success());
}
