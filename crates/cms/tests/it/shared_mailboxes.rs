//! Mailboxes that others share with the signed-in user.

use rustix::process::Signal;
use simcloud::{Action, Fault, Knobs, NewMessage, Options};

use crate::mail_program::{TRASH, letters, text};
use crate::world::{USER, World, wait_for};

const TEAM: &str = "team@domain.com";

/// The user's own inbox, and the inbox and the drafts of the team's mailbox.
const OWN_AND_TEAM: &str = r#"
inbox = MailDir("INBOX")
team = MailDir("Team")
drafts = MailDir("Drafts")
Office365("inbox", account)
Office365("inbox", account, mailbox_owner="Team@domain.com")
Office365("drafts", account, mailbox_owner="team@domain.com")
def direct(msg):
    return {"inbox": inbox, "team@domain.com/inbox": team, "team@domain.com/drafts": drafts}[msg.mailbox]
cfg.direct_message = direct
"#;

fn world(shared: bool) -> World {
    let users = vec![USER.to_owned(), TEAM.to_owned()];
    let knobs = Knobs { advanced_granted: true, ..Knobs::calm() };
    let world = World::with(Options { users, messages: 12, size_scale: 0.1, knobs, ..Options::default() });
    world.configure(OWN_AND_TEAM);
    if shared {
        world.cloud.share_mailbox(TEAM, USER, true).unwrap();
    }
    world
}

/// All answers about the team's mailbox, as the service may give them to somebody whom it no longer lets in.
fn hidden() -> Fault {
    let action = Action::Status {
        status: 404,
        body: simcloud::BodyKind::Json,
        code: "ErrorItemNotFound".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    Fault { path: format!("users/{TEAM}"), ..Fault::always("", action) }
}

fn assert_team_is_same(world: &World) {
    let same = || world.here("Team") == world.there_for(TEAM, "Inbox");
    wait_for("the team's inbox is the same here", same);
}

#[test]
fn a_mailbox_of_somebody_elses_is_kept_the_same_as_ones_own() {
    let world = world(true);
    let daemon = world.daemon();
    world.assert_same("INBOX", "Inbox");
    assert_team_is_same(&world);
    assert_eq!(world.here("Team").len(), 12);

    let file = world.files("Team").remove(0);
    world.set_letters("Team", &file, "FS");
    let trashed = world.files("Team").remove(1);
    world.set_letters("Team", &trashed, "T");
    wait_for("the deletion is theirs", || world.there_for(TEAM, TRASH).len() == 1);
    world.cloud.add_message(TEAM, NewMessage::mime("Inbox", text("for the team"))).unwrap();
    wait_for("what comes there comes here", || world.here("Team").len() == 12);
    assert_team_is_same(&world);
    world.put("Drafts", "cur/1795431857.M1P2.vm:2,DS", text("written here"));
    wait_for("the draft is theirs", || world.there_for(TEAM, "Drafts").len() == 1);
    assert!(world.there("Drafts").is_empty() && world.there(TRASH).is_empty());

    let told = world.cms(&["status"]);
    assert!(told.stdout.contains("team@domain.com/inbox"), "{}", told.stdout);
    daemon.stop();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    let told = world.cms(&["folders"]);
    assert!(told.stdout.contains("  team@domain.com/Inbox   (synced as `team@domain.com/inbox`)"), "{}", told.stdout);
    let told = world.cms(&["check"]);
    assert!(told.stdout.contains("`team@domain.com/Inbox` of user@domain.com holds 12 items"), "{}", told.stdout);
    assert!(told.stdout.contains("Mail.ReadWrite.Shared"), "{}", told.stdout);
    world.assert_lawful();
}

#[test]
fn only_who_has_others_mailboxes_is_asked_to_consent_to_them() {
    let world = world(true);
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    let told = world.cms(&["check"]);
    assert!(told.stdout.contains("Mail.ReadWrite"), "{}", told.stdout);
    assert!(!told.stdout.contains("Shared"), "{}", told.stdout);
}

#[test]
fn a_mailbox_that_is_not_shared_is_told_and_keeps_nobody_from_their_own() {
    let world = world(false);
    let told = world.cms(&["check"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("`team@domain.com/inbox`"), "{}", told.stdout);
    assert!(told.stdout.contains("must give this account access"), "{}", told.stdout);
    let told = world.cms(&["folders"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("  Inbox   (synced as `inbox`)"), "{}", told.stdout);
    assert!(told.stderr.contains("error: could not list the folders of team@domain.com"), "{}", told.stderr);
    assert!(told.stderr.contains("hint: the mailbox's owner"), "{}", told.stderr);
    let told = world.cms(&["sync"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("error: `team@domain.com/inbox` couldn't be synced"), "{}", told.stderr);
    assert!(told.stderr.contains("hint: the mailbox's owner"), "{}", told.stderr);
    assert_eq!(world.here("INBOX"), world.there("Inbox"));
    world.cloud.add_message(USER, NewMessage::mime("Inbox", text("for the user"))).unwrap();
    let daemon = world.start(&["run"]);
    wait_for("one's own mail comes", || world.here("INBOX") == world.there("Inbox"));
    daemon.wait_for_line("ErrorAccessDenied");
    world.cloud.share_mailbox(TEAM, USER, true).unwrap();
    assert_team_is_same(&world);
    daemon.stop();
}

#[test]
fn a_mailbox_that_is_no_longer_shared_loses_nothing_here() {
    let world = world(true);
    let daemon = world.daemon();
    assert_team_is_same(&world);
    let files = world.files("Team");
    let hidden = world.cloud.inject(hidden());
    world.set_letters("Team", &files[0], "F");
    world.set_letters("Team", &files[1], "T");
    let lost = || world.files("Team").len() < 12;
    wait_for("the answers have come", || daemon.stderr().contains("out of reach") || lost());
    world.let_polls_pass(3);
    assert_eq!(world.files("Team").len(), 12, "{}", daemon.stderr());
    daemon.stop();

    // Nor is a start a reason to doubt the configuration, or to leave one's own mail alone.
    let daemon = world.start(&["run"]);
    world.receive("Inbox", "to the user");
    wait_for("one's own mail comes", || world.here("INBOX").len() == 13);
    daemon.wait_for_line("team@domain.com is out of reach");
    assert_eq!(world.files("Team").len(), 12, "{}", daemon.stderr());
    world.cloud.remove_fault(hidden);
    // By now it may be asked for seldom.
    daemon.signal(Signal::USR1);
    assert_team_is_same(&world);
    assert_eq!(world.files("Team").len(), 11);
    daemon.stop();
}

#[test]
fn a_message_that_is_filed_from_one_mailbox_into_the_other_is_lost_by_neither() {
    let world = world(true);
    let daemon = world.daemon();
    let (own, team) = (world.there("Inbox"), world.there_for(TEAM, "Inbox"));
    let name = world.files("INBOX").remove(0);
    let base = name.split_once('/').unwrap().1.to_owned();
    std::fs::rename(world.path("INBOX").join(&name), world.path("Team/cur").join(&base)).unwrap();
    let bytes = std::fs::read(world.path("Team/cur").join(&base)).unwrap();
    world.let_polls_pass(5);
    daemon.stop();
    world.sync();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let has = |messages: &[(String, String)]| messages.iter().any(|(known, _)| *known == hash);
    assert!(has(&world.here("Team")), "where it was filed it stays");
    assert_eq!((world.there("Inbox"), world.there_for(TEAM, "Inbox")), (own, team), "neither mailbox is changed");
}

#[test]
fn who_signed_in_before_is_asked_once_more() {
    let world = world(true);
    let key = "cfg.token_key_command = \"echo a passphrase\"\n";
    let signs_in = |stderr: &str| stderr.contains("To sign in to");
    world.configure(&format!("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n{key}"));
    assert!(signs_in(&world.sync().stderr));
    assert!(!signs_in(&world.sync().stderr), "the sign-in is kept");
    world.configure(&format!("{OWN_AND_TEAM}{key}"));
    let refused = world.cms(&["sync"]);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Mail.ReadWrite.Shared") && refused.stderr.contains("`cms sign-in`"),
        "{}",
        refused.stderr
    );
    assert_eq!(world.files("INBOX").len(), 12);
    assert_eq!(world.cms(&["sign-in"]).status.code(), Some(0));
    assert!(!signs_in(&world.sync().stderr));
    assert_team_is_same(&world);
}

/// The same letters with another read state.
fn toggled(letters: &str) -> String {
    if letters.contains('S') { letters.replace('S', "") } else { format!("{letters}S") }
}

#[test]
fn each_mailbox_has_its_own_limits() {
    let users = vec![USER.to_owned(), TEAM.to_owned()];
    // Enough for one of them, and too little for both.
    let knobs = Knobs { window_requests: 290, ..Knobs::calm() };
    let world = World::with(Options { users, messages: 150, size_scale: 0.1, knobs, ..Options::default() });
    world.cloud.share_mailbox(TEAM, USER, true).unwrap();
    world.configure(OWN_AND_TEAM);
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.files("Team").len()), (150, 150));
    for maildir in ["INBOX", "Team"] {
        for name in world.files(maildir).iter().take(90) {
            world.set_letters(maildir, name, &toggled(letters(name)));
        }
    }
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_team_is_same(&world);
    world.assert_lawful();
}
