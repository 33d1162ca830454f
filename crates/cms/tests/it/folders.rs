//! `cms folders`.

use simcloud::{Knobs, Options};

use crate::world::World;

#[test]
fn folders_are_listed_as_a_tree_with_what_is_in_them_and_what_is_synced() {
    let folders = ["Inbox/Lists/rust", "Inbox/Lists", "Inbox 2"].map(|name| (name.to_owned(), 2)).to_vec();
    let world = World::with(Options { messages: 3, folders, knobs: Knobs::calm(), ..Options::default() });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"Inbox/Lists/rust\", account)\nOffice365(\"inbox\", account)\n");
    world.receive_read("Inbox/Lists", "read");
    let told = world.cms(&["folders"]);
    assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
    let lines: Vec<&str> = told.stdout.lines().filter(|line| line.contains("Inbox")).collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0])[0], "3");
    assert!(lines[0].ends_with("Inbox   (synced as `inbox`)"), "{}", told.stdout);
    assert!(lines[1].ends_with("  Inbox/Lists"), "{}", told.stdout);
    let unread = world.there("Inbox/Lists").iter().filter(|(_, flags)| !flags.contains('S')).count();
    assert_eq!(words(lines[1])[..2], ["3".to_owned(), unread.to_string()]);
    assert!(lines[2].ends_with("Inbox/Lists/rust   (synced as `Inbox/Lists/rust`)"), "{}", told.stdout);
    assert!(lines[3].ends_with("  Inbox 2"), "{}", told.stdout);

    let told = world.cms(&["folders", "--json"]);
    let lists: Vec<serde_json::Value> = told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |path: &str| lists.iter().find(|line| line["path"] == path).unwrap();
    assert_eq!(of("Inbox/Lists")["unread"], unread);
    assert_eq!(of("Inbox/Lists")["synced_as"], serde_json::Value::Null);
    assert_eq!(of("Inbox")["synced_as"], "inbox");
    assert!(!world.path("INBOX").exists(), "nothing is made");
    world.assert_lawful();
}

#[test]
fn a_folders_name_does_nothing_to_the_terminal() {
    let world = World::with(Options { messages: 1, knobs: Knobs::calm(), ..Options::default() });
    world.configure("Office365_Tree(account, \"work\")\n");
    world.cloud.create_folder("", "a\u{1b}[2Jb\nInbox   (synced as `inbox`)", false).unwrap();
    world.sync();
    for command in ["folders", "status"] {
        let told = world.cms(&[command]).stdout;
        assert!(!told.contains('\u{1b}'), "{told:?}");
        assert!(told.lines().any(|line| line.contains("a\u{fffd}[2Jb\u{fffd}Inbox")), "{told:?}");
    }
}
