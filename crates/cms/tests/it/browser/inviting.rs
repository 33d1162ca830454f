//! How people hear that a sign-in is needed: with one browser window at most, and none while the page is open.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use simcloud::SignInMode;

use crate::browser::chromium::Chromium;
use crate::browser::{
    ANN, BEN, SIGN_IN, USERS, offered, page_of, pick, receive, two_users, wait_for_banner, wait_until_synced,
};
use crate::world::{Running, World, wait_for};

/// A command for `$BROWSER` that writes down what it is given.
fn write_browser(world: &World) -> String {
    let script = world.path("browser");
    fs::write(&script, format!("#!/bin/sh\necho \"$1\" >> '{}'\n", world.path("opened").display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script.to_str().unwrap().to_owned()
}

/// The addresses that a browser was opened at.
fn opened(world: &World) -> Vec<String> {
    fs::read_to_string(world.path("opened")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_browser_is_opened_once_and_its_tab_takes_the_user_on() {
    let Some(browser) = Chromium::start("one-window") else { return };
    let world = two_users();
    let mut command = world.command(&["run"]);
    command.env("BROWSER", write_browser(&world));
    let daemon = Running::unattended(command);
    wait_for("a browser is opened", || !opened(&world).is_empty());
    // What it was opened at is the service itself, with the user filled in.
    browser.go(&opened(&world)[0]);
    browser.wait_for("#sign-in-form input:checked");
    let hinted = browser.value("document.querySelector('#sign-in-form input:checked').value").unwrap();
    let first = USERS.iter().position(|user| hinted == *user).unwrap();
    pick(&browser, first);
    wait_for_banner(&browser, &format!("Signed in as {}", USERS[first]));
    assert_eq!(offered(&browser, "2 of 2"), 1 - first);
    daemon.wait_for_line(&format!("Signing in to {} is needed", USERS[1 - first]));
    browser.click(SIGN_IN);
    pick(&browser, 1 - first);
    browser.wait_for("#all-done");
    wait_until_synced(&world, ANN);
    wait_until_synced(&world, BEN);
    assert_eq!(opened(&world).len(), 1, "a browser was opened for the first account alone");
    assert_eq!(browser.tabs(), 1);
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn an_open_tab_shows_by_itself_that_a_sign_in_is_needed() {
    let Some(browser) = Chromium::start("revoked") else { return };
    let world = two_users();
    world.cloud.set_sign_in_mode(SignInMode::Immediate);
    let mut command = world.command(&["run"]);
    command.env("BROWSER", write_browser(&world));
    // Whoever is meant is signed in at once, and no tab is open then.
    let daemon = Running::of(command);
    wait_until_synced(&world, ANN);
    wait_until_synced(&world, BEN);
    world.cloud.set_sign_in_mode(SignInMode::Form);
    let before = opened(&world);
    browser.go(&page_of(&daemon));
    browser.wait_until("document.title === 'Everything is in sync – cms'");
    browser.picture("1-in-sync");
    // A page that is loaded anew forgets this.
    browser.value("window.kept = true").unwrap();
    world.cloud.revoke(ANN, true);
    browser.wait_for("#next-sign-in[data-account='0'][data-sign-in='needed']");
    browser.wait_until(&format!("document.title === 'Sign-in needed for {ANN} – cms'"));
    browser.wait_until("document.activeElement.matches('#next-sign-in [data-action=sign-in]')");
    browser.wait_until("window.kept === true");
    browser.picture("2-needed");
    // Ben's mail goes on meanwhile.
    receive(&world, BEN, "meanwhile");
    wait_until_synced(&world, BEN);
    browser.wait_for_text(".account[data-account='1'] .mailbox", "4 messages");
    receive(&world, ANN, "afterwards");
    browser.click(SIGN_IN);
    pick(&browser, 0);
    wait_for_banner(&browser, &format!("Signed in as {ANN}"));
    wait_until_synced(&world, ANN);
    browser.wait_for_text(".account[data-account='0'] .mailbox", "6 messages");
    assert_eq!(opened(&world), before, "no browser is opened while the page is");
    browser.assert_quiet(&browser.origin());
    assert!(daemon.stop().status.success());
}
