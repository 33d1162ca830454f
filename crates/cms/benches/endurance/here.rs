//! What the Maildirs hold.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::mail::{MAILBOXES, Wanted, number};

/// A message's file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) mailbox: usize,
    pub(crate) is_new: bool,
    pub(crate) base: String,
    pub(crate) letters: String,
}

impl Found {
    pub(crate) fn path(&self, root: &Path) -> PathBuf {
        let maildir = root.join(MAILBOXES[self.mailbox].0);
        if self.is_new {
            maildir.join("new").join(&self.base)
        } else {
            maildir.join("cur").join(format!("{}:2,{}", self.base, self.letters))
        }
    }

    /// What it looks like; nothing if it is marked as trash.
    pub(crate) fn seen(&self) -> Option<Wanted> {
        let has = |letter| self.letters.contains(letter);
        (!has('T')).then(|| Wanted { mailbox: Some(self.mailbox), read: has('S'), flagged: has('F') })
    }
}

/// All files by the number of their message.
pub(crate) struct Here {
    root: PathBuf,
    /// A base name stays what it is for life, so that each file is opened once.
    numbers: HashMap<String, Option<usize>>,
    pub(crate) files: HashMap<usize, Vec<Found>>,
    /// Files that aren't any message of ours.
    pub(crate) strangers: Vec<PathBuf>,
}

impl Here {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), numbers: HashMap::new(), files: HashMap::new(), strangers: Vec::new() }
    }

    /// Looks at all Maildirs.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.files.clear();
        self.strangers.clear();
        for (mailbox, (maildir, _)) in MAILBOXES.iter().enumerate() {
            // What is moved by a rename from `new` to `cur` meanwhile isn't missed in this order.
            for place in ["new", "cur"] {
                for entry in fs::read_dir(self.root.join(maildir).join(place))? {
                    let Ok(name) = entry?.file_name().into_string() else { continue };
                    let (base, letters) = name.split_once(":2,").unwrap_or((&name, ""));
                    let found =
                        Found { mailbox, is_new: place == "new", base: base.to_owned(), letters: letters.to_owned() };
                    self.take(found);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, found: Found) {
        let path = found.path(&self.root);
        let number = if let Some(number) = self.numbers.get(&found.base) {
            *number
        } else {
            // It may have been renamed since; then it is found the next time.
            let Ok(number) = number_of(&path) else { return };
            self.numbers.insert(found.base.clone(), number);
            number
        };
        match number {
            Some(number) => self.files.entry(number).or_default().push(found),
            None => self.strangers.push(path),
        }
    }

    /// The file of a message, if there is exactly one.
    pub(crate) fn file(&self, number: usize) -> Option<&Found> {
        match self.files.get(&number)?.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

fn number_of(path: &Path) -> io::Result<Option<usize>> {
    let mut head = Vec::new();
    File::open(path)?.take(1000).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.lines().find_map(|line| line.strip_prefix("Message-ID:")).and_then(number))
}
