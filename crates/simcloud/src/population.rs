//! The mail that a simulation begins with.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::{Source, Summary};
use crate::mailbox::{FlagStatus, ICON, Mailbox, Message, STATUS, VERB};
use crate::mime_generator::Generator;

/// When the first `.eml` file was received, unless a time is given: 2024-01-01.
const FIRST_RECEIVED: i64 = 1_704_067_200;

/// Message number `index` of the generator, in a folder.
pub(crate) fn generated(generator: &Generator, index: u32, folder: u32) -> Message {
    let meta = generator.meta(index);
    let mut properties = BTreeMap::new();
    if meta.answered && index.is_multiple_of(3) {
        // Answered with an IMAP client.
        properties.insert(STATUS.to_owned(), 0x200.to_string());
    } else if meta.answered {
        properties.insert(ICON.to_owned(), 0x105.to_string());
        properties.insert(VERB.to_owned(), if index.is_multiple_of(2) { "102" } else { "103" }.to_owned());
    }
    Message {
        key: 0,
        folder,
        generation: 0,
        source: Source::Generated(index),
        internet_id: meta.message_id.map(Into::into),
        received: meta.received,
        modified: meta.received,
        change: 0,
        is_read: meta.read,
        is_draft: false,
        flag: if meta.flagged { FlagStatus::Flagged } else { FlagStatus::NotFlagged },
        unconvertible: false,
        categories: Vec::new(),
        properties,
    }
}

/// The `.eml` files of a directory, by name.
fn eml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts a directory's `.eml` files into a folder.
pub(crate) fn add_files(
    mailbox: &mut Mailbox,
    generator: &Generator,
    folder: u32,
    directory: &Path,
    received: Option<i64>,
) -> io::Result<()> {
    for (number, path) in (0_i64..).zip(eml_files(directory)?) {
        let source = Source::File(Arc::from(path.as_path()));
        let message_id = Summary::read(&source.wire(generator)?).message_id;
        let received = received.unwrap_or(FIRST_RECEIVED + number * 60);
        let message = Message {
            key: 0,
            folder,
            generation: 0,
            source,
            internet_id: message_id.map(Into::into),
            received,
            modified: received,
            change: 0,
            is_read: false,
            is_draft: false,
            flag: FlagStatus::NotFlagged,
            unconvertible: false,
            categories: Vec::new(),
            properties: BTreeMap::new(),
        };
        mailbox.insert(message, true);
    }
    Ok(())
}
