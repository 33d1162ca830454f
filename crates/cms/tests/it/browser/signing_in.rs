//! Signing in on the page.

use crate::browser::chromium::Chromium;
use crate::browser::{
    ANN, BEN, SIGN_IN, USERS, daemon_without_browser, offered, pick, two_users, wait_for_banner, wait_until_synced,
};

#[test]
fn two_accounts_are_signed_in_one_after_the_other() {
    let Some(browser) = Chromium::start("two-accounts") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    browser.go(&page);
    let first = offered(&browser, "1 of 2");
    browser.picture("1-first");
    browser.click(SIGN_IN);
    pick(&browser, first);
    wait_for_banner(&browser, &format!("Signed in as {}", USERS[first]));
    let second = offered(&browser, "2 of 2");
    assert_ne!(first, second);
    browser.wait_until("document.activeElement.matches('#next-sign-in [data-action=sign-in]')");
    browser.picture("2-second");
    browser.click(SIGN_IN);
    pick(&browser, second);
    wait_for_banner(&browser, &format!("Signed in as {}", USERS[second]));
    browser.wait_for_text("#all-done", "All accounts are signed in.");
    assert!(browser.text("#all-done").contains("You can close this tab."));
    wait_until_synced(&world, ANN);
    wait_until_synced(&world, BEN);
    browser.wait_for_text(".account[data-account='0'] .mailbox", "5 messages");
    browser.wait_for_text(".account[data-account='1'] .mailbox", "3 messages");
    browser.wait_for_text(".account[data-account='0'] .mailbox", "Synced just now");
    browser.wait_for_text(".account[data-account='1'] .mailbox", "Synced just now");
    browser.wait_for_text("#overall", "Everything is in sync");
    browser.picture("3-done");
    browser.assert_quiet(&browser.address().origin().ascii_serialization());
    assert!(daemon.stop().status.success());
    browser.wait_until("document.body.dataset.state === 'ended'");
    browser.picture("4-ended");
    world.assert_lawful();
}
