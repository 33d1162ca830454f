//! Stories of folders and Maildirs that go, and of what is said about that.

use super::*;
use crate::control::{Reply, Request, Which};

/// A message in a folder, received at a certain time.
fn arrive(machine: &Machine, folder: &str, text: &str) {
    let new = NewMessage { received: Some(1_790_000_000), ..NewMessage::mime(folder, text) };
    machine.cloud.add_message("", new).unwrap();
}

fn make_again(machine: &Machine, folder: &str) {
    machine.cloud.delete_folder("", folder).unwrap();
    machine.cloud.create_folder("", folder, false).unwrap();
}

#[test]
fn a_file_of_a_folder_that_was_made_again_is_held_although_nobody_knew_for_a_while_that_it_is_gone() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine, "Work", "Subject: x\n\nx\n");
            machine.start(false);
            wait(machine, 100).await;
            let file = only_file(machine);
            // As long as this one can't be kept, it may be the one that is missing.
            before_each(|deed| if matches!(deed, Deed::MakeDirectory(_)) { refused() } else { Ok(()) });
            arrive(machine, "Archive", "Subject: y\n\ny\n");
            make_again(machine, "Work");
            wait(machine, 200).await;
            cms_disk::interpose(None);
            wait(machine, 600).await;
            assert!(file.exists());
        })
    });
}

#[test]
fn a_word_that_cannot_be_written_down_is_no_promise() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine, "Work", "Subject: x\n\nx\n");
            machine.start(false);
            wait(machine, 100).await;
            make_again(machine, "Work");
            wait(machine, 100).await;
            let is_full = |deed: Deed<'_>| matches!(deed, Deed::Commit(_) | Deed::CommitDurably(_));
            before_each(move |deed| if is_full(deed) { refused() } else { Ok(()) });
            let reply = machine.ask(Request::Restore { which: Which::All }).await;
            assert!(matches!(reply, Some(Reply::Refused { .. })), "{reply:?}");
            cms_disk::interpose(None);
            let reply = machine.ask(Request::Restore { which: Which::All }).await;
            assert!(matches!(reply, Some(Reply::Ruled { .. })), "{reply:?}");
        })
    });
}

#[test]
fn a_maildir_that_is_made_again_while_the_program_starts_is_used() {
    tell(|machine| {
        Box::pin(async {
            machine.settle().await.unwrap();
            machine.kill().await;
            let (inbox, next) = (machine.pairs[0].maildir.clone(), machine.pairs[1].maildir.clone());
            fs::remove_dir_all(&inbox).unwrap();
            once(
                move |deed| matches!(deed, Deed::Link(_, to) if to.starts_with(&next)),
                move || ["new", "cur", "tmp"].iter().try_for_each(|name| fs::create_dir_all(inbox.join(name))),
            );
            machine.start(false);
            wait(machine, 60).await;
            arrive(machine, "Inbox", "Subject: x\n\nx\n");
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&machine.pairs[0].maildir));
        })
    });
}

#[test]
fn a_maildir_that_goes_while_the_program_starts_is_used_when_it_comes_back() {
    tell(|machine| {
        Box::pin(async {
            machine.settle().await.unwrap();
            machine.kill().await;
            let (inbox, next) = (machine.pairs[0].maildir.clone(), machine.pairs[1].maildir.clone());
            let away = inbox.with_extension("away");
            let (from, to) = (inbox.clone(), away.clone());
            once(move |deed| matches!(deed, Deed::Link(_, to) if to.starts_with(&next)), move || fs::rename(from, to));
            machine.start(false);
            let starts = machine.starts;
            wait(machine, 60).await;
            fs::rename(away, &inbox).unwrap();
            arrive(machine, "Inbox", "Subject: x\n\nx\n");
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&inbox));
            assert_eq!(machine.starts, starts, "the program went on by itself");
        })
    });
}
