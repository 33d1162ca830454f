//! The steps of a plan, and how a confirmed one moves the base.

use std::fmt;

use crate::{
    BaseName, CloudBytes, ContentHash, FileKey, Flags, MailboxId, MaildirId, RemoteId, Row, RowId, Side, Sides,
    SyncedTree, UnixSeconds,
};

/// One step. It carries the row as it will be once the step is confirmed, so that the base moves in one place only:
/// [`SyncedTree::confirm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Download a message's bytes.
    Fetch {
        /// Which message.
        id: RemoteId,
    },
    /// Put a file for a message into a Maildir: a new message, or one whose file went for no known reason.
    Deliver {
        /// The row to write, or nothing for a new one.
        row: Option<RowId>,
        /// The row afterwards: the place, the flags, the content.
        base: Row,
    },
    /// Put a draft's new version into the Maildir, then take the old file out.
    Replace {
        /// The row.
        row: RowId,
        /// The file of the old version.
        old: FileKey,
        /// The row afterwards.
        base: Row,
    },
    /// Rename a file, within its Maildir or into another one.
    Rename {
        /// The row.
        row: RowId,
        /// Where the file is now.
        from: FileKey,
        /// The row afterwards: the place and the flags, all of them.
        base: Row,
    },
    /// Take a file out of its Maildir. The store keeps the content.
    Remove {
        /// The row that ends with it; nothing for a leftover whose message lives on under another name.
        row: Option<RowId>,
        /// The file.
        file: FileKey,
        /// Whether the user asked for it by the Trash flag.
        trashed: bool,
    },
    /// Change a message's flags in the cloud.
    SetCloudFlags {
        /// The row.
        row: RowId,
        /// The flags to set.
        add: Flags,
        /// The flags to clear.
        remove: Flags,
        /// The row afterwards.
        base: Row,
    },
    /// Move a message to another mailbox in the cloud.
    MoveInCloud {
        /// The row.
        row: RowId,
        /// The target.
        to: MailboxId,
        /// The row afterwards.
        base: Row,
        /// Whether this is how the user's deletion is carried out.
        deletes: bool,
    },
    /// Delete a message in the cloud in the way that the mailbox is configured for.
    DeleteInCloud {
        /// The row.
        row: RowId,
        /// The message.
        id: RemoteId,
        /// The mailbox that it is in.
        mailbox: MailboxId,
    },
    /// Make a message in the cloud of a file that only a Maildir has.
    Upload {
        /// The file.
        file: FileKey,
        /// Its content.
        hash: ContentHash,
        /// Its flags.
        flags: Flags,
        /// Its inode number, or 0 where it isn't known.
        inode: u64,
        /// The mailbox that the message is to be in.
        mailbox: MailboxId,
        /// Whether it is to be a draft.
        draft: bool,
    },
    /// Give a draft in the cloud the content that its file has here.
    UpdateDraft {
        /// The row.
        row: RowId,
        /// The row afterwards: the content.
        base: Row,
        /// The revision in the cloud that it is made of.
        revision: Option<Box<str>>,
    },
    /// Write a row without touching either side: they are the same already.
    Record {
        /// The row to write, or nothing for a new one.
        row: Option<RowId>,
        /// The row afterwards.
        base: Row,
    },
    /// Take out a row of a message that neither side has, or that only one has and shall keep.
    Forget {
        /// The row.
        row: RowId,
    },
}

impl Op {
    /// The remote id that the step concerns, where one does.
    pub fn id<'a>(&'a self, synced: &'a SyncedTree) -> Option<&'a RemoteId> {
        match self {
            Self::Fetch { id } | Self::DeleteInCloud { id, .. } => Some(id),
            Self::Deliver { base, .. }
            | Self::Replace { base, .. }
            | Self::Rename { base, .. }
            | Self::SetCloudFlags { base, .. }
            | Self::MoveInCloud { base, .. }
            | Self::UpdateDraft { base, .. }
            | Self::Record { base, .. } => Some(&base.remote),
            Self::Remove { row: Some(row), .. } | Self::Forget { row } => synced.get(*row).map(|row| &row.remote),
            Self::Remove { row: None, .. } | Self::Upload { .. } => None,
        }
    }

    /// The row that the step concerns, where there is one already.
    pub fn row(&self) -> Option<RowId> {
        match self {
            Self::Fetch { .. } | Self::Upload { .. } => None,
            Self::Deliver { row, .. } | Self::Record { row, .. } | Self::Remove { row, .. } => *row,
            Self::Replace { row, .. }
            | Self::UpdateDraft { row, .. }
            | Self::Rename { row, .. }
            | Self::SetCloudFlags { row, .. }
            | Self::MoveInCloud { row, .. }
            | Self::DeleteInCloud { row, .. }
            | Self::Forget { row } => Some(*row),
        }
    }

    /// Whether one side loses a message by this step without having asked for it, and in which mailbox.
    pub fn deletes_from(&self, synced: &SyncedTree) -> Option<(Side, MailboxId)> {
        match self {
            Self::Remove { row: Some(row), trashed: false, .. } => {
                synced.get(*row).map(|row| (Side::Local, row.mailbox))
            }
            Self::DeleteInCloud { mailbox, .. } => Some((Side::Cloud, *mailbox)),
            Self::MoveInCloud { row, deletes: true, .. } => synced.get(*row).map(|row| (Side::Cloud, row.mailbox)),
            _ => None,
        }
    }
}

/// What the cloud said of a message in its answer to a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The message's id from now on, if it is another one.
    pub id: Option<RemoteId>,
    /// All its flags, if told.
    pub flags: Option<Flags>,
    /// When it was received, if told. The row of an upload needs to know it.
    pub received: Option<UnixSeconds>,
    /// A draft's revision, if told. By it an upload is known again when it is read back.
    pub revision: Option<Box<str>>,
}

impl SyncedTree {
    /// Moves the base for a step that the side it changed has confirmed. Returns the row that was written, if one was.
    ///
    /// The cloud's own answer holds, not what was asked for: a flag that it didn't take stays as it is here and is not
    /// asked for again.
    pub fn confirm(&mut self, op: &Op, answer: &Answer) -> Option<RowId> {
        match op {
            // The row of a message deleted in the cloud ends when the cloud is seen not to have it any more.
            Op::Fetch { .. } | Op::Remove { row: None, .. } | Op::DeleteInCloud { .. } => None,
            Op::Remove { row: Some(row), .. } | Op::Forget { row } => {
                self.remove(*row);
                None
            }
            Op::Upload { file, hash, flags, inode, mailbox, draft } => {
                let remote = answer.id.clone()?;
                let received = answer.received.unwrap_or_default();
                let mut base = base(remote, *mailbox, file.maildir, file.base_name.clone(), *hash, received);
                base.inode = *inode;
                base.cloud_bytes = CloudBytes::Unread;
                base.revision.clone_from(&answer.revision);
                let there = answer.flags.unwrap_or(if *draft { Flags::DRAFT } else { *flags });
                base.flags = first_flags(*flags, there);
                Some(self.insert(base))
            }
            Op::Deliver { row, base } | Op::Record { row, base } => Some(match row {
                Some(row) => {
                    self.put(*row, base.clone());
                    *row
                }
                None => self.insert(base.clone()),
            }),
            Op::UpdateDraft { row, base, .. } => {
                let mut base = base.clone();
                base.revision.clone_from(&answer.revision);
                if let Some(id) = &answer.id {
                    base.remote = id.clone();
                    base.received = answer.received.unwrap_or(base.received);
                }
                self.put(*row, base);
                Some(*row)
            }
            Op::Replace { row, base, .. } | Op::Rename { row, base, .. } => {
                self.put(*row, base.clone());
                Some(*row)
            }
            Op::SetCloudFlags { row, base, .. } | Op::MoveInCloud { row, base, .. } => {
                let mut base = base.clone();
                if let (Op::SetCloudFlags { add, remove, .. }, Some(now)) = (op, answer.flags) {
                    base.flags.cloud = base.flags.cloud.with(*add | *remove, now);
                }
                if let Some(id) = &answer.id {
                    base.remote = id.clone();
                }
                self.put(*row, base);
                Some(*row)
            }
        }
    }
}

impl SyncedTree {
    /// Moves the base for a step that the cloud refuses for good: in what was refused, the sides keep what they have now
    /// (`local`, `cloud`: the flags of the file and of the message), and nobody is asked again.
    ///
    /// A file whose deletion was refused comes back, once the caller has taken it out of [`crate::LocalTree::vanished`].
    pub fn refuse(&mut self, op: &Op, local: Option<Flags>, cloud: Option<Flags>) -> Option<RowId> {
        let (row, flags) = match op {
            Op::SetCloudFlags { row, add, remove, .. } => (*row, *add | *remove),
            Op::MoveInCloud { row, .. } | Op::DeleteInCloud { row, .. } => (*row, Flags::NONE),
            _ => return None,
        };
        let mut base = self.get(row)?.clone();
        base.flags.local = base.flags.local.with(flags, local.unwrap_or(base.flags.local));
        base.flags.cloud = base.flags.cloud.with(flags, cloud.unwrap_or(base.flags.cloud));
        if let Op::MoveInCloud { deletes: true, .. } | Op::DeleteInCloud { .. } = op {
            // Known from now on, so that it isn't asked for again.
            base.flags.local |= Flags::TRASHED;
        }
        if let Op::MoveInCloud { base: asked, deletes: false, .. } = op {
            base.file = asked.file.clone();
        }
        self.put(row, base);
        Some(row)
    }
}

/// The wording of `cms plan`, of the log and of the summary.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch { id } => write!(f, "download {}", short(id)),
            Self::Deliver { base, .. } => {
                write!(f, "deliver {}{}", base.file.base_name, Suffix(base.flags.local))
            }
            Self::Replace { old, base, .. } => write!(f, "replace draft {} by {}", old.base_name, base.file.base_name),
            Self::Rename { from, base, .. } if from.maildir != base.file.maildir => {
                write!(f, "move file {} to its other Maildir{}", from.base_name, Suffix(base.flags.local))
            }
            Self::Rename { base, .. } => {
                write!(f, "set flags of {} to{}", base.file.base_name, Suffix(base.flags.local))
            }
            Self::Remove { file, .. } => write!(f, "remove file {}", file.base_name),
            Self::SetCloudFlags { add, remove, base, .. } => {
                write!(f, "tell the cloud: {}", base.file.base_name)?;
                if !add.is_empty() {
                    write!(f, " +{add}")?;
                }
                if !remove.is_empty() {
                    write!(f, " -{remove}")?;
                }
                Ok(())
            }
            Self::MoveInCloud { base, deletes: true, .. } => write!(f, "delete {} in the cloud", base.file.base_name),
            Self::MoveInCloud { base, .. } => write!(f, "move {} to another folder in the cloud", base.file.base_name),
            Self::DeleteInCloud { id, .. } => write!(f, "delete {} in the cloud", short(id)),
            Self::Upload { file, draft: true, .. } => write!(f, "upload {} as a draft", file.base_name),
            Self::Upload { file, .. } => write!(f, "upload {}", file.base_name),
            Self::UpdateDraft { base, .. } => write!(f, "update draft {} in the cloud", base.file.base_name),
            Self::Record { base, .. } => write!(f, "note that {} is the same on both sides", base.file.base_name),
            Self::Forget { row } => write!(f, "forget row {}, which neither side has", row.0),
        }
    }
}

/// The end of a remote id, which is the part in which ids differ.
fn short(id: &RemoteId) -> &str {
    let text = id.as_str();
    let from = text.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
    &text[from..]
}

struct Suffix(Flags);

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(" (no flags)") } else { write!(f, " ({})", self.0) }
    }
}

/// A base for a message of which only the content is certain.
pub(crate) fn base(
    remote: RemoteId,
    mailbox: MailboxId,
    maildir: MaildirId,
    name: BaseName,
    hash: ContentHash,
    received: UnixSeconds,
) -> Row {
    Row {
        remote,
        mailbox,
        file: FileKey::new(maildir, name),
        flags: Sides::default(),
        hash,
        cloud_bytes: CloudBytes::Same,
        inode: 0,
        received,
        revision: None,
    }
}

/// The base's flags for a file of the user's own and the message that was made of it. The file's flags hold; what the
/// cloud alone gives a draft (the mark that it is one, and that it was read) comes over.
pub(crate) fn first_flags(here: Flags, there: Flags) -> Sides<Flags> {
    let base = if there.contains(Flags::DRAFT) { here & there } else { there };
    Sides { local: base, cloud: base }
}
