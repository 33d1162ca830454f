//! Saying on the page what becomes of held deletions.

use crate::browser::chromium::Chromium;
use crate::browser::page_of;
use crate::mail_program::TRASH;
use crate::world::{World, wait_for};

#[test]
fn f04_held_deletions_are_taken_back_and_made_by_a_click() {
    let Some(browser) = Chromium::start("held") else { return };
    let world = World::new(60);
    world.receive("Inbox", "<i>odd</i> & \"long\"");
    let daemon = world.daemon();
    browser.go(&page_of(&daemon));
    for (action, left) in [("held-restore", 61), ("held-apply", 0)] {
        for name in world.files("INBOX") {
            world.unlink("INBOX", &name);
        }
        browser.wait_for_text(".held", "61 of 61 messages of `inbox` were deleted here");
        browser.wait_for_text(".held", "<i>odd</i> & \"long\"");
        browser.wait_for_text("#overall", "1 mailbox needs attention");
        browser.picture(action);
        browser.click(&format!("[data-action={action}]"));
        wait_for("it is followed", || world.files("INBOX").len() == left && world.there("Inbox").len() == left);
        browser.wait_until("!document.querySelector('.held')");
    }
    assert_eq!(world.there(TRASH).len(), 61);
    browser.picture("done");
    browser.assert_quiet(&browser.origin());
    daemon.stop();
    world.assert_lawful();
}
