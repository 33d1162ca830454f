//! Stories of drafts that are written in a Maildir and go to the cloud.

use std::cell::Cell;

use simcloud::RequestRecord;

use super::*;
use crate::configuration::Upload;

/// Tells a story of a draft with those lines in its header that has gone to the cloud.
fn tell_of_draft(
    header: &'static str,
    story: impl for<'a> FnOnce(&'a mut Machine, PathBuf) -> Pin<Box<dyn Future<Output = ()> + 'a>> + 'static,
) {
    tell(|machine| {
        Box::pin(async move {
            machine.extras.uploads = Some(Upload::Drafts);
            machine.people.borrow_mut().extras = machine.extras;
            machine.settle().await.unwrap();
            let draft = machine.pairs[0].maildir.join("cur/1.draft:2,DS");
            write(&draft, header, "the first version");
            wait(machine, 60).await;
            assert_eq!(in_the_cloud(machine).len(), 1);
            story(machine, draft).await;
        })
    });
}

fn write(at: &Path, header: &str, text: &str) {
    let temporary = at.parent().unwrap().with_file_name("tmp").join("being-written");
    fs::write(&temporary, format!("From: Ann <ann@example.org>\n{header}Subject: draft\n\n{text}\n")).unwrap();
    fs::rename(temporary, at).unwrap();
}

/// The folders of all messages, and their bytes.
fn in_the_cloud(machine: &Machine) -> Vec<(String, String)> {
    let state = machine.cloud.state("").unwrap();
    let bytes = |id: &str| String::from_utf8_lossy(&machine.cloud.mime("", id).unwrap()).into_owned();
    state.messages().map(|message| (message.folder.clone(), bytes(&message.id))).collect()
}

fn files(machine: &Machine) -> Vec<PathBuf> {
    machine.pairs.iter().flat_map(|pair| files_below(&pair.maildir.join("cur"))).collect()
}

const MESSAGE_ID: &str = "Message-ID: <1@example.org>\n";

#[test]
fn a_draft_that_goes_just_when_its_edit_is_to_be_uploaded_does_not_come_back() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let gone = draft.clone();
            once(|deed| matches!(deed, Deed::Link(..)), move || fs::remove_file(gone));
            write(&draft, MESSAGE_ID, "the second version");
            wait(machine, 60).await;
            assert!(!files(machine).contains(&draft), "{:?}", files(machine));
        })
    });
}

#[test]
fn a_draft_whose_header_cannot_be_read_for_a_moment_gets_no_second_message_id() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let stored = machine.root.join("state/messages");
            let before = files_below(&stored);
            let is_new = move |path: &Path| {
                path.starts_with(&stored) && path.exists() && !before.iter().any(|known| known == path)
            };
            once(move |deed| matches!(deed, Deed::Read(path) if is_new(path)), refused);
            write(&draft, MESSAGE_ID, "the second version");
            wait(machine, 60).await;
            let (_, bytes) = in_the_cloud(machine).remove(0);
            assert!(bytes.contains("the second version"), "{bytes}");
            assert_eq!(bytes.to_lowercase().matches("message-id:").count(), 1, "{bytes}");
        })
    });
}

#[test]
fn a_draft_is_not_taken_for_deleted_while_the_disk_has_no_room_for_its_next_version() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let folder = in_the_cloud(machine).remove(0).0;
            before_each(|deed| if matches!(deed, Deed::Link(..) | Deed::Create(_)) { refused() } else { Ok(()) });
            write(&draft.with_file_name("2.draft:2,DS"), MESSAGE_ID, "the second version");
            fs::remove_file(draft).unwrap();
            wait(machine, 60).await;
            cms_disk::interpose(None);
            wait(machine, 60).await;
            let found = in_the_cloud(machine);
            assert!(found.len() == 1 && found[0].0 == folder && found[0].1.contains("the second version"), "{found:?}");
        })
    });
}

#[test]
fn an_upload_that_was_never_noted_is_known_again_though_its_file_was_renamed() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let other = draft.with_file_name("2.draft:2,DS");
            before_each(
                |deed| if matches!(deed, Deed::Commit(_) | Deed::CommitDurably(_)) { refused() } else { Ok(()) },
            );
            write(&other, "", "another draft");
            while in_the_cloud(machine).len() == 1 {
                wait(machine, 1).await;
            }
            machine.kill().await;
            cms_disk::interpose(None);
            fs::rename(&other, other.with_file_name("3.draft:2,DS")).unwrap();
            wait(machine, 300).await;
            assert_eq!((in_the_cloud(machine).len(), files(machine).len()), (2, 2));
        })
    });
}

#[test]
fn an_edit_that_was_never_noted_is_known_again_though_the_draft_has_no_message_id_and_its_file_was_renamed() {
    tell_of_draft("", |machine, draft| {
        Box::pin(async move {
            before_each(
                |deed| if matches!(deed, Deed::Commit(_) | Deed::CommitDurably(_)) { refused() } else { Ok(()) },
            );
            write(&draft, "", "the second version");
            while !in_the_cloud(machine)[0].1.contains("the second version") {
                wait(machine, 1).await;
            }
            machine.kill().await;
            cms_disk::interpose(None);
            let renamed = draft.with_file_name("2.draft:2,DS");
            fs::rename(&draft, &renamed).unwrap();
            wait(machine, 300).await;
            assert_eq!((in_the_cloud(machine).len(), files(machine)), (1, vec![renamed]));
        })
    });
}

#[test]
fn what_is_taken_in_for_an_upload_is_durable_before_the_upload_is_noted() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let stored = machine.root.join("state/messages");
            let (mut adopted, mut flushed, noted) = (false, false, Rc::new(Cell::new(0)));
            let counted = Rc::clone(&noted);
            before_each(move |deed| {
                match deed {
                    Deed::Rename(_, to) if to.starts_with(&stored) => (adopted, flushed) = (true, false),
                    Deed::SyncFileSystem(_) => flushed = true,
                    Deed::Commit(_) | Deed::CommitDurably(_) if adopted => {
                        assert!(flushed, "a power failure now would leave a row without its message");
                        counted.set(counted.get() + 1);
                    }
                    _ => {}
                }
                Ok(())
            });
            write(&draft.with_file_name("2.draft:2,DS"), "", "another draft");
            wait(machine, 60).await;
            assert!(noted.get() > 0);
        })
    });
}

#[test]
fn what_was_written_in_the_cloud_meanwhile_holds_against_a_deletion_here() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let folder = in_the_cloud(machine).remove(0).0;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let text = format!("Subject: draft\n{MESSAGE_ID}\nwritten in the cloud\n");
            machine.cloud.edit_draft("", &id, text.as_bytes()).unwrap();
            fs::rename(&draft, draft.with_file_name("1.draft:2,DST")).unwrap();
            wait(machine, 300).await;
            let found = in_the_cloud(machine);
            assert!(found.iter().any(|(at, text)| *at == folder && text.contains("in the cloud")), "{found:?}");
        })
    });
}

#[test]
fn drafts_that_are_deleted_together_are_asked_for_in_one_request_however_few_are_taken_at_a_time() {
    // A machine that makes one request at a time.
    tell_in(2, |machine| {
        Box::pin(async {
            machine.extras.uploads = Some(Upload::Drafts);
            machine.people.borrow_mut().extras = machine.extras;
            machine.settle().await.unwrap();
            let drafts: Vec<PathBuf> =
                (1..=4).map(|at| machine.pairs[0].maildir.join(format!("cur/{at}.draft:2,DS"))).collect();
            for draft in &drafts {
                write(draft, "", &draft.to_string_lossy());
            }
            wait(machine, 100).await;
            assert_eq!(in_the_cloud(machine).len(), 4);
            let since = machine.cloud.requests(0).last().map_or(0, |request| request.number);
            for draft in &drafts {
                fs::remove_file(draft).unwrap();
            }
            wait(machine, 10).await;
            assert_eq!(in_the_cloud(machine).iter().filter(|(folder, _)| folder == "Deleted Items").count(), 4);
            let asks_for_one = |target: &str| target.contains("/messages/") && target.contains("changeKey");
            let asks = |request: &RequestRecord| {
                asks_for_one(&request.target) || request.items.iter().any(|target| asks_for_one(target))
            };
            let moves = |request: &RequestRecord| request.items.iter().any(|target| target.ends_with("/move"));
            let requests = machine.cloud.requests(since);
            let before = requests.iter().take_while(|request| !moves(request)).filter(|request| asks(request));
            assert_eq!(before.map(|request| request.items.len()).collect::<Vec<_>>(), [4]);
        })
    });
}

#[test]
fn a_version_that_can_neither_replace_the_last_one_nor_be_taken_out_again_at_once_becomes_no_draft_of_its_own() {
    tell_of_draft(MESSAGE_ID, |machine, _| {
        Box::pin(async move {
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let edit = |machine: &Machine, text: &str| {
                let text = format!("Subject: draft\n{MESSAGE_ID}\n{text}\n");
                machine.cloud.edit_draft("", &id, text.as_bytes()).unwrap();
            };
            let maildirs: Vec<PathBuf> = machine.pairs.iter().map(|pair| pair.maildir.clone()).collect();
            before_each(move |deed| match deed {
                Deed::Rename(from, _) | Deed::Remove(from) if maildirs.iter().any(|at| from.starts_with(at)) => {
                    refused()
                }
                _ => Ok(()),
            });
            edit(machine, "the second version");
            while files(machine).len() == 1 {
                wait(machine, 1).await;
            }
            edit(machine, "the third version");
            wait(machine, 200).await;
            cms_disk::interpose(None);
            wait(machine, 600).await;
            let found = in_the_cloud(machine);
            assert!(found.len() == 1 && found[0].1.contains("the third version"), "{found:?}");
            assert_eq!(files(machine).len(), 1);
        })
    });
}

/// The id of the second draft, once the cloud has been asked so, from now on.
async fn second_draft_once_asked(machine: &mut Machine, first: &str, kind: &str, target: &str) -> String {
    let since = machine.cloud.requests(0).last().map_or(0, |request| request.number);
    for _ in 0..600_000 {
        machine.live(Instant::now() + Duration::from_millis(1)).await;
        let state = machine.cloud.state("").unwrap();
        let second = state.messages().map(|message| message.id.clone()).find(|id| id != first);
        let asked = |request: &RequestRecord| request.kind == kind && request.target.contains(target);
        if let Some(second) = second.filter(|_| machine.cloud.requests(since).iter().any(asked)) {
            return second;
        }
    }
    panic!("the cloud wasn't asked: {kind} {target}");
}

#[test]
fn a_draft_that_gets_another_id_before_it_is_moved_to_its_folder_is_moved_all_the_same() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let (folder, first) = machine
                .cloud
                .state("")
                .unwrap()
                .messages()
                .map(|one| (one.folder.clone(), one.id.clone()))
                .next()
                .unwrap();
            machine.cloud.inject(Fault::once("move", Action::Delay { milliseconds: 3_000 }));
            write(&draft.with_file_name("2.draft:2,DS"), "Message-ID: <2@example.org>\n", "another draft");
            let second = second_draft_once_asked(machine, &first, "create", "").await;
            machine.cloud.renumber("", &second).unwrap();
            wait(machine, 300).await;
            let found = in_the_cloud(machine);
            assert!(found.len() == 2 && found.iter().all(|(at, _)| *at == folder), "{found:?}");
            assert_eq!(files(machine).len(), 2);
        })
    });
}

#[test]
fn a_draft_that_gets_another_id_while_it_is_looked_for_is_not_made_again() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            let first = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.inject(Fault::once("create", Action::ResetAfter));
            write(&draft.with_file_name("2.draft:2,DS"), "Message-ID: <2@example.org>\n", "another draft");
            second_draft_once_asked(machine, &first, "create", "").await;
            machine.cloud.inject(Fault::once("value", Action::Delay { milliseconds: 3_000 }));
            let second = second_draft_once_asked(machine, &first, "list", "internetMessageId").await;
            machine.cloud.renumber("", &second).unwrap();
            wait(machine, 300).await;
            assert_eq!((in_the_cloud(machine).len(), files(machine).len()), (2, 2));
        })
    });
}

#[test]
fn a_draft_that_a_killed_run_has_made_joins_its_file_once_the_maildir_can_be_read_again() {
    // A machine with a Maildir of drafts, and others.
    tell_in(5620, |machine| {
        Box::pin(async {
            machine.start(false);
            wait(machine, 100).await;
            let before = in_the_cloud(machine).len();
            let work = machine.pairs.iter().find(|pair| pair.folder == "Work").unwrap().clone();
            machine.cloud.inject(Fault::always("move", Action::ResetBefore));
            write(&work.maildir.join("cur/1.draft:2,DS"), MESSAGE_ID, "text");
            while in_the_cloud(machine).len() == before {
                wait(machine, 1).await;
            }
            machine.kill().await;
            machine.cloud.clear_faults();
            // Before this one is delivered, the Maildirs are listed a second time. One of them can't be listed by then.
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
            let (mark, mut looks) = (work.maildir.join(".cms-maildir"), 0);
            before_each(move |deed| {
                looks += u32::from(matches!(deed, Deed::Read(path) if path == mark));
                if looks > 4 && matches!(deed, Deed::Read(path) if path == mark) { refused() } else { Ok(()) }
            });
            machine.start(false);
            wait(machine, 100).await;
            cms_disk::interpose(None);
            wait(machine, 600).await;
            let folders: Vec<String> = in_the_cloud(machine).into_iter().map(|(folder, _)| folder).collect();
            assert_eq!(folders, ["Inbox", work.folder]);
            assert_eq!(files(machine), [work.maildir.join("cur/1.draft:2,DS")]);
        })
    });
}

#[test]
fn of_two_drafts_that_say_the_same_the_second_is_looked_for_once_the_first_was_made() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            for name in ["2.draft:2,DS", "3.draft:2,DS"] {
                write(&draft.with_file_name(name), "Message-ID: <2@example.org>\n", "twice");
            }
            wait(machine, 300).await;
            assert_eq!((in_the_cloud(machine).len(), files(machine).len()), (3, 3));
            assert_eq!(machine.cloud.counters().violations, Vec::<String>::new());
        })
    });
}

#[test]
fn the_next_version_of_a_draft_that_is_on_its_way_to_the_cloud_is_not_that_of_another_draft_too() {
    tell_of_draft(MESSAGE_ID, |machine, draft| {
        Box::pin(async move {
            // Who writes a draft anew takes his time with removing the old file, so that both are drafts.
            let second = draft.with_file_name("2.draft:2,DS");
            write(&second, MESSAGE_ID, "the second version");
            wait(machine, 60).await;
            assert_eq!(in_the_cloud(machine).len(), 2);
            machine.cloud.inject(Fault::once("put-value", Action::Delay { milliseconds: 20_000 }));
            write(&draft.with_file_name("3.draft:2,DS"), MESSAGE_ID, "the third version");
            fs::remove_file(second).unwrap();
            wait(machine, 10).await;
            fs::remove_file(draft).unwrap();
            wait(machine, 300).await;
            let found = in_the_cloud(machine);
            let left: Vec<_> = found.iter().filter(|(folder, _)| folder == machine.pairs[0].folder).collect();
            assert!(left.len() == 1 && left[0].1.contains("the third version"), "{found:?}");
        })
    });
}

#[test]
fn a_draft_without_a_message_id_that_is_renamed_while_the_cloud_is_told_its_next_version_is_no_other_draft() {
    for fault in [Action::Delay { milliseconds: 20_000 }, Action::ResetAfter] {
        tell_of_draft("", |machine, draft| {
            Box::pin(async move {
                machine.cloud.inject(Fault::once("put-value", fault));
                write(&draft, "", "the second version");
                wait(machine, 5).await;
                let renamed = draft.with_file_name("2.draft:2,DS");
                fs::rename(&draft, &renamed).unwrap();
                wait(machine, 900).await;
                let found = in_the_cloud(machine);
                assert_eq!((found.len(), files(machine)), (1, vec![renamed]), "{found:?}");
            })
        });
    }
}

/// A seed whose world takes little in one request.
const WITH_LARGE_DRAFTS: u64 = 15;

#[test]
fn what_cannot_be_attached_is_tried_more_and_more_seldom_and_leaves_nothing() {
    tell_in(WITH_LARGE_DRAFTS, |machine| {
        Box::pin(async {
            machine.settle().await.unwrap();
            // As it is said of mailboxes that are shared.
            machine.cloud.inject(Fault::always("upload-range", Action::status(404)));
            let file = "QUJD".repeat(19).repeat(40);
            let header = "Message-ID: <1@example.org>\nMIME-Version: 1.0\n\
                          Content-Type: multipart/mixed; boundary=b\n";
            let text = format!("--b\n\nhello\n--b\nContent-Transfer-Encoding: base64\n\n{file}\n--b--");
            write(&machine.pairs[0].maildir.join("cur/1.draft:2,DS"), header, &text);
            wait(machine, 7200).await;
            let attempts = machine.cloud.counters().requests["create"];
            assert!((8..40).contains(&attempts), "{attempts} in two hours");
            assert_eq!(in_the_cloud(machine).iter().filter(|(folder, _)| folder == "Drafts").count(), 0);
            machine.cloud.clear_faults();
            wait(machine, 400).await;
            assert_eq!(in_the_cloud(machine).iter().filter(|(folder, _)| folder == "Inbox").count(), 1);
        })
    });
}
