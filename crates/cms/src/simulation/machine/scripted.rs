//! Stories in which something happens at one deed of the program, by hand rather than by chance.

mod drafts;
mod held;
mod killed;
mod taken_out;
mod uploaded;

use std::cell::RefCell;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use cms_disk::{Deed, Interposer};
use simcloud::{Action, BodyKind, Deletion, Fault, FlagChange, FlagStatus, NewMessage};

use super::{BEGINNING, Duration, Happening, Instant, Machine, let_go};
use crate::simulation::disk::files_below;
use crate::simulation::scratch;
use crate::simulation::trace::Trace;

/// Somebody who stands before each deed of the program.
struct Bystander<F>(RefCell<F>);

impl<F: FnMut(Deed<'_>) -> io::Result<()>> Interposer for Bystander<F> {
    fn before(&self, deed: Deed<'_>) -> io::Result<()> {
        (self.0.borrow_mut())(deed)
    }

    fn after(&self, _: Deed<'_>) {}
}

fn before_each(act: impl FnMut(Deed<'_>) -> io::Result<()> + 'static) {
    cms_disk::interpose(Some(Rc::new(Bystander(RefCell::new(act)))));
}

/// Acts before the first deed that `is_it` picks.
fn once(is_it: impl Fn(Deed<'_>) -> bool + 'static, act: impl FnOnce() -> io::Result<()> + 'static) {
    let mut act = Some(act);
    before_each(move |deed| act.take_if(|_| is_it(deed)).map_or(Ok(()), |act| act()));
}

fn refused() -> io::Result<()> {
    Err(io::Error::from_raw_os_error(5))
}

/// Gives a file another name just before the program first looks at it.
fn rename_at_first_look(from: PathBuf, to: PathBuf) {
    let looked_at = from.clone();
    once(move |deed| matches!(deed, Deed::Read(path) if path == looked_at), move || fs::rename(from, to));
}

/// What happened in a story, which is shown if that ends otherwise than it should.
struct Told(Trace);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lines().iter().for_each(|line| println!("{line}"));
        }
    }
}

/// Tells a story of a machine with three Maildirs and more.
fn tell(story: impl for<'a> FnOnce(&'a mut Machine) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    tell_in(1, story);
}

/// Tells a story of the machine that a seed makes.
fn tell_in(seed: u64, story: impl for<'a> FnOnce(&'a mut Machine) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    let directory = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let told = Told(runtime.block_on(async { Trace::new(true) }));
    runtime.block_on(async {
        let mut machine = Machine::new(seed, directory.path(), told.0.clone(), None).unwrap();
        cms_disk::interpose(None);
        story(&mut machine).await;
        drop(machine);
        let_go().await;
    });
}

/// A world whose mailboxes take whatever is put into their Maildirs.
const WITH_IMPORT: u64 = 134_431;

/// The files of messages in the Maildirs.
fn files(machine: &Machine) -> Vec<PathBuf> {
    let messages = |at: &Path| files_below(&at.join("new")).into_iter().chain(files_below(&at.join("cur")));
    machine.pairs.iter().flat_map(|pair| messages(&pair.maildir)).collect()
}

/// The only one.
fn only_file(machine: &Machine) -> PathBuf {
    let mut files = files(machine);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Gives the only file other flags, and another Maildir.
fn refile(machine: &Machine, letters: &str, maildir: &Path) {
    let file = only_file(machine);
    let name = file.file_name().unwrap().to_str().unwrap().split(':').next().unwrap().to_owned();
    fs::rename(file, maildir.join("cur").join(format!("{name}:2,{letters}"))).unwrap();
}

fn is_read(machine: &Machine) -> bool {
    machine.cloud.state("").unwrap().messages().next().unwrap().is_read
}

async fn wait(machine: &mut Machine, seconds: u64) {
    machine.live(Instant::now() + Duration::from_secs(seconds)).await;
}

#[test]
fn a_file_that_is_renamed_during_the_first_listing_after_a_lost_state_is_not_delivered_again() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            machine.happen(Happening::LoseState).await;
            let file = only_file(machine);
            let cur = file.parent().unwrap().with_file_name("cur");
            // Nothing but its content tells what it is.
            let (from, to) = (cur.join("1.first:2,"), cur.join("1.second:2,"));
            fs::rename(file, &from).unwrap();
            rename_at_first_look(from, to);
            machine.settle().await.unwrap();
            assert!(only_file(machine).to_string_lossy().contains("1.second"));
        })
    });
}

#[test]
fn a_copy_that_goes_on_into_another_maildir_while_it_is_looked_at_is_no_deletion() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let original = only_file(machine);
            let others: Vec<_> = machine.pairs.iter().filter(|pair| !original.starts_with(&pair.maildir)).collect();
            let (copy, to) = (others[0].maildir.join("cur/1.copy:2,S"), others[1].maildir.join("cur/1.copy:2,S"));
            let folder = others[1].folder;
            rename_at_first_look(copy.clone(), to);
            fs::copy(&original, copy).unwrap();
            let base_name = original.file_name().unwrap().to_str().unwrap().split(':').next().unwrap();
            fs::rename(&original, original.parent().unwrap().with_file_name("cur").join(format!("{base_name}:2,ST")))
                .unwrap();
            wait(machine, 300).await;
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, folder);
        })
    });
}

#[test]
fn a_filed_message_that_cannot_be_read_and_is_renamed_until_it_is_tried_again_is_no_deletion() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let file = only_file(machine);
            let to = machine.pairs.iter().find(|pair| !file.starts_with(&pair.maildir)).unwrap().clone();
            let moved = to.maildir.join("cur/1.moved:2,");
            let (mut looks, looked_at) = (0, moved.clone());
            before_each(move |deed| {
                looks += u32::from(matches!(deed, Deed::Read(path) if path == looked_at));
                match looks {
                    // It is there, but not to be read.
                    2 => refused(),
                    3 => fs::rename(&looked_at, looked_at.with_file_name("1.moved:2,S")).or(Ok(())),
                    _ => Ok(()),
                }
            });
            fs::rename(&file, moved).unwrap();
            wait(machine, 300).await;
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, to.folder);
        })
    });
}

#[test]
fn a_file_that_was_moved_while_nobody_looked_and_cannot_be_read_at_first_is_not_delivered_again() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let file = only_file(machine);
            let to = machine.pairs.iter().find(|pair| !file.starts_with(&pair.maildir)).unwrap().clone();
            machine.kill().await;
            let moved = to.maildir.join("cur").join(file.file_name().unwrap());
            fs::rename(&file, &moved).unwrap();
            let mut looks = 0;
            before_each(move |deed| {
                let is_look = matches!(deed, Deed::Read(path) if path == moved);
                looks += u32::from(is_look);
                if is_look && [2, 4, 6].contains(&looks) { refused() } else { Ok(()) }
            });
            machine.start(false);
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&to.maildir));
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, to.folder);
        })
    });
}

#[test]
fn a_file_that_is_moved_back_just_when_it_is_taken_out_goes_with_its_message() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let file = only_file(machine);
            let to = machine.pairs.iter().find(|pair| !file.starts_with(&pair.maildir)).unwrap().clone();
            machine.kill().await;
            let cur = file.parent().unwrap().with_file_name("cur");
            let name = file.file_name().unwrap().to_str().unwrap().split(':').next().unwrap();
            let (home, moved) = (cur.join(format!("{name}:2,")), to.maildir.join("cur").join(format!("{name}:2,")));
            fs::rename(&file, &moved).unwrap();
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.delete_message("", &id, Deletion::Purge).unwrap();
            let from = moved.clone();
            once(move |deed| matches!(deed, Deed::Rename(its, _) if its == from), move || fs::rename(moved, home));
            machine.start(false);
            wait(machine, 300).await;
            assert_eq!(files(machine), Vec::<PathBuf>::new());
        })
    });
}

#[test]
fn a_move_that_is_twice_answered_by_gone_is_not_refused_while_nobody_has_said_that_the_message_is_there() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let file = only_file(machine);
            let to = machine.pairs.iter().find(|pair| !file.starts_with(&pair.maildir)).unwrap().clone();
            let gone = Action::Status {
                status: 404,
                body: BodyKind::Json,
                code: "ErrorItemNotFound".to_owned(),
                message: String::new(),
                retry_after: None,
            };
            // It says so again when it is asked whether the folder is what is missing, and makes no sense in between.
            machine.cloud.inject(Fault { count: Some(2), ..Fault::once("move", gone.clone()) });
            for (answers, action) in [(1, gone.clone()), (3, Action::Html), (1, gone)] {
                machine.cloud.inject(Fault { count: Some(answers), ..Fault::once("message", action) });
            }
            fs::rename(&file, to.maildir.join("cur/1.moved:2,S")).unwrap();
            wait(machine, 300).await;
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, to.folder);
        })
    });
}

#[test]
fn a_file_that_is_moved_just_when_its_message_gets_another_id_takes_the_message_along() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let file = only_file(machine);
            let to = machine.pairs.iter().find(|pair| !file.starts_with(&pair.maildir)).unwrap().clone();
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.renumber("", &id).unwrap();
            fs::rename(&file, to.maildir.join("cur/1.moved:2,S")).unwrap();
            wait(machine, 300).await;
            assert!(only_file(machine).starts_with(&to.maildir));
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, to.folder);
        })
    });
}

#[test]
fn f35_a_message_that_is_filed_into_a_folder_which_was_just_made_again_goes_there() {
    tell(|machine| {
        Box::pin(async {
            let mail = NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n");
            machine.cloud.add_message("", mail).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            let file = only_file(machine);
            let work = machine.pairs.iter().find(|pair| pair.folder == "Work").unwrap().clone();
            machine.cloud.delete_folder("", work.folder).unwrap();
            machine.cloud.create_folder("", work.folder, false).unwrap();
            fs::rename(&file, work.maildir.join("cur/1.filed:2,")).unwrap();
            wait(machine, 600).await;
            assert_eq!(machine.cloud.state("").unwrap().messages().next().unwrap().folder, work.folder);
        })
    });
}

#[test]
fn f38_what_was_sent_waits_a_moment_for_the_file_that_a_mail_program_is_filing_of_it() {
    // A machine with a folder for what was sent.
    tell_in(11, |machine| {
        Box::pin(async {
            machine.start(false);
            wait(machine, 100).await;
            let sent = machine.pairs.iter().find(|pair| pair.folder == "Sent Items").unwrap().clone();
            let text = "Message-ID: <1@example.org>\nSubject: x\n\nx\n";
            let file = sent.maildir.join("cur/1.filed:2,S");
            // Before the first delivery the Maildirs are listed again.
            let first = machine.cloud.add_message("", NewMessage::mime("Inbox", text)).unwrap();
            wait(machine, 100).await;
            machine.cloud.delete_message("", &first, simcloud::Deletion::Purge).unwrap();
            wait(machine, 100).await;
            // The message is there already, and is delivered next.
            once(|deed| matches!(deed, Deed::SyncFileSystem(_)), move || fs::write(file, text));
            let own = format!("X-MS-Exchange-Organization-SCL: -1\n{text}");
            machine.cloud.add_message("", NewMessage { is_read: true, ..NewMessage::mime(sent.folder, own) }).unwrap();
            wait(machine, 300).await;
            assert!(only_file(machine).ends_with("1.filed:2,S"));
            assert_eq!(machine.cloud.state("").unwrap().messages().count(), 1);
        })
    });
}

#[test]
fn what_a_killed_run_took_aside_is_put_back_unless_the_store_has_it() {
    tell(|machine| {
        Box::pin(async {
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            let file = only_file(machine);
            machine.kill().await;
            let maildir = machine.pairs[0].maildir.clone();
            let aside = |name: &str| maildir.join("tmp").join(format!(".cms-removed.cur.{name}"));
            fs::hard_link(&file, aside("1.kept:2,S")).unwrap();
            fs::write(aside("2.written:2,S"), "Subject: y\n\ny\n").unwrap();
            machine.start(false);
            wait(machine, 60).await;
            assert!(files_below(&maildir.join("tmp")).is_empty());
            assert_eq!(files_below(&maildir.join("cur")), [maildir.join("cur/2.written:2,S")]);
        })
    });
}

/// Unmounts the first Maildir and starts the program: it must not make another one in its place.
async fn must_be_known(machine: &mut Machine) {
    let maildir = machine.pairs[0].maildir.clone();
    if machine.running.is_some() {
        machine.kill().await;
    }
    if maildir.exists() {
        fs::rename(&maildir, maildir.with_extension("away")).unwrap();
    }
    wait(machine, 100).await;
    assert!(!maildir.exists());
    fs::rename(maildir.with_extension("away"), maildir).unwrap();
    machine.settle().await.unwrap();
}

#[test]
fn a_maildir_whose_mark_could_not_be_made_durable_at_first_is_known_before_long() {
    tell(|machine| {
        Box::pin(async {
            let maildir = machine.pairs[0].maildir.clone();
            once(move |deed| matches!(deed, Deed::SyncDirectory(path) if path == maildir), refused);
            machine.start(false);
            wait(machine, 20).await;
            must_be_known(machine).await;
        })
    });
}

#[test]
fn a_maildir_that_goes_away_just_after_it_was_first_opened_is_known() {
    tell(|machine| {
        Box::pin(async {
            machine.settle().await.unwrap();
            machine.happen(Happening::LoseState).await;
            let maildir = machine.pairs[0].maildir.clone();
            once(|deed| matches!(deed, Deed::Commit(_)), move || fs::rename(&maildir, maildir.with_extension("away")));
            machine.start(false);
            wait(machine, 1).await;
            must_be_known(machine).await;
        })
    });
}

#[test]
fn a_flag_that_the_cloud_gave_and_took_back_is_nobodys_wish_here_though_the_rename_was_never_noted() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let flag = |status| FlagChange { flag: Some(status), ..FlagChange::default() };
            // What tells of a change here must be durable at once.
            before_each(|deed| if matches!(deed, Deed::CommitDurably(_)) { refused() } else { Ok(()) });
            machine.cloud.set_flags("", &id, flag(FlagStatus::Flagged)).unwrap();
            while !only_file(machine).to_string_lossy().contains(":2,F") {
                wait(machine, 1).await;
            }
            machine.kill().await;
            cms_disk::interpose(None);
            machine.cloud.set_flags("", &id, flag(FlagStatus::NotFlagged)).unwrap();
            machine.settle().await.unwrap();
        })
    });
}

#[test]
fn f27_a_message_under_another_id_is_not_brought_again_while_nobody_can_be_asked_for_the_old_one() {
    tell(|machine| {
        Box::pin(async {
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.renumber("", &id).unwrap();
            machine.cloud.kill_delta_tokens("").unwrap();
            machine.cloud.inject(Fault::always("message", Action::ResetBefore));
            machine.cloud.inject(Fault::always("batch-item:message", Action::status(503)));
            wait(machine, 200).await;
            let maildir = machine.pairs[0].maildir.clone();
            refile(machine, "F", &maildir);
            wait(machine, 30).await;
            machine.cloud.clear_faults();
            wait(machine, 900).await;
            assert!(only_file(machine).to_string_lossy().ends_with(",F"));
            let flag = machine.cloud.state("").unwrap().messages().next().unwrap().flag;
            assert_eq!(flag, FlagStatus::Flagged);
        })
    });
}

#[test]
fn a_message_that_was_moved_in_the_cloud_and_cannot_be_asked_for_is_not_gone() {
    tell(|machine| {
        Box::pin(async {
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let other = machine.pairs[1].clone();
            machine.cloud.inject(Fault::always("message", Action::ResetBefore));
            machine.cloud.inject(Fault::always("batch-item:message", Action::status(503)));
            machine.cloud.move_message("", &id, other.folder).unwrap();
            wait(machine, 600).await;
            machine.cloud.clear_faults();
            wait(machine, 900).await;
            assert!(only_file(machine).starts_with(&other.maildir));
        })
    });
}

#[test]
fn a_message_that_is_found_when_its_file_is_to_be_uploaded_has_the_clouds_flags_where_the_state_was_lost() {
    tell_in(WITH_IMPORT, |machine| {
        Box::pin(async {
            machine.cloud.turn(|knobs| knobs.delta_lag_ms = 600_000);
            let text = "Message-ID: <x@example.org>\nSubject: x\n\nx\n";
            machine.cloud.add_message("", NewMessage::mime("Inbox", text)).unwrap();
            let inbox = machine.pairs[0].maildir.clone();
            machine.start(false);
            wait(machine, 5).await;
            fs::write(inbox.join("cur/1.left:2,S"), text).unwrap();
            wait(machine, 200).await;
            assert!(!is_read(machine) && !only_file(machine).to_string_lossy().ends_with('S'));
        })
    });
}

#[test]
fn what_is_done_in_the_cloud_is_not_taken_for_a_change_of_ours_that_was_never_made() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let maildir = machine.pairs[0].maildir.clone();
            refile(machine, "S", &maildir);
            wait(machine, 60).await;
            let fault = machine.cloud.inject(Fault::always("patch", Action::ResetBefore));
            refile(machine, "", &maildir);
            wait(machine, 60).await;
            refile(machine, "S", &maildir);
            wait(machine, 60).await;
            machine.cloud.remove_fault(fault);
            wait(machine, 200).await;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.set_flags("", &id, FlagChange { is_read: Some(false), ..FlagChange::default() }).unwrap();
            wait(machine, 200).await;
            assert!(!is_read(machine) && !only_file(machine).to_string_lossy().ends_with('S'));
        })
    });
}

#[test]
fn an_unheard_change_of_flags_is_still_known_once_its_message_was_moved() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let (inbox, other) = (machine.pairs[0].maildir.clone(), machine.pairs[1].maildir.clone());
            refile(machine, "S", &inbox);
            wait(machine, 60).await;
            machine.cloud.inject(Fault::once("patch", Action::ResetAfter));
            machine.cloud.inject(Fault::always("patch", Action::ResetBefore));
            // What the cloud tells would say what was made.
            machine.cloud.inject(Fault::always("delta", Action::ResetBefore));
            machine.cloud.inject(Fault::always("batch*", Action::ResetBefore));
            refile(machine, "", &inbox);
            wait(machine, 5).await;
            refile(machine, "S", &other);
            wait(machine, 30).await;
            machine.cloud.clear_faults();
            wait(machine, 300).await;
            assert!(is_read(machine) && only_file(machine).to_string_lossy().ends_with('S'));
        })
    });
}

#[test]
fn an_unheard_change_of_one_flag_is_still_known_once_another_flag_was_changed() {
    tell(|machine| {
        Box::pin(async {
            machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
            machine.start(false);
            wait(machine, 60).await;
            let inbox = machine.pairs[0].maildir.clone();
            machine.cloud.inject(Fault::once("patch", Action::ResetAfter));
            let unheard = machine.cloud.inject(Fault::always("patch", Action::ResetBefore));
            // What the cloud tells would say what was made.
            machine.cloud.inject(Fault::always("delta", Action::ResetBefore));
            machine.cloud.inject(Fault::always("batch*", Action::ResetBefore));
            refile(machine, "S", &inbox);
            wait(machine, 5).await;
            refile(machine, "", &inbox);
            wait(machine, 60).await;
            machine.cloud.remove_fault(unheard);
            refile(machine, "F", &inbox);
            wait(machine, 5).await;
            machine.cloud.clear_faults();
            wait(machine, 300).await;
            assert!(!is_read(machine) && only_file(machine).to_string_lossy().ends_with(",F"));
        })
    });
}

#[test]
fn a_mark_that_the_cloud_did_not_make_and_that_cannot_be_read_back_is_made_at_the_next_try() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let maildir = machine.pairs[0].maildir.clone();
            refile(machine, "S", &maildir);
            wait(machine, 60).await;
            machine.cloud.turn(|knobs| (knobs.patch_ignored, knobs.patch_ignored_in_a_row) = (1.0, 1));
            machine.cloud.inject(Fault { count: Some(4), ..Fault::once("message", Action::Html) });
            refile(machine, "RS", &maildir);
            wait(machine, 300).await;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            assert!(matches!(machine.cloud.message("", &id).unwrap().verb, Some(102 | 103)));
            assert!(only_file(machine).to_string_lossy().ends_with("RS"));
        })
    });
}

#[test]
fn what_the_cloud_made_of_a_change_that_it_made_in_part_is_nobody_elses_wish() {
    for is_read_back in [true, false] {
        tell(move |machine| {
            Box::pin(async move {
                machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
                machine.start(false);
                wait(machine, 60).await;
                assert!(!is_read(machine));
                let maildir = machine.pairs[0].maildir.clone();
                if !is_read_back {
                    machine.cloud.inject(Fault { count: Some(4), ..Fault::once("message", Action::Html) });
                }
                machine.weather.lock().unwrap().slowest_ms = 20_000;
                refile(machine, "RS", &maildir);
                while !is_read(machine) {
                    machine.live(Instant::now() + Duration::from_millis(1)).await;
                }
                // Somebody takes one of the marks off before the answer says that both are there.
                let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
                let unanswered = FlagChange { replied: Some(false), ..FlagChange::default() };
                machine.cloud.set_flags("", &id, unanswered).unwrap();
                refile(machine, "R", &maildir);
                wait(machine, 300).await;
                assert!(!is_read(machine));
                assert!(!only_file(machine).to_string_lossy().ends_with('S'));
            })
        });
    }
}

#[test]
fn a_mark_that_was_made_and_cannot_be_read_back_is_not_somebody_elses_once_it_is_taken_off() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.settle().await.unwrap();
            let maildir = machine.pairs[0].maildir.clone();
            refile(machine, "S", &maildir);
            wait(machine, 60).await;
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let is_replied =
                |machine: &Machine| matches!(machine.cloud.message("", &id).unwrap().verb, Some(102 | 103));
            machine.cloud.inject(Fault { count: Some(4), ..Fault::once("message", Action::Html) });
            refile(machine, "RS", &maildir);
            while !is_replied(machine) {
                machine.live(Instant::now() + Duration::from_millis(1)).await;
            }
            refile(machine, "S", &maildir);
            wait(machine, 300).await;
            assert!(!is_replied(machine));
            assert!(only_file(machine).to_string_lossy().ends_with(",S"));
        })
    });
}

#[test]
fn a_single_sync_that_takes_longer_than_a_poll_interval_rests_while_it_waits() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.cloud.inject(Fault { count: Some(4), ..Fault::once("value", Action::Hang) });
            machine.start(true);
            wait(machine, 300).await;
            only_file(machine);
        })
    });
}

#[test]
fn the_first_new_message_waits_no_longer_than_its_mailbox_is_asked_what_it_is_for() {
    tell(|machine| {
        Box::pin(async {
            machine.start(false);
            wait(machine, 60).await;
            let new = NewMessage::mime(machine.pairs[0].folder, "Subject: x\r\n\r\nx\r\n");
            machine.cloud.add_message("", NewMessage { received: Some(BEGINNING + 60), ..new }).unwrap();
            while machine.cloud.downloads("").is_empty() {
                machine.live(Instant::now() + Duration::from_millis(10)).await;
            }
            wait(machine, 1).await;
            only_file(machine);
        })
    });
}

#[test]
fn f31_what_is_done_here_is_found_within_minutes_though_nothing_is_told_of_it() {
    tell(|machine| {
        Box::pin(async {
            machine.people.borrow_mut().arrive();
            machine.is_deaf = true;
            machine.start(false);
            wait(machine, 100).await;
            let was_read = is_read(machine);
            let inbox = machine.pairs[0].maildir.clone();
            refile(machine, if was_read { "" } else { "S" }, &inbox);
            wait(machine, 620).await;
            assert_ne!(is_read(machine), was_read);
        })
    });
}
