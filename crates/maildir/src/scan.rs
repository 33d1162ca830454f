//! Listing a Maildir by names alone: they tell every arrival, removal and change of flags.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cms_disk::Deed;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, fstat, openat};

use crate::file_name::is_helper;
use crate::{FileName, Maildir, MaildirError, Place};

/// How often a directory that others are changing is listed before that is told instead.
const ATTEMPTS: u32 = 4;

/// The kernel's clock for files may stand still this long, so a change within it needn't show in a directory's time.
const CLOCK_STEP: Duration = Duration::from_millis(12);

/// What a Maildir holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// The messages, each base name once, in no order.
    pub entries: Vec<Entry>,
    /// Further files under a base name that is already among the entries. They are left alone.
    pub doubles: Vec<Entry>,
    /// Names that are no message's and no known helper's: not UTF-8, no base name, or no regular file. They are left alone.
    pub ignored: Vec<(Place, OsString)>,
    /// Whether nobody changed the directories meanwhile.
    ///
    /// A file renamed while a directory is read may show under both names or under none (readdir(3) leaves it open):
    /// when this is false, what the listing doesn't name may be there all the same.
    pub still: bool,
}

/// One message file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which directory it is in.
    pub place: Place,
    /// Its name.
    pub name: FileName,
    /// The inode number that the directory tells; [`Maildir::inspect`] may say otherwise on a layered file system.
    pub inode: u64,
}

impl Maildir {
    /// Lists all messages. Reads no file and asks about none: 100,000 messages cost some tens of milliseconds.
    ///
    /// `new` is read first, so that a file on its way to `cur` is seen; in both, it counts as in `cur`. If others change
    /// the directories meanwhile, the listing is made again a few times; see [`Scan::still`].
    pub fn scan(&self) -> Result<Scan, MaildirError> {
        let mut attempt = 1;
        loop {
            let scan = self.scan_once()?;
            if scan.still || attempt == ATTEMPTS {
                return Ok(scan);
            }
            attempt += 1;
            std::thread::sleep(CLOCK_STEP);
        }
    }

    fn scan_once(&self) -> Result<Scan, MaildirError> {
        let mut scan = Scan::default();
        let new_path = self.directory(Place::New);
        let listed = read_directory(&new_path, Place::New, &mut scan).and_then(|new| {
            let cur = read_directory(&self.directory(Place::Cur), Place::Cur, &mut scan)?;
            let new_after = rustix::fs::stat(&new_path).map_err(|error| MaildirError::io("read", &new_path, error))?;
            Ok(cur.was_still() && new.was_still() && new.before == changed(&new_after))
        });
        // A directory that is missing is told as such, whatever call noticed it.
        scan.still = listed.map_err(|error| self.must_be_there().err().unwrap_or(error))?;
        part_doubles(&mut scan);
        Ok(scan)
    }
}

/// Seconds and nanoseconds of a directory's last change.
type ChangeTime = (i64, i64);

/// When a directory was changed last, before and after it was read.
struct Change {
    before: ChangeTime,
    after: ChangeTime,
    /// Whether `before` lies so far back that a later change must differ from it.
    settled: bool,
}

impl Change {
    fn was_still(&self) -> bool {
        self.settled && self.before == self.after
    }
}

#[allow(clippy::useless_conversion, reason = "the width of these fields differs between architectures")]
fn changed(stat: &rustix::fs::Stat) -> ChangeTime {
    (stat.st_mtime.into(), i64::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

fn read_directory(path: &Path, place: Place, scan: &mut Scan) -> Result<Change, MaildirError> {
    let failed = |error: rustix::io::Errno| MaildirError::io("read", path, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = cms_disk::step(Deed::List(path), || Ok(openat(CWD, path, flags, Mode::empty())?));
    let directory = opened.map_err(|error| MaildirError::io("read", path, error))?;
    let before = changed(&fstat(&directory).map_err(failed)?);
    let now = cms_disk::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last_change =
        Duration::new(u64::try_from(before.0).unwrap_or_default(), u32::try_from(before.1).unwrap_or_default());
    let mut buffer = Vec::<u8>::with_capacity(128 * 1024);
    let mut names = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let is_file = matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown);
        match FileName::parse(name) {
            Some(name) if is_file => scan.entries.push(Entry { place, name, inode: entry.ino() }),
            _ if name.to_str().is_some_and(is_helper) => {}
            _ => scan.ignored.push((place, name.to_owned())),
        }
    }
    let after = changed(&fstat(&directory).map_err(failed)?);
    // A clock set back leaves times in the future; they tell as much as old ones.
    // Whole seconds are those of a file system that counts no smaller ones.
    let step = if before.1 == 0 { Duration::from_secs(2) } else { CLOCK_STEP };
    let settled = now.abs_diff(last_change) > step;
    Ok(Change { before, after, settled })
}

/// Leaves one entry per base name: of two, the one in `cur`, and there the first by name.
fn part_doubles(scan: &mut Scan) {
    let state = BuildHasherDefault::<DefaultHasher>::default();
    let mut hashes: Vec<(u64, usize)> =
        scan.entries.iter().enumerate().map(|(at, entry)| (state.hash_one(&entry.name.base_name), at)).collect();
    hashes.sort_unstable();
    if hashes.windows(2).all(|pair| pair[0].0 != pair[1].0) {
        return;
    }
    scan.entries.sort_unstable_by(|one, other| {
        let (left, right) = (&one.name, &other.name);
        (left.base_name.cmp(&right.base_name))
            .then(other.place.cmp(&one.place))
            .then_with(|| left.on_disk().cmp(&right.on_disk()))
    });
    let mut kept: Vec<Entry> = Vec::with_capacity(scan.entries.len());
    for entry in scan.entries.drain(..) {
        if kept.last().is_some_and(|last| last.name.base_name == entry.name.base_name) {
            scan.doubles.push(entry);
        } else {
            kept.push(entry);
        }
    }
    scan.entries = kept;
}
