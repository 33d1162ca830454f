//! Stories in which something happens at one deed of the program, by hand rather than by chance.

use std::cell::RefCell;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use cms_disk::{Deed, Interposer};
use simcloud::{FlagChange, FlagStatus};

use super::{Duration, Happening, Instant, Machine, let_go};
use crate::simulation::disk::files_below;
use crate::simulation::scratch;
use crate::simulation::trace::Trace;

/// Whether something is to be done before a deed, and what becomes of the deed then.
type Deal = dyn FnMut(Deed<'_>) -> Option<io::Result<()>>;

/// Somebody who deals with one deed of the program.
struct Once(RefCell<Option<Box<Deal>>>);

impl Interposer for Once {
    fn before(&self, deed: Deed<'_>) -> io::Result<()> {
        let Some(mut deal) = self.0.borrow_mut().take() else { return Ok(()) };
        let dealt = deal(deed);
        if dealt.is_none() {
            *self.0.borrow_mut() = Some(deal);
        }
        dealt.unwrap_or(Ok(()))
    }

    fn after(&self, _: Deed<'_>) {}
}

fn once(deal: impl FnMut(Deed<'_>) -> Option<io::Result<()>> + 'static) {
    cms_disk::interpose(Some(Rc::new(Once(RefCell::new(Some(Box::new(deal)))))));
}

/// A disk that takes no transaction that must be durable at once, as those are that tell of a change here.
struct NotesNothingDurably;

impl Interposer for NotesNothingDurably {
    fn before(&self, deed: Deed<'_>) -> io::Result<()> {
        if let Deed::CommitDurably(_) = deed { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn after(&self, _: Deed<'_>) {}
}

/// Gives a file another name just before the program first looks at it.
fn rename_at_first_look(from: PathBuf, to: PathBuf) {
    once(move |deed| {
        let looks = matches!(deed, Deed::Read(path) if path == from);
        looks.then(|| fs::rename(&from, &to))
    });
}

/// Tells a story of a machine with three Maildirs.
fn tell(story: impl for<'a> FnOnce(&'a mut Machine) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    let directory = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::new(1, directory.path(), Trace::new(false), None).unwrap();
        cms_disk::interpose(None);
        story(&mut machine).await;
        drop(machine);
        let_go().await;
    });
}

/// The only file in the Maildirs.
fn only_file(machine: &Machine) -> PathBuf {
    let messages = |at: &Path| files_below(&at.join("new")).into_iter().chain(files_below(&at.join("cur")));
    let mut files: Vec<PathBuf> = machine.pairs.iter().flat_map(|pair| messages(&pair.maildir)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
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
            once(move |deed| {
                let marks = matches!(deed, Deed::SyncDirectory(path) if path == maildir);
                marks.then(|| Err(io::Error::from_raw_os_error(5)))
            });
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
            once(move |deed| {
                matches!(deed, Deed::Commit(_)).then(|| fs::rename(&maildir, maildir.with_extension("away")))
            });
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
            cms_disk::interpose(Some(Rc::new(NotesNothingDurably)));
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
