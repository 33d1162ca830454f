//! Being told of changes at an address of one's own. Polls are an hour apart here: what arrives sooner was told.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::json;
use simcloud::{Action, Fault, Knobs, LifecycleEvent, NotificationService, Options};

use crate::world::{Running, USER, World, wait_for};

/// What the daemon says once it is told.
const LISTENS: &str = "the mail service tells of changes as they happen";

/// A world whose daemon is told of two mailboxes at an address that leads to it.
struct Told {
    world: World,
    port: u16,
}

impl std::ops::Deref for Told {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn told() -> Told {
    told_with(Knobs { webhooks_to_loopback: true, webhook_retry_ms: 50, ..Knobs::calm() })
}

fn told_with(knobs: Knobs) -> Told {
    let knobs = Knobs { notifications: NotificationService::Live, ..knobs };
    let folders = vec![("Inbox/Lists".to_owned(), 2)];
    let told =
        Told { world: World::with(Options { messages: 3, folders, knobs, ..Options::default() }), port: free_port() };
    told.configure_with("auto", told.port, "1h");
    told
}

impl Told {
    /// Writes the configuration: how changes are noticed, where the address leads, and how often is looked anyway.
    fn configure_with(&self, push: &str, leads_to: u16, poll_interval: &str) {
        let (url, port) = (&self.url, self.port);
        self.configure(&format!(
            r#"
outlook = Office365_Account(user="{USER}", login_url="{url}", graph_url="{url}", owa_url="{url}")
inbox = MailDir("INBOX")
lists = MailDir("Lists")
Office365("inbox", outlook, push="{push}")
Office365("Inbox/Lists", outlook, push="{push}")
def direct(msg):
    return lists if msg.mailbox == "Inbox/Lists" else inbox
cfg.direct_message = direct
cfg.poll_interval = "{poll_interval}"
cfg.push_url = "http://127.0.0.1:{leads_to}/cms"
cfg.push_listen = "127.0.0.1:{port}"
"#
        ));
    }

    /// Starts the daemon and waits until both mailboxes have a subscription and were looked at once more after that.
    fn listening(&self) -> Running {
        let daemon = self.daemon();
        daemon.wait_for_line(LISTENS);
        wait_for("it has looked again", || self.rounds("Inbox") > 1 && self.rounds("Inbox/Lists") > 1);
        assert_eq!(self.cloud.webhooks().len(), 2);
        daemon
    }

    fn ids(&self) -> Vec<String> {
        self.cloud.webhooks().into_iter().map(|one| one.id).collect()
    }

    /// Waits until both mailboxes have another subscription than these.
    fn wait_for_others_than(&self, old: &[String]) {
        wait_for("there are other subscriptions", || {
            let ids = self.ids();
            ids.len() == 2 && ids.iter().all(|id| !old.contains(id))
        });
    }

    /// Sends something to the address as anybody can, and gives the status of the answer.
    fn post(&self, target: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!("POST {target} HTTP/1.1\r\nHost: mail.example.org\r\nConnection: close\r\n");
        // Who is refused may not be read to the end.
        let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Both folders get a message, which is told.
    #[track_caller]
    fn both_are_told_of(&self, subject: &str) {
        self.is_told_of("Inbox", "INBOX", subject);
        self.is_told_of("Inbox/Lists", "Lists", subject);
    }
}

#[test]
fn what_is_told_at_an_address_is_looked_at_at_once() {
    let told = told();
    // The address takes the stream's place, even where that is insisted on.
    told.configure_with("stream", told.port, "1h");
    let daemon = told.listening();
    told.both_are_told_of("one");
    told.is_told_of("Inbox", "INBOX", "two");
    told.wait_until_same("INBOX", "Inbox");
    assert_eq!((told.asked("subscription"), told.asked("notifications")), (0, 0));
    let consents = told.cloud.requests(0).into_iter().filter(|request| request.kind == "authorize");
    assert!(consents.map(|request| request.target).all(|target| !target.contains("outlook.office.com")));
    assert!(daemon.stop().status.success());
    assert_eq!(told.cloud.webhooks(), [], "what was subscribed to is ended");
    told.assert_lawful();
}

#[test]
fn the_secret_of_a_subscription_is_nowhere() {
    let told = told();
    let daemon = told.start(&["-vv", "run"]);
    daemon.wait_for_line(LISTENS);
    told.is_told_of("Inbox", "INBOX", "one");
    let secrets: Vec<String> = told.cloud.webhooks().into_iter().map(|one| one.client_state).collect();
    assert_eq!(secrets.len(), 2);
    assert!(secrets[0] != secrets[1] && secrets.iter().all(|secret| (32..=128).contains(&secret.len())));
    for file in std::fs::read_dir(told.path(".cms")).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{}", file.display());
    }
    let stopped = daemon.stop();
    let text = stopped.stderr + &stopped.stdout;
    assert!(text.contains("Subscribed to notifications"), "the log tells everything: {text}");
    assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())));
}

/// Only who knows the secret has a mailbox looked at, and nobody is told which secret is right.
#[test]
fn a_stranger_wakes_nobody() {
    let told = told();
    let daemon = told.listening();
    told.both_are_told_of("first");
    let before = told.rounds("Inbox");
    let inbox = told.cloud.folder_id("", "Inbox").unwrap();
    let one = told.cloud.webhooks().into_iter().find(|one| one.resource.contains(&inbox)).unwrap();
    let say = |secret: &str, event: &str| {
        let notification =
            json!({"subscriptionId": one.id, "clientState": secret, "changeType": "created", "lifecycleEvent": event});
        told.post("/cms", &json!({"value": [notification]}).to_string())
    };
    for event in ["", "missed", "subscriptionRemoved", "reauthorizationRequired"] {
        assert_eq!(say("", event), "202");
        assert_eq!(say(&"0".repeat(64), event), "202");
    }
    // Between two rounds of one mailbox lies a second, within which the other would have been looked at.
    told.is_told_of("Inbox/Lists", "Lists", "second");
    told.is_told_of("Inbox/Lists", "Lists", "third");
    assert_eq!(told.rounds("Inbox"), before);
    assert_eq!(told.cloud.webhooks().iter().map(|one| one.renewals).sum::<u64>(), 0);
    assert_eq!(say(&one.client_state, ""), "202");
    wait_for("who knows the secret is heard", || told.rounds("Inbox") > before);
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn nothing_that_is_sent_there_does_harm() {
    let told = told();
    let daemon = told.listening();
    assert_eq!(told.post("/cms?validationToken=%3Cscript%3E", ""), "404", "no subscription is being made");
    assert_eq!(told.post("/cms", &"x".repeat(5_000_000)), "413");
    for body in ["", "null", "{\"value\":", "\u{0}", &"[".repeat(200_000)] {
        assert_eq!(told.post("/cms", body), "400");
    }
    assert_eq!(told.post("/cms", r#"{"value":[null,{"subscriptionId":{},"clientState":[]}]}"#), "202");
    assert_eq!(told.post("/", "{}"), "404");
    assert_eq!(told.post("/status.json", "{}"), "404");
    told.both_are_told_of("after all that");
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn subscriptions_are_renewed_before_they_end() {
    let knobs = Knobs { webhooks_to_loopback: true, webhook_life_seconds: 8, ..Knobs::calm() };
    let told = told_with(knobs);
    let daemon = told.listening();
    let first = told.ids();
    wait_for("they were renewed", || {
        let all = told.cloud.webhooks();
        all.len() == 2 && all.iter().all(|one| one.renewals >= 3)
    });
    // They have lived for longer than without it.
    assert_eq!(told.ids(), first);
    told.both_are_told_of("later");
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn a_subscription_that_the_service_forgot_is_made_anew() {
    let knobs = Knobs { webhooks_to_loopback: true, webhook_life_seconds: 8, ..Knobs::calm() };
    let told = told_with(knobs);
    let daemon = told.listening();
    // What was told is found, so that nobody looks a second time for it.
    told.both_are_told_of("first");
    let first = told.ids();
    told.cloud.forget_webhooks();
    let untold = told.receive("Inbox", "untold");
    assert!(told.message(&untold).is_some());
    told.wait_for_others_than(&first);
    wait_for("what nobody told is here", || told.files_of("INBOX", "untold").len() == 1);
    told.both_are_told_of("later");
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn what_the_service_missed_is_looked_for() {
    let told = told();
    let daemon = told.listening();
    told.both_are_told_of("told");
    told.cloud.turn(|knobs| knobs.webhooks_lost = true);
    told.receive("Inbox", "missed");
    told.cloud.tell_webhooks(LifecycleEvent::Missed);
    wait_for("it is here", || told.files_of("INBOX", "missed").len() == 1);
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn a_subscription_that_was_removed_is_made_anew() {
    let told = told();
    let daemon = told.listening();
    told.both_are_told_of("first");
    let first = told.ids();
    told.cloud.turn(|knobs| knobs.webhooks_lost = true);
    told.receive("Inbox", "untold");
    told.cloud.tell_webhooks(LifecycleEvent::SubscriptionRemoved);
    told.wait_for_others_than(&first);
    wait_for("what nobody told is here", || told.files_of("INBOX", "untold").len() == 1);
    told.cloud.turn(|knobs| knobs.webhooks_lost = false);
    told.both_are_told_of("later");
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn a_subscription_is_renewed_when_the_service_asks_for_it() {
    let told = told();
    let daemon = told.listening();
    let first = told.ids();
    told.cloud.tell_webhooks(LifecycleEvent::ReauthorizationRequired);
    wait_for("both are renewed", || told.cloud.webhooks().iter().all(|one| one.renewals == 1));
    told.both_are_told_of("later");
    assert_eq!(told.ids(), first);
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

/// A killed process ends nothing; the next one does.
#[test]
fn what_a_killed_run_leaves_is_ended_by_the_next() {
    let told = told();
    let daemon = told.listening();
    let first = told.ids();
    drop(daemon);
    assert_eq!(told.ids(), first);
    let daemon = told.daemon();
    told.wait_for_others_than(&first);
    told.both_are_told_of("after the kill");
    assert!(daemon.stop().status.success());
    assert_eq!(told.cloud.webhooks(), []);
    told.assert_lawful();
}

#[test]
fn where_the_address_leads_elsewhere_mail_is_polled_for() {
    let told = told();
    told.configure_with("auto", free_port(), "1s");
    let daemon = told.daemon();
    daemon.wait_for_line("there are no notifications of changes");
    told.receive("Inbox", "polled");
    wait_for("it is here", || told.files_of("INBOX", "polled").len() == 1);
    assert_eq!(told.asked("subscription"), 0);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let said = stopped.stderr.matches("there are no notifications of changes").count();
    assert_eq!(said, 1, "{}", stopped.stderr);
    for words in ["ValidationError", "see that http://127.0.0.1:", "leads here", "tried again"] {
        assert!(stopped.stderr.contains(words), "{words}: {}", stopped.stderr);
    }
}

/// Polls of the one are no reason for polls of the other, and the other way about.
#[test]
fn a_mailbox_that_the_service_refuses_to_tell_of_is_polled_and_the_others_are_told_of() {
    let knobs = Knobs { webhooks_to_loopback: true, webhook_retry_ms: 50, ..Knobs::calm() };
    let told = told_with(Knobs { webhooks_refused: vec!["Inbox".to_owned()], ..knobs });
    let daemon = told.daemon();
    daemon.wait_for_line(LISTENS);
    wait_for("it has looked again", || told.rounds("Inbox/Lists") > 1);
    assert_eq!(told.cloud.webhooks().len(), 1);
    told.is_told_of("Inbox/Lists", "Lists", "told");
    told.receive("Inbox", "polled");
    wait_for("it is here", || told.files_of("INBOX", "polled").len() == 1);
    // What is told was found, so that nobody looks once more for it.
    let (polled, looked) = (told.rounds("Inbox"), told.rounds("Inbox/Lists"));
    wait_for("it is polled", || told.rounds("Inbox") > polled + 1);
    assert_eq!(told.rounds("Inbox/Lists"), looked, "it is only told of");
    told.is_told_of("Inbox/Lists", "Lists", "told again");
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let said = stopped.stderr.matches("there are no notifications of changes").count();
    assert_eq!(said, 1, "{}", stopped.stderr);
    for words in
        ["of changes in `inbox`: ", "ExtensionError", "an administrator", "it is polled instead", "asked for again"]
    {
        assert!(stopped.stderr.contains(words), "{words}: {}", stopped.stderr);
    }
    // The next start asks again.
    told.cloud.turn(|knobs| knobs.webhooks_refused.clear());
    let daemon = told.listening();
    told.both_are_told_of("by and by");
    assert!(!daemon.stop().stderr.contains("there are no notifications"));
    told.assert_lawful();
}

#[test]
fn where_the_service_tells_of_no_mailbox_that_is_said_once() {
    let knobs = Knobs { webhooks_to_loopback: true, ..Knobs::calm() };
    let refused = ["Inbox", "Inbox/Lists"].map(str::to_owned).to_vec();
    let told = told_with(Knobs { webhooks_refused: refused, ..knobs });
    let daemon = told.daemon();
    daemon.wait_for_line("there are no notifications of changes: ");
    told.receive("Inbox", "polled");
    wait_for("it is here", || told.files_of("INBOX", "polled").len() == 1);
    let stopped = daemon.stop();
    assert_eq!(stopped.stderr.matches("there are no notifications").count(), 1, "{}", stopped.stderr);
}

/// Passes on what comes to a port, as a proxy does. It ends with the test.
fn proxy(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).unwrap();
    std::thread::spawn(move || {
        while let Ok((outside, _)) = listener.accept() {
            let inside = TcpStream::connect(("127.0.0.1", to)).unwrap();
            for (mut reads, mut writes) in
                [(outside.try_clone().unwrap(), inside.try_clone().unwrap()), (inside, outside)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut reads, &mut writes);
                    let _ = writes.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn an_address_that_leads_here_later_is_found_out() {
    let told = told();
    let outside = free_port();
    told.configure_with("auto", outside, "1h");
    let daemon = told.daemon();
    daemon.wait_for_line("there are no notifications of changes");
    proxy(outside, told.port);
    daemon.wait_for_line(LISTENS);
    told.both_are_told_of("by the proxy");
    assert!(daemon.stop().status.success());
    assert_eq!(told.cloud.webhooks(), []);
    told.assert_lawful();
}

#[test]
fn a_service_that_is_out_of_order_is_asked_again() {
    let told = told();
    told.cloud.inject(Fault::always("webhook", Action::status(503)));
    let daemon = told.daemon();
    wait_for("it was asked more than once", || told.asked("webhook") > 2);
    told.cloud.clear_faults();
    daemon.wait_for_line(LISTENS);
    told.both_are_told_of("after that");
    assert!(!daemon.stderr().contains("there are no notifications"), "{}", daemon.stderr());
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

/// The service forgets all, and fails in such a way from then on. Mail is here as soon as without it, however long that takes.
fn nothing_is_told_after(failure: Action) {
    let told = told_with(Knobs { webhooks_to_loopback: true, webhook_life_seconds: 8, ..Knobs::calm() });
    let daemon = told.listening();
    told.both_are_told_of("first");
    told.cloud.inject(Fault::always("webhook", failure));
    told.cloud.forget_webhooks();
    for subject in ["second", "third"] {
        told.both_are_told_of(subject);
    }
    assert_eq!(told.cloud.webhooks(), []);
    assert!(daemon.stop().status.success());
    told.assert_lawful();
}

#[test]
fn while_nothing_is_told_polls_come_as_often_as_without() {
    nothing_is_told_after(Action::Garbage);
}

#[test]
fn where_nothing_is_told_any_more_polls_come_as_often_as_without() {
    nothing_is_told_after(Action::status(403));
}

/// The subscriptions end by themselves.
#[test]
fn a_stop_does_not_wait_for_a_service_that_is_silent() {
    let told = told();
    let daemon = told.listening();
    told.cloud.inject(Fault::always("webhook", Action::Hang));
    let stopped = daemon.stop();
    assert!(stopped.status.success(), "{}", stopped.stderr);
    assert!(!stopped.stderr.contains("in the middle of the work"), "{}", stopped.stderr);
    assert_eq!(told.cloud.webhooks().len(), 2);
}

#[test]
fn where_nobody_can_listen_mail_is_polled_for() {
    let told = told();
    let _taken = TcpListener::bind(("127.0.0.1", told.port)).unwrap();
    told.configure_with("auto", told.port, "1s");
    let daemon = told.daemon();
    told.receive("Inbox", "polled");
    wait_for("it is here", || told.files_of("INBOX", "polled").len() == 1);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(stopped.stderr.contains("is taken by") && stopped.stderr.contains("cfg.push_listen"), "{}", stopped.stderr);
    assert_eq!(told.asked("webhook"), 0);
}

#[test]
fn a_mailbox_that_is_polled_has_no_subscription() {
    let told = told();
    told.configure_with("poll", told.port, "1s");
    let daemon = told.daemon();
    told.receive("Inbox", "polled");
    wait_for("it is here", || told.files_of("INBOX", "polled").len() == 1);
    assert!(TcpStream::connect(("127.0.0.1", told.port)).is_err(), "nobody listens in vain");
    assert!(daemon.stop().status.success());
    assert_eq!(told.asked("webhook"), 0);
    // Nor is one of any use to a single run.
    told.configure_with("auto", told.port, "1h");
    told.sync();
    assert_eq!(told.asked("webhook"), 0);
}

#[test]
fn check_tells_whether_the_address_leads_here() {
    let told = told();
    let address = format!("http://127.0.0.1:{}/cms` leads to 127.0.0.1:{}", told.port, told.port);
    let checked = told.cms(&["check"]);
    assert!(checked.status.success() && checked.stdout.contains(&address), "{}", checked.stdout);
    // So it does while the daemon listens there.
    let daemon = told.listening();
    let checked = told.cms(&["check"]);
    assert!(checked.stdout.contains(&address), "{}", checked.stdout);
    assert!(daemon.stop().status.success());
    told.configure_with("auto", free_port(), "1h");
    let checked = told.cms(&["check"]);
    assert!(checked.status.success(), "mail comes without it: {}", checked.stdout);
    assert!(checked.stdout.contains("note  change notifications"), "{}", checked.stdout);
    assert!(checked.stdout.contains("POST requests for /cms"), "{}", checked.stdout);
}
