//! The files of the Local tree.

use crate::packed::{Bits, Number, Part};
use crate::{FileKey, HashMap, HashSet, LocalFile, MaildirId, Row};

/// Files by their places. Those that are as their rows say may be packed, which nobody notices.
#[derive(Clone, Debug, Default)]
pub struct Files {
    loose: HashMap<FileKey, LocalFile>,
    pub(crate) part: Part<LocalFile>,
    /// The packed ones that lie in `new`.
    packed_new: Bits,
    /// The others that do.
    loose_new: HashSet<FileKey>,
}

impl FromIterator<(FileKey, LocalFile)> for Files {
    fn from_iter<T: IntoIterator<Item = (FileKey, LocalFile)>>(files: T) -> Self {
        Self { loose: files.into_iter().collect(), ..Self::default() }
    }
}

impl Files {
    /// The file at that place.
    pub fn get(&self, key: &FileKey) -> Option<&LocalFile> {
        if let Some(file) = self.loose.get(key) {
            return Some(file);
        }
        let number = self.part.find(|packed| packed.find_file(key))?;
        self.part.get(number, |packed| packed.local_file(number))
    }

    /// The same by value, for those who look at very many.
    pub fn copy_of(&self, key: &FileKey) -> Option<LocalFile> {
        if let Some(file) = self.loose.get(key) {
            return Some(file.clone());
        }
        self.part.packed().local_file(self.part.find(|packed| packed.find_file(key))?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &FileKey) -> Option<&mut LocalFile> {
        if let Some((file, is_new)) = self.unpack(key) {
            self.insert_loose(key.clone(), file, is_new);
        }
        self.loose.get_mut(key)
    }

    /// Whether there is a file at that place.
    pub fn contains_key(&self, key: &FileKey) -> bool {
        self.loose.contains_key(key) || self.part.find(|packed| packed.find_file(key)).is_some()
    }

    /// Puts a file at a place, instead of one that was there. It isn't said to lie in `new`.
    pub fn insert(&mut self, key: FileKey, file: LocalFile) {
        self.put(key, file, false);
    }

    /// The same, and says whether it lies in `new`. That is only noted here; see [`Files::is_new`].
    pub fn put(&mut self, key: FileKey, file: LocalFile, is_new: bool) {
        if let Some(number) = self.part.packed().find_file(&key) {
            if self.part.packed().local_file(number).as_ref() == Some(&file) {
                self.loose.remove(&key);
                self.loose_new.remove(&key);
                self.part.live.set(number);
                self.mark_new(number, is_new);
                return;
            }
            self.part.live.clear(number);
            self.packed_new.clear(number);
        }
        self.loose_new.remove(&key);
        self.insert_loose(key, file, is_new);
    }

    /// Puts a file that isn't packed beside those that are.
    pub(crate) fn insert_loose(&mut self, key: FileKey, file: LocalFile, is_new: bool) {
        if is_new {
            self.loose_new.insert(key.clone());
        }
        self.loose.insert(key, file);
    }

    /// Takes a file out and returns it.
    pub fn remove(&mut self, key: &FileKey) -> Option<LocalFile> {
        if let Some((file, _)) = self.unpack(key) {
            return Some(file);
        }
        self.loose_new.remove(key);
        self.loose.remove(key)
    }

    /// Takes all files of a Maildir out.
    pub fn remove_all_in(&mut self, maildir: MaildirId) {
        self.loose.retain(|key, _| key.maildir != maildir);
        self.loose_new.retain(|key| key.maildir != maildir);
        let packed: Vec<Number> = self.packed_in(maildir).collect();
        for number in packed {
            self.part.live.clear(number);
            self.packed_new.clear(number);
        }
    }

    /// Whether a file lies in `new`. It was said by [`Files::put`].
    pub fn is_new(&self, key: &FileKey) -> bool {
        self.loose_new.contains(key)
            || self.part.find(|packed| packed.find_file(key)).is_some_and(|number| self.packed_new.get(number))
    }

    pub(crate) fn mark_new(&mut self, number: Number, is_new: bool) {
        if is_new {
            self.packed_new.set(number);
        } else {
            self.packed_new.clear(number);
        }
    }

    /// Takes out which of the packed files lie in `new`.
    pub(crate) fn take_new(&mut self) -> Bits {
        std::mem::take(&mut self.packed_new)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.loose.len() + self.part.live.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All files, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (FileKey, LocalFile)> {
        let packed = self
            .part
            .live
            .iter()
            .filter_map(|number| Some((self.part.packed().file(number)?, self.part.packed().local_file(number)?)));
        packed.chain(self.loose.iter().map(|(key, file)| (key.clone(), file.clone())))
    }

    /// The places of all files of a Maildir.
    pub fn keys_in(&self, maildir: MaildirId) -> impl Iterator<Item = FileKey> {
        let loose = self.loose.keys().filter(move |key| key.maildir == maildir).cloned();
        self.packed_in(maildir).filter_map(|number| self.part.packed().file(number)).chain(loose)
    }

    /// The names of a file, of which a program may have made several.
    pub fn with_inode(&self, inode: u64) -> impl Iterator<Item = FileKey> {
        let loose = self.loose.iter().filter(move |(_, file)| file.inode == inode).map(|(key, _)| key.clone());
        let has_inode = move |number: &Number| self.part.packed().head(*number).is_some_and(|head| head.inode == inode);
        self.part.live.iter().filter(has_inode).filter_map(|number| self.part.packed().file(number)).chain(loose)
    }

    /// The places of files that aren't packed: among them are all that have no row, but for those whose row went.
    pub(crate) fn without_row(&self, synced: &crate::SyncedTree) -> impl Iterator<Item = FileKey> {
        let packed =
            self.part.live.iter().filter(|number| !(self.part.shares(&synced.part) && synced.part.live.get(*number)));
        let keys = packed.filter_map(|number| self.part.packed().file(number)).chain(self.loose.keys().cloned());
        keys.filter(|key| synced.by_file(key).is_none())
    }

    /// Whether there is a file as a row says that it was.
    pub(crate) fn is_as(&self, row: &Row) -> bool {
        self.copy_of(&row.file).is_some_and(|file| file == LocalFile::at_rest(row))
    }

    pub(crate) fn shrink(&mut self) {
        self.loose.shrink_to(0);
        self.loose_new.shrink_to(0);
    }

    fn packed_in(&self, maildir: MaildirId) -> impl Iterator<Item = Number> {
        let packed = self.part.packed();
        let numbers = packed.numbers_in(maildir).filter(|number| self.part.live.get(*number));
        numbers.filter(move |number| packed.head(*number).is_some_and(|head| head.maildir == maildir))
    }

    /// Takes a packed file out and returns it, and whether it lies in `new`.
    fn unpack(&mut self, key: &FileKey) -> Option<(LocalFile, bool)> {
        let number = self.part.packed().find_file(key)?;
        if !self.part.live.clear(number) {
            return None;
        }
        let is_new = self.packed_new.clear(number);
        Some((self.part.packed().local_file(number)?, is_new))
    }
}
