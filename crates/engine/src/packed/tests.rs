//! Trees whose messages are packed, against plain maps to which the same is done.

use std::collections::BTreeMap;

use super::pack_anew;
use crate::{
    BaseName, CloudBytes, CloudMessage, CloudTree, ContentHash, FileKey, Flags, LocalFile, LocalTree, MailboxId,
    MaildirId, RemoteId, Row, RowId, Sides, UnixSeconds, forget_unpacked, pack,
};

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    /// A small number.
    fn small<T: TryFrom<u64>>(&mut self, limit: u64) -> T {
        T::try_from(self.below(limit)).unwrap_or_else(|_| unreachable!("the limits here are small"))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<RemoteId, CloudMessage>,
    files: BTreeMap<FileKey, (LocalFile, bool)>,
    rows: BTreeMap<RowId, Row>,
}

#[derive(Default)]
struct Trees {
    cloud: CloudTree,
    local: LocalTree,
    synced: crate::SyncedTree,
}

fn id(number: u64) -> RemoteId {
    RemoteId::new(if number.is_multiple_of(7) {
        format!("Anderswo-ä{number}")
    } else {
        format!("AAkALgAAé{number:08}")
    })
}

/// A row with some of everything that a row can say.
fn row(dice: &mut Dice, remote: u64, name: u64) -> Row {
    let remote = id(remote);
    let received =
        UnixSeconds(1_700_000_000 - i64::from(dice.below(3) == 0) * 1_800_000_000 + dice.below(50).cast_signed());
    let maildir = MaildirId(u32::from(!name.is_multiple_of(3)) + u32::from(name % 3 == 2));
    let base_name = match name % 4 {
        0 => BaseName::new(format!("written-by-somebody-{name}")),
        _ => BaseName::for_message(received, &id(name), if name.is_multiple_of(5) { "elsewhere" } else { "vm" }),
    };
    let some_flags = |dice: &mut Dice| Flags::from_bits(dice.small(64));
    Row {
        remote,
        mailbox: MailboxId(dice.small(300)),
        file: FileKey::new(maildir, base_name),
        flags: Sides { local: some_flags(dice), cloud: some_flags(dice) },
        hash: ContentHash::of(&dice.below(40).to_le_bytes()),
        cloud_bytes: match dice.below(4) {
            0 => CloudBytes::Other(ContentHash::of(b"other")),
            1 => CloudBytes::Unread,
            _ => CloudBytes::Same,
        },
        inode: if dice.below(3) == 0 { u64::MAX - dice.below(4) } else { dice.below(1 << 40) },
        received,
        revision: (dice.below(4) == 0).then(|| "revision-ß".into()),
    }
}

impl Model {
    fn put_row(&mut self, row_id: RowId, row: &Row) {
        self.rows.retain(|id, other| *id != row_id && other.remote != row.remote && other.file != row.file);
        self.rows.insert(row_id, row.clone());
    }

    fn some_row(&self, dice: &mut Dice) -> Option<(RowId, Row)> {
        let at = dice.small(self.rows.len().max(1) as u64);
        self.rows.iter().nth(at).map(|(id, row)| (*id, row.clone()))
    }
}

fn change(dice: &mut Dice, trees: &mut Trees, model: &mut Model) {
    let Trees { cloud, local, synced } = trees;
    let at_rest = model.some_row(dice).filter(|_| dice.below(3) > 0);
    let (remote, name) = (dice.below(60), dice.below(60));
    let any = row(dice, remote, name);
    let of = at_rest.as_ref().map_or(&any, |(_, row)| row);
    match dice.below(14) {
        0..=2 => {
            let row_id = RowId(1 + dice.below(80));
            synced.put(row_id, any.clone());
            model.put_row(row_id, &any);
        }
        3 => {
            if let Some((row_id, row)) = model.some_row(dice) {
                assert_eq!(synced.remove(row_id), Some(row));
                model.rows.remove(&row_id);
            }
        }
        4..=6 => {
            let mut message = CloudMessage::at_rest(of);
            message.blocked = dice.below(8) == 0;
            message.hash = message.hash.filter(|_| dice.below(8) > 0);
            cloud.messages.insert(of.remote.clone(), message.clone());
            model.messages.insert(of.remote.clone(), message);
        }
        7 => assert_eq!(cloud.messages.remove(&of.remote), model.messages.remove(&of.remote)),
        8 => {
            if let Some(message) = cloud.messages.get_mut(&of.remote) {
                message.flags = message.flags ^ Flags::SEEN;
            }
            if let Some(message) = model.messages.get_mut(&of.remote) {
                message.flags = message.flags ^ Flags::SEEN;
            }
        }
        9..=11 => {
            let mut file = LocalFile::at_rest(of);
            file.hash = (dice.below(8) == 0).then_some(of.hash);
            let is_new = dice.below(2) == 0;
            local.files.put(of.file.clone(), file.clone(), is_new);
            model.files.insert(of.file.clone(), (file, is_new));
        }
        12 => assert_eq!(local.files.remove(&of.file), model.files.remove(&of.file).map(|(file, _)| file)),
        _ if dice.below(10) == 0 => {
            let maildir = of.file.maildir;
            local.files.remove_all_in(maildir);
            model.files.retain(|key, _| key.maildir != maildir);
        }
        _ => {
            if let Some(file) = local.files.get_mut(&of.file) {
                file.inode = 5;
            }
            if let Some((file, _)) = model.files.get_mut(&of.file) {
                file.inode = 5;
            }
        }
    }
}

fn sorted<T: Ord>(things: impl Iterator<Item = T>) -> Vec<T> {
    let mut things: Vec<T> = things.collect();
    things.sort_unstable();
    things
}

fn compare(trees: &Trees, model: &Model) {
    let Trees { cloud, local, synced } = trees;
    assert_eq!(cloud.messages.iter().collect::<BTreeMap<_, _>>(), model.messages);
    assert_eq!(cloud.messages.len(), model.messages.len());
    assert_eq!(cloud.messages.values().count(), model.messages.len());
    let files: BTreeMap<FileKey, (LocalFile, bool)> = local
        .files
        .iter()
        .map(|(key, file)| {
            let is_new = local.files.is_new(&key);
            (key, (file, is_new))
        })
        .collect();
    assert_eq!(files, model.files);
    assert_eq!(local.files.len(), model.files.len());
    assert_eq!(synced.iter().collect::<BTreeMap<_, _>>(), model.rows);
    assert_eq!(synced.len(), model.rows.len());
    for number in 0..60 {
        let id = id(number);
        let linked = model.rows.iter().find(|(_, row)| row.remote == id).map(|(id, _)| *id);
        assert_eq!(synced.by_remote(&id), linked);
        assert_eq!(cloud.messages.get(&id), model.messages.get(&id));
        assert_eq!(cloud.messages.copy_of(&id).as_ref(), model.messages.get(&id));
        assert_eq!(cloud.messages.contains_key(&id), model.messages.contains_key(&id));
    }
    for number in 0..82 {
        assert_eq!(synced.get(RowId(number)), model.rows.get(&RowId(number)));
    }
    for key in model.files.keys().chain(model.rows.values().map(|row| &row.file)) {
        let linked = model.rows.iter().find(|(_, row)| row.file == *key);
        assert_eq!(synced.by_file(key), linked.map(|(id, _)| *id));
        let brief = synced.brief_by_file(key).map(|brief| (brief.flags, brief.inode));
        assert_eq!(brief, linked.map(|(_, row)| (row.flags, row.inode)));
        assert_eq!(local.files.get(key), model.files.get(key).map(|(file, _)| file));
        assert_eq!(local.files.copy_of(key).as_ref(), model.files.get(key).map(|(file, _)| file));
        assert_eq!(local.files.contains_key(key), model.files.contains_key(key));
    }
    for maildir in (0..4).map(MaildirId) {
        let keys = model.files.keys().filter(|key| key.maildir == maildir).cloned();
        assert_eq!(sorted(local.files.keys_in(maildir)), sorted(keys));
        assert_eq!(synced.has_files_in(maildir), model.rows.values().any(|row| row.file.maildir == maildir));
    }
    let counts = cloud.messages.counts();
    for mailbox in (0..300).map(MailboxId) {
        assert_eq!(synced.size_of(mailbox), model.rows.values().filter(|row| row.mailbox == mailbox).count());
        let messages = model.messages.values().filter(|message| message.mailbox == mailbox).count() as u64;
        assert_eq!(counts.get(&mailbox).copied().unwrap_or_default(), messages);
    }
    let without = |id: &&RemoteId| model.rows.values().all(|row| row.remote != **id);
    assert_eq!(sorted(cloud.messages.without_row(synced)), sorted(model.messages.keys().filter(without).cloned()));
    let without = |key: &&FileKey| model.rows.values().all(|row| row.file != **key);
    assert_eq!(sorted(local.files.without_row(synced)), sorted(model.files.keys().filter(without).cloned()));
    let unread = model.messages.iter().filter(|(_, message)| message.hash.is_none()).map(|(id, _)| id);
    assert_eq!(sorted(cloud.messages.unread().map(|(id, _)| id)), sorted(unread));
    let unlike = |row: &Row| model.messages.get(&row.remote).is_none_or(|message| !message.is_at_rest(row));
    let told: Vec<RowId> = sorted(synced.unlike_the_cloud(cloud).map(|(id, _)| id));
    assert!(model.rows.iter().filter(|(_, row)| unlike(row)).all(|(id, _)| told.contains(id)));
    for inode in model.files.values().map(|(file, _)| file.inode) {
        let keys = model.files.iter().filter(|(_, (file, _))| file.inode == inode).map(|(key, _)| key.clone());
        assert_eq!(sorted(local.files.with_inode(inode)), sorted(keys));
    }
    assert_eq!(sorted(synced.contents()), sorted(model.rows.values().map(|row| row.hash)));
}

#[test]
fn packed_trees_answer_like_plain_maps() {
    let mut most_packed = 0;
    for seed in 0..24 {
        let mut dice = Dice(seed);
        let (mut trees, mut model) = (Trees::default(), Model::default());
        if seed % 2 == 0 {
            for number in 0..dice.below(40) {
                let row = row(&mut dice, number, number);
                model.put_row(RowId(number + 1), &row);
            }
            let mut rows = model.rows.iter().map(|(id, row)| (*id, row.clone())).collect();
            trees.synced.reserve(model.rows.len());
            trees.synced.load(&mut rows);
            trees.synced.share(&mut trees.cloud, &mut trees.local);
        }
        for _ in 0..100 {
            for _ in 0..=dice.below(12) {
                change(&mut dice, &mut trees, &mut model);
            }
            let Trees { cloud, local, synced } = &mut trees;
            match dice.below(6) {
                0..=2 => pack(cloud, local, synced),
                3 => pack_anew(cloud, local, synced),
                4 => forget_unpacked(cloud, local, synced),
                _ => {}
            }
            most_packed = most_packed.max(synced.len() - synced.unpacked());
            compare(&trees, &model);
        }
    }
    assert!(most_packed > 20, "hardly anything was ever packed: {most_packed}");
}

#[test]
fn a_message_at_rest_takes_a_hundred_bytes() {
    let mut dice = Dice(1);
    let mut rows: Vec<(RowId, Row)> = (0..20_000)
        .map(|number| {
            // As the service names messages: an id of 68 characters, of which the last dozen differ.
            let remote =
                RemoteId::new(format!("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0AMI0QpWJnq0ilnhZcTFNJbA{number:012x}"));
            let received = UnixSeconds(1_600_000_000 + dice.below(100_000_000).cast_signed());
            let file = FileKey::new(MaildirId(3), BaseName::for_message(received, &remote, "host.example"));
            let flags = Sides { local: Flags::SEEN, cloud: Flags::SEEN };
            let row = Row {
                remote,
                mailbox: MailboxId(200),
                file,
                flags,
                hash: ContentHash::of(&[]),
                cloud_bytes: CloudBytes::Same,
                inode: 4_000_000 + number,
                received,
                revision: None,
            };
            (RowId(number + 1), row)
        })
        .collect();
    let count = rows.len();
    let mut synced = crate::SyncedTree::default();
    synced.reserve(count);
    synced.load(&mut rows);
    let bytes = synced.part.packed().bytes() / count;
    assert!(bytes <= 100, "{bytes} bytes");
}
