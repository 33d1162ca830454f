//! Those who write: drafts in a mail program here, drafts with Outlook there.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms_engine::{ContentHash, Flags, MessageId};
use cms_maildir::{FileName, Place};
use rand::seq::IndexedRandom as _;
use simcloud::{Deletion, NewMessage};

use super::ledger::Spot;
use super::people::{People, Rest, Seen};
use super::texts::{Text, message_id_line};

impl People {
    /// Somebody writes, on either side.
    pub(super) fn write(&mut self) {
        match self.dice(100) {
            0..28 => self.draft_here(),
            28..38 => self.draft_there(),
            38..62 => self.edit_here(),
            62..76 => self.edit_there(),
            76..81 => self.trash_text_here(),
            81..86 => self.delete_text_there(),
            86..92 => self.flag_text_here(),
            92..96 => self.flag_text_there(),
            _ => self.rename_text_here(),
        }
    }

    /// A text that nobody has written before, with that line of its header.
    pub(super) fn text(&mut self, message_id: &str) -> Vec<u8> {
        let serial = self.next_serial();
        let lines = self.dice(4) as usize;
        let body = "A line of some length, and another one.\n".repeat(lines);
        let date = if self.dice(2) == 0 { "Date: Tue, 22 Sep 2026 10:00:00 +0000\n" } else { "" };
        // What is held is known by its subject.
        let subject = if self.extras.folders { format!("draft {serial}") } else { "draft".to_owned() };
        let header = format!("From: Ann <ann@example.org>\n{date}Subject: {subject}\n{message_id}");
        if self.extras.large && self.dice(2) == 0 {
            return self.with_attachment(&header, &format!("{body}{serial}\n"));
        }
        format!("{header}\n{body}{serial}\n").into_bytes()
    }

    /// A text with a file, as the simulated cloud writes it, too.
    fn with_attachment(&mut self, header: &str, body: &str) -> Vec<u8> {
        let file: Vec<u8> = (0..self.dice(750)).flat_map(u32::to_be_bytes).collect();
        let lines: String = file.chunks(57).map(|line| STANDARD.encode(line) + "\n").collect();
        format!(
            "{header}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=-b\"\n\n\
             --=-b\nContent-Type: text/plain\n\n{body}\n\
             --=-b\nContent-Type: application/x-file;\n\tname=\"a.bin\"\n\
             Content-Disposition: attachment;\n\tfilename=\"a.bin\"\n\
             Content-Transfer-Encoding: base64\n\n{lines}--=-b--\n"
        )
        .into_bytes()
    }

    pub(super) fn new_message_id(&mut self) -> String {
        let serial = self.next_serial();
        if self.dice(4) == 0 { String::new() } else { format!("Message-ID: <{serial}@example.org>\n") }
    }

    pub(super) fn ordinary(&self) -> Vec<usize> {
        (0..self.pairs.len()).filter(|at| !self.is_special(*at)).collect()
    }

    fn texts_here(&self) -> Vec<Seen> {
        let is_text = |seen: &Seen| self.texts.get(&seen.hash).is_some() && Some(seen.maildir) != self.trash;
        self.files().into_iter().filter(|seen| is_text(seen) && !seen.name.flags.contains(Flags::TRASHED)).collect()
    }

    fn text_here(&mut self) -> Option<Seen> {
        if self.is_unmounted() {
            return None;
        }
        self.texts_here().choose(&mut self.random).cloned()
    }

    fn text_there(&mut self) -> Option<(String, Spot, ContentHash)> {
        let mut found = Vec::new();
        for (id, (spot, item)) in self.outcome_there() {
            if matches!(spot, Spot::Box(at) if Some(at) != self.trash) && self.texts.get(&item.hash).is_some() {
                found.push((id, spot, item.hash));
            }
        }
        found.choose(&mut self.random).cloned()
    }

    fn draft_here(&mut self) {
        let at_home = self.drafts.filter(|_| self.dice(4) > 0);
        let Some(to) = at_home.or_else(|| self.ordinary().choose(&mut self.random).copied()) else { return };
        if self.is_unmounted() {
            return;
        }
        let message_id = self.new_message_id();
        let bytes = self.text(&message_id);
        let mut flags = if at_home.is_none() || self.dice(2) == 0 { Flags::DRAFT } else { Flags::NONE };
        if self.dice(2) == 0 {
            flags |= Flags::SEEN;
        }
        let name = self.fresh_name(flags);
        let place = if flags == Flags::NONE && self.dice(2) == 0 { Place::New } else { Place::Cur };
        if self.put_text(to, place, &name, &bytes) {
            let text = self.text_of(&bytes, to);
            self.trace.line(format_args!("here {} is written into {to}: {}", name.on_disk(), text.hash));
            self.texts.0.push(text);
        }
    }

    /// What the ledger is told of a text that is written here.
    pub(super) fn text_of(&self, bytes: &[u8], at: usize) -> Text {
        Text { written: Some(ContentHash::of(bytes)), ..Text::new(self.hash_of(bytes), Spot::Box(at)) }
    }

    pub(super) fn put_text(&self, maildir: usize, place: Place, name: &FileName, bytes: &[u8]) -> bool {
        let temporary = self.pairs[maildir].maildir.join("tmp").join(name.base_name.as_str());
        let target = self.directory(maildir, place).join(name.on_disk());
        fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &target)).is_ok()
    }

    fn draft_there(&mut self) {
        let Some(to) = self.drafts.or_else(|| self.ordinary().choose(&mut self.random).copied()) else { return };
        if self.has_another_name(to) {
            return;
        }
        let message_id = self.new_message_id();
        let bytes = self.text(&message_id);
        let new =
            NewMessage { is_read: true, is_draft: true, ..NewMessage::mime(self.pairs[to].folder, bytes.clone()) };
        if let Ok(id) = self.cloud.add_message("", new) {
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("there {id} is written into {to}: {hash}"));
            self.texts.0.push(Text::new(hash, Spot::Box(to)));
        }
    }

    /// A mail program writes a draft anew, each in its own way.
    fn edit_here(&mut self) {
        let Some(seen) = self.text_here() else { return };
        let path = self.path(&seen);
        let Ok(old) = fs::read(&path) else { return };
        let way = self.dice(4);
        let message_id = if way == 0 { self.new_message_id() } else { message_id_line(&old) };
        let bytes = self.text(&message_id);
        let text = self.text_of(&bytes, seen.maildir);
        let hash = text.hash;
        let done = if way == 3 {
            // Under the old name.
            self.put_text(seen.maildir, seen.place, &seen.name, &bytes)
        } else {
            let flags = seen.name.flags;
            let name = self.fresh_name(flags);
            let done = self.put_text(seen.maildir, Place::Cur, &name, &bytes);
            if done {
                let trashes = self.drafts.is_some() && way == 2;
                self.rest.push(Rest::Rewritten { original: seen.clone(), trashes });
            }
            done
        };
        if !done {
            return;
        }
        self.trace.line(format_args!(
            "here {} in {} is written anew, way {way}: {hash}",
            seen.name.on_disk(),
            seen.maildir
        ));
        // What is written into a file of a name that nobody has listed is a new file, beside one that nobody saw go. That it was
        // listed meanwhile doesn't help before it is noted.
        let was_listed = self.texts.get(&seen.hash).is_none_or(|old| !old.unlisted);
        self.texts.rewrite(&seen.hash, text, self.watched && (way != 3 || was_listed));
        if way != 3 {
            self.perhaps_at_once();
        }
    }

    /// Removes the file that was written anew under another name.
    pub(super) fn finish_rewriting(&mut self, original: &Seen, trashes: bool) {
        let found = self.find_again(original);
        let done = found.is_some_and(|found| {
            let path = self.path(&found);
            if !trashes {
                return fs::remove_file(path).is_ok();
            }
            self.rename_text(&found, &path, found.name.flags | Flags::TRASHED)
        });
        if let Some(text) = self.texts.get_mut(&original.hash) {
            text.unsure |= !self.watched || !done;
            text.removed |= done;
        }
        self.trace.line(format_args!("here the old {} goes, trashed: {trashes}: {done}", original.name.on_disk()));
    }

    fn rename_text(&self, seen: &Seen, path: &Path, flags: Flags) -> bool {
        let to = self.directory(seen.maildir, Place::Cur).join(seen.name.with_flags(flags).on_disk());
        !to.exists() && fs::rename(path, to).is_ok()
    }

    fn edit_there(&mut self) {
        let Some((id, spot, old)) = self.text_there() else { return };
        let Ok(now) = self.cloud.mime("", &id) else { return };
        let now = String::from_utf8_lossy(&now).replace("\r\n", "\n");
        let message_id = message_id_line(now.as_bytes());
        let bytes = self.text(&message_id);
        if self.cloud.edit_draft("", &id, &bytes).is_ok() {
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("there {id} is written anew: {hash}"));
            let was_written_here = self.texts.get(&old).is_some_and(|old| old.written.is_some());
            if MessageId::is_unfinished(&message_id) && was_written_here {
                // It becomes a draft of its own, beside the one that is still being made.
                self.texts.0.push(Text::new(hash, spot));
            } else {
                let late = self.texts.get(&old).is_some_and(|old| old.wiped || old.late);
                self.texts.rewrite(&old, Text { late, ..Text::new(hash, spot) }, true);
            }
        }
    }

    pub(super) fn trash_text_here(&mut self) {
        let Some(seen) = self.text_here() else { return };
        let path = self.path(&seen);
        let done = self.rename_text(&seen, &path, seen.name.flags | Flags::TRASHED);
        self.trace.line(format_args!("here {} in {} is trashed: {done}", seen.name.on_disk(), seen.maildir));
        if let Some(text) = self.texts.get_mut(&seen.hash).filter(|_| done) {
            text.deleted = true;
            // What the cloud has no more goes with its file.
            text.forsaken |= text.adrift;
        }
    }

    pub(super) fn delete_text_there(&mut self) {
        let Some((id, spot, hash)) = self.text_there() else { return };
        self.trace.line(format_args!("there {id} is deleted"));
        if self.cloud.delete_message("", &id, Deletion::Trash).is_ok()
            && let Some(text) = self.texts.get_mut(&hash)
        {
            text.deleted = true;
            // The request that moves it from where the cloud makes drafts to its folder may be under way, and takes it out of
            // the deleted ones again.
            text.unsure |= !text.homes.contains(&spot);
        }
    }

    pub(super) fn flag_text_here(&mut self) {
        let Some(seen) = self.text_here() else { return };
        let path = self.path(&seen);
        let flags = seen.name.flags ^ self.some_flag();
        let done = self.rename_text(&seen, &path, flags);
        self.trace.line(format_args!("here {} in {} gets {flags}: {done}", seen.name.on_disk(), seen.maildir));
    }

    pub(super) fn flag_text_there(&mut self) {
        let Some((id, _, _)) = self.text_there() else { return };
        self.toggle_there(&id);
    }

    pub(super) fn rename_text_here(&mut self) {
        let Some(seen) = self.text_here() else { return };
        let path = self.path(&seen);
        self.rename_by_an_indexer(&seen, &path);
        // A program that has just been started hasn't listed anything yet.
        let is_seen = self.watched && self.is_known;
        if let Some(text) = self.texts.get_mut(&seen.hash) {
            text.renamed = true;
            text.unlisted = !is_seen;
        }
        if !is_seen {
            self.texts.doubt_earlier_versions(&seen.hash);
        }
    }
}
