//! How much of what happens in a Maildir the kernel tells.

use std::io;
use std::path::Path;

use crate::{Maildir, MaildirError};

/// How much of what happens in a Maildir a watcher hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hearing {
    /// Everything.
    Everything,
    /// What this machine does. The file system, of which this is the name, may be changed by other machines as well.
    ThisMachine(&'static str),
    /// Nothing at all.
    Nothing,
}

impl Hearing {
    /// What can be heard in a directory of which the kernel tells something.
    pub(crate) fn at_best(directory: &Path) -> Self {
        let Ok(found) = rustix::fs::statfs(directory) else { return Self::Everything };
        #[allow(clippy::useless_conversion, reason = "the type of this field differs between architectures")]
        let magic = u64::try_from(found.f_type).unwrap_or_default();
        shared_file_system(magic).map_or(Self::Everything, Self::ThisMachine)
    }
}

/// The name of a file system that others may change without this kernel's knowledge, by its number in statfs(2).
fn shared_file_system(magic: u64) -> Option<&'static str> {
    Some(match magic & 0xffff_ffff {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x786f_4256 => "VirtualBox's shared folders",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        _ => return None,
    })
}

/// The file by which a Maildir's watch is tried. It lies where no program looks for mail, and its name is no message's.
pub(crate) const TRIAL_FILE: &str = ".cms-watched";

/// Makes the file and removes it again. Says whether that worked: otherwise, that nothing is heard means nothing.
pub(crate) fn make_a_sound(tmp: &Path) -> bool {
    let path = tmp.join(TRIAL_FILE);
    // A process that was killed may have left it.
    let _ = cms_disk::remove_file(&path);
    let made = cms_disk::create_new(&path).is_ok();
    made && cms_disk::remove_file(&path).is_ok()
}

impl Maildir {
    /// Removes the file by which a watch is tried, if a process was killed that tried one.
    pub fn remove_trial_file(&self) -> Result<(), MaildirError> {
        let path = self.path().join("tmp").join(TRIAL_FILE);
        match cms_disk::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(MaildirError::io("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_several_machines_are_known() {
        assert_eq!(shared_file_system(0x6969), Some("NFS"));
        // A 32-bit kernel tells a negative number.
        assert_eq!(shared_file_system(0xffff_ffff_ff53_4d42), Some("SMB"));
        for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x794c_7630] {
            assert_eq!(shared_file_system(local), None, "{local:x}");
        }
        assert_eq!(Hearing::at_best(Path::new("/proc")), Hearing::Everything);
    }
}
