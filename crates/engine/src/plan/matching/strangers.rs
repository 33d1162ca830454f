//! Files that no row has, to be given to the rows and messages that they belong to.

use crate::plan::Policy;
use crate::{ContentHash, FileKey, Flags, HashMap, HashSet, LocalTree, MaildirId, MessageId, Row};

/// Files without a row, found by content. Each is given away once.
pub(super) struct Strangers<'a> {
    pub(super) local: &'a LocalTree,
    pub(super) order: Vec<FileKey>,
    pub(super) free: HashSet<FileKey>,
    pub(super) by_hash: HashMap<ContentHash, Vec<FileKey>>,
    /// By what their messages are known by in the cloud once they are uploaded. Made when it is first asked for: it takes a
    /// look at each header.
    by_message_id: Option<HashMap<MessageId, Vec<FileKey>>>,
}

impl<'a> Strangers<'a> {
    pub(super) fn new(files: Vec<FileKey>, local: &'a LocalTree) -> Self {
        let mut by_hash: HashMap<ContentHash, Vec<FileKey>> = HashMap::default();
        for file in &files {
            if let Some(hash) = local.files.get(file).and_then(|found| found.hash) {
                by_hash.entry(hash).or_default().push(file.clone());
            }
        }
        Self { local, free: files.iter().cloned().collect(), order: files, by_hash, by_message_id: None }
    }

    /// Gives away the free file with that content for which `rank` is lowest; `rank` may refuse a file.
    pub(super) fn take(
        &mut self,
        hash: &ContentHash,
        rank: impl Fn(&FileKey, Flags, u64) -> Option<u8>,
    ) -> Option<FileKey> {
        self.find(hash, rank).map(|best| self.give_away(best))
    }

    /// Gives away a free file.
    pub(super) fn give_away(&mut self, file: FileKey) -> FileKey {
        self.free.remove(&file);
        file
    }

    /// The file that [`Self::take`] would give away.
    pub(super) fn find(
        &self,
        hash: &ContentHash,
        rank: impl Fn(&FileKey, Flags, u64) -> Option<u8>,
    ) -> Option<FileKey> {
        let free = self.by_hash.get(hash)?.iter().filter(|file| self.free.contains(*file));
        let ranked = free.filter_map(|file| {
            let found = self.local.files.get(file)?;
            Some((rank(file, found.flags, found.inode)?, file))
        });
        ranked.min().map(|(_, file)| file.clone())
    }

    /// Gives away the first free file in that Maildir with that Message-ID that isn't trashed and whose content fits.
    pub(super) fn take_by_message_id(
        &mut self,
        id: &MessageId,
        maildir: MaildirId,
        policy: &Policy<'_>,
        content_fits: impl Fn(&ContentHash) -> bool,
    ) -> Option<FileKey> {
        let local = self.local;
        let fits = |file: &FileKey| {
            let seen = local.files.get(file);
            let seen = seen.filter(|seen| file.maildir == maildir && !seen.flags.contains(Flags::TRASHED));
            seen.and_then(|seen| seen.hash).is_some_and(|hash| content_fits(&hash))
        };
        let found = self.with_message_id(id, policy).into_iter().find(fits)?;
        self.free.remove(&found);
        Some(found)
    }

    /// Whether there is a free file that may be the next version of a row's draft.
    pub(super) fn has_draft_like(&mut self, row: &Row, known_as: &MessageId, policy: &Policy<'_>) -> bool {
        self.with_message_id(known_as, policy).iter().any(|file| file.maildir == row.file.maildir)
    }

    /// The free files with that Message-ID.
    pub(super) fn with_message_id(&mut self, id: &MessageId, policy: &Policy<'_>) -> Vec<FileKey> {
        let Self { local, order, free, by_message_id, .. } = self;
        let files = by_message_id.get_or_insert_with(|| {
            let mut files: HashMap<MessageId, Vec<FileKey>> = HashMap::default();
            for file in order.iter() {
                let Some(known_as) = known_in_the_cloud_as(file, local, policy) else { continue };
                files.entry(known_as).or_default().push(file.clone());
            }
            files
        });
        let found = files.get(id).map(Vec::as_slice).unwrap_or_default();
        found.iter().filter(|file| free.contains(*file)).cloned().collect()
    }

    pub(super) fn left(self) -> Vec<FileKey> {
        self.order.into_iter().filter(|file| self.free.contains(file)).collect()
    }
}

/// The Message-ID by which a file is known once it is uploaded.
pub(super) fn known_in_the_cloud_as(file: &FileKey, local: &LocalTree, policy: &Policy<'_>) -> Option<MessageId> {
    let content = local.files.get(file)?.hash?;
    let own = policy.uploads.message_id(&content);
    Some(own.unwrap_or_else(|| MessageId::for_upload(&content)))
}
