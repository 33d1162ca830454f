//! `cms folders`: what there is to sync.

use cms_auth::Patience;
use cms_cloud::contract::{CloudAccount, CloudError, Folder, FolderId};
use cms_engine::HashMap;
use serde::Serialize;

use super::setup::{self, Accounts, Manner};
use super::{Context, Ended};
use crate::configuration::{Configuration, MailboxConfig};
use crate::output;
use crate::problem::Problem;
use crate::sync::SyncError;
use crate::tree::{Named, taken_in};

/// A folder, as programs read it.
#[derive(Serialize)]
struct Line<'a> {
    account: &'a str,
    path: &'a str,
    messages: u64,
    unread: u64,
    /// The name by which the configuration syncs it.
    synced_as: Option<&'a str>,
}

/// Lists the folders of each account, in the order of a tree.
pub async fn run(context: &Context, json: bool) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let manner = Manner::of(context, "folders", Patience::Once(setup::PATIENCE));
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let mut result = Ok(());
    for index in 0..accounts.sources.len() {
        result = list_account(&configuration, &accounts, index, json).await;
        if result.is_err() {
            break;
        }
    }
    accounts.sign_ins.finish().await;
    result.map(|()| Ended::Done)
}

/// Lists the folders of an account, its own first, then those of the mailboxes of others'.
async fn list_account(
    configuration: &Configuration,
    accounts: &Accounts,
    account: usize,
    json: bool,
) -> Result<(), Problem> {
    let (mut folders, mut synced, mut result) = (Vec::new(), HashMap::default(), Ok(()));
    for client in accounts.clients_of(account) {
        let its = configuration.mailboxes.iter().filter(|mailbox| accounts.client_of(mailbox) == client);
        let listed = list(its, accounts.clients[client].as_ref()).await;
        match listed {
            Ok((more, names)) => {
                folders.extend(more);
                synced.extend(names.into_iter().map(|(id, name)| (id, (client, name))));
            }
            Err(error) if client == account => return Err(SyncError::Cloud(error).into()),
            // One's own folders are told all the same.
            Err(error) => result = Err(not_listed(accounts, client, error)),
        }
    }
    let mut in_tree = HashMap::default();
    let mut synced: HashMap<String, (usize, &str)> = synced;
    for tree in setup::trees(configuration, accounts).iter().filter(|tree| tree.account == account) {
        let listed = match accounts.clients[tree.client].tree(&[]).await {
            Ok(listed) => listed,
            Err(error) if tree.client == account => return Err(SyncError::Cloud(error).into()),
            Err(error) => {
                result = Err(not_listed(accounts, tree.client, error));
                continue;
            }
        };
        let its = synced.iter().filter(|(_, (client, _))| *client == tree.client);
        let named: Vec<Named> =
            its.map(|(id, (_, name))| Named { folder: Some(FolderId(id.clone())), name: (*name).to_owned() }).collect();
        in_tree.extend(taken_in(tree, &listed, &named).into_iter().map(|(id, name)| (id.0, name)));
    }
    let mut synced: HashMap<String, &str> = synced.drain().map(|(id, (_, name))| (id, name)).collect();
    synced.extend(in_tree.iter().map(|(id, name)| (id.clone(), name.as_str())));
    tell(accounts.sources[account].name(), &folders, &synced, json)?;
    result
}

/// Why the folders of a mailbox can't be told.
fn not_listed(accounts: &Accounts, client: usize, source: CloudError) -> Problem {
    let Some(owner) = accounts.owner_of(client) else { return SyncError::Cloud(source).into() };
    let what = format!("could not list the folders of {owner}");
    Problem { what, ..SyncError::Mailbox { mailbox: owner.to_owned(), source }.into() }
}

/// The folders of a mailbox, and by which names some of them are synced.
async fn list<'a>(
    mailboxes: impl Iterator<Item = &'a MailboxConfig>,
    client: &dyn CloudAccount,
) -> Result<(Vec<Folder>, HashMap<String, &'a str>), CloudError> {
    let folders = client.folders().await?;
    let mut synced = HashMap::default();
    for mailbox in mailboxes {
        match client.open(&mailbox.name).await {
            Ok(folder) => drop(synced.insert(folder.id.0, mailbox.name.as_str())),
            // The list shows what there is instead.
            Err(CloudError::NoSuchFolder { .. }) => {
                tracing::warn!("cms.cfg names the mailbox `{}`, which isn't there", mailbox.name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((folders, synced))
}

fn tell(account: &str, folders: &[Folder], synced: &HashMap<String, &str>, json: bool) -> Result<(), Problem> {
    if !json {
        output::line(format_args!("{account}\n{:>9}  {:>7}", "messages", "unread"))?;
    }
    for folder in folders {
        let synced_as = synced.get(&folder.id.0).copied();
        if json {
            let line = Line {
                account,
                path: &folder.path,
                messages: folder.total_items,
                unread: folder.unread_items,
                synced_as,
            };
            let text =
                serde_json::to_string(&line).map_err(|error| Problem::from_error("could not write a folder", error))?;
            output::line(text)?;
        } else {
            let note = synced_as.map(|name| format!("   (synced as `{}`)", output::name(name))).unwrap_or_default();
            let (messages, unread) = (folder.total_items, folder.unread_items);
            output::line(format_args!("{messages:>9}  {unread:>7}  {}{note}", output::name(&folder.path)))?;
        }
    }
    Ok(())
}
