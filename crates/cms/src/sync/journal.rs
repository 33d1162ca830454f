//! What the journal says of a step: who wanted it, what had become of the message, by which observation that was learned.

use cms_cloud::Exchange;
use cms_engine::{Answer, Became, Because, FileKey, HashMap, Op, RemoteId, Row, RowId, UnixSeconds};
use cms_store::{After, Change, Deed, Ended, Heard, JournalEntry, Standing, Wanted};

use crate::sync::world::World;

/// Why a step is taken, found out before it is.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    pub(crate) at: UnixSeconds,
    /// The same by the state's own clock.
    pub(crate) age: UnixSeconds,
    pub(crate) wanted: Wanted,
    pub(crate) because: Because,
    pub(crate) heard: Heard,
    pub(crate) heard_at: Option<UnixSeconds>,
    /// The undo that it is a part of.
    pub(crate) undo: Option<u32>,
    /// What the cloud is asked.
    pub(crate) request: Option<String>,
    /// As what that was sent, and what was answered.
    pub(crate) exchange: Option<Exchange>,
}

/// A wish of the user's that was told by a command and is on its way through the planner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) wanted: Wanted,
    pub(crate) undo: Option<u32>,
}

/// How what is in the trees came to be known, as far as that is still to be acted upon.
#[derive(Default)]
pub(crate) struct Hearsay {
    /// How what is taken now is learned; nothing for listings of everything and for the effects of our own steps.
    now: Option<(Heard, UnixSeconds)>,
    messages: HashMap<RemoteId, (Heard, UnixSeconds)>,
    files: HashMap<FileKey, (Heard, UnixSeconds)>,
    wishes: HashMap<RowId, Wish>,
    /// Wishes for messages that have no row yet.
    wishes_for: HashMap<RemoteId, Wish>,
}

impl Hearsay {
    /// Forgets messages and files that are no more, and the wishes for rows that ended.
    pub(super) fn keep(
        &mut self,
        message: impl Fn(&RemoteId) -> bool,
        file: impl Fn(&FileKey) -> bool,
        row: impl Fn(RowId) -> bool,
    ) {
        self.messages.retain(|id, _| message(id));
        self.files.retain(|key, _| file(key));
        self.wishes.retain(|id, _| row(*id));
        self.wishes_for.retain(|id, _| message(id));
    }

    /// See [`World::lengths`](crate::sync::world::World::lengths).
    pub(super) fn lengths(&self) -> [(&'static str, usize); 4] {
        [
            ("heard_messages", self.messages.len()),
            ("heard_files", self.files.len()),
            ("wishes", self.wishes.len()),
            ("wishes_for", self.wishes_for.len()),
        ]
    }

    pub(super) fn of_message(&mut self, id: &RemoteId) {
        if let Some(now) = self.now {
            self.messages.insert(id.clone(), now);
        }
    }

    pub(super) fn of_file(&mut self, key: &FileKey) {
        if let Some(now) = self.now {
            self.files.insert(key.clone(), now);
        }
    }
}

impl World {
    /// Says how what is taken from now on is learned; nothing for listings of everything, of which no note is kept, and for
    /// what our own steps do.
    pub(crate) fn hear(&mut self, how: Option<(Heard, UnixSeconds)>) {
        self.hearsay.now = how;
    }

    /// Says that what is planned for a row next is by the user's command.
    pub(crate) fn wish(&mut self, row: RowId, wish: Wish) {
        self.hearsay.wishes.insert(row, wish);
    }

    /// Says that what is planned for a message next, which has no row yet, is by the user's command.
    pub(crate) fn wish_for(&mut self, id: &RemoteId, wish: Wish) {
        self.hearsay.wishes_for.insert(id.clone(), wish);
    }

    /// Says of every row which isn't here as the base has it that the start policy discards that.
    pub(crate) fn wish_to_discard(&mut self) {
        let as_base = |row: &Row| self.local.files.get(&row.file).is_some_and(|file| file.flags == row.flags.local);
        let changed: Vec<RowId> = self.synced.iter().filter(|(_, row)| !as_base(row)).map(|(id, _)| id).collect();
        for row in changed {
            self.wish(row, Wish { wanted: Wanted::Start, undo: None });
        }
    }

    /// Finds out why a step is taken. Ask before it is.
    pub(crate) fn reason(&self, op: &Op, at: UnixSeconds, age: UnixSeconds) -> Reason {
        let because = Because::of(op, &self.cloud, &self.local, &self.synced);
        let wish = op
            .row()
            .and_then(|row| self.hearsay.wishes.get(&row))
            .or_else(|| self.hearsay.wishes_for.get(op.id(&self.synced)?));
        let wanted = wish.map_or_else(|| who_wanted(op, because), |wish| wish.wanted);
        let of_file = || self.file_of(op).and_then(|file| self.hearsay.files.get(file));
        let of_message = || op.id(&self.synced).and_then(|id| self.hearsay.messages.get(id));
        let (told, otherwise) = match wanted {
            Wanted::Cloud | Wanted::Nobody => (of_message().or_else(of_file), Heard::Listing),
            Wanted::Local | Wanted::Start => (of_file().or_else(of_message), Heard::StartScan),
            Wanted::Word | Wanted::Undo | Wanted::Restore => (None, Heard::Command),
        };
        let (heard, heard_at) = told.map_or((otherwise, None), |(heard, at)| (*heard, Some(*at)));
        Reason {
            at,
            age,
            wanted,
            because,
            heard,
            heard_at,
            undo: wish.and_then(|wish| wish.undo),
            request: None,
            exchange: None,
        }
    }

    fn file_of<'a>(&'a self, op: &'a Op) -> Option<&'a FileKey> {
        match op {
            Op::Rename { from, .. } => Some(from),
            Op::Remove { file, .. } | Op::Upload { file, .. } => Some(file),
            Op::Replace { old, .. } => Some(old),
            Op::Record { base, .. } | Op::SetCloudFlags { base, .. } | Op::MoveInCloud { base, deletes: false, .. } => {
                Some(&base.file)
            }
            _ => op.row().and_then(|row| self.synced.get(row)).map(|row| &row.file),
        }
    }

    /// Writes into the journal that a step was taken. `before` is its row as it was.
    pub(super) fn write_journal(
        &mut self,
        op: &Op,
        row: Option<RowId>,
        before: Option<&Row>,
        answer: &Answer,
        reason: &Reason,
    ) {
        let Some(deed) = deed(op) else { return };
        let now = row.and_then(|row| self.synced.get(row));
        let after = match (before, now) {
            // The row of a message that was deleted lives until the cloud is seen not to have it; where it is there now
            // is what a wish to have it back needs.
            (Some(before), _) if deed == Deed::DeletedThere => After::As(Standing {
                remote: answer.id.clone().or_else(|| Some(before.remote.clone())),
                ..Standing::from(now.unwrap_or(before))
            }),
            // A move by `cms undo` leaves the row as it is, for the file has yet to follow.
            (Some(before), Some(now)) if deed == Deed::MovedThere => {
                let to = if let Op::MoveInCloud { to, .. } = op { *to } else { before.mailbox };
                After::As(Standing { mailbox: Some(to), ..Standing::from(now) })
            }
            (None, Some(now)) => After::AsItsRow(now.flags),
            (Some(_), Some(now)) => After::As(Standing::from(now)),
            (_, None) => After::Nothing,
        };
        if before.is_some_and(|before| deed == Deed::Agreed && after == After::As(Standing::from(before))) {
            // An inode or a revision: nothing that anybody would ask about.
            return;
        }
        let told = answer.flags.filter(|_| deed == Deed::FlaggedThere);
        let entry = JournalEntry {
            row: op.row().or(row),
            before: before.map(Standing::from),
            after,
            answer: told.map(|flags| format!("its flags there are now {}", in_words(flags))),
            ..reason.entry(deed)
        };
        self.note(Change::journal(entry));
        self.forget_hearsay(op, row);
    }

    /// Writes into the journal that the cloud refused a step for good.
    pub(super) fn write_refusal(&mut self, op: &Op, before: &Row, reason: &Reason, why: String) {
        let Some(deed) = deed(op) else { return };
        let entry = JournalEntry {
            row: op.row(),
            before: Some(Standing::from(before)),
            after: After::As(Standing::from(before)),
            answer: Some(why),
            ended: Ended::Refused,
            ..reason.entry(deed)
        };
        self.note(Change::journal(entry));
        self.forget_hearsay(op, op.row());
    }

    /// Writes into the journal that a row went because another one took its place.
    pub(super) fn write_rival(&mut self, row: RowId, before: &Row, reason: &Reason) {
        let entry =
            JournalEntry { row: Some(row), before: Some(Standing::from(before)), ..reason.entry(Deed::Forgotten) };
        self.note(Change::journal(entry));
    }

    /// Forgets how the causes of a step were learned, now that it is done, unless more steps follow from them.
    fn forget_hearsay(&mut self, op: &Op, row: Option<RowId>) {
        let rows = [op.row(), row];
        for row in rows.into_iter().flatten() {
            if self.is_at_rest(row) {
                self.hearsay.wishes.remove(&row);
            }
        }
        let id = op.id(&self.synced).cloned();
        if let Some(id) = &id {
            self.hearsay.wishes_for.remove(id);
        }
        if rows.into_iter().flatten().all(|row| self.is_at_rest(row)) {
            if let Some(file) = self.file_of(op).cloned() {
                self.hearsay.files.remove(&file);
            }
            if let Some(id) = &id {
                self.hearsay.messages.remove(id);
            }
        }
    }

    /// Whether nothing is left to do for a row.
    fn is_at_rest(&self, row: RowId) -> bool {
        let Some(row) = self.synced.get(row) else { return true };
        let here = self.local.files.get(&row.file).is_some_and(|file| file.flags == row.flags.local);
        let there = self.cloud.messages.get(&row.remote);
        here && there.is_some_and(|message| message.flags == row.flags.cloud && message.mailbox == row.mailbox)
    }
}

impl Reason {
    /// Takes note of the request that was made of it; the last, if it took several.
    pub(crate) fn sent(&mut self, exchange: Option<Exchange>) {
        if let Some(line) = exchange.as_ref().and_then(|exchange| exchange.line.clone()) {
            self.request = Some(line);
        }
        self.exchange = exchange;
    }

    /// An entry with this reason that says nothing of a message yet.
    pub(crate) fn entry(&self, deed: Deed) -> JournalEntry {
        JournalEntry {
            at: self.at,
            age: self.age,
            deed,
            wanted: self.wanted,
            because: self.because,
            heard: self.heard,
            heard_at: self.heard_at,
            undo: self.undo,
            row: None,
            before: None,
            after: After::Nothing,
            request: self.request.clone(),
            request_id: self.exchange.as_ref().map(|exchange| exchange.client_request_id.clone()),
            status: self.exchange.as_ref().and_then(|exchange| exchange.status),
            answer: None,
            ended: Ended::Done,
        }
    }
}

/// Who wanted a step that no command asked for.
fn who_wanted(op: &Op, because: Because) -> Wanted {
    match op {
        Op::SetCloudFlags { .. }
        | Op::MoveInCloud { .. }
        | Op::DeleteInCloud { .. }
        | Op::Upload { .. }
        | Op::UpdateDraft { .. }
        | Op::Remove { trashed: true, .. }
        | Op::Remove { row: None, .. } => Wanted::Local,
        Op::Deliver { row: Some(_), .. } if because.here == Became::Missing => Wanted::Start,
        Op::Fetch { .. } | Op::Deliver { .. } | Op::Replace { .. } | Op::Rename { .. } | Op::Remove { .. } => {
            Wanted::Cloud
        }
        Op::Record { .. } | Op::Forget { .. } => Wanted::Nobody,
    }
}

fn deed(op: &Op) -> Option<Deed> {
    Some(match op {
        Op::Fetch { .. } => return None,
        Op::Deliver { row: None, .. } => Deed::Delivered,
        Op::Deliver { row: Some(_), .. } => Deed::Returned,
        Op::Replace { .. } => Deed::Replaced,
        Op::Rename { from, base, .. } if from.maildir != base.file.maildir => Deed::MovedHere,
        Op::Rename { .. } => Deed::FlaggedHere,
        Op::Remove { row: Some(_), .. } => Deed::RemovedHere,
        Op::Remove { row: None, .. } => Deed::LeftoverRemoved,
        Op::SetCloudFlags { .. } => Deed::FlaggedThere,
        Op::MoveInCloud { deletes: false, .. } => Deed::MovedThere,
        Op::MoveInCloud { deletes: true, .. } | Op::DeleteInCloud { .. } => Deed::DeletedThere,
        Op::Upload { .. } => Deed::Uploaded,
        Op::UpdateDraft { .. } => Deed::UpdatedThere,
        Op::Record { .. } => Deed::Agreed,
        Op::Forget { .. } => Deed::Forgotten,
    })
}

fn in_words(flags: cms_engine::Flags) -> String {
    if flags.is_empty() { "none".to_owned() } else { flags.to_string() }
}
