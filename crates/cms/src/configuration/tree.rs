//! `Office365_Tree`: an account that is kept as a whole.

use std::fmt;
use std::path::PathBuf;

use cms_cloud::contract::DeleteAction;
use starlark::collections::SmallMap;
use starlark::values::any::StarlarkAny;
use starlark::values::tuple::UnpackTuple;
use starlark::values::{StarlarkPagablePanic, Value};

use super::arguments::Signature;
use super::error::{Position, Refusal};
use super::functions::{AccountHandle, Draft, Whose, describe, refuse_of_others, refuse_of_part};
use super::parse;
use super::paths::identity;
use super::since::{self, Since};
use super::{Push, Upload};
use crate::tree::Layout;

/// One `Office365_Tree(account, root)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeConfig {
    /// Which of the configuration's accounts.
    pub account: usize,
    /// Whose mailbox it is, where it isn't the account's own.
    pub owner: Option<String>,
    /// The directory that the Maildirs are in, an absolute path.
    pub root: PathBuf,
    /// Patterns for the folders that are taken in.
    pub include: Vec<String>,
    /// Patterns for those that are left out all the same.
    pub exclude: Vec<String>,
    /// How the Maildirs' directories lie.
    pub(crate) layout: Layout,
    /// Where the file says so.
    pub position: Option<Position>,
    /// What deleting a message locally means in the cloud.
    pub delete_action: DeleteAction,
    /// How changes in the cloud are noticed.
    pub push: Push,
    /// What of the Maildirs' own messages goes there.
    pub upload: Upload,
    /// Since when messages are brought here.
    pub since: Option<Since>,
    /// Whether what the cloud deletes there stays here.
    pub keep: bool,
}

const TREE: Signature = Signature {
    function: "Office365_Tree",
    positional: &["account", "root"],
    named: &["include", "exclude", "layout", "delete_action", "push", "upload", "mailbox_owner", "since", "keep"],
    example: "Office365_Tree(Office365_Account(user=\"user@domain.com\"), \"~/mail/work\")",
};

/// What `Office365_Tree(…)` returns.
#[derive(StarlarkPagablePanic)]
pub(super) struct TreeHandle {
    written: String,
}
starlark::register_starlark_any!(TreeHandle);

/// As `print` shows it.
impl fmt::Debug for TreeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Office365_Tree({:?})", self.written)
    }
}

/// Declares a tree.
pub(super) fn tree<'v>(
    draft: &mut Draft,
    positional: UnpackTuple<Value<'v>>,
    named: &SmallMap<String, Value<'v>>,
    position: Option<Position>,
) -> Result<TreeHandle, Refusal> {
    let arguments = TREE.arguments(positional.items, named.iter().map(|(name, value)| (name.as_str(), *value)))?;
    let (account_at, account) = arguments.required("account")?;
    let Some(account) = StarlarkAny::<AccountHandle>::get(account) else {
        let given = describe(account);
        return Err(Refusal::new(format!(
            "the `account` of `Office365_Tree` must be an `Office365_Account`, not {given}"
        ))
        .hint(format!("write `{}`", TREE.example))
        .at(account_at.clone()));
    };
    let written = arguments.text("root")?;
    let (at, _) = arguments.required("root")?;
    let root = draft.surroundings.absolute(written).map_err(|refusal| refusal.at(at.clone()))?;
    if root.parent().is_none() {
        return Err(Refusal::new("the root of the file system can't be the root of a tree").at(at.clone()));
    }
    let owner = arguments.optional_parsed("mailbox_owner", parse::mailbox_owner)?;
    let is_same = |known: &&TreeConfig| known.owner == owner;
    if draft.trees.iter().filter(is_same).any(|known| known.account == account.index) {
        let whose =
            owner.as_ref().map_or_else(|| "this account".to_owned(), |owner| format!("the mailbox of `{owner}`"));
        return Err(Refusal::new(format!("there already is an `Office365_Tree` of {whose}"))
            .hint("write all patterns into one `include` and one `exclude`")
            .at(account_at.clone()));
    }
    let user = |index: usize| draft.accounts.get(index).map(|account| account.user.as_deref().map(str::to_lowercase));
    if draft.trees.iter().filter(is_same).any(|known| user(known.account) == user(account.index)) {
        // The state knows an account by its user; one's folders would be missing in the other's.
        return Err(Refusal::new("two trees are of accounts that `user` doesn't tell apart")
            .hint("give each `Office365_Account` its own `user`")
            .at(account_at.clone()));
    }
    let tree = TreeConfig {
        account: account.index,
        owner,
        root,
        include: arguments.optional_texts("include")?.unwrap_or_else(|| vec!["*".to_owned()]),
        exclude: arguments.optional_texts("exclude")?.unwrap_or_default(),
        layout: arguments
            .choice("layout", &[("fs", Layout::Fs), ("maildir++", Layout::MaildirPlusPlus)])?
            .unwrap_or_default(),
        position,
        delete_action: arguments.delete_action()?,
        push: arguments.push()?,
        upload: arguments.upload()?,
        since: arguments.optional_parsed("since", since::since)?,
        keep: arguments.optional_switch("keep")?.unwrap_or_default(),
    };
    refuse_of_part(tree.upload, &arguments)?;
    if let Some(owner) = &tree.owner {
        let whose = Whose { account: tree.account, owner };
        refuse_of_others(draft, &whose, tree.push, tree.upload, &arguments)?;
    }
    draft.trees.push(tree);
    Ok(TreeHandle { written: written.to_owned() })
}

/// Refuses Maildirs and roots that lie in each other: nobody could say whose a directory in both is.
pub(super) fn must_lie_apart(draft: &Draft) -> Result<(), Refusal> {
    let mut places: Vec<(String, PathBuf)> = draft
        .maildirs
        .iter()
        .map(|maildir| (format!("`MailDir` at `{}`", maildir.path.display()), identity(&maildir.path)))
        .collect();
    for tree in &draft.trees {
        let root = identity(&tree.root);
        if let Some((other, _)) = places.iter().find(|(_, place)| place.starts_with(&root) || root.starts_with(place)) {
            return Err(Refusal::new(format!(
                "the {other} and the tree in `{}` lie in each other",
                tree.root.display()
            ))
            .hint("name a root that has nothing else in it"));
        }
        places.push((format!("tree in `{}`", tree.root.display()), root));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::paths::Surroundings;
    use super::super::{Configuration, ConfigurationError};
    use super::*;

    const ACCOUNT: &str = "a = Office365_Account(user=\"user@domain.com\")\n";

    fn read(text: &str) -> Result<Configuration, ConfigurationError> {
        let surroundings = Surroundings { home: Some("/home/user".into()), directory: "/home/user".into() };
        Configuration::read(Path::new("cms.cfg"), &format!("{ACCOUNT}{text}"), surroundings)
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "for:\n{text}\n{error}");
    }

    #[test]
    fn a_tree_alone_is_a_configuration() {
        let configuration = read("Office365_Tree(a, \"~/mail/work\")").unwrap();
        assert_eq!(configuration.state_dir, Path::new("/home/user/mail/.cms"));
        assert_eq!((configuration.maildirs.len(), configuration.mailboxes.len()), (0, 0));
        let tree = &configuration.trees[0];
        assert_eq!((tree.root.as_path(), tree.account), (Path::new("/home/user/mail/work"), 0));
        assert_eq!((tree.include.as_slice(), tree.exclude.len(), tree.layout), (&["*".to_owned()][..], 0, Layout::Fs));
        assert_eq!(tree.position.as_ref().map(ToString::to_string), Some("cms.cfg:2:1".to_owned()));
        let configuration = read(
            "b = Office365_Account(user=\"unused@domain.com\")\nc = Office365_Account(user=\"c@domain.com\")\n\
             MailDir(\"~/mail/INBOX\")\nOffice365(\"inbox\", a)\n\
             Office365_Tree(account=c, root=\"t\", include=[\"Inbox*\"], exclude=[\"*/x\"], layout=\"maildir++\", \
             delete_action=\"archive\", push=\"poll\", upload=\"none\")",
        )
        .unwrap();
        let tree = &configuration.trees[0];
        assert_eq!(configuration.accounts[tree.account].user.as_deref(), Some("c@domain.com"));
        assert_eq!((tree.layout, tree.push, tree.upload), (Layout::MaildirPlusPlus, Push::Poll, Upload::None));
        assert_eq!(tree.delete_action, DeleteAction::Archive);
    }

    #[test]
    fn trees_of_one_account_may_be_of_several_owners_and_bring_a_part() {
        let configuration = read(
            "Office365_Tree(a, \"own\", since=\"90 days\")\n\
             Office365_Tree(a, \"team\", mailbox_owner=\"Team@domain.com\", keep=True)\n\
             Office365_Tree(a, \"sales\", mailbox_owner=\"sales@domain.com\", upload=\"none\")",
        )
        .unwrap();
        let told: Vec<_> =
            configuration.trees.iter().map(|tree| (tree.owner.as_deref(), tree.since, tree.keep)).collect();
        assert_eq!(
            told,
            [
                (None, Some(Since::Age(90)), false),
                (Some("team@domain.com"), None, true),
                (Some("sales@domain.com"), None, false)
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_write() {
        refused("Office365_Tree(a)", "needs a `root`");
        refused("Office365_Tree(\"x\", \"y\")", "must be an `Office365_Account`, not a string");
        refused("Office365_Tree(a, \"x\", layout=\"mh\")", "`layout` can't be \"mh\"");
        refused("Office365_Tree(a, \"x\", include=\"Inbox\")", "must be a list of strings");
        refused("Office365_Tree(a, \"/\")", "the root of the file system");
        refused("Office365_Tree(a, \"x\")\nOffice365_Tree(a, \"y\")", "there already is an `Office365_Tree`");
        refused(
            "b = Office365_Account(user=\"USER@domain.com\", tenant=\"x\")\nOffice365_Tree(a, \"x\")\nOffice365_Tree(b, \"y\")",
            "`user` doesn't tell apart",
        );
        let team = |more: &str| format!("Office365_Tree(a, \"x\", mailbox_owner=\"team@domain.com\"{more})");
        refused(
            &format!("{}\n{}", team(""), team("").replace("\"x\"", "\"y\"")),
            "`Office365_Tree` of the mailbox of `team@domain.com`",
        );
        refused(&team(", push=\"stream\""), "nothing tells of changes");
        refused(&team(", upload=\"import\""), "takes only drafts");
        refused("Office365_Tree(a, \"x\", mailbox_owner=\"User@domain.com\")", "is the account's own");
        refused("Office365_Tree(a, \"x\", mailbox_owner=\"team\")", "`team` is not the address of a mailbox");
        refused("Office365_Tree(a, \"x\", since=\"long ago\")", "neither a day nor an age");
        refused("Office365_Tree(a, \"x\", keep=\"yes\")", "`keep`");
        for part in ["since=\"90 days\"", "keep=True"] {
            let text = format!("Office365_Tree(a, \"x\", {part}, upload=\"import\")");
            refused(&text, "can't be had together with `upload=\"import\"`");
        }
        refused("Office365_Tree(a, \"x\")\nOffice365(\"inbox\", a)", "no `MailDir` is declared");
        refused("Office365_Tree(a, \"x\")\nMailDir(\"m\")", "no cloud mailbox is declared");
        refused("MailDir(\"x/INBOX\")\nOffice365(\"inbox\", a)\nOffice365_Tree(a, \"x\")", "lie in each other");
        refused("Office365_Tree(a, \"x\")\ncfg.state_dir = \"x/.cms\"", "lies in the tree in");
    }
}
