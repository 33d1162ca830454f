//! From a configuration to what a run needs: accounts that sign in, mailboxes, Maildirs.

use std::sync::Arc;
use std::time::Duration;

use cms_auth::{Browser, Endpoints, KeySource, Patience, Registration, TokenSource, TokenSourceOptions, Vault};
use cms_cloud::contract::CloudAccount;
use cms_cloud::office365;
use cms_engine::{Flags, HashSet};

use super::{Context, pushing};
use crate::configuration::{Configuration, MailboxConfig, Office365AccountConfig, TreeConfig, Upload};
use crate::problem::{ExitStatus, Problem};
use crate::sign_in::{Invitation, SignInOptions, SignIns};
use crate::sync::{Driver, Listener, MailboxSetup, QUICK_POLL_INTERVAL, Route, Setup, Start, Summary, Surroundings};
use crate::tree::{Filter, Shape, TreeSetup};

/// How long somebody may take to sign in, where something waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The vault's name in the state directory.
const VAULT: &str = "tokens.vault";

/// What a run has at its disposal: the accounts, and what signs them in.
pub(super) struct Accounts {
    /// The clients, in the order of the configuration, then those for mailboxes of others'. They sign in when they are first
    /// asked for something.
    pub(super) clients: Vec<Arc<dyn CloudAccount>>,
    /// Those of the accounts that sign in, as what they are.
    pub(super) graph: Vec<Arc<office365::Account>>,
    /// Which clients are for mailboxes of others': the account that signs in, and the owner.
    owners: Vec<(usize, String)>,
    /// Their sign-ins, in the same order.
    pub(super) sources: Vec<TokenSource>,
    /// What invites the user.
    pub(super) sign_ins: SignIns,
}

impl Accounts {
    /// Which of the clients a mailbox is reached by.
    pub(super) fn client_of(&self, mailbox: &MailboxConfig) -> usize {
        self.client_for(mailbox.account, mailbox.owner.as_ref())
    }

    /// Whose mailbox a client is for, if it is somebody else's.
    pub(super) fn owner_of(&self, client: usize) -> Option<&str> {
        let at = client.checked_sub(self.sources.len())?;
        self.owners.get(at).map(|(_, owner)| owner.as_str())
    }

    fn client_for(&self, account: usize, owner: Option<&String>) -> usize {
        let is_its = |(its, known): &(usize, String)| *its == account && Some(known) == owner;
        self.owners.iter().position(is_its).map_or(account, |at| self.sources.len() + at)
    }

    /// The clients of one account: its own, then those for mailboxes of others'.
    pub(super) fn clients_of(&self, account: usize) -> impl Iterator<Item = usize> {
        let of_others = self.owners.iter().enumerate().filter(move |(_, (its, _))| *its == account);
        std::iter::once(account).chain(of_others.map(|(at, _)| self.sources.len() + at))
    }
}

/// How a command deals with its accounts.
pub(super) struct Manner {
    /// The command, as the page names it.
    pub(super) command: &'static str,
    /// How long who needs a token waits for the user.
    pub(super) patience: Patience,
    /// How the user is invited.
    pub(super) invitation: Invitation,
}

impl Manner {
    /// That of a command at a terminal.
    pub(super) fn of(context: &Context, command: &'static str, patience: Patience) -> Self {
        let invitation = Invitation::User {
            progress: context.progress.clone(),
            browser: Browser::from_environment(),
            with_code: false,
        };
        Self { command, patience, invitation }
    }
}

/// Makes the accounts of a configuration, and what signs them in.
pub(super) fn accounts(
    configuration: &Configuration,
    vault: Option<&Arc<Vault>>,
    manner: Manner,
) -> Result<Accounts, Problem> {
    let mut sources = Vec::new();
    let mut clients: Vec<Arc<dyn CloudAccount>> = Vec::new();
    let mut graph = Vec::new();
    for account in &configuration.accounts {
        let source = source(configuration, account, vault.cloned(), manner.patience)?;
        let client = client(account, None, &source)?;
        clients.push(client.clone());
        graph.push(client);
        sources.push(source);
    }
    // The service's limits are each mailbox's own, so each has a client of its own.
    let mut owners = Vec::new();
    let of_mailboxes = configuration.mailboxes.iter().map(|mailbox| (mailbox.account, &mailbox.owner));
    let of_trees = configuration.trees.iter().map(|tree| (tree.account, &tree.owner));
    for (account, owner) in of_mailboxes.chain(of_trees) {
        let Some(owner) = owner.clone().map(|owner| (account, owner)) else { continue };
        if !owners.contains(&owner) {
            clients.push(client(&configuration.accounts[owner.0], Some(&owner.1), &sources[owner.0])?);
            owners.push(owner);
        }
    }
    let sign_ins = SignIns::start(SignInOptions {
        command: manner.command,
        sources: sources.clone(),
        listen: configuration.listen_addresses(),
        daemon: manner.patience == Patience::Forever,
        invitation: manner.invitation,
    });
    Ok(Accounts { clients, graph, owners, sources, sign_ins })
}

/// The vault of a configuration. Nothing is opened yet.
pub(super) fn vault(configuration: &Configuration) -> Arc<Vault> {
    let key = configuration.token_key_command.clone().map_or(KeySource::Keyring, KeySource::Command);
    Arc::new(Vault::new(configuration.state_dir.join(VAULT), key))
}

pub(super) fn could_not_set_up(error: impl std::error::Error) -> Problem {
    Problem::from_error("could not set up the account", error).with_exit(ExitStatus::Usage)
}

fn source(
    configuration: &Configuration,
    account: &Office365AccountConfig,
    vault: Option<Arc<Vault>>,
    patience: Patience,
) -> Result<TokenSource, Problem> {
    let options = TokenSourceOptions {
        registration: Registration {
            further_resources: pushing::scopes(configuration, account),
            ..registration(account, Wants::of(configuration, account))
        },
        user: account.user.clone(),
        vault,
        port: configuration.listen.port(),
        patience,
    };
    TokenSource::new(options).map_err(could_not_set_up)
}

/// An account's sign-in that is looked at and not used.
pub(super) fn idle_source(
    configuration: &Configuration,
    account: &Office365AccountConfig,
    vault: &Arc<Vault>,
) -> Result<TokenSource, Problem> {
    source(configuration, account, Some(vault.clone()), Patience::None)
}

/// What the mailboxes of an account take besides the usual.
#[derive(Clone, Copy)]
struct Wants {
    /// Whether messages other than drafts are to go to one.
    imports: bool,
    /// Whether one is somebody else's.
    others: bool,
}

impl Wants {
    fn of(configuration: &Configuration, account: &Office365AccountConfig) -> Self {
        let its = |mailbox: &&MailboxConfig| configuration.accounts.get(mailbox.account) == Some(account);
        let mailboxes = || configuration.mailboxes.iter().filter(its);
        let its = |tree: &&TreeConfig| configuration.accounts.get(tree.account) == Some(account);
        let trees = || configuration.trees.iter().filter(its);
        Self {
            imports: mailboxes().any(|mailbox| mailbox.upload == Upload::Import)
                || trees().any(|tree| tree.upload == Upload::Import),
            others: mailboxes().any(|mailbox| mailbox.owner.is_some()) || trees().any(|tree| tree.owner.is_some()),
        }
    }
}

/// As what the program signs in to an account.
fn registration(account: &Office365AccountConfig, wants: Wants) -> Registration {
    let mut registration = Registration::microsoft(account.cloud, Some(&account.tenant), account.client_id.as_deref());
    if let (Some(url), Endpoints::Microsoft { login_url, .. }) = (&account.login_url, &mut registration.endpoints) {
        login_url.clone_from(url);
    }
    if let Some(url) = &account.graph_url {
        registration = registration.with_graph_at(url);
    }
    if let Some(scopes) = &account.scopes {
        registration = registration.with_scopes(scopes.clone());
    } else if let Some(service) = registration.scopes.iter().find_map(|scope| scope.strip_suffix("Mail.ReadWrite")) {
        let more = [
            // To make a message that isn't a draft takes more, which an administrator grants.
            ("Mail-Advanced.ReadWrite", wants.imports),
            ("Mail.ReadWrite.Shared", wants.others),
        ];
        let more = more.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| format!("{service}{name}"));
        let more: Vec<String> = more.collect();
        registration.scopes.extend(more);
    }
    if let Some(host) = account.redirect_host {
        host.clone_into(&mut registration.redirect_host);
    }
    if let Some(path) = &account.redirect_path {
        registration.redirect_path.clone_from(path);
    }
    registration.send_origin = account.send_origin;
    registration
}

/// The client of an account's own mailbox, or of one that is somebody else's.
fn client(
    account: &Office365AccountConfig,
    owner: Option<&String>,
    source: &TokenSource,
) -> Result<Arc<office365::Account>, Problem> {
    let graph_url = account.graph_url.clone().unwrap_or_else(|| account.cloud.graph_url());
    let mut options = office365::Options::new(graph_url);
    options.user.clone_from(&account.user);
    options.mailbox_owner = owner.cloned();
    options.rate_limit = account.rate_limit.unwrap_or(options.rate_limit);
    Ok(Arc::new(office365::Account::new(options, Arc::new(source.clone())).map_err(could_not_set_up)?))
}

/// What a run of the driver is, apart from the configuration.
pub(super) struct Run {
    /// Whether nothing outside the state directory may be touched.
    pub(super) dry_run: bool,
    /// Who hears of what happens.
    pub(super) listener: Option<Arc<Listener>>,
}

/// Makes everything that a run needs.
pub(super) fn setup(context: &Context, configuration: Configuration, accounts: &Accounts, run: Run) -> Setup {
    let account_names = configuration.accounts.iter().map(account_name).collect();
    let mailboxes = configuration
        .mailboxes
        .iter()
        .map(|mailbox| MailboxSetup {
            account: mailbox.account,
            client: accounts.client_of(mailbox),
            name: mailbox.name.clone(),
            position: mailbox.position.as_ref().map(ToString::to_string),
            delete_action: mailbox.delete_action,
            upload: mailbox.upload,
            since: mailbox.since,
            keep: mailbox.keep,
        })
        .collect();
    let start = match (context.arguments.online, context.arguments.offline) {
        (true, _) => Start::Online,
        (_, true) => Start::Offline,
        _ => Start::Merge,
    };
    Setup {
        state_dir: configuration.state_dir.clone(),
        accounts: accounts.clients.clone(),
        account_names,
        mailboxes,
        trees: trees(&configuration, accounts),
        maildirs: configuration.maildirs.iter().map(|maildir| maildir.path.clone()).collect(),
        poll_interval: configuration.poll_interval,
        quick_poll_interval: QUICK_POLL_INTERVAL,
        keep_deleted_days: configuration.keep_deleted_days,
        max_deletions: configuration.max_deletions,
        on_change: configuration.on_change.clone(),
        start,
        dry_run: run.dry_run,
        surroundings: Surroundings::default(),
        progress: context.progress.clone(),
        listener: run.listener,
        board: Some(accounts.sign_ins.board().clone()),
        door: Some(accounts.sign_ins.door().clone()),
        push: Vec::new(),
        route: route(configuration),
    }
}

/// The accounts that are kept as a whole.
pub(super) fn trees(configuration: &Configuration, accounts: &Accounts) -> Vec<TreeSetup> {
    let mut trees = trees_at_rest(configuration);
    for (setup, tree) in trees.iter_mut().zip(&configuration.trees) {
        setup.client = accounts.client_for(tree.account, tree.owner.as_ref());
    }
    trees
}

/// The same for who only reads the state, and has no client.
pub(super) fn trees_at_rest(configuration: &Configuration) -> Vec<TreeSetup> {
    let tree = |tree: &TreeConfig| {
        let account_name = account_name(&configuration.accounts[tree.account]);
        TreeSetup {
            account: tree.account,
            name: match &tree.owner {
                None => account_name.clone(),
                Some(owner) => format!("{account_name}, the mailbox of {owner}"),
            },
            account_name,
            client: tree.account,
            root: tree.root.clone(),
            shape: Shape {
                layout: tree.layout,
                filter: Filter::new(&tree.include, &tree.exclude),
                owner: tree.owner.clone(),
            },
            position: tree.position.as_ref().map(ToString::to_string),
            delete_action: tree.delete_action,
            upload: tree.upload,
            since: tree.since,
            keep: tree.keep,
            listed: None,
            refused: HashSet::default(),
        }
    };
    configuration.trees.iter().map(tree).collect()
}

/// What the account is called in the state: the user, where it was told, and the place where the mail is.
pub(super) fn account_name(account: &Office365AccountConfig) -> String {
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

/// Opens the state for a run. Commands can ask the process from then on, unless it only looks.
pub(super) fn open(setup: Setup) -> Result<Driver, Problem> {
    let only_looks = setup.dry_run;
    let mut driver = Driver::open(setup)?;
    if !only_looks {
        driver.listen();
    }
    Ok(driver)
}

/// Tells what a run left for the user to look at, and how it ended.
pub(super) fn conclude(context: &Context, summary: &Summary) -> super::Ended {
    if context.stop.is_requested() {
        context.progress.finish(&format!("interrupted: {summary}; the next start goes on from here"));
        return super::Ended::Interrupted;
    }
    context.progress.finish(&summary.in_the_end());
    for trouble in &summary.troubles {
        context.progress.println(&format!("not downloaded: {trouble}; it is tried again later"));
    }
    for held in &summary.held {
        context.progress.println(&format!(
            "held: {held}\n  {}\n  {}\nhint: {}",
            held.avoid(),
            held.meant(),
            held.safe()
        ));
    }
    if !summary.held.is_empty() {
        super::Ended::Held
    } else if summary.is_same() {
        super::Ended::Done
    } else {
        super::Ended::Failed
    }
}
