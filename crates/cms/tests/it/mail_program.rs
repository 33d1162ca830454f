//! What people and their mail programs do to mail, here and in the cloud, in the words that tests use.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;

use simcloud::{MessageState, NewMessage};

use crate::world::{World, wait, wait_for};

/// Where Outlook puts what is deleted.
pub(crate) const TRASH: &str = "Deleted Items";

/// Two mailboxes, each with a Maildir of its own.
pub(crate) const INBOX_AND_LISTS: &str = r#"
inbox = MailDir("INBOX")
lists = MailDir("Lists")
Office365("inbox", account)
Office365("Inbox/Lists", account)
def direct(msg):
    return lists if msg.mailbox == "Inbox/Lists" else inbox
cfg.direct_message = direct
"#;

/// A small message that its subject tells from all others.
pub(crate) fn text(subject: &str) -> String {
    format!(
        "From: Ann <ann@domain.com>\nTo: user@domain.com\nSubject: {subject}\nMessage-ID: <{subject}@domain.com>\n\
         Date: Mon, 1 Jan 2024 12:00:00 +0000\n\nThis is {subject}.\n"
    )
}

impl World {
    /// A new message comes into a folder in the cloud. Returns its immutable id.
    pub(crate) fn receive(&self, folder: &str, subject: &str) -> String {
        self.cloud.add_message("", NewMessage::mime(folder, text(subject))).unwrap()
    }

    /// A message that was read already. Returns its immutable id.
    pub(crate) fn receive_read(&self, folder: &str, subject: &str) -> String {
        self.cloud.add_message("", NewMessage { is_read: true, ..NewMessage::mime(folder, text(subject)) }).unwrap()
    }

    /// What the cloud says of a message; nothing if it is no more.
    pub(crate) fn message(&self, id: &str) -> Option<MessageState> {
        self.cloud.message("", id).ok()
    }

    /// Whether a message is in that folder in the cloud.
    pub(crate) fn is_in(&self, id: &str, folder: &str) -> bool {
        self.message(id).is_some_and(|message| message.folder == folder)
    }

    /// The files of a Maildir with that subject.
    pub(crate) fn files_of(&self, maildir: &str, subject: &str) -> Vec<String> {
        let line = format!("Subject: {subject}\n");
        let has = |name: &String| {
            fs::read(self.path(maildir).join(name)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&line))
        };
        self.files(maildir).into_iter().filter(has).collect()
    }

    /// The only file of a Maildir with that subject, once there is exactly one.
    #[track_caller]
    pub(crate) fn file_of(&self, maildir: &str, subject: &str) -> String {
        // The next look may miss it, while it gets another name.
        let found = RefCell::new(Vec::new());
        let one = || {
            *found.borrow_mut() = self.files_of(maildir, subject);
            found.borrow().len() == 1
        };
        assert!(wait(&one), "`{maildir}` never has exactly one `{subject}`, but {found:?}");
        found.into_inner().remove(0)
    }

    /// A file's inode number.
    pub(crate) fn inode(&self, maildir: &str, name: &str) -> u64 {
        fs::metadata(self.path(maildir).join(name)).unwrap().ino()
    }

    /// Gives a file these letters, as mail programs do: a rename, into `cur`. Returns the new name.
    pub(crate) fn set_letters(&self, maildir: &str, name: &str, letters: &str) -> String {
        let new = format!("cur/{}:2,{letters}", base_name(name));
        self.rename(maildir, name, maildir, &new);
        new
    }

    /// Renames a file, if need be into another Maildir.
    pub(crate) fn rename(&self, from: &str, name: &str, to: &str, new: &str) {
        fs::rename(self.path(from).join(name), self.path(to).join(new)).unwrap();
    }

    /// Unlinks a file.
    pub(crate) fn unlink(&self, maildir: &str, name: &str) {
        fs::remove_file(self.path(maildir).join(name)).unwrap();
    }

    /// Puts a file into a Maildir by way of `tmp`, as mail programs do.
    pub(crate) fn put(&self, maildir: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let temporary = self.path(maildir).join("tmp").join(base_name(name));
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.path(maildir).join(name)).unwrap();
    }

    /// How often the cloud was asked for that, alone or in batches.
    pub(crate) fn asked(&self, kind: &str) -> u64 {
        let requests = self.cloud.counters().requests;
        let count = |kind: &str| requests.get(kind).copied().unwrap_or_default();
        count(kind) + count(&format!("batch-item:{kind}"))
    }

    /// Waits until the daemon has asked so often for what is new.
    #[track_caller]
    pub(crate) fn let_polls_pass(&self, polls: u64) {
        let before = self.asked("delta");
        wait_for("the daemon polls", || self.asked("delta") >= before + polls);
    }

    /// Waits until the daemon has made up its mind about every file that went until now: it has when it tells the
    /// cloud of one that went later. `subject` is of a message that is in the inbox and in `INBOX`, and is lost thereby.
    #[track_caller]
    pub(crate) fn let_deletions_settle(&self, subject: &str, id: &str) {
        let file = self.file_of("INBOX", subject);
        self.unlink("INBOX", &file);
        wait_for("the deletion of the last file is told", || !self.is_in(id, "Inbox"));
    }
}

/// A file name without place and letters.
pub(crate) fn base_name(name: &str) -> &str {
    let name = name.split_once('/').map_or(name, |(_, name)| name);
    name.split_once(':').map_or(name, |(base, _)| base)
}

/// The letters of a file name.
pub(crate) fn letters(name: &str) -> &str {
    name.split_once(":2,").map_or("", |(_, letters)| letters)
}
