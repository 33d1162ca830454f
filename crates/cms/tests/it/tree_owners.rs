//! Whole mailboxes that others share with the signed-in user: `Office365_Tree(…, mailbox_owner=…)`.

use std::fs;

use simcloud::{Action, Fault, Knobs, NewMessage, Options};

use crate::mail_program::{TRASH, text};
use crate::world::{USER, World, wait, wait_for};

const TEAM: &str = "team@domain.com";
const SALES: &str = "sales@domain.com";

/// The user's own tree and the team's.
const OWN_AND_TEAM: &str = r#"
Office365_Tree(account, "work")
Office365_Tree(account, "team", mailbox_owner="Team@domain.com")
"#;

fn world() -> World {
    let users = [USER, TEAM, SALES].map(str::to_owned).to_vec();
    let folders = vec![("Projects/x".to_owned(), 2)];
    let options = Options { users, messages: 5, folders, size_scale: 0.1, knobs: Knobs::calm(), ..Options::default() };
    let world = World::with(options);
    world.configure(OWN_AND_TEAM);
    for owner in [TEAM, SALES] {
        world.cloud.share_mailbox(owner, USER, true).unwrap();
    }
    world
}

fn is_same_of(world: &World, owner: &str, root: &str, folder: &str) -> bool {
    world.path(root).join(folder).join("cur").is_dir()
        && world.here(&format!("{root}/{folder}")) == world.there_for(owner, folder)
}

#[track_caller]
fn wait_until_same_of(world: &World, owner: &str, root: &str, folder: &str) {
    wait_for(&format!("{folder} of {owner} is the same here"), || is_same_of(world, owner, root, folder));
}

fn receive_of(world: &World, owner: &str, folder: &str, subject: &str) -> String {
    world.cloud.add_message(owner, NewMessage::mime(folder, text(subject))).unwrap()
}

/// All answers about a mailbox, as the service may give them to somebody whom it no longer lets in.
fn hidden(owner: &str, status: u16, code: &str) -> Fault {
    let action = Action::Status {
        status,
        body: simcloud::BodyKind::Json,
        code: code.to_owned(),
        message: String::new(),
        retry_after: None,
    };
    Fault { path: owner.to_owned(), ..Fault::always("", action) }
}

#[test]
fn trees_of_one_account_are_of_several_owners_at_once() {
    let world = world();
    world.configure(&format!(
        "{OWN_AND_TEAM}Office365_Tree(account, \"sales\", mailbox_owner=\"{SALES}\", layout=\"maildir++\")\n\
         MailDir(\"X\")\nOffice365(\"Projects/x\", account, mailbox_owner=\"team@domain.com\")\n"
    ));
    let daemon = world.daemon();
    for folder in ["Inbox", "Projects", "Projects/x"] {
        world.wait_until_same(&format!("work/{folder}"), folder);
    }
    wait_until_same_of(&world, TEAM, "team", "Inbox");
    assert!(!world.path("team/Projects/x").exists(), "what is named by itself isn't the tree's");
    assert_eq!(world.here("X"), world.there_for(TEAM, "Projects/x"));
    assert_eq!(world.here("sales"), world.there_for(SALES, "Inbox"));
    assert_eq!(world.here("sales/.Projects.x"), world.there_for(SALES, "Projects/x"));

    // What happens to a file happens to the message in whose mailbox it is, and the other way about.
    let own = (world.there("Inbox"), world.there_for(SALES, "Inbox"));
    let (file, trashed) = (world.files("team/Inbox").remove(0), world.files("team/Inbox").remove(1));
    world.set_letters("team/Inbox", &file, "FS");
    world.set_letters("team/Inbox", &trashed, "T");
    wait_for("the deletion is theirs", || world.there_for(TEAM, TRASH).len() == 1);
    receive_of(&world, TEAM, "Inbox", "for the team");
    wait_for("what comes there comes here", || world.files_of("team/Inbox", "for the team").len() == 1);
    wait_until_same_of(&world, TEAM, "team", "Inbox");
    assert_eq!((world.there("Inbox"), world.there_for(SALES, "Inbox")), own);

    // Folders are made, renamed and moved on both sides.
    world.cloud.create_folder(TEAM, "Projects/y", false).unwrap();
    receive_of(&world, TEAM, "Projects/y", "in the new folder");
    wait_for("the new folder is here", || world.files_of("team/Projects/y", "in the new folder").len() == 1);
    fs::rename(world.path("team/Projects/y"), world.path("team/Projects/z")).unwrap();
    wait_for("it has its name there", || world.cloud.folder_id(TEAM, "Projects/z").is_ok());
    wait_until_same_of(&world, TEAM, "team", "Projects/z");
    assert!(world.cloud.folder_id("", "Projects/z").is_err());
    world.cloud.rename_folder(SALES, "Projects", "Deals").unwrap();
    wait_for("the directory has the new name", || world.path("sales/.Deals.x/cur").is_dir());
    assert!(world.path("work/Projects/x/cur").is_dir());

    let status = world.status();
    for expected in [
        "  Inbox: ",
        "team@domain.com/Inbox: 5 messages",
        "team@domain.com/Projects/z: 1 message",
        "sales@domain.com/Deals/x",
    ] {
        assert!(status.contains(expected), "{expected} is missing in:\n{status}");
    }
    daemon.stop();
    assert!(world.sync().stderr.contains("nothing to do"));
    let verified = world.done(&["verify"]);
    assert!(verified.contains("team@domain.com/Projects/z"), "{verified}");
    let listed = world.cms(&["folders"]).stdout;
    assert!(listed.contains("  team@domain.com/Inbox   (synced as `team@domain.com/Inbox`)"), "{listed}");
    assert!(listed.contains("  Inbox   (synced as `Inbox`)"), "{listed}");
    let checked = world.cms(&["check"]).stdout;
    assert!(checked.contains("folders of team@domain.com") && checked.contains("Mail.ReadWrite.Shared"), "{checked}");
    world.assert_lawful();
}

#[test]
fn f35_a_mailbox_that_is_no_longer_shared_loses_nothing_here() {
    for (status, code) in [(404, "ErrorItemNotFound"), (403, "ErrorAccessDenied")] {
        let world = world();
        let daemon = world.daemon();
        for folder in ["Inbox", "Projects/x"] {
            wait_until_same_of(&world, TEAM, "team", folder);
        }
        let (inbox, x) = (world.files("team/Inbox"), world.files("team/Projects/x"));
        let hidden = world.cloud.inject(hidden(TEAM, status, code));
        world.receive("Inbox", "to the user");
        wait_for("one's own mail comes", || world.files_of("work/Inbox", "to the user").len() == 1);
        let told = || daemon.stderr().contains("couldn't list the folders of");
        assert!(wait(&told), "{status}: nothing is told:\n{}", daemon.stderr());
        world.let_polls_pass(3);
        daemon.stop();
        // Nor does a start take it for a reason.
        let refused = world.cms(&["sync"]);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("`team@domain.com"), "{}", refused.stderr);
        let daemon = world.start(&["run"]);
        world.receive("Inbox", "once more");
        wait_for("one's own mail comes", || world.files_of("work/Inbox", "once more").len() == 1);
        assert_eq!((world.files("team/Inbox"), world.files("team/Projects/x")), (inbox, x), "{}", daemon.stderr());
        world.cloud.remove_fault(hidden);
        daemon.stop();
        receive_of(&world, TEAM, "Projects/x", "shared again");
        world.sync();
        assert!(is_same_of(&world, TEAM, "team", "Projects/x") && is_same_of(&world, TEAM, "team", "Inbox"));
        world.assert_lawful();
    }
}

#[test]
fn a_mailbox_that_is_not_shared_keeps_nobody_from_their_own() {
    let world = world();
    world.cloud.share_mailbox(TEAM, USER, false).unwrap();
    let told = world.cms(&["check"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("FAIL  tree: the folders of team@domain.com"), "{}", told.stdout);
    assert!(told.stdout.contains("must give this account access"), "{}", told.stdout);
    let told = world.cms(&["folders"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("  Inbox   (synced as `Inbox`)"), "{}", told.stdout);
    let told = world.cms(&["sync"]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("error: `team@domain.com` couldn't be synced"), "{}", told.stderr);
    assert!(told.stderr.contains("hint: the mailbox's owner"), "{}", told.stderr);
    world.assert_same("work/Inbox", "Inbox");
    let daemon = world.start(&["run"]);
    world.receive("Inbox", "to the user");
    wait_for("one's own mail comes", || world.files_of("work/Inbox", "to the user").len() == 1);
    world.cloud.share_mailbox(TEAM, USER, true).unwrap();
    wait_until_same_of(&world, TEAM, "team", "Inbox");
    daemon.stop();
}

/// That one isn't there and that it may not be seen are one answer.
#[test]
fn f35_a_folder_of_somebody_elses_that_is_not_seen_any_more_stays_as_it_is() {
    let world = world();
    world.configure(&OWN_AND_TEAM.replace("domain.com\")", "domain.com\", exclude=[\"Deleted Items*\"])"));
    world.sync();
    let files = world.files("team/Projects/x");
    let id = world.cloud.folder_id(TEAM, "Projects/x").unwrap();
    let unseen = Fault { path: format!("mailFolders/{id}"), ..hidden(TEAM, 404, "ErrorItemNotFound") };
    // The list doesn't have it either, as it lacks what nobody may see.
    world.cloud.move_folder(TEAM, "Projects/x", "Inbox").unwrap();
    let unlisted = world.cloud.folder_id(TEAM, "Inbox").unwrap();
    let unlisted =
        Fault { path: format!("mailFolders/{unlisted}/childFolders"), ..hidden(TEAM, 404, "ErrorItemNotFound") };
    let faults = [unseen, unlisted].map(|fault| world.cloud.inject(fault));
    world.sync();
    assert_eq!(world.files("team/Projects/x"), files);
    for fault in faults {
        world.cloud.remove_fault(fault);
    }
    world.sync();
    assert!(is_same_of(&world, TEAM, "team", "Inbox/x") && !world.path("team/Projects/x").exists());
    assert_eq!(world.files("team/Inbox/x"), files);
    // That it is among what was deleted is said.
    world.cloud.move_folder(TEAM, "Inbox/x", "Deleted Items").unwrap();
    world.sync();
    assert!(!world.path("team/Inbox/x").exists());
    world.assert_lawful();
}

#[test]
fn f35_folders_of_somebody_elses_are_made_again_and_go_by_the_users_word() {
    let world = world();
    world.configure(&format!(
        "Office365_Tree(account, \"team\", mailbox_owner=\"{TEAM}\", exclude=[\"Deleted Items*\"])\n\
         Office365_Tree(account, \"work\")\ncfg.max_deletions = 1\n"
    ));
    world.sync();
    let (files, own) = (world.files("team/Projects/x"), world.there("Projects/x"));
    world.cloud.move_folder(TEAM, "Projects/x", "Deleted Items").unwrap();
    let held = world.cms(&["sync"]);
    assert_eq!(held.status.code(), Some(4), "{}", held.stderr);
    assert!(held.stderr.contains("team@domain.com/Projects/x"), "{}", held.stderr);
    assert_eq!(world.files("team/Projects/x"), files);
    world.done(&["held", "restore"]);
    assert!(is_same_of(&world, TEAM, "team", "Projects/x"));
    // A Maildir that was removed here takes its folder along when the user says so, in that mailbox alone.
    fs::remove_dir_all(world.path("team/Projects/x")).unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    let applied = world.cms(&["held", "apply", "team/Projects/x"]);
    assert_eq!(applied.status.code(), Some(0), "{}{}", applied.stdout, applied.stderr);
    world.sync();
    assert!(!world.path("team/Projects/x").exists());
    assert_eq!(world.there_for(TEAM, "Deleted Items/x").len(), 2);
    assert_eq!(world.there("Projects/x"), own);
    world.assert_same("work/Projects/x", "Projects/x");
    world.assert_lawful();
}

#[test]
fn a_file_that_is_moved_between_the_trees_of_two_owners_is_lost_by_neither() {
    let world = world();
    let daemon = world.daemon();
    let (own, team) = (world.there("Inbox"), world.there_for(TEAM, "Inbox"));
    let name = world.files("work/Inbox").remove(0);
    let base = name.split_once('/').unwrap().1.to_owned();
    fs::rename(world.path("work/Inbox").join(&name), world.path("team/Inbox/cur").join(&base)).unwrap();
    let bytes = fs::read(world.path("team/Inbox/cur").join(&base)).unwrap();
    world.let_polls_pass(5);
    daemon.stop();
    world.sync();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    assert!(world.here("team/Inbox").iter().any(|(known, _)| *known == hash), "where it was filed it stays");
    assert_eq!((world.there("Inbox"), world.there_for(TEAM, "Inbox")), (own, team), "neither mailbox is changed");
}
