//! What the file must say as a whole.

use std::path::{Path, PathBuf};

use super::Configuration;
use super::error::{ConfigurationError, Position, Refusal};
use super::functions::Draft;
use super::language::Evaluated;
use super::options::Options;
use super::paths::identity;
use super::router::Router;
use super::tree::must_lie_apart;

/// Turns what the file declared into a configuration.
pub(super) fn checked(file: &Path, evaluated: Evaluated) -> Result<Configuration, ConfigurationError> {
    let start = || Position::start_of(file);
    let draft = without_unused_accounts(evaluated.draft);
    let first = match (draft.maildirs.first(), draft.trees.first()) {
        (Some(maildir), _) => &maildir.path,
        (None, Some(tree)) if draft.mailboxes.is_empty() => &tree.root,
        (None, _) => {
            return Err(Refusal::new("no `MailDir` is declared")
                .hint("write `MailDir(\"~/mail/INBOX\")`")
                .positioned(start()));
        }
    };
    if draft.mailboxes.is_empty() && (draft.trees.is_empty() || !draft.maildirs.is_empty()) {
        return Err(Refusal::new("no cloud mailbox is declared")
            .hint("write `Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))`")
            .positioned(start()));
    }
    must_lie_apart(&draft).map_err(|refusal| refusal.positioned(start()))?;
    let options = Options::read(evaluated.settings, &draft.surroundings)?;
    let state_dir = match options.state_dir {
        Some((path, position)) => {
            outside_of(&path, &draft).map_err(|refusal| refusal.positioned(position))?;
            path
        }
        // A Maildir that is the root of the file system was refused when it was declared.
        None => first.parent().unwrap_or(Path::new("/")).join(".cms"),
    };
    let listen = options.listen.unwrap_or(Configuration::LISTEN);
    let push_listen = match options.push_listen {
        Some((address, position)) if address.port() == listen.port() && address.port() != 0 => {
            return Err(Refusal::new(format!("`cfg.push_listen` has the port of the page, {}", address.port()))
                .hint("write another port; the page is nobody's but yours")
                .positioned(position));
        }
        Some((address, _)) => address,
        None => Configuration::PUSH_LISTEN,
    };
    Ok(Configuration {
        file: file.to_owned(),
        state_dir,
        listen,
        push_url: options.push_url,
        push_listen,
        token_key_command: options.token_key_command,
        poll_interval: options.poll_interval.unwrap_or(Configuration::POLL_INTERVAL),
        keep_deleted_days: options.keep_deleted_days.unwrap_or(Configuration::KEEP_DELETED_DAYS),
        max_deletions: options.max_deletions,
        on_change: options.on_change,
        router: options.direct_message.map(|(function, position)| Router::new(function, position)),
        maildirs: draft.maildirs,
        accounts: draft.accounts,
        mailboxes: draft.mailboxes,
        trees: draft.trees,
    })
}

/// Nobody is asked to sign in to an account that no mailbox is in.
fn without_unused_accounts(mut draft: Draft) -> Draft {
    let used = |index: usize| {
        draft.mailboxes.iter().any(|mailbox| mailbox.account == index)
            || draft.trees.iter().any(|tree| tree.account == index)
    };
    for index in (0..draft.accounts.len()).rev().filter(|index| !used(*index)).collect::<Vec<_>>() {
        draft.accounts.remove(index);
        for mailbox in draft.mailboxes.iter_mut().filter(|mailbox| mailbox.account > index) {
            mailbox.account -= 1;
        }
        for tree in draft.trees.iter_mut().filter(|tree| tree.account > index) {
            tree.account -= 1;
        }
    }
    draft
}

/// Our own files must not lie where mail programs look for messages.
fn outside_of(state_dir: &Path, draft: &Draft) -> Result<(), Refusal> {
    let state_dir = identity(state_dir);
    for tree in &draft.trees {
        let root = identity(&tree.root);
        if state_dir.starts_with(&root) {
            let beside: PathBuf = root.parent().unwrap_or(Path::new("/")).join(".cms");
            return Err(Refusal::new(format!("`cfg.state_dir` lies in the tree in `{}`", root.display()))
                .hint(format!("write a path beside it, such as `{}`", beside.display())));
        }
    }
    for maildir in &draft.maildirs {
        let maildir = identity(&maildir.path);
        let inside = ["cur", "new", "tmp"].iter().any(|part| state_dir.starts_with(maildir.join(part)));
        if inside || state_dir == maildir {
            let beside: PathBuf = maildir.parent().unwrap_or(Path::new("/")).join(".cms");
            return Err(Refusal::new(format!("`cfg.state_dir` lies in the Maildir `{}`", maildir.display()))
                .hint(format!("write a path beside it, such as `{}`", beside.display())));
        }
    }
    Ok(())
}
