//! The two lines that make a whole configuration.

use std::fs;
use std::net::TcpListener;

use simcloud::Options;

use crate::world::{USER, World};

/// Where the program listens if the configuration doesn't say.
const ADDRESS: &str = "127.0.0.1:8080";

#[test]
fn two_lines_are_enough() {
    if TcpListener::bind(ADDRESS).is_err() {
        println!("skipped: needs {ADDRESS}");
        return;
    }
    let world = World::with(Options { messages: 30, ..Options::default() });
    let url = &world.url;
    fs::write(
        world.path("cms.cfg"),
        format!(
            "MailDir(\"~/mail/INBOX\")\n\
             Office365(\"inbox\", Office365_Account(user=\"{USER}\", login_url=\"{url}\", graph_url=\"{url}\"))\n"
        ),
    )
    .unwrap();
    world.sync();
    world.assert_same("mail/INBOX", "Inbox");
    assert_eq!(world.files("mail/INBOX").len(), 30);
    let mut made: Vec<String> = fs::read_dir(world.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made, ["cms.cfg", "mail"]);
    let mut made: Vec<String> = fs::read_dir(world.path("mail"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made, [".cms", "INBOX"]);
    assert!(world.path("mail/.cms/messages").is_dir());
    let second = world.sync();
    assert!(second.stderr.contains("nothing to do"), "{}", second.stderr);
    world.assert_lawful();
}

/// What was configured for the program that this one is modelled on, with its function that directs messages.
#[test]
fn lines_that_direct_messages_work_to_the_letter() {
    let world = World::new(20);
    world.configure(
        r#"
inbox = MailDir("~/mail/INBOX")
lists = MailDir("~/mail/lists")
Office365("inbox", account)
def direct_message(msg):
    if msg.get_header("List-ID"):
        return lists
    return inbox
cfg.direct_message = direct_message
"#,
    );
    world.sync();
    let mut here = world.here("mail/INBOX");
    here.extend(world.here("mail/lists"));
    here.sort();
    assert_eq!(here, world.there("Inbox"));
    for (maildir, expected) in [("mail/INBOX", false), ("mail/lists", true)] {
        for name in world.files(maildir) {
            let bytes = fs::read(world.path(maildir).join(&name)).unwrap();
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let header = text.split_once("\n\n").map_or(text.as_str(), |(header, _)| header);
            assert_eq!(header.contains("\nlist-id:"), expected, "{maildir}/{name}");
        }
    }
    world.assert_lawful();
}
