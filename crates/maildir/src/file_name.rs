//! The name of a message file: base name, flags, and what other programs wrote there.

use std::ffi::OsStr;
use std::fmt;

use cms_engine::{BaseName, Flags};

/// Which of a Maildir's two directories of messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Place {
    /// `new`: delivered, not yet seen by a mail program.
    New,
    /// `cur`: seen by a mail program.
    Cur,
}

impl Place {
    /// The directory's name.
    pub fn directory(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.directory())
    }
}

/// A message file's name, taken apart.
///
/// Two spellings are known: the one on disk ([`FileName::on_disk`]), which other programs chose, and ours
/// ([`fmt::Display`]): `BASE:2,LETTERS` with the letters in ASCII order, each once.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// All before the first `:`.
    pub base_name: BaseName,
    /// The flags among the letters after `:2,`.
    pub flags: Flags,
    /// The other letters after `:2,`, in ASCII order, each once: keywords of other programs, kept through every rename.
    pub other_letters: Box<str>,
    /// What follows the base name on disk, where that isn't what we would write.
    spelling: Spelling,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Spelling {
    /// `:2,` and the letters in order.
    Ours,
    /// Nothing follows the base name.
    Bare,
    /// Such as `:2,SS` or `:1,x`, colon included.
    Other(Box<str>),
}

impl FileName {
    /// A name in our spelling.
    pub fn new(base_name: BaseName, flags: Flags, other_letters: &str) -> Self {
        Self { base_name, flags, other_letters: foreign_letters(other_letters), spelling: Spelling::Ours }
    }

    /// The name of a message delivered to `new`: nothing follows the base name, no flag is set.
    pub fn bare(base_name: BaseName) -> Self {
        Self { base_name, flags: Flags::NONE, other_letters: Box::default(), spelling: Spelling::Bare }
    }

    /// Takes a file name apart. Nothing comes out for names that are no message's: those that begin with `.`, have no
    /// base name, are helper files of mail programs, or aren't UTF-8.
    ///
    /// Of the two kinds of info that maildir(5) knows, `2,` carries letters; `1,` is experimental and any other is
    /// unknown: such a name stays as it is until a flag is set, and carries none till then.
    pub fn parse(name: impl AsRef<OsStr>) -> Option<Self> {
        let name = name.as_ref().to_str()?;
        if is_helper(name) {
            return None;
        }
        let Some((base, info)) = name.split_once(':') else {
            return (!name.is_empty()).then(|| Self::bare(BaseName::new(name)));
        };
        if base.is_empty() {
            return None;
        }
        let letters = info.strip_prefix("2,");
        let mut parsed = Self::new(
            BaseName::new(base),
            letters.map_or(Flags::NONE, Flags::from_letters),
            letters.unwrap_or_default(),
        );
        if letters.is_none_or(|letters| !parsed.is_spelt(letters)) {
            parsed.spelling = Spelling::Other(name[base.len()..].into());
        }
        Some(parsed)
    }

    /// The name as it stands on disk.
    pub fn on_disk(&self) -> String {
        match &self.spelling {
            Spelling::Ours => self.to_string(),
            Spelling::Bare => self.base_name.to_string(),
            Spelling::Other(suffix) => format!("{}{suffix}", self.base_name),
        }
    }

    /// The same message with other flags, in our spelling.
    #[must_use]
    pub fn with_flags(&self, flags: Flags) -> Self {
        Self { flags, spelling: Spelling::Ours, ..self.clone() }
    }

    /// All letters after `2,`, merged into ASCII order.
    fn letters(&self) -> String {
        let mut letters: Vec<char> = self.flags.to_string().chars().chain(self.other_letters.chars()).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    /// Whether `letters` is how we would write them; without building a string in the common case.
    fn is_spelt(&self, letters: &str) -> bool {
        letters.len() <= 1 || (letters.is_ascii() && letters.as_bytes().windows(2).all(|pair| pair[0] < pair[1])) || {
            self.letters() == letters
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.other_letters.is_empty() {
            write!(f, "{}:2,{}", self.base_name, self.flags)
        } else {
            write!(f, "{}:2,{}", self.base_name, self.letters())
        }
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.on_disk())
    }
}

/// The letters that aren't flags, in ASCII order, each once. A `/` can't stand in a file name and is dropped.
fn foreign_letters(letters: &str) -> Box<str> {
    if letters.chars().all(|letter| Flags::from_letter(letter).is_some()) {
        return Box::default();
    }
    let mut others: Vec<char> = letters
        .chars()
        .filter(|letter| Flags::from_letter(*letter).is_none() && !matches!(letter, '/' | '\0'))
        .collect();
    others.sort_unstable();
    others.dedup();
    others.into_iter().collect::<String>().into()
}

/// Files that mail programs keep beside messages. Whatever begins with `.` is ignored by definition.
pub(crate) fn is_helper(name: &str) -> bool {
    const PREFIXES: [&str; 4] = [".", "dovecot-", "dovecot.", "courierimap"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || matches!(name, "maildirfolder" | "maildirsize")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    /// Parses `name` and shows base, flags, other letters and our spelling.
    fn check(name: &str, base: &str, flags: &str, others: &str, ours: &str) {
        let parsed = FileName::parse(name).unwrap();
        assert_eq!(parsed.base_name.as_str(), base, "base name of {name}");
        assert_eq!(parsed.flags, Flags::from_letters(flags), "flags of {name}");
        assert_eq!(&*parsed.other_letters, others, "other letters of {name}");
        assert_eq!(parsed.to_string(), ours, "our spelling of {name}");
        assert_eq!(parsed.on_disk(), name, "spelling on disk");
    }

    #[test]
    fn names_as_mail_programs_write_them() {
        check("1795426808.6043_1.vm:2,FS", "1795426808.6043_1.vm", "FS", "", "1795426808.6043_1.vm:2,FS");
        check("1795426808.6043_1.vm", "1795426808.6043_1.vm", "", "", "1795426808.6043_1.vm:2,");
        check("1795426808.6043_1.vm:2,", "1795426808.6043_1.vm", "", "", "1795426808.6043_1.vm:2,");
        check("1.M2P3.vm,S=30,W=34:2,Sab", "1.M2P3.vm,S=30,W=34", "S", "ab", "1.M2P3.vm,S=30,W=34:2,Sab");
    }

    #[test]
    fn odd_names_are_read_and_spelt_properly() {
        check("U:2,SS", "U", "S", "", "U:2,S");
        check("U:2,bSa", "U", "S", "ab", "U:2,Sab");
        check("U:2,S,x", "U", "S", ",x", "U:2,,Sx");
        check("U:2,TSRPFD", "U", "DFPRST", "", "U:2,DFPRST");
        check("U:2,Sü", "U", "S", "ü", "U:2,Sü");
        check("U:2,S:2,T", "U", "ST", ",2:", "U:2,,2:ST");
    }

    #[test]
    fn info_of_another_kind_carries_no_flags() {
        check("U:1,S", "U", "", "", "U:2,");
        check("U:", "U", "", "", "U:2,");
        check("U:2S", "U", "", "", "U:2,");
    }

    #[test]
    fn what_is_no_message_is_not_parsed() {
        for name in ["", ".", ".hidden", ":2,S", ".mbsyncstate", "dovecot-uidlist", "dovecot.index.log", "maildirsize"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
        assert_eq!(FileName::parse(OsStr::from_bytes(b"1.\xff.vm:2,S")), None);
    }

    #[test]
    fn new_flags_keep_letters_and_base_name() {
        let name = FileName::parse("U,S=3:2,bSa").unwrap();
        assert_eq!(name.with_flags(Flags::FLAGGED).on_disk(), "U,S=3:2,Fab");
    }

    proptest! {
        #[test]
        fn any_name_is_kept_as_it_stands_and_ours_is_stable(name in "[a-zA-Z0-9.=_]{1,12}(:(2,)?[a-zA-Z,:12é]{0,8})?") {
            if let Some(parsed) = FileName::parse(&name) {
                prop_assert_eq!(parsed.on_disk(), name);
                let ours = FileName::parse(parsed.to_string()).unwrap();
                prop_assert_eq!(ours.on_disk(), parsed.to_string());
                prop_assert_eq!(&ours.base_name, &parsed.base_name);
                prop_assert_eq!(ours.flags, parsed.flags);
                prop_assert_eq!(&ours.other_letters, &parsed.other_letters);
            }
        }

        #[test]
        fn every_name_we_write_is_read_back(bits in 0u8..64, others in "[a-z,]{0,5}") {
            let name = FileName::new(BaseName::new("1.R0.vm"), Flags::from_bits(bits), &others);
            prop_assert_eq!(FileName::parse(name.to_string()).unwrap(), name);
        }
    }
}
