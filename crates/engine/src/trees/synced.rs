//! The Synced tree.

use crate::packed::{Number, Part, SEGMENT};
use crate::{
    CloudBytes, CloudTree, FileKey, Flags, HashMap, LocalTree, MailboxId, MaildirId, RemoteId, Row, RowId, Sides,
};

/// What both sides last agreed on, found by row, by remote id and by file. Rows may be packed, which nobody notices.
#[derive(Clone, Debug, Default)]
pub struct SyncedTree {
    rows: HashMap<RowId, Row>,
    by_remote: HashMap<RemoteId, RowId>,
    by_file: HashMap<FileKey, RowId>,
    pub(crate) part: Part<Row>,
    last: u64,
    sizes: HashMap<MailboxId, usize>,
    held: HashMap<MaildirId, usize>,
}

impl SyncedTree {
    /// Adds a row under an id that was never used before, and returns it.
    ///
    /// A row that held the same remote id or the same file is taken out: a message has one row.
    pub fn insert(&mut self, row: Row) -> RowId {
        let id = RowId(self.last + 1);
        self.put(id, row);
        id
    }

    /// Writes a row under a given id: a new version of it, or one that was stored.
    pub fn put(&mut self, id: RowId, row: Row) {
        self.remove(id);
        for other in [self.by_remote(&row.remote), self.by_file(&row.file)].into_iter().flatten() {
            self.remove(other);
        }
        self.count_in(row.mailbox, row.file.maildir);
        self.last = self.last.max(id.0);
        self.put_loose(id, row);
    }

    /// Puts a row that was counted already and isn't packed beside those that are.
    pub(crate) fn put_loose(&mut self, id: RowId, row: Row) {
        self.by_remote.insert(row.remote.clone(), id);
        self.by_file.insert(row.file.clone(), id);
        self.rows.insert(id, row);
    }

    /// Takes a row out and returns it.
    pub fn remove(&mut self, id: RowId) -> Option<Row> {
        let row = match self.packed_row(id) {
            Some(number) => {
                self.part.live.clear(number);
                self.part.packed().row(number)?.1
            }
            None => self.take_loose(id)?,
        };
        self.count_out(row.mailbox, row.file.maildir);
        Some(row)
    }

    /// Takes a row out that isn't packed and will be put back.
    pub(crate) fn take_loose(&mut self, id: RowId) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.by_remote.remove(&row.remote);
        self.by_file.remove(&row.file);
        Some(row)
    }

    /// The row of that id.
    pub fn get(&self, id: RowId) -> Option<&Row> {
        if let Some(row) = self.rows.get(&id) {
            return Some(row);
        }
        let number = self.packed_row(id)?;
        self.part.get(number, |packed| packed.row(number).map(|(_, row)| row))
    }

    /// The row that links this remote id.
    pub fn by_remote(&self, remote: &RemoteId) -> Option<RowId> {
        if let Some(id) = self.by_remote.get(remote) {
            return Some(*id);
        }
        self.id_of(self.part.find(|packed| packed.find_remote(remote))?)
    }

    /// The row that links this file.
    pub fn by_file(&self, file: &FileKey) -> Option<RowId> {
        if let Some(id) = self.by_file.get(file) {
            return Some(*id);
        }
        self.id_of(self.part.find(|packed| packed.find_file(file))?)
    }

    /// What a row that links this file says of it but for texts, for those who look at very many.
    pub fn brief_by_file(&self, file: &FileKey) -> Option<Brief> {
        if let Some(id) = self.by_file.get(file) {
            return self.rows.get(id).map(|row| Brief { flags: row.flags, inode: row.inode });
        }
        let head = self.part.packed().head(self.part.find(|packed| packed.find_file(file))?)?;
        Some(Brief { flags: head.flags, inode: head.inode })
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (RowId, Row)> {
        let packed = self.part.live.iter().filter_map(|number| self.part.packed().row(number));
        packed.chain(self.rows.iter().map(|(id, row)| (*id, row.clone())))
    }

    /// The rows that aren't packed.
    pub(crate) fn loose(&self) -> impl Iterator<Item = (&RowId, &Row)> {
        self.rows.iter()
    }

    /// The rows whose message isn't there as they say that it was, and perhaps some more.
    pub fn unlike_the_cloud(&self, cloud: &CloudTree) -> impl Iterator<Item = (RowId, Row)> {
        let part = &cloud.messages.part;
        let packed = self.part.live.iter().filter(|number| !(part.shares(&self.part) && part.live.get(*number)));
        packed
            .filter_map(|number| self.part.packed().row(number))
            .chain(self.rows.iter().map(|(id, row)| (*id, row.clone())))
    }

    /// All rows of which there may be something to do: those of messages at rest are left out, where that is known without
    /// looking.
    pub fn not_at_rest(&self, cloud: &CloudTree, local: &LocalTree) -> Vec<RowId> {
        let (messages, files) = (&cloud.messages.part, &local.files.part);
        let shared = messages.shares(&self.part) && files.shares(&self.part);
        let is_at_rest = |number: Number| {
            shared
                && messages.live.get(number)
                && files.live.get(number)
                && self.part.packed().head(number).is_some_and(|head| {
                    // The user's word and the drafts' rules reach some of these, and what was uploaded is yet to be compared.
                    head.cloud_bytes != CloudBytes::Unread
                        && !head.flags.local.contains(Flags::TRASHED)
                        && !(head.flags.cloud | head.flags.local).contains(Flags::DRAFT)
                        && local.readable.contains(&head.maildir)
                })
        };
        let packed =
            self.part.live.iter().filter(|number| !is_at_rest(*number)).filter_map(|number| self.id_of(number));
        packed.chain(self.rows.keys().copied()).collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len() + self.part.live.count()
    }

    /// How many of them aren't packed.
    pub fn unpacked(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows there are of a mailbox.
    pub fn size_of(&self, mailbox: MailboxId) -> usize {
        self.sizes.get(&mailbox).copied().unwrap_or_default()
    }

    /// Whether any row links a file in a Maildir.
    pub fn has_files_in(&self, maildir: MaildirId) -> bool {
        self.held.contains_key(&maildir)
    }

    /// The Maildirs in which rows link files.
    pub fn maildirs(&self) -> impl Iterator<Item = MaildirId> {
        self.held.keys().copied()
    }

    /// Whether any row has that content.
    pub fn has_content(&self, hash: &crate::ContentHash) -> bool {
        let packed = self.part.packed();
        self.rows.values().any(|row| row.hash == *hash)
            || self.part.live.iter().any(|number| packed.head(number).is_some_and(|head| head.hash == *hash))
    }

    /// The contents of all rows.
    pub fn contents(&self) -> impl Iterator<Item = crate::ContentHash> {
        let packed = self.part.live.iter().filter_map(|number| self.part.packed().head(number)).map(|head| head.hash);
        packed.chain(self.rows.values().map(|row| row.hash))
    }

    /// Makes room for so many rows, before they are loaded.
    pub fn reserve(&mut self, rows: usize) {
        self.part.change(|packed| packed.reserve(rows));
    }

    /// Takes stored rows in, packed, and empties the list. Those of one Maildir belong together, some hundred at a time. No two
    /// may have the same remote id or the same file, nor one that is here already.
    pub fn load(&mut self, rows: &mut Vec<(RowId, Row)>) {
        for rows in rows.chunks(SEGMENT) {
            for (id, row) in rows {
                self.count_in(row.mailbox, row.file.maildir);
                self.last = self.last.max(id.0);
            }
            let packed: Vec<(RowId, &Row)> = rows.iter().map(|(id, row)| (*id, row)).collect();
            if self.pack(&packed).is_none() {
                for (id, row) in rows {
                    self.put_loose(*id, row.clone());
                }
            }
        }
        rows.clear();
    }

    /// Lets the trees answer from the rows that were loaded, before anything is put into them.
    pub fn share(&self, cloud: &mut CloudTree, local: &mut LocalTree) {
        cloud.messages.part.attach(&self.part);
        local.files.part.attach(&self.part);
    }

    /// Packs rows that aren't here, as far as there is room, and returns their numbers.
    pub(crate) fn pack(&mut self, rows: &[(RowId, &Row)]) -> Option<impl Iterator<Item = Number> + use<>> {
        let first = self.part.change(|packed| packed.push(rows))?;
        let numbers = (first..).take(rows.len());
        for number in numbers.clone() {
            self.part.live.set(number);
        }
        Some(numbers)
    }

    pub(crate) fn shrink(&mut self) {
        self.rows.shrink_to(0);
        self.by_remote.shrink_to(0);
        self.by_file.shrink_to(0);
    }

    fn packed_row(&self, id: RowId) -> Option<Number> {
        self.part.find(|packed| packed.find_row(id))
    }

    fn id_of(&self, number: Number) -> Option<RowId> {
        self.part.packed().head(number).map(|head| head.row)
    }

    fn count_in(&mut self, mailbox: MailboxId, maildir: MaildirId) {
        *self.sizes.entry(mailbox).or_default() += 1;
        *self.held.entry(maildir).or_default() += 1;
    }

    fn count_out(&mut self, mailbox: MailboxId, maildir: MaildirId) {
        fn less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: K) {
            if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        less(&mut self.sizes, mailbox);
        less(&mut self.held, maildir);
    }

    /// Makes `next` the lowest id that a new row may get, so that ids of rows taken out before a restart aren't used again.
    pub fn skip_to(&mut self, next: RowId) {
        self.last = self.last.max(next.0.saturating_sub(1));
    }

    /// The highest row id in use or used so far, so that ids aren't used again after a restart.
    pub fn last_id(&self) -> RowId {
        RowId(self.last)
    }

    /// Takes the Maildirs' present state for the base, so that what was changed there counts as nobody's wish and
    /// the plan brings the cloud's state back. This is the start policy `--online`.
    ///
    /// `moved` answers where a row's file is now if not under its own name; such a row is made to look as if the
    /// cloud had moved it, since that is what brings the file home.
    pub fn discard_local_changes(&mut self, local: &LocalTree, moved: impl Fn(&Row) -> Option<FileKey>) {
        let as_it_was = |row: &Row| {
            local
                .files
                .copy_of(&row.file)
                .is_some_and(|file| row.flags == Sides { local: file.flags, cloud: file.flags })
        };
        let rows: Vec<(RowId, Row)> = self.iter().filter(|(_, row)| !as_it_was(row)).collect();
        for (id, mut row) in rows {
            if !local.readable.contains(&row.file.maildir) {
                continue;
            }
            if !local.files.contains_key(&row.file)
                && let Some(place) = moved(&row)
            {
                row.file = place;
                row.mailbox = MailboxId(u32::MAX);
            }
            if let Some(file) = local.files.get(&row.file) {
                row.flags = Sides { local: file.flags, cloud: file.flags };
            }
            self.put(id, row);
        }
    }
}

/// What a row says of its file, but for texts.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    /// The flags that each side had.
    pub flags: Sides<Flags>,
    /// The file's inode number, or 0 where it isn't known.
    pub inode: u64,
}
