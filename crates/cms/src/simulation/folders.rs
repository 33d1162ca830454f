//! Folders that are removed and made again, on either side, and who answers what the program asks about that.

use std::fs;
use std::time::Duration;

use cms_engine::Flags;
use cms_maildir::Place;
use rand::Rng as _;
use tokio::time::Instant;

use super::ledger::Spot;
use super::machine::Machine;
use super::people::{People, Rest};
use crate::control::{HeldReport, MaildirState, Reply, Request, Which};

/// The only folder that isn't there from the beginning of a mailbox, so that its user can remove it.
const REMOVABLE: &str = "Work";

impl People {
    /// Somebody removes a folder.
    pub(super) fn remove_folder(&mut self) {
        if self.dice(2) == 0 { self.remove_folder_there() } else { self.wipe_here() }
    }

    /// Whether a place is the folder that its user removes now and then.
    pub(super) fn is_removable(&self, spot: Spot) -> bool {
        self.pairs.iter().position(|pair| pair.folder == REMOVABLE).map(Spot::Box) == Some(spot)
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
        let gone = self.files().into_iter().filter(|seen| seen.maildir == at);
        let gone: Vec<_> = gone.map(|seen| seen.hash).collect();
        if fs::remove_dir_all(&maildir).is_err() {
            return;
        }
        self.trace.line(format_args!("here Maildir {at} is removed"));
        self.ledger.unmounted = true;
        let deleted = if Some(at) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let there = self.outcome_there();
        for hash in gone {
            if let Some(text) = self.texts.get_mut(&hash) {
                text.adrift = true;
                text.forsaken |= Some(at) == self.trash || !there.values().any(|(_, item)| item.hash == hash);
            }
            if let Some(foreign) = self.ledger.foreign_mut(&hash) {
                foreign.maildir = None;
            }
            for message in self.ledger.of_content(hash) {
                // Each file was seen to go, or the whole Maildir was: in that case all of it comes back.
                message.put_here.extend([deleted, Spot::Box(at)]);
                message.unsure = true;
                message.is_kept = false;
            }
        }
        self.rest.push(Rest::MakeMaildir(at));
        self.perhaps_at_once();
    }

    /// Notes that what is held and gone from the cloud is to be kept, where it has a file here without the Trash flag.
    fn keep(&mut self, held: &[HeldReport]) {
        let gone = held.iter().filter(|report| report.gone_from_cloud);
        let told: Vec<&str> =
            gone.flat_map(|report| &report.samples).map(|headline| headline.subject.as_str()).collect();
        let mut files = self.files();
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
            if apply {
                self.people.borrow_mut().give_up(&held);
            }
            let reply = self.ask(if apply { Request::Apply { which } } else { Request::Restore { which } }).await;
            if let Some(Reply::Ruled { held }) = reply {
                let mut people = self.people.borrow_mut();
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
