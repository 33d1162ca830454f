//! Which accounts may tell of changes by themselves, and where.

use std::sync::Arc;

use cms_auth::NationalCloud;
use cms_cloud::office365::{NOTIFICATIONS_SCOPE, NotifierOptions, StreamingNotifier};
use tracing::warn;
use url::Url;

use super::setup::{Accounts, account_name, could_not_set_up};
use crate::configuration::{Configuration, MailboxConfig, Office365AccountConfig, Push, TreeConfig};
use crate::problem::Problem;
use crate::sync::PushSetup;

/// Where Outlook on the web is, which serves the notifications, in the cloud for everybody. Of others nothing is documented.
const OWA_URL: &str = "https://outlook.office.com";

/// Where an account's notifications come from, if anywhere. Where the mail comes from elsewhere than usual, the
/// notifications about it are only where the configuration says.
fn owa_url(account: &Office365AccountConfig) -> Option<Url> {
    let usual = account.cloud == NationalCloud::Global && account.graph_url.is_none() && account.login_url.is_none();
    account.owa_url.clone().or_else(|| OWA_URL.parse().ok().filter(|_| usual))
}

/// The mailboxes of an account that may be told of.
pub(super) fn mailboxes(configuration: &Configuration, account: usize) -> impl Iterator<Item = &MailboxConfig> {
    // Of somebody else's mailbox the service tells the user nothing.
    let told = |mailbox: &MailboxConfig| mailbox.push != Push::Poll && mailbox.owner.is_none();
    configuration.mailboxes.iter().filter(move |mailbox| mailbox.account == account && told(mailbox))
}

/// The account's tree, if it is to be told of.
pub(super) fn tree(configuration: &Configuration, account: usize) -> Option<&TreeConfig> {
    let told = |tree: &&TreeConfig| tree.push != Push::Poll && tree.owner.is_none();
    configuration.trees.iter().filter(told).find(|tree| tree.account == account)
}

fn insists(configuration: &Configuration, account: usize) -> bool {
    tree(configuration, account).is_some_and(|tree| tree.push == Push::Stream)
        || mailboxes(configuration, account).any(|mailbox| mailbox.push == Push::Stream)
}

/// What the user is asked to consent to for the notifications: nothing, unless they are wanted in any case. For what most
/// can't have, nobody is to see another question, or to need an administrator.
pub(super) fn scopes(configuration: &Configuration, account: &Office365AccountConfig) -> Vec<Vec<String>> {
    let at = configuration.accounts.iter().position(|other| other == account);
    // Where notifications come to an address of one's own, nobody asks for others.
    let streams = configuration.push_url.is_none();
    let wanted = streams && at.is_some_and(|at| insists(configuration, at)) && owa_url(account).is_some();
    if wanted { vec![vec![NOTIFICATIONS_SCOPE.to_owned()]] } else { Vec::new() }
}

/// Makes what tells of changes, for the accounts that may.
pub(super) fn sources(configuration: &Configuration, accounts: &Accounts) -> Result<Vec<PushSetup>, Problem> {
    let mut sources = Vec::new();
    for (at, (account, source)) in configuration.accounts.iter().zip(&accounts.sources).enumerate() {
        let names: Vec<String> = mailboxes(configuration, at).map(|mailbox| mailbox.name.clone()).collect();
        let tree = tree(configuration, at).is_some();
        let (account_name, insists) = (account_name(account), insists(configuration, at));
        let Some(url) = owa_url(account).filter(|_| tree || !names.is_empty()) else {
            if insists {
                warn!(
                    "{account_name}: nobody knows where notifications of changes come from here; `owa_url` may say so"
                );
            }
            continue;
        };
        let tokens = source.beside(vec![NOTIFICATIONS_SCOPE.to_owned()]);
        let notifier = StreamingNotifier::new(NotifierOptions::new(url), tokens).map_err(could_not_set_up)?;
        sources.push(PushSetup {
            account: at,
            account_name,
            mailboxes: names,
            tree,
            notifier: Arc::new(notifier),
            insists,
        });
    }
    Ok(sources)
}
