//! Stories of messages that are taken out of the deleted ones and removed where they were put, before the cloud knows of it: they go
//! back among the deleted ones, and not for good.

use super::*;
use crate::simulation::people::Pair;

/// Tells a story of a message among the deleted ones, which have a Maildir of their own.
fn tell_of_a_deleted_message(
    story: impl for<'a> FnOnce(&'a mut Machine, Pair) -> Pin<Box<dyn Future<Output = ()> + 'a>> + 'static,
) {
    tell_in(13_190, move |machine| {
        Box::pin(async move {
            let deleted = machine.pairs.iter().find(|pair| pair.folder == "Deleted Items").unwrap().clone();
            machine.cloud.add_message("", NewMessage::mime(deleted.folder, "Subject: x\r\n\r\nx\r\n")).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            story(machine, deleted).await;
        })
    });
}

#[test]
fn a_message_taken_out_of_the_deleted_ones_and_removed_before_the_cloud_knows_is_not_deleted_for_good() {
    tell_of_a_deleted_message(|machine, deleted| {
        Box::pin(async move {
            let file = only_file(machine);
            let taken_out = machine.pairs[0].maildir.join("cur/1.taken:2,S");
            machine.cloud.inject(Fault::always("move", Action::ResetBefore));
            fs::rename(file, &taken_out).unwrap();
            wait(machine, 60).await;
            fs::remove_file(taken_out).unwrap();
            wait(machine, 60).await;
            machine.cloud.clear_faults();
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&deleted.maildir));
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, deleted.folder);
        })
    });
}

#[test]
fn a_message_taken_out_of_the_deleted_ones_before_the_cloud_was_heard_and_then_removed_is_not_deleted_for_good() {
    tell_of_a_deleted_message(|machine, deleted| {
        Box::pin(async move {
            machine.kill().await;
            machine.cloud.inject(Fault::always("", Action::ResetBefore));
            machine.start(false);
            wait(machine, 60).await;
            let taken_out = machine.pairs[0].maildir.join("cur/1.taken:2,S");
            fs::rename(only_file(machine), &taken_out).unwrap();
            wait(machine, 60).await;
            fs::remove_file(taken_out).unwrap();
            wait(machine, 60).await;
            machine.cloud.clear_faults();
            wait(machine, 900).await;
            assert!(only_file(machine).starts_with(&deleted.maildir));
        })
    });
}

#[test]
fn a_message_taken_out_of_the_deleted_ones_and_removed_before_it_was_read_is_not_deleted_for_good() {
    tell_of_a_deleted_message(|machine, deleted| {
        Box::pin(async move {
            let file = only_file(machine);
            let taken_out = machine.pairs[0].maildir.join("cur").join(file.file_name().unwrap());
            let (mut looks, looked_at) = (0, taken_out.clone());
            before_each(move |deed| {
                let is_look = matches!(deed, Deed::Read(path) if path == looked_at);
                looks += u32::from(is_look);
                // It is there, but not to be read.
                if is_look && looks == 2 { refused() } else { Ok(()) }
            });
            fs::rename(file, &taken_out).unwrap();
            wait(machine, 1).await;
            fs::remove_file(taken_out).unwrap();
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&deleted.maildir));
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, deleted.folder);
        })
    });
}

#[test]
fn a_message_taken_out_of_the_deleted_ones_and_removed_while_the_disk_is_full_is_not_deleted_for_good() {
    tell_of_a_deleted_message(|machine, deleted| {
        Box::pin(async move {
            let is_full = |deed: Deed<'_>| matches!(deed, Deed::Commit(_) | Deed::CommitDurably(_));
            before_each(move |deed| if is_full(deed) { refused() } else { Ok(()) });
            // Something is to be written down, and nothing is planned for a while when that fails.
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: y\r\n\r\ny\r\n")).unwrap();
            wait(machine, 61).await;
            let taken_out = machine.pairs[0].maildir.join("cur/1.taken:2,S");
            fs::rename(only_file(machine), &taken_out).unwrap();
            wait(machine, 4).await;
            fs::remove_file(taken_out).unwrap();
            wait(machine, 60).await;
            cms_disk::interpose(None);
            wait(machine, 900).await;
            assert!(files(machine).iter().any(|file| file.starts_with(&deleted.maildir)));
        })
    });
}

#[test]
fn a_message_taken_out_of_the_deleted_ones_that_cannot_be_read_before_it_is_removed_is_not_deleted_for_good() {
    tell_of_a_deleted_message(|machine, deleted| {
        Box::pin(async move {
            let taken_out = machine.pairs[0].maildir.join("cur/1.taken:2,S");
            let (looked_at, mut looks) = (taken_out.clone(), 0);
            before_each(move |deed| {
                looks += u32::from(matches!(deed, Deed::Read(path) if path == looked_at));
                // It is asked about before it is read.
                if looks == 2 { refused() } else { Ok(()) }
            });
            fs::rename(only_file(machine), &taken_out).unwrap();
            wait(machine, 1).await;
            fs::remove_file(taken_out).unwrap();
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&deleted.maildir));
        })
    });
}
