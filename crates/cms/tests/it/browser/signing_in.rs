//! Signing in on the page.

use simcloud::SignInMode;

use crate::browser::chromium::{Chromium, ENTER};
use crate::browser::{
    ANN, BEN, SIGN_IN, USE_CODE, USERS, daemon_without_browser, mail_of, offered, pick, two_users, wait_for_banner,
    wait_until_synced,
};
use crate::world::World;

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
    browser.assert_quiet(&browser.origin());
    assert!(daemon.stop().status.success());
    browser.wait_until("document.body.dataset.state === 'ended'");
    browser.picture("4-ended");
    world.assert_lawful();
}

#[test]
fn who_cancels_at_the_service_can_try_again() {
    let Some(browser) = Chromium::start("cancelled") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    browser.go(&page);
    let first = offered(&browser, "1 of 2");
    browser.click(SIGN_IN);
    browser.click("#cancel");
    wait_for_failure(&browser, first, "AADSTS65004");
    browser.picture("1-failed");
    // What the service refuses by itself comes with the number and with what helps.
    let refusal = SignInMode::Redirect { error: "access_denied".to_owned(), number: 50105 };
    world.cloud.set_sign_in_mode(refusal);
    assert_eq!(browser.text(SIGN_IN), "Try again");
    browser.click(SIGN_IN);
    wait_for_failure(&browser, first, "AADSTS50105");
    wait_for_failure(&browser, first, "an administrator must assign the user to this application");
    browser.picture("2-refused");
    // A page of the service is a dead end; whoever goes back to ours finds a way on.
    world.cloud.set_sign_in_mode(SignInMode::Page { number: 90094 });
    browser.click(SIGN_IN);
    browser.wait_for_text("#error", "AADSTS90094");
    browser.go(&page);
    browser.wait_for(&format!("#next-sign-in[data-account='{first}'][data-sign-in='in_browser']"));
    browser.picture("3-begun-elsewhere");
    browser.click("#next-sign-in [data-action=cancel]");
    browser.wait_for_text("#next-sign-in", "The sign-in was cancelled");
    world.cloud.set_sign_in_mode(SignInMode::Form);
    browser.click(SIGN_IN);
    pick(&browser, first);
    wait_for_banner(&browser, &format!("Signed in as {}", USERS[first]));
    wait_until_synced(&world, USERS[first]);
    browser.assert_quiet(&browser.origin());
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn another_account_than_the_configured_one_is_refused() {
    let Some(browser) = Chromium::start("wrong-account") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    browser.go(&page);
    let first = offered(&browser, "1 of 2");
    let (wanted, wrong) = (USERS[first], USERS[1 - first]);
    browser.click(SIGN_IN);
    pick(&browser, 1 - first);
    wait_for_failure(&browser, first, &format!("{wrong} signed in where {wanted} was expected"));
    browser.picture("1-refused");
    assert_eq!(world.here(mail_of(wanted).0), [], "nothing came of the other account");
    browser.click(SIGN_IN);
    browser.wait_for("#sign-in-form");
    let asked = browser.address();
    assert!(asked.query_pairs().any(|pair| pair == ("prompt".into(), "select_account".into())), "{asked}");
    pick(&browser, first);
    wait_for_banner(&browser, &format!("Signed in as {wanted}"));
    wait_until_synced(&world, wanted);
    assert_eq!(world.here(mail_of(wrong).0), [], "whoever was picked by mistake isn't signed in");
    assert!(world.cloud.downloads(wrong).is_empty(), "no message of the wrong account was ever fetched");
    browser.assert_quiet(&browser.origin());
    assert!(daemon.stop().status.success());
}

#[test]
fn a_code_is_typed_in_another_window() {
    let Some(browser) = Chromium::start("code") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    browser.go(&page);
    // Where there is no browser, a code is offered unasked, in the terminal as well.
    let first = offered(&browser, "1 of 2");
    browser.wait_for_text("#next-sign-in [role=timer]", "The code is good for");
    browser.picture("1-offered");
    let offered_code = browser.text("#user-code");
    assert!(daemon.stderr().contains(&offered_code), "{}", daemon.stderr());
    browser.click(USE_CODE);
    browser.wait_until(&format!("document.querySelector('#user-code').innerText !== '{offered_code}'"));
    type_code(&browser, &world, first);
    // And where one is asked for.
    let second = offered(&browser, "2 of 2");
    browser.click(USE_CODE);
    type_code(&browser, &world, second);
    browser.wait_for("#all-done");
    browser.picture("2-done");
    wait_until_synced(&world, ANN);
    wait_until_synced(&world, BEN);
    browser.assert_quiet(&browser.origin());
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

/// Types the code that the page shows into the service's page in another tab, and comes back to a page that has noticed.
#[track_caller]
fn type_code(browser: &Chromium, world: &World, account: usize) {
    browser.wait_for("#user-code");
    let code = browser.text("#user-code");
    let ours = browser.tab();
    let service = browser.new_tab();
    browser.show(service);
    browser.go(&format!("{}/devicelogin", world.url));
    browser.click("#user-code");
    browser.press(&code);
    pick(browser, account);
    browser.wait_for("#outcome");
    browser.show(ours);
    browser.wait_for(&format!(".account[data-account='{account}'][data-sign-in='signed_in']"));
}

#[test]
fn the_keyboard_suffices() {
    let Some(browser) = Chromium::start("keyboard") else { return };
    let world = two_users();
    let (daemon, page) = daemon_without_browser(&world);
    browser.go(&page);
    for step in ["1 of 2", "2 of 2"] {
        let account = offered(&browser, step);
        browser.tab_to(SIGN_IN);
        browser.press(ENTER);
        browser.wait_for("#sign-in-form");
        // The account that is hinted at is chosen already.
        browser.tab_to(&format!("#account-{account}"));
        browser.tab_to("#sign-in");
        browser.press(ENTER);
        wait_for_banner(&browser, &format!("Signed in as {}", USERS[account]));
    }
    browser.wait_for("#all-done");
    wait_until_synced(&world, ANN);
    wait_until_synced(&world, BEN);
    assert!(daemon.stop().status.success());
}

/// Waits until the page tells why a sign-in failed and offers to try again.
#[track_caller]
fn wait_for_failure(browser: &Chromium, account: usize, reason: &str) {
    wait_for_banner(browser, "Not signed in");
    browser.wait_for(&format!("#next-sign-in[data-account='{account}'][data-sign-in='failed']"));
    browser.wait_for_text("#next-sign-in", reason);
}
