//! Folders that are removed and made again, on either side, and who answers what the program asks about that.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use cms_engine::{ContentHash, Flags};
use cms_maildir::Place;
use rand::Rng as _;
use tokio::time::Instant;

use super::disk::files_below;
use super::ledger::Spot;
use super::machine::Machine;
use super::people::{People, Rest};
use crate::control::{HeldReport, MaildirState, Reply, Request, Which};

/// The only folder that isn't there from the beginning of a mailbox, so that its user can remove it.
const REMOVABLE: &str = "Work";

/// What it is called for a while.
const RENAMED: &str = "Working";

impl People {
    /// Whether a folder is called otherwise for a while.
    pub(super) fn has_another_name(&self, at: usize) -> bool {
        self.rest.iter().any(|rest| matches!(rest, Rest::NameFolder(its) if *its == at))
    }

    /// Somebody removes a folder.
    pub(super) fn remove_folder(&mut self) {
        if self.extras.steps && self.steps.random_bool(0.2) {
            return self.rename_folder_there();
        }
        if self.dice(2) == 0 { self.remove_folder_there() } else { self.wipe_here() }
    }

    /// Whether a place is the folder that its user removes now and then.
    pub(super) fn is_removable(&self, spot: Spot) -> bool {
        self.pairs.iter().position(|pair| pair.folder == REMOVABLE).map(Spot::Box) == Some(spot)
    }

    /// For how long a folder that isn't there stays away, though everybody else holds still.
    pub(super) fn stays_away_for(&mut self) -> Option<Duration> {
        let is_away = |rest: &Rest| matches!(rest, Rest::MakeFolder(_) | Rest::NameFolder(_));
        let long = self.extras.steps && self.rest.iter().any(is_away) && self.steps.random_bool(0.5);
        long.then(|| Duration::from_secs(self.steps.random_range(300..3600)))
    }

    /// A folder gets another name, and stays the same for all that.
    fn rename_folder_there(&mut self) {
        let Some(at) = self.pairs.iter().position(|pair| pair.folder == REMOVABLE) else { return };
        // Another one of its name would stand in its way.
        let comes_again = self.rest.iter().any(|rest| matches!(rest, Rest::MakeFolder(_)));
        if !comes_again && self.cloud.rename_folder("", REMOVABLE, RENAMED).is_ok() {
            self.trace.line(format_args!("there the folder {at} has another name"));
            self.rest.push(Rest::NameFolder(at));
            self.perhaps_at_once();
        }
    }

    /// Gives a folder its name again.
    pub(super) fn name_folder(&self, at: usize) {
        let named = self.cloud.rename_folder("", RENAMED, self.pairs[at].folder).is_ok();
        self.trace.line(format_args!("there the folder {at} has its name again: {named}"));
    }

    /// A folder goes in the cloud, and all in it can only be recovered.
    fn remove_folder_there(&mut self) {
        let Some(at) = self.pairs.iter().position(|pair| pair.folder == REMOVABLE) else { return };
        let there = self.outcome_there();
        if self.cloud.delete_folder("", REMOVABLE).is_err() {
            return;
        }
        self.trace.line(format_args!("there the folder {at} is removed"));
        let was_here = Spot::Box(at);
        let mut kept = Vec::new();
        for message in &mut self.ledger.messages {
            let is_there = there.get(&message.id).is_some_and(|(spot, _)| *spot == was_here);
            if is_there {
                message.put_there.push(Spot::Nowhere);
            }
            // Whether it is kept is for the user to say, also of what was taken away shortly before. What can't be brought
            // back in the cloud is then only here.
            let spots = [&message.put_there, &message.put_here].into_iter().flatten().chain([&message.spot]);
            let was_of_it = spots.copied().any(|spot| spot == was_here);
            if is_there || was_of_it {
                message.put_here.push(was_here);
                message.unsure = true;
                message.is_kept = false;
                kept.push(message.hash);
            }
        }
        for hash in kept {
            *self.ledger.copied.entry(hash).or_default() += 1;
        }
        self.ledger.removed = Some(was_here);
        for text in &mut self.texts.0 {
            let went = there.values().any(|(spot, item)| item.hash == text.hash && *spot == was_here);
            text.adrift |= went;
            text.forsaken |= went;
        }
        self.rest.push(Rest::MakeFolder(at));
        self.perhaps_at_once();
    }

    /// A Maildir is removed with all in it.
    fn wipe_here(&mut self) {
        // Who has just begun something in it finishes that first.
        if !self.rest.is_empty() || !self.watched || !self.is_known {
            return;
        }
        let at = self.dice(u32::try_from(self.pairs.len()).unwrap_or(1)) as usize;
        let maildir = self.pairs[at].maildir.clone();
        if !maildir.join(".cms-maildir").exists() {
            return;
        }
        if self.extras.steps && self.steps.random_bool(0.7) {
            self.trace.line(format_args!("here Maildir {at} is being removed"));
            self.rest.push(Rest::Wipe(at));
            return self.perhaps_at_once();
        }
        let gone = self.files().into_iter().filter(|seen| seen.maildir == at);
        let gone: Vec<_> = gone.map(|seen| seen.hash).collect();
        if fs::remove_dir_all(&maildir).is_err() {
            return;
        }
        self.trace.line(format_args!("here Maildir {at} is removed"));
        self.note_wiped(at, &gone);
        self.rest.push(Rest::MakeMaildir(at));
        self.perhaps_at_once();
    }

    /// Removes some more files of a Maildir, in no order, and in the end its directories.
    pub(super) fn wipe_more(&mut self, at: usize) {
        let maildir = self.pairs[at].maildir.clone();
        let mut files = files_below(&maildir);
        if files.is_empty() {
            let directories = [Place::New.directory(), Place::Cur.directory(), "tmp", ""];
            let gone = directories.iter().all(|name| {
                let gone = fs::remove_dir(maildir.join(name));
                gone.is_ok() || gone.is_err_and(|error| error.kind() == ErrorKind::NotFound)
            });
            self.trace.line(format_args!("here Maildir {at} is removed: {gone}"));
            self.ledger.unmounted = true;
            self.rest.push(if gone { Rest::MakeMaildir(at) } else { Rest::Wipe(at) });
            return self.perhaps_at_once();
        }
        for _ in 0..self.steps.random_range(1..=3) {
            if files.is_empty() {
                break;
            }
            let path = files.swap_remove(self.steps.random_range(0..files.len()));
            let hash = fs::read(&path).ok().map(|bytes| self.hash_of(&bytes));
            if fs::remove_file(&path).is_ok() {
                self.note_wiped(at, hash.as_slice());
            }
            let name = path.file_name().unwrap_or_default();
            self.trace.line(format_args!("here {} goes with Maildir {at}", name.display()));
        }
        self.rest.push(Rest::Wipe(at));
        self.perhaps_at_once();
    }

    /// Notes what went with a Maildir.
    fn note_wiped(&mut self, at: usize, gone: &[ContentHash]) {
        self.ledger.unmounted = true;
        let deleted = if Some(at) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let there = self.outcome_there();
        for hash in gone {
            if let Some(text) = self.texts.get_mut(hash) {
                text.adrift = true;
                text.wiped = true;
                text.forsaken |= Some(at) == self.trash || !there.values().any(|(_, item)| item.hash == *hash);
            }
            if let Some(foreign) = self.ledger.foreign_mut(hash) {
                foreign.maildir = None;
            }
            for message in self.ledger.of_content(*hash) {
                // Each file was seen to go, or the whole Maildir was: in that case all of it comes back.
                message.put_here.extend([deleted, Spot::Box(at)]);
                message.unsure = true;
                message.is_kept = false;
            }
        }
    }

    /// Notes that what is held and gone from the cloud is to be kept, where it has a file here without the Trash flag.
    fn keep(&mut self, held: &[HeldReport]) {
        let gone = held.iter().filter(|report| report.gone_from_cloud);
        let told: Vec<&str> =
            gone.flat_map(|report| &report.samples).map(|headline| headline.subject.as_str()).collect();
        let mut files = self.files();
        let is_held =
            |at: usize| held.iter().any(|report| report.gone_from_cloud && report.mailbox == self.pairs[at].folder);
        let in_held: Vec<_> = files.iter().filter(|seen| is_held(seen.maildir)).map(|seen| seen.hash).collect();
        // What went meanwhile and wasn't heard of yet is no part of what is held.
        files.retain(|seen| {
            let bytes = fs::read(self.path(seen)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
            !seen.name.flags.contains(Flags::TRASHED) && subject.is_some_and(|subject| told.contains(&subject))
        });
        let files: Vec<_> = files.into_iter().map(|seen| seen.hash).collect();
        let there = self.outcome_there();
        let of_it = self.pairs.iter().position(|pair| pair.folder == REMOVABLE).map(Spot::Box);
        for message in &mut self.ledger.messages {
            let went_with_it = Some(message.spot) == of_it && message.put_here.last().copied() == of_it;
            let is_gone = !there.contains_key(&message.id) && message.put_there.last() == Some(&Spot::Nowhere);
            message.is_kept |= went_with_it && is_gone && files.contains(&message.hash);
        }
        for text in &mut self.texts.0 {
            text.forsaken &= !files.contains(&text.hash);
            text.kept |= in_held.contains(&text.hash);
        }
    }

    /// Notes that what is held may be brought back in the cloud, out of the deleted messages too.
    fn leave_to_the_program(&mut self, held: &[HeldReport]) {
        let is_held = |at: usize| held.iter().any(|report| report.mailbox == self.pairs[at].folder);
        for seen in self.files().into_iter().filter(|seen| is_held(seen.maildir)) {
            if let Some(text) = self.texts.get_mut(&seen.hash) {
                text.adrift = true;
            }
        }
    }

    /// Notes that what is held and gone from the cloud may go, though it was to be kept before.
    fn give_up(&mut self, held: &[HeldReport]) {
        let is_held =
            |at: usize| held.iter().any(|report| report.gone_from_cloud && report.mailbox == self.pairs[at].folder);
        let files: Vec<_> =
            self.files().into_iter().filter(|seen| is_held(seen.maildir)).map(|seen| seen.hash).collect();
        for message in self.ledger.messages.iter_mut().filter(|message| files.contains(&message.hash)) {
            message.is_kept = false;
        }
        for text in self.texts.0.iter_mut().filter(|text| text.adrift && files.contains(&text.hash)) {
            text.forsaken = true;
        }
    }

    /// Makes a folder again that was removed.
    pub(super) fn make_folder(&self, at: usize) {
        let made = self.cloud.create_folder("", self.pairs[at].folder, false).is_ok();
        self.trace.line(format_args!("there the folder {at} is made again: {made}"));
    }

    /// Makes a Maildir again that was removed, as a mail program does.
    pub(super) fn make_maildir(&self, at: usize) {
        let directories = [Place::New.directory(), Place::Cur.directory(), "tmp"];
        let made = directories.iter().all(|name| fs::create_dir_all(self.pairs[at].maildir.join(name)).is_ok());
        self.trace.line(format_args!("here Maildir {at} is made again: {made}"));
    }
}

impl Machine {
    /// Looks at what the program tells, and says what is meant.
    pub(super) async fn heed_the_program(&mut self) {
        if let Some(Reply::Status(report)) = self.ask(Request::Status).await {
            for (at, maildir) in report.maildirs.into_iter().enumerate() {
                if maildir.state == MaildirState::Replaced {
                    self.trace.line(format_args!("here Maildir {at} is to be filled again"));
                    self.ask(Request::Restore { which: Which::Mailbox(maildir.path) }).await;
                }
            }
        }
        if let Some(Reply::Held { held }) = self.ask(Request::Held).await
            && !held.is_empty()
        {
            let which = Which::All;
            let apply = self.random.random_bool(0.5);
            self.trace.line(format_args!("here what is held is meant: {apply}"));
            self.people.borrow_mut().leave_to_the_program(&held);
            if apply {
                self.people.borrow_mut().give_up(&held);
            }
            let reply = self.ask(if apply { Request::Apply { which } } else { Request::Restore { which } }).await;
            if let Some(Reply::Ruled { held }) = reply {
                let mut people = self.people.borrow_mut();
                people.leave_to_the_program(&held);
                if apply { people.give_up(&held) } else { people.keep(&held) }
            }
        }
    }

    /// Asks the program, if it runs and goes on running for so long.
    pub(super) async fn ask(&mut self, request: Request) -> Option<Reply> {
        let door = self.door.clone()?;
        tokio::select! {
            biased;
            reply = door.ask(request) => reply,
            () = self.live(Instant::now() + Duration::from_secs(5)) => None,
        }
    }
}
