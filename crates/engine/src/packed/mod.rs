//! Messages at rest, packed.
//!
//! Nearly all messages of a large account are the same on both sides and stay so for months. What the three trees know of
//! such a message follows from its row, and a row packs into some 90 bytes. So the rows are packed once, and each tree only
//! notes in one bit whether what it holds of a message is what the row says. Whatever differs lies in the tree's own map,
//! as if nothing were packed; the trees answer the same in both cases.

mod index;
mod part;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher as _};
use std::sync::Arc;

use crate::{CloudMessage, CloudTree, FileKey, LocalFile, LocalTree, MaildirId, RemoteId, Row, RowId, SyncedTree};
use index::Index;
pub(crate) use part::{Bits, Part};
pub(crate) use segment::Head;
use segment::Segment;

/// Records of a segment, at most.
pub(crate) const SEGMENT: usize = 256;

/// So many segments can be numbered: a record's number takes 24 bits, and one of the values stands for none.
const MOST_SEGMENTS: usize = (1 << 24) / SEGMENT - 1;

/// The number of a packed record.
pub(crate) type Number = u32;

/// The rows of messages at rest, found by remote id, by file and by row. A row is never changed here: one that changes gets
/// another record, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    segments: Vec<Segment>,
    by_remote: Index,
    by_file: Index,
    by_row: Index,
}

impl Packed {
    /// How many numbers are in use, those of records that nobody needs any more and gaps included.
    pub(crate) fn numbers(&self) -> usize {
        self.segments.len() * SEGMENT
    }

    pub(crate) fn find_remote(&self, id: &RemoteId) -> Option<Number> {
        self.by_remote
            .find(hash_of(id), |number| self.at(number).is_some_and(|(segment, at)| segment.has_remote(at, id)))
    }

    pub(crate) fn find_file(&self, file: &FileKey) -> Option<Number> {
        self.by_file
            .find(hash_of(file), |number| self.at(number).is_some_and(|(segment, at)| segment.has_file(at, file)))
    }

    pub(crate) fn find_row(&self, row: RowId) -> Option<Number> {
        self.by_row
            .find(hash_of(&row), |number| self.at(number).is_some_and(|(segment, at)| segment.head(at).row == row))
    }

    /// What a record says but for its texts.
    pub(crate) fn head(&self, number: Number) -> Option<Head> {
        self.at(number).map(|(segment, at)| segment.head(at))
    }

    pub(crate) fn remote(&self, number: Number) -> Option<RemoteId> {
        self.at(number).map(|(segment, at)| segment.remote(at))
    }

    pub(crate) fn file(&self, number: Number) -> Option<FileKey> {
        self.at(number).map(|(segment, at)| segment.file(at))
    }

    pub(crate) fn row(&self, number: Number) -> Option<(RowId, Row)> {
        self.at(number).map(|(segment, at)| segment.row(at))
    }

    /// What the Cloud tree holds of a message at rest.
    pub(crate) fn message(&self, number: Number) -> Option<CloudMessage> {
        self.at(number).map(|(segment, at)| segment.head(at).message(segment.revision(at)))
    }

    /// What the Local tree holds of a message at rest.
    pub(crate) fn local_file(&self, number: Number) -> Option<LocalFile> {
        self.head(number).map(|head| head.local_file())
    }

    /// The numbers of all records that may be of a Maildir.
    pub(crate) fn numbers_in(&self, maildir: MaildirId) -> impl Iterator<Item = Number> {
        let segments = self.segments.iter().enumerate();
        segments
            .filter(move |(_, segment)| segment.may_hold(maildir))
            .flat_map(|(number, segment)| numbers(number, segment))
    }

    fn at(&self, number: Number) -> Option<(&Segment, usize)> {
        let number = number as usize;
        let segment = self.segments.get(number / SEGMENT)?;
        (number % SEGMENT < segment.len()).then_some((segment, number % SEGMENT))
    }

    /// Makes room for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        let Self { segments, by_remote, by_file, by_row } = self;
        let at = |number: Number| (&segments[number as usize / SEGMENT], number as usize % SEGMENT);
        by_remote.reserve(rows, |number| {
            let (segment, at) = at(number);
            hash_of(&segment.remote(at))
        });
        by_file.reserve(rows, |number| {
            let (segment, at) = at(number);
            hash_of(&segment.file(at))
        });
        by_row.reserve(rows, |number| {
            let (segment, at) = at(number);
            hash_of(&segment.head(at).row)
        });
    }

    /// Packs rows, and returns the number of the first; the others' follow. What was found under the same names before isn't
    /// found any more. Nothing is packed where there is no room.
    pub(crate) fn push(&mut self, rows: &[(RowId, &Row)]) -> Option<Number> {
        if rows.is_empty() || rows.len() > SEGMENT || self.segments.len() >= MOST_SEGMENTS {
            return None;
        }
        self.reserve(rows.len());
        let first = Number::try_from(self.numbers()).ok()?;
        self.segments.push(Segment::new(rows));
        for (number, (id, row)) in (first..).zip(rows) {
            let Self { segments, by_remote, by_file, by_row } = self;
            let at = |number: Number| (&segments[number as usize / SEGMENT], number as usize % SEGMENT);
            by_remote.insert(hash_of(&row.remote), number, |other| {
                let (segment, at) = at(other);
                segment.has_remote(at, &row.remote)
            });
            by_file.insert(hash_of(&row.file), number, |other| {
                let (segment, at) = at(other);
                segment.has_file(at, &row.file)
            });
            by_row.insert(hash_of(id), number, |other| {
                let (segment, at) = at(other);
                segment.head(at).row == *id
            });
        }
        Some(first)
    }

    /// About how many bytes of memory this takes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(Segment::bytes).sum();
        segments + self.by_remote.bytes() + self.by_file.bytes() + self.by_row.bytes()
    }

    /// Whether so many records would fit into far fewer segments.
    fn is_sparse(&self, records: usize) -> bool {
        self.segments.len() > 2 * (records / SEGMENT) + 256
    }
}

fn numbers(segment: usize, records: &Segment) -> impl Iterator<Item = Number> + use<> {
    let first = segment * SEGMENT;
    // There are at most `MOST_SEGMENTS` segments.
    (first..first + records.len()).map(|number| Number::try_from(number).unwrap_or(Number::MAX))
}

fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Packs the messages that all three trees hold as their rows say. The trees answer as before.
pub fn pack(cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
    let mut ready: Vec<(MaildirId, RowId)> = synced
        .loose()
        .filter(|(_, row)| cloud.messages.is_as(row) && local.files.is_as(row))
        .map(|(id, row)| (row.file.maildir, *id))
        .collect();
    ready.sort_unstable();
    let mut packer = Packer::default();
    for (_, id) in ready {
        if let Some(row) = synced.take_loose(id) {
            cloud.messages.remove(&row.remote);
            let is_new = local.files.is_new(&row.file);
            local.files.remove(&row.file);
            packer.add(id, row, is_new);
        }
    }
    packer.pack(cloud, local, synced);
    if synced.part.packed().is_sparse(synced.len()) {
        pack_anew(cloud, local, synced);
    }
    cloud.messages.shrink();
    local.files.shrink();
    synced.shrink();
}

/// Packs everything packed once more, without the records that nobody needs any more.
fn pack_anew(cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
    let new = local.files.take_new();
    let messages = cloud.messages.take_packed();
    let (files, _) = local.files.part.take();
    let (rows, packed) = synced.part.take();
    let Packed { segments, .. } = Arc::unwrap_or_clone(packed);
    let mut packer = Packer::default();
    for (number, segment) in segments.into_iter().enumerate() {
        for (at, number) in numbers(number, &segment).enumerate() {
            let is_new = new.get(number);
            let (id, row) = segment.row(at);
            match (messages.get(number), files.get(number), rows.get(number)) {
                (true, true, true) => packer.add(id, row, is_new),
                (has_message, has_file, has_row) => {
                    let head = segment.head(at);
                    if has_message {
                        cloud.messages.insert(row.remote.clone(), head.message(segment.revision(at)));
                    }
                    if has_file {
                        local.files.put(row.file.clone(), head.local_file(), is_new);
                    }
                    if has_row {
                        synced.put_loose(id, row);
                    }
                }
            }
        }
        packer.pack_whole_segments(cloud, local, synced);
    }
    packer.pack(cloud, local, synced);
}

/// Gathers rows until they fill segments, each Maildir's by themselves.
#[derive(Default)]
struct Packer {
    by_maildir: BTreeMap<MaildirId, Vec<(RowId, Row, bool)>>,
}

impl Packer {
    fn add(&mut self, id: RowId, row: Row, is_new: bool) {
        self.by_maildir.entry(row.file.maildir).or_default().push((id, row, is_new));
    }

    fn pack_whole_segments(&mut self, cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
        for rows in self.by_maildir.values_mut().filter(|rows| rows.len() >= SEGMENT) {
            pack_rows(&std::mem::take(rows), cloud, local, synced);
        }
    }

    fn pack(self, cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
        for rows in self.by_maildir.into_values() {
            pack_rows(&rows, cloud, local, synced);
        }
    }
}

/// Packs rows of one Maildir that no tree holds otherwise; those for which there is no room are given to the trees as they are.
fn pack_rows(rows: &[(RowId, Row, bool)], cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
    local.files.part.detach();
    for rows in rows.chunks(SEGMENT) {
        cloud.messages.part.detach();
        let Some(numbers) = synced.pack(&rows.iter().map(|(id, row, _)| (*id, row)).collect::<Vec<_>>()) else {
            for (id, row, is_new) in rows {
                cloud.messages.insert_loose(row.remote.clone(), CloudMessage::at_rest(row));
                local.files.insert_loose(row.file.clone(), LocalFile::at_rest(row), *is_new);
                synced.put_loose(*id, row.clone());
            }
            continue;
        };
        cloud.messages.part.attach(&synced.part);
        for (number, (_, _, is_new)) in numbers.zip(rows) {
            cloud.messages.hold_packed(number);
            local.files.part.live.set(number);
            local.files.mark_new(number, *is_new);
        }
    }
    cloud.messages.part.attach(&synced.part);
    local.files.part.attach(&synced.part);
}

/// Lets go of what was unpacked since this was last done. Looking at a packed message unpacks it.
pub fn forget_unpacked(cloud: &mut CloudTree, local: &mut LocalTree, synced: &mut SyncedTree) {
    cloud.messages.part.forget_unpacked();
    local.files.part.forget_unpacked();
    synced.part.forget_unpacked();
}
