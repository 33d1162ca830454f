//! `cms folders`: what there is to sync.

use cms_auth::Patience;
use cms_cloud::contract::{CloudAccount, CloudError, Folder};
use cms_engine::HashMap;
use serde::Serialize;

use super::setup::{self, Manner};
use super::{Context, Ended};
use crate::configuration::Configuration;
use crate::output;
use crate::problem::Problem;
use crate::sync::SyncError;

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
    for (index, client) in accounts.clients.iter().enumerate() {
        let name = accounts.sources[index].name();
        result = match list(&configuration, index, client.as_ref()).await {
            Ok((folders, synced)) => tell(name, &folders, &synced, json),
            Err(error) => Err(Problem::from(SyncError::Cloud(error))),
        };
        if result.is_err() {
            break;
        }
    }
    accounts.sign_ins.finish().await;
    result.map(|()| Ended::Done)
}

/// The folders of an account, and by which names some of them are synced.
async fn list<'a>(
    configuration: &'a Configuration,
    account: usize,
    client: &dyn CloudAccount,
) -> Result<(Vec<Folder>, HashMap<String, &'a str>), CloudError> {
    let folders = client.folders().await?;
    let mut synced = HashMap::default();
    for mailbox in configuration.mailboxes.iter().filter(|mailbox| mailbox.account == account) {
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
            let note = synced_as.map(|name| format!("   (synced as `{name}`)")).unwrap_or_default();
            let (messages, unread) = (folder.total_items, folder.unread_items);
            output::line(format_args!("{messages:>9}  {unread:>7}  {}{note}", folder.path))?;
        }
    }
    Ok(())
}
