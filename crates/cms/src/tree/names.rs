//! What a folder's directory is called. A directory's name says which folder it is, and no two folders have one directory.
//!
//! What a directory's name can't hold stands in it as `%` and two hexadecimal digits, as does `%` itself. A `%` that is
//! followed by `~` begins what tells two folders apart whose directories would have one name; no folder's own name makes
//! that.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How the directories of a tree lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A folder within a folder is a directory within a directory: `Inbox/Lists`.
    #[default]
    Fs,
    /// All of them are in the root, which is the inbox's: `.Inbox.Lists`.
    MaildirPlusPlus,
}

impl Layout {
    /// As the configuration calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::MaildirPlusPlus => "maildir++",
        }
    }
}

/// The longest name that file systems take, in bytes.
const LONGEST: usize = 255;

/// The directory of the folder with this path, relative to the root.
pub(crate) fn directory(layout: Layout, path: &[&str], is_inbox: bool) -> PathBuf {
    match layout {
        Layout::Fs => path.iter().map(|name| shortened(encode(layout, name))).collect(),
        Layout::MaildirPlusPlus if is_inbox => PathBuf::new(),
        Layout::MaildirPlusPlus => {
            let mut name = String::new();
            for part in path {
                name.push('.');
                name.push_str(&encode(layout, part));
            }
            shortened(name).into()
        }
    }
}

/// The same directory's name for a folder that may not have it, because another one does.
pub(crate) fn told_apart(directory: &Path, folder: &str) -> PathBuf {
    let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let suffix = format!("%~{}", &blake3::hash(folder.as_bytes()).to_hex()[..8]);
    directory.with_file_name(cut(name, LONGEST - suffix.len()).to_owned() + &suffix)
}

/// The name of a folder as one that a directory can have.
fn encode(layout: Layout, name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let is_taken = layout == Layout::Fs && ["cur", "new", "tmp"].iter().any(|part| name.eq_ignore_ascii_case(part));
    let mut encoded = String::new();
    for (at, character) in name.char_indices() {
        let holds = match character {
            '%' | '/' | '\0' => false,
            '.' => at > 0 && layout == Layout::Fs,
            _ => at > 0 || !is_taken,
        };
        if holds {
            encoded.push(character);
        } else {
            // All of these are ASCII. Writing to a string can't fail.
            let _ = write!(encoded, "%{:02X}", u32::from(character));
        }
    }
    encoded
}

/// A name that is too long is cut, and what is missing of it is told by a hash. Whose directory it is says the state.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let suffix = format!("%~{}", &blake3::hash(name.as_bytes()).to_hex()[..16]);
    cut(&name, LONGEST - suffix.len()).to_owned() + &suffix
}

fn cut(name: &str, longest: usize) -> &str {
    let mut end = name.len().min(longest);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // Half a code would be read as another one.
    match name[..end].rfind('%') {
        Some(at) if end - at < 3 && end < name.len() => &name[..at],
        _ => &name[..end],
    }
}

/// The name of the folder that a directory's name stands for; nothing if it is none that [`directory`] makes.
fn decode(encoded: &str) -> Option<String> {
    if encoded == "%" {
        return Some(String::new());
    }
    let mut parts = encoded.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let code = part.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(code, 16).ok().filter(u8::is_ascii)?;
        name.push(char::from(byte));
        name.push_str(&part[2..]);
    }
    Some(name)
}

/// The path of the folder that a directory below the root is of.
pub(crate) fn path_of(layout: Layout, directory: &Path) -> Option<Vec<String>> {
    let names: Vec<&str> = match layout {
        Layout::Fs => directory.iter().map(OsStr::to_str).collect::<Option<_>>()?,
        Layout::MaildirPlusPlus => directory.to_str()?.strip_prefix('.')?.split('.').collect(),
    };
    names.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_a_directory_cannot_have_are_encoded_and_no_others() {
        let fs = |path: &[&str]| directory(Layout::Fs, path, false);
        assert_eq!(fs(&["Inbox", "Lists"]), Path::new("Inbox/Lists"));
        let odd = fs(&["A/B", ".x", "cur", "Tmp", "100%", "v1.2", ""]);
        assert_eq!(odd, Path::new("A%2FB/%2Ex/%63ur/%54mp/100%25/v1.2/%"));
        let plus = |path: &[&str]| directory(Layout::MaildirPlusPlus, path, false);
        assert_eq!(plus(&["Inbox", "v1.2", "cur"]), Path::new(".Inbox.v1%2E2.cur"));
        assert_eq!(directory(Layout::MaildirPlusPlus, &["Posteingang"], true), Path::new(""));
        let long = "ä".repeat(200);
        let other = format!("{}b", "ä".repeat(199));
        assert!(fs(&[&long]).as_os_str().len() <= LONGEST && fs(&[&long]) != fs(&[&other]));
        assert_eq!(path_of(Layout::Fs, &fs(&[&long])), None);
        assert_eq!(path_of(Layout::Fs, &told_apart(Path::new("a/b"), "id")), None);
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c./%~\\x00]{0,6}",
            Just("cur".to_owned()),
            Just("NEW".to_owned()),
            Just("..".to_owned()),
            "\\PC{0,20}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_directory_tells_its_folder(path in prop::collection::vec(name(), 1..4), plus in any::<bool>()) {
            let layout = if plus { Layout::MaildirPlusPlus } else { Layout::Fs };
            let made = directory(layout, &path.iter().map(String::as_str).collect::<Vec<_>>(), false);
            prop_assert_eq!(path_of(layout, &made), Some(path), "{:?}", made);
            for part in made.iter().map(|part| part.to_str().unwrap()) {
                prop_assert!(!part.contains(['/', '\0']) && part.len() <= LONGEST);
                prop_assert!(!["", ".", "..", "cur", "new", "tmp"].contains(&part.to_lowercase().as_str()));
                prop_assert!(layout == Layout::MaildirPlusPlus || !part.starts_with('.'));
            }
        }
    }
}
