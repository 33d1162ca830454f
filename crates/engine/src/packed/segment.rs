//! Some rows of one Maildir, packed into bytes.

use crate::{
    BaseName, CloudBytes, CloudMessage, ContentHash, FileKey, Flags, LocalFile, MailboxId, MaildirId, RemoteId, Row,
    RowId, Sides, UnixSeconds,
};

/// What a record says but for its texts.
pub(crate) struct Head {
    pub(crate) row: RowId,
    pub(crate) mailbox: MailboxId,
    pub(crate) maildir: MaildirId,
    pub(crate) flags: Sides<Flags>,
    pub(crate) hash: ContentHash,
    pub(crate) cloud_bytes: CloudBytes,
    pub(crate) inode: u64,
    pub(crate) received: UnixSeconds,
}

impl Head {
    /// What the Cloud tree holds of the message if it is at rest; it is the same as [`CloudMessage::at_rest`].
    pub(super) fn message(&self, revision: Option<&str>) -> CloudMessage {
        let hash = match self.cloud_bytes {
            CloudBytes::Other(known) => known,
            CloudBytes::Same | CloudBytes::Unread => self.hash,
        };
        CloudMessage {
            mailbox: self.mailbox,
            flags: self.flags.cloud,
            received: self.received,
            hash: Some(hash),
            revision: revision.map(Into::into),
            blocked: false,
        }
    }

    /// What the Local tree holds of it then; it is the same as [`LocalFile::at_rest`].
    pub(crate) fn local_file(&self) -> LocalFile {
        LocalFile { flags: self.flags.local, hash: None, inode: self.inode }
    }
}

impl CloudMessage {
    /// What the Cloud tree holds of a message that is as its row says.
    pub(super) fn at_rest(row: &Row) -> Self {
        Self {
            mailbox: row.mailbox,
            flags: row.flags.cloud,
            received: row.received,
            hash: Some(row.hash_in_the_cloud()),
            revision: row.revision.clone(),
            blocked: false,
        }
    }

    /// Whether this is that.
    pub(crate) fn is_at_rest(&self, row: &Row) -> bool {
        let Self { mailbox, flags, received, hash, revision, blocked } = self;
        *mailbox == row.mailbox
            && *flags == row.flags.cloud
            && *received == row.received
            && *hash == Some(row.hash_in_the_cloud())
            && *revision == row.revision
            && !blocked
    }
}

impl LocalFile {
    /// What the Local tree holds of a message that is as its row says.
    pub(crate) fn at_rest(row: &Row) -> Self {
        Self { flags: row.flags.local, hash: None, inode: row.inode }
    }
}

/// Rows as bytes, one after the other.
///
/// The remote ids of an account begin alike, and the names of deliveries follow from ids and times but for the host.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    first_row: u64,
    received: i64,
    /// The first and the last Maildir.
    maildirs: (MaildirId, MaildirId),
    /// What all remote ids begin with.
    prefix: Box<str>,
    /// The host in names of deliveries.
    host: Box<str>,
    /// Where each record begins.
    begins: Box<[u32]>,
    bytes: Box<[u8]>,
    /// All texts, one after the other.
    texts: Box<str>,
}

const CLOUD_BYTES_OTHER: u8 = 1;
const CLOUD_BYTES_UNREAD: u8 = 1 << 1;
/// The name isn't that of a delivery.
const OTHER_NAME: u8 = 1 << 2;
const HAS_REVISION: u8 = 1 << 3;

impl Segment {
    pub(super) fn new(rows: &[(RowId, &Row)]) -> Self {
        let prefix = common_prefix(rows.iter().map(|(_, row)| row.remote.as_str()));
        let host = rows.iter().find_map(|(_, row)| host_of(row)).unwrap_or_default();
        let maildirs = rows.iter().map(|(_, row)| row.file.maildir);
        let maildirs = (maildirs.clone().min(), maildirs.max());
        let none = MaildirId(u32::MAX);
        let mut segment = Self {
            first_row: rows.iter().map(|(id, _)| id.0).min().unwrap_or_default(),
            received: rows.iter().map(|(_, row)| row.received.0).min().unwrap_or_default(),
            maildirs: (maildirs.0.unwrap_or(none), maildirs.1.unwrap_or(none)),
            prefix: prefix.into(),
            host: host.into(),
            begins: Box::default(),
            bytes: Box::default(),
            texts: Box::default(),
        };
        let mut writer = Writer::default();
        let mut begins = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            // Two megabytes for each record would be needed to come near the limit.
            begins.push(u32::try_from(writer.bytes.len()).unwrap_or(u32::MAX));
            segment.write(&mut writer, *id, row);
        }
        segment.begins = begins.into();
        segment.bytes = writer.bytes.into();
        segment.texts = writer.texts.into();
        segment
    }

    fn write(&self, writer: &mut Writer, id: RowId, row: &Row) {
        let is_delivery = *row.file.base_name.as_str() == *self.delivery(row.received, &row.remote).as_str();
        let mut kind = match row.cloud_bytes {
            CloudBytes::Same => 0,
            CloudBytes::Other(_) => CLOUD_BYTES_OTHER,
            CloudBytes::Unread => CLOUD_BYTES_UNREAD,
        };
        kind |= if is_delivery { 0 } else { OTHER_NAME };
        kind |= if row.revision.is_some() { HAS_REVISION } else { 0 };
        writer.bytes.push(kind);
        writer.number(id.0 - self.first_row);
        writer.number(u64::from(row.mailbox.0));
        writer.number(u64::from(row.file.maildir.0));
        writer.bytes.push(row.flags.local.bits());
        writer.bytes.push(row.flags.cloud.bits());
        // Never negative, for the segment's time is the lowest.
        writer.number(row.received.0.wrapping_sub(self.received).cast_unsigned());
        writer.number(row.inode);
        writer.bytes.extend_from_slice(row.hash.as_bytes());
        if let CloudBytes::Other(hash) = &row.cloud_bytes {
            writer.bytes.extend_from_slice(hash.as_bytes());
        }
        writer.number(writer.texts.len() as u64);
        writer.text(&row.remote.as_str()[self.prefix.len()..]);
        if !is_delivery {
            writer.text(row.file.base_name.as_str());
        }
        if let Some(revision) = &row.revision {
            writer.text(revision);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let texts = self.prefix.len() + self.host.len() + self.texts.len();
        size_of::<Self>() + texts + self.bytes.len() + self.begins.len() * size_of::<u32>()
    }

    pub(super) fn may_hold(&self, maildir: MaildirId) -> bool {
        self.maildirs.0 <= maildir && maildir <= self.maildirs.1
    }

    pub(super) fn head(&self, at: usize) -> Head {
        self.read(at).0
    }

    pub(super) fn row(&self, at: usize) -> (RowId, Row) {
        let (head, texts) = self.read(at);
        let remote = self.remote_of(&texts);
        let base_name = match texts.name {
            Some(name) => BaseName::new(name),
            None => self.delivery(head.received, &remote),
        };
        let Head { row, mailbox, maildir, flags, hash, cloud_bytes, inode, received } = head;
        let file = FileKey::new(maildir, base_name);
        let revision = texts.revision.map(Into::into);
        (row, Row { remote, mailbox, file, flags, hash, cloud_bytes, inode, received, revision })
    }

    pub(super) fn remote(&self, at: usize) -> RemoteId {
        self.remote_of(&self.read(at).1)
    }

    pub(super) fn has_remote(&self, at: usize, id: &RemoteId) -> bool {
        id.as_str().strip_prefix(&*self.prefix) == Some(self.read(at).1.remote)
    }

    pub(super) fn file(&self, at: usize) -> FileKey {
        self.row(at).1.file
    }

    pub(super) fn has_file(&self, at: usize, file: &FileKey) -> bool {
        let (head, texts) = self.read(at);
        head.maildir == file.maildir
            && match texts.name {
                Some(name) => name == file.base_name.as_str(),
                None => self.delivery(head.received, &self.remote_of(&texts)) == file.base_name,
            }
    }

    pub(super) fn revision(&self, at: usize) -> Option<&str> {
        self.read(at).1.revision
    }

    fn remote_of(&self, texts: &Texts<'_>) -> RemoteId {
        RemoteId::new([&*self.prefix, texts.remote].concat())
    }

    fn delivery(&self, received: UnixSeconds, remote: &RemoteId) -> BaseName {
        BaseName::for_message(received, remote, &self.host)
    }

    fn read(&self, at: usize) -> (Head, Texts<'_>) {
        let mut reader = Reader { bytes: &self.bytes[self.begins[at] as usize..], texts: &self.texts };
        let kind = reader.byte();
        let row = RowId(self.first_row + reader.number());
        let mailbox = MailboxId(reader.small_number());
        let maildir = MaildirId(reader.small_number());
        let flags = Sides { local: Flags::from_bits(reader.byte()), cloud: Flags::from_bits(reader.byte()) };
        let received = UnixSeconds(self.received.wrapping_add(reader.number().cast_signed()));
        let inode = reader.number();
        let hash = reader.hash();
        let cloud_bytes = match kind & (CLOUD_BYTES_OTHER | CLOUD_BYTES_UNREAD) {
            0 => CloudBytes::Same,
            CLOUD_BYTES_OTHER => CloudBytes::Other(reader.hash()),
            _ => CloudBytes::Unread,
        };
        reader.go_to_text();
        let remote = reader.text();
        let name = (kind & OTHER_NAME != 0).then(|| reader.text());
        let revision = (kind & HAS_REVISION != 0).then(|| reader.text());
        (Head { row, mailbox, maildir, flags, hash, cloud_bytes, inode, received }, Texts { remote, name, revision })
    }
}

/// The texts of a record.
struct Texts<'a> {
    /// What follows the segment's prefix.
    remote: &'a str,
    name: Option<&'a str>,
    revision: Option<&'a str>,
}

fn common_prefix<'a>(mut texts: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(first) = texts.next() else { return "" };
    let shared = texts.fold(first.len(), |shared, text| {
        first.bytes().zip(text.bytes()).take(shared).take_while(|(one, other)| one == other).count()
    });
    let shared = (0..=shared).rev().find(|length| first.is_char_boundary(*length)).unwrap_or_default();
    &first[..shared]
}

/// The host in a delivery's name.
fn host_of(row: &Row) -> Option<&str> {
    let without = BaseName::for_message(row.received, &row.remote, "");
    row.file.base_name.as_str().strip_prefix(without.as_str())
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    texts: String,
}

impl Writer {
    /// Seven bits in each byte, the lowest first; the eighth says whether more follow.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.texts.push_str(text);
    }
}

/// Reads what [`Writer`] wrote, in the same order, so that there is always enough to be read.
struct Reader<'a> {
    bytes: &'a [u8],
    texts: &'a str,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        let byte = self.bytes[0];
        self.bytes = &self.bytes[1..];
        byte
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    /// A number that was a `u32`.
    fn small_number(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    fn hash(&mut self) -> ContentHash {
        let mut digest = [0; 32];
        let (hash, rest) = self.bytes.split_at(digest.len());
        digest.copy_from_slice(hash);
        self.bytes = rest;
        ContentHash::new(digest)
    }

    fn go_to_text(&mut self) {
        let at = self.number();
        self.texts = &self.texts[usize::try_from(at).unwrap_or(usize::MAX)..];
    }

    fn text(&mut self) -> &'a str {
        let length = self.number();
        let (text, rest) = self.texts.split_at(usize::try_from(length).unwrap_or(usize::MAX));
        self.texts = rest;
        text
    }
}
