//! People sign in to two accounts: a real Chromium at the page of the daemon and at the simulated service.
//!
//! Each test leaves pictures of what the page looked like in `$CMS_SCREENSHOTS`, else in `screenshots` of the target
//! directory, and tells their names. Without `services/chromium` of the shared directory (`CMS_SHARED`, or `shared`
//! beside the project), or without chromedriver, nothing is tried.

mod chromium;
mod holding;
mod inviting;
mod signing_in;
mod strangers;

use std::fs;

use simcloud::{Knobs, NewMessage, Options, SignInMode};

use crate::browser::chromium::Chromium;
use crate::mail_program::text;
use crate::world::{Running, World, wait_for};

/// The users, in the order in which the sign-in form has them.
const ANN: &str = "ann@domain.com";
const BEN: &str = "ben@domain.com";

const USERS: [&str; 2] = [ANN, BEN];

/// The Maildir and the folder of a user.
fn mail_of(user: &str) -> (&'static str, &'static str) {
    if user == ANN { ("Ann", "Inbox") } else { ("Ben", "Inbox/Lists") }
}

/// The buttons of the panel.
const SIGN_IN: &str = "#next-sign-in [data-action=sign-in]";
const USE_CODE: &str = "#next-sign-in [data-action=code]";

/// Two users, each with one mailbox and one Maildir.
fn two_users() -> World {
    let users = vec![ANN.to_owned(), BEN.to_owned()];
    let folders = vec![("Inbox/Lists".to_owned(), 3)];
    let mut knobs = Knobs::calm();
    knobs.device_interval_seconds = 1;
    let world = World::with(Options { users, folders, messages: 5, knobs, ..Options::default() });
    world.cloud.set_sign_in_mode(SignInMode::Form);
    let url = &world.url;
    let configuration = format!(
        r#"
ann = MailDir("Ann")
ben = MailDir("Ben")
Office365("inbox", Office365_Account(user="{ANN}", login_url="{url}", graph_url="{url}"))
Office365("Inbox/Lists", Office365_Account(user="{BEN}", login_url="{url}", graph_url="{url}"))
def place(msg):
    return ben if msg.mailbox == "Inbox/Lists" else ann
cfg.direct_message = place
cfg.listen = "127.0.0.1:0"
cfg.poll_interval = 1
"#
    );
    fs::write(world.path("cms.cfg"), configuration).unwrap();
    world
}

/// Where the daemon says that its page is.
fn page_of(daemon: &Running) -> String {
    const WORDS: &str = "The page is at ";
    daemon.wait_for_line(WORDS);
    let stderr = daemon.stderr();
    stderr.split(WORDS).nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// The daemon at a place where it can open no browser, and its page. It has offered a code for the first account, and
/// nothing happens any more before somebody does something.
fn daemon_without_browser(world: &World) -> (Running, String) {
    let daemon = Running::unattended(world.command(&["run"]));
    daemon.wait_for_line("enter the code");
    let page = page_of(&daemon);
    (daemon, page)
}

/// The account whose sign-in the page offers, once it says that it is that one of two. Which of the two comes first is
/// chance: both are needed at the same time.
#[track_caller]
fn offered(browser: &Chromium, step: &str) -> usize {
    browser.wait_for_text("#next-sign-in .step", step);
    let who = browser.text("#next-sign-in .who");
    USERS.iter().position(|user| *user == who).unwrap()
}

/// Picks an account on the form of the service.
#[track_caller]
fn pick(browser: &Chromium, account: usize) {
    browser.click(&format!("#account-{account}"));
    browser.click("#sign-in");
}

/// Waits for the page after the service: what the banner says, and that nothing of the answer stays in the address bar.
#[track_caller]
fn wait_for_banner(browser: &Chromium, text: &str) {
    browser.wait_for_text("#banner", text);
    browser.wait_until("location.pathname + location.search === '/'");
}

/// Waits until a user's Maildir holds what the cloud has.
#[track_caller]
fn wait_until_synced(world: &World, user: &str) {
    let (maildir, folder) = mail_of(user);
    wait_for(&format!("`{maildir}` is what {user} has"), || world.here(maildir) == world.there_for(user, folder));
}

/// A new message comes for a user.
fn receive(world: &World, user: &str, subject: &str) {
    let (_, folder) = mail_of(user);
    world.cloud.add_message(user, NewMessage::mime(folder, text(subject))).unwrap();
}
