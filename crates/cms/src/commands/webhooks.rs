//! Being told of changes at an address of one's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::office365::{Webhook, WebhookNotifier, WebhookOptions};
use tracing::{info, warn};
use url::Url;

use super::pushing::{mailboxes, tree};
use super::setup::{Accounts, account_name};
use crate::configuration::Configuration;
use crate::output;
use crate::page::Holder;
use crate::problem::Problem;
use crate::sync::PushSetup;
use crate::webhook::Reception;

/// How long the service may take to end subscriptions when the program ends. The rest of its two seconds is for changes
/// that are on their way.
const FAREWELL: Duration = Duration::from_millis(700);

/// What runs beside a daemon that is told of changes at an address of its own.
pub(super) struct Webhooks {
    notifiers: Vec<WebhookNotifier>,
    reception: Option<Reception>,
}

impl Webhooks {
    /// Listens, and makes what tells of changes for the accounts that may. Where nobody can listen, mail is polled for.
    pub(super) fn open(configuration: &Configuration, accounts: &Accounts, url: &Url) -> (Self, Vec<PushSetup>) {
        let webhook = Webhook::new(url.clone());
        let mut all = Self { notifiers: Vec::new(), reception: None };
        let mut sources = Vec::new();
        for (account, its) in configuration.accounts.iter().enumerate() {
            let names: Vec<String> = mailboxes(configuration, account).map(|mailbox| mailbox.name.clone()).collect();
            let tree = tree(configuration, account).is_some();
            let Some(client) = accounts.graph.get(account).filter(|_| tree || !names.is_empty()) else { continue };
            let notifier = WebhookNotifier::new(Arc::clone(client), webhook.clone(), WebhookOptions::default());
            all.notifiers.push(notifier.clone());
            sources.push(PushSetup {
                account,
                account_name: account_name(its),
                mailboxes: names,
                tree,
                notifier: Arc::new(notifier),
                insists: true,
            });
        }
        if sources.is_empty() {
            return (all, sources);
        }
        match Reception::open(configuration.push_listen, webhook) {
            Ok(reception) => {
                info!("Notifications of changes are awaited at {}, where {url} is to lead", reception.address());
                all.reception = Some(reception);
            }
            Err(error) => {
                warn!(
                    "there are no notifications of changes: {}; polling goes on. Stop what listens there, or set \
                     `cfg.push_listen` and the proxy to another address",
                    cannot_listen(configuration.push_listen, &error)
                );
                return (Self { notifiers: Vec::new(), reception: None }, Vec::new());
            }
        }
        (all, sources)
    }

    /// Ends the subscriptions, so that the service tells nobody in vain.
    pub(super) async fn finish(self) {
        let all = self.notifiers.iter().map(|notifier| notifier.finish(FAREWELL));
        futures_util::future::join_all(all).await;
        drop(self.reception);
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    let by =
        Some(error).filter(|error| error.kind() == std::io::ErrorKind::AddrInUse).and_then(|_| Holder::of(address));
    match by {
        Some(Holder { pid, command }) => format!("{address} is taken by {command} (process {pid})"),
        None => format!("could not listen on {address}: {error}"),
    }
}

/// Tells whether what is sent to the address arrives here, as far as this machine can tell.
pub(super) async fn check(configuration: &Configuration) -> Result<(), Problem> {
    let Some(url) = &configuration.push_url else { return Ok(()) };
    let webhook = Webhook::new(url.clone());
    let listen = configuration.push_listen;
    let reception = Reception::open(listen, webhook.clone());
    let cause = match webhook.is_answered().await {
        Ok(()) => return output::line(format_args!("ok    change notifications: `{url}` leads to {listen}")),
        Err(error) => crate::problem::with_causes(&error),
    };
    let (what, hint) = match &reception {
        // A daemon of ours listens there all the time.
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            (cannot_listen(listen, error), "set `cfg.push_listen` and the proxy to another address".to_owned())
        }
        _ => (
            format!("`{url}`: {cause}"),
            format!("have the proxy pass on POST requests for {} to http://{listen}, the path as it is", url.path()),
        ),
    };
    output::line(format_args!("note  change notifications: {what}\n      hint: {hint}"))
}
