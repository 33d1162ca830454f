//! Which folders of a tree are kept the same: patterns for their paths.

/// Folders to take in and to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// A pattern: `*` stands for any text, `/` in it included, and `?` for one character. Case doesn't matter, as in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<char>);

impl Filter {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self { include: patterns(include), exclude: patterns(exclude) }
    }

    /// Whether a folder with these paths is wanted: its own, and what it would be in English. One that holds no mail has to be
    /// named by more than `*`.
    pub(crate) fn takes(&self, paths: &[String], holds_mail: bool) -> bool {
        let is_in = |patterns: &[Pattern], named: bool| {
            patterns
                .iter()
                .filter(|pattern| !named || pattern.0 != ['*'])
                .any(|pattern| paths.iter().any(|path| pattern.matches(path)))
        };
        is_in(&self.include, !holds_mail) && !is_in(&self.exclude, false)
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.trim().trim_matches('/').to_lowercase().chars().collect())
    }

    fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.to_lowercase().chars().collect();
        // Where the last star was, and as far as it reaches for now.
        let (mut at, mut in_path, mut star) = (0, 0, None);
        while in_path < path.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at + 1, in_path));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == path[in_path] => {
                    at += 1;
                    in_path += 1;
                }
                _ => {
                    let Some((after, reached)) = star else { return false };
                    star = Some((after, reached + 1));
                    (at, in_path) = (after, reached + 1);
                }
            }
        }
        self.0[at..].iter().all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("*", "Inbox/Lists", true),
            ("Archive/*", "archive/2019/05", true),
            ("Archive/*", "Archive", false),
            ("Archive*", "Archive", true),
            ("*/rust", "Inbox/Lists/RUST", true),
            ("*/rust", "rust", false),
            ("Inbox/*/a*c", "Inbox/x/y/abcc", true),
            ("201?", "2019", true),
            ("201?", "201", false),
            ("Müll", "MÜLL", true),
            ("", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_excluded_is_out_whatever_includes_it() {
        let filter = |include: &[&str], exclude: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Filter::new(&texts(include), &texts(exclude))
        };
        let of = |path: &str| vec![path.to_owned()];
        assert!(filter(&["*"], &["Junk Email"]).takes(&of("Inbox"), true));
        assert!(!filter(&["*"], &["Junk Email"]).takes(&["Junk-E-Mail".to_owned(), "Junk Email".to_owned()], true));
        assert!(!filter(&["Inbox"], &[]).takes(&of("Inbox/Lists"), true));
        assert!(!filter(&["*"], &[]).takes(&of("Outbox"), false));
        assert!(filter(&["*", "Outbox"], &[]).takes(&of("Outbox"), false));
    }
}
