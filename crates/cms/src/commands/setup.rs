//! From a configuration to what a run needs: accounts that sign in, mailboxes, Maildirs.

use std::sync::Arc;
use std::time::Duration;

use cms_auth::{Browser, Registration, SignInPrompt, TokenSource, TokenSourceOptions};
use cms_cloud::contract::CloudAccount;
use cms_cloud::office365;
use cms_engine::Flags;

use super::Context;
use crate::configuration::{Configuration, Office365AccountConfig};
use crate::problem::{ExitStatus, Problem};
use crate::progress::Progress;
use crate::sync::{Driver, Listener, MailboxSetup, Route, Setup, Start, Summary};

/// How long somebody may take to sign in.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Makes the client of one account. It signs in when it is first asked for something.
pub(super) fn account(
    configuration: &Configuration,
    account: &Office365AccountConfig,
    prompt: Arc<dyn SignInPrompt>,
    browser: Browser,
) -> Result<Arc<dyn CloudAccount>, Problem> {
    let mut registration = Registration::microsoft(account.cloud, Some(&account.tenant), account.client_id.as_deref());
    if let Some(url) = &account.login_url {
        registration.login_url = url.clone();
    }
    let wrong = |error| Problem::from_error("could not set up the account", error).with_exit(ExitStatus::Usage);
    let tokens = TokenSource::new(TokenSourceOptions {
        registration,
        user: account.user.clone(),
        listen: configuration.listen,
        prompt,
        browser,
        interactive: true,
        patience: PATIENCE,
    })
    .map_err(wrong)?;
    let graph_url = account.graph_url.clone().unwrap_or_else(|| account.cloud.graph_url());
    let mut options = office365::Options::new(graph_url);
    options.user.clone_from(&account.user);
    options.rate_limit = account.rate_limit.unwrap_or(options.rate_limit);
    let client = office365::Account::new(options, Arc::new(tokens))
        .map_err(|error| Problem::from_error("could not set up the account", error).with_exit(ExitStatus::Usage))?;
    Ok(Arc::new(client))
}

/// Says on the terminal where to sign in, however the log is set.
pub(super) fn prompt(progress: &Progress) -> Arc<dyn SignInPrompt> {
    let progress = progress.clone();
    Arc::new(move |account: &str, address: &str| {
        progress.println(&format!(
            "To sign in to {account}, open this address in a browser on this machine:\n\n    {address}\n"
        ));
    })
}

/// Makes everything that a run needs.
pub(super) fn setup(
    context: &Context,
    configuration: Configuration,
    dry_run: bool,
    listener: Option<Arc<Listener>>,
) -> Result<Setup, Problem> {
    let mut accounts = Vec::new();
    for one in &configuration.accounts {
        accounts.push(account(&configuration, one, prompt(&context.progress), Browser::from_environment())?);
    }
    Ok(from_accounts(context, configuration, accounts, dry_run, listener))
}

/// The same for accounts that are at hand.
pub(super) fn from_accounts(
    context: &Context,
    configuration: Configuration,
    accounts: Vec<Arc<dyn CloudAccount>>,
    dry_run: bool,
    listener: Option<Arc<Listener>>,
) -> Setup {
    let account_names = configuration.accounts.iter().map(account_name).collect();
    let mailboxes = configuration
        .mailboxes
        .iter()
        .map(|mailbox| MailboxSetup {
            account: mailbox.account,
            name: mailbox.name.clone(),
            position: mailbox.position.as_ref().map(ToString::to_string),
            delete_action: mailbox.delete_action,
        })
        .collect();
    let start = match (context.arguments.online, context.arguments.offline) {
        (true, _) => Start::Online,
        (_, true) => Start::Offline,
        _ => Start::Merge,
    };
    Setup {
        state_dir: configuration.state_dir.clone(),
        accounts,
        account_names,
        mailboxes,
        maildirs: configuration.maildirs.iter().map(|maildir| maildir.path.clone()).collect(),
        poll_interval: configuration.poll_interval,
        keep_deleted_days: configuration.keep_deleted_days,
        max_deletions: configuration.max_deletions,
        on_change: configuration.on_change.clone(),
        start,
        dry_run,
        progress: context.progress.clone(),
        listener,
        route: route(configuration),
    }
}

/// What the account is called in the state: the user, where it was told, and the place where the mail is.
fn account_name(account: &Office365AccountConfig) -> String {
    let user = account.user.as_deref().unwrap_or("me");
    format!("office365 {user}").to_lowercase()
}

fn route(configuration: Configuration) -> Option<Arc<Route>> {
    if !configuration.has_router() {
        return None;
    }
    Some(Arc::new(move |mailbox: usize, header: &[u8], flags: Flags| {
        configuration.route(mailbox, header, &flags.to_string()).map_err(|error| error.to_string())
    }))
}

/// Opens the state for a run.
pub(super) fn open(setup: Setup) -> Result<Driver, Problem> {
    Driver::open(setup).map_err(Problem::from)
}

/// Tells what a run left for the user to look at, and how it ended.
pub(super) fn conclude(context: &Context, summary: &Summary) -> super::Ended {
    context.progress.finish(&summary.to_string());
    for trouble in &summary.troubles {
        context.progress.println(&format!("not downloaded: {trouble}; it is tried again later"));
    }
    for held in &summary.held {
        context.progress.println(&format!(
            "held: {held}\nhint: if that is what you want, set `cfg.max_deletions = {}` in cms.cfg and run `cms sync` again",
            held.count
        ));
    }
    if !summary.held.is_empty() {
        super::Ended::Held
    } else if summary.troubles.is_empty() {
        super::Ended::Done
    } else {
        super::Ended::Failed
    }
}
