//! `MailDir`, `Office365_Account`, `Office365` and their kin, as the file calls them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use cms_auth::NationalCloud;
use starlark::collections::SmallMap;
use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::any::StarlarkAny;
use starlark::values::tuple::UnpackTuple;
use starlark::values::{StarlarkPagablePanic, Value};

use super::arguments::{Arguments, Signature};
use super::error::{Argument, Position, Refusal};
use super::language::position;
use super::parse;
use super::paths::{Surroundings, identity};
use super::since;
use super::tree::{self, TreeConfig, TreeHandle};
use super::{MailboxConfig, MaildirConfig, Office365AccountConfig, Push, Upload};

/// What the calls in the file have declared so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) surroundings: Surroundings,
    pub(super) maildirs: Vec<MaildirConfig>,
    pub(super) accounts: Vec<Office365AccountConfig>,
    pub(super) mailboxes: Vec<MailboxConfig>,
    pub(super) trees: Vec<TreeConfig>,
    identities: Vec<PathBuf>,
}

impl Draft {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            maildirs: Vec::new(),
            accounts: Vec::new(),
            mailboxes: Vec::new(),
            trees: Vec::new(),
            identities: Vec::new(),
        }
    }
}

/// How the interpreter carries the draft.
pub(super) type SharedDraft = StarlarkAny<Mutex<Draft>>;

/// The functions that a file may call, besides Starlark's own.
pub(super) const FUNCTIONS: [&str; 6] =
    ["MailDir", "Office365", "Office365_Account", "Office365_Tree", "GMail", "GMail_Account"];

const MAILDIR: Signature =
    Signature { function: "MailDir", positional: &["path"], named: &[], example: "MailDir(\"~/mail/INBOX\")" };

const ACCOUNT: Signature = Signature {
    function: "Office365_Account",
    positional: &["user"],
    named: &[
        "tenant",
        "client_id",
        "cloud",
        "login_url",
        "graph_url",
        "owa_url",
        "rate_limit",
        "redirect_host",
        "redirect_path",
        "scopes",
        "send_origin",
    ],
    example: "Office365_Account(user=\"user@domain.com\")",
};

const MAILBOX: Signature = Signature {
    function: "Office365",
    positional: &["mailbox", "account"],
    named: &["delete_action", "push", "upload", "mailbox_owner", "since", "keep"],
    example: "Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))",
};

/// What `MailDir(…)` returns.
#[derive(StarlarkPagablePanic)]
pub(super) struct MaildirHandle {
    index: usize,
    written: String,
}
starlark::register_starlark_any!(MaildirHandle);

/// What `Office365_Account(…)` returns.
#[derive(StarlarkPagablePanic)]
pub(super) struct AccountHandle {
    pub(super) index: usize,
    user: Option<String>,
}
starlark::register_starlark_any!(AccountHandle);

/// What `Office365(…)` returns.
#[derive(StarlarkPagablePanic)]
struct MailboxHandle {
    name: String,
}
starlark::register_starlark_any!(MailboxHandle);

/// As `print` shows it.
impl fmt::Debug for MaildirHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailDir({:?})", self.written)
    }
}

/// As `print` shows it.
impl fmt::Debug for AccountHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "Office365_Account(user={user:?})"),
            None => f.write_str("Office365_Account()"),
        }
    }
}

/// As `print` shows it.
impl fmt::Debug for MailboxHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Office365({:?})", self.name)
    }
}

/// Which of the configuration's Maildirs a value is, if it is one.
pub(super) fn as_maildir(value: Value<'_>) -> Option<usize> {
    StarlarkAny::<MaildirHandle>::get(value).map(|handle| handle.index)
}

/// What a value is, for a message to a person.
pub(super) fn describe(value: Value<'_>) -> String {
    if as_maildir(value).is_some() {
        return "a `MailDir`".to_owned();
    }
    if StarlarkAny::<AccountHandle>::get(value).is_some() {
        return "an `Office365_Account`".to_owned();
    }
    if StarlarkAny::<MailboxHandle>::get(value).is_some() {
        return "an `Office365`".to_owned();
    }
    if StarlarkAny::<TreeHandle>::get(value).is_some() {
        return "an `Office365_Tree`".to_owned();
    }
    match value.get_type() {
        "NoneType" => "`None`".to_owned(),
        "string" => "a string".to_owned(),
        "int" | "float" => "a number".to_owned(),
        "bool" => format!("`{value}`"),
        "list" => "a list".to_owned(),
        "tuple" => "a tuple".to_owned(),
        "dict" => "a dict".to_owned(),
        "function" => "a function".to_owned(),
        other => format!("a `{other}`"),
    }
}

type Positional<'v> = UnpackTuple<Value<'v>>;
type Named<'v> = SmallMap<String, Value<'v>>;

// The names are those of the file's language, and the macro hands every argument over by value.
#[allow(non_snake_case, clippy::needless_pass_by_value, clippy::unnecessary_wraps)]
#[starlark_module]
pub(super) fn register(globals: &mut GlobalsBuilder) {
    fn MailDir<'v>(
        #[starlark(args)] positional: Positional<'v>,
        #[starlark(kwargs)] named: Named<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<StarlarkAny<MaildirHandle>> {
        Ok(StarlarkAny::new(with_draft(eval, |draft| maildir(draft, positional, &named))?))
    }

    fn Office365_Account<'v>(
        #[starlark(args)] positional: Positional<'v>,
        #[starlark(kwargs)] named: Named<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<StarlarkAny<AccountHandle>> {
        Ok(StarlarkAny::new(with_draft(eval, |draft| account(draft, positional, &named))?))
    }

    fn Office365<'v>(
        #[starlark(args)] positional: Positional<'v>,
        #[starlark(kwargs)] named: Named<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<StarlarkAny<MailboxHandle>> {
        Ok(StarlarkAny::new(with_draft(eval, |draft| mailbox(draft, positional, &named, place_of_call(eval)))?))
    }

    fn Office365_Tree<'v>(
        #[starlark(args)] positional: Positional<'v>,
        #[starlark(kwargs)] named: Named<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<StarlarkAny<TreeHandle>> {
        Ok(StarlarkAny::new(with_draft(eval, |draft| tree::tree(draft, positional, &named, place_of_call(eval)))?))
    }

    fn GMail_Account<'v>(
        #[starlark(args)] _positional: Positional<'v>,
        #[starlark(kwargs)] _named: Named<'v>,
    ) -> starlark::Result<Value<'v>> {
        Err(not_built("GMail_Account").into())
    }

    fn GMail<'v>(
        #[starlark(args)] _positional: Positional<'v>,
        #[starlark(kwargs)] _named: Named<'v>,
    ) -> starlark::Result<Value<'v>> {
        Err(not_built("GMail").into())
    }
}

fn not_built(function: &str) -> Refusal {
    Refusal::new(format!("`{function}` is not built yet: only Office365 works in this version"))
        .hint("remove the line, or use `Office365` and `Office365_Account`")
}

fn with_draft<T>(
    eval: &Evaluator<'_, '_, '_>,
    declare: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    // There is no draft any more when `cfg.direct_message` is asked about a message.
    let draft = eval.extra.and_then(|extra| extra.downcast_ref::<SharedDraft>()).ok_or_else(|| {
        Refusal::new("mailboxes and Maildirs can't be declared while a message is being delivered")
            .hint("declare it at the top of the file, and use its name here")
    })?;
    let mut draft = draft.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    declare(&mut draft)
}

fn maildir<'v>(draft: &mut Draft, positional: Positional<'v>, named: &Named<'v>) -> Result<MaildirHandle, Refusal> {
    let arguments = MAILDIR.arguments(positional.items, named.iter().map(|(name, value)| (name.as_str(), *value)))?;
    let written = arguments.text("path")?;
    let (at, _) = arguments.required("path")?;
    let path = draft.surroundings.absolute(written).map_err(|refusal| refusal.at(at.clone()))?;
    if path.parent().is_none() {
        return Err(Refusal::new("the root of the file system can't be a Maildir").at(at.clone()));
    }
    let identity = identity(&path);
    if draft.identities.contains(&identity) {
        return Err(Refusal::new(format!("there already is a `MailDir` at `{}`", identity.display()))
            .hint("use the one that is there: give it a name (`inbox = MailDir(…)`)")
            .at(at.clone()));
    }
    draft.identities.push(identity);
    draft.maildirs.push(MaildirConfig { path });
    Ok(MaildirHandle { index: draft.maildirs.len() - 1, written: written.to_owned() })
}

fn account<'v>(draft: &mut Draft, positional: Positional<'v>, named: &Named<'v>) -> Result<AccountHandle, Refusal> {
    let arguments = ACCOUNT.arguments(positional.items, named.iter().map(|(name, value)| (name.as_str(), *value)))?;
    let clouds = ["global", "usgov", "usdod", "china"].map(|name| (name, NationalCloud::from_name(name)));
    let account = Office365AccountConfig {
        user: arguments.optional_text("user")?.map(str::to_owned),
        tenant: arguments.optional_text("tenant")?.unwrap_or("common").to_owned(),
        client_id: arguments.optional_text("client_id")?.map(str::to_owned),
        cloud: arguments.choice("cloud", &clouds)?.flatten().unwrap_or_default(),
        login_url: arguments.optional_parsed("login_url", parse::service_url)?,
        graph_url: arguments.optional_parsed("graph_url", parse::service_url)?,
        owa_url: arguments.optional_parsed("owa_url", parse::service_url)?,
        rate_limit: arguments.optional_count("rate_limit")?,
        redirect_host: arguments.choice("redirect_host", &[("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")])?,
        redirect_path: arguments.optional_parsed("redirect_path", parse::redirect_path)?,
        scopes: arguments.optional_texts("scopes")?,
        send_origin: arguments.optional_switch("send_origin")?.unwrap_or_default(),
    };
    let user = account.user.clone();
    // An account that is written twice is one account, with one sign-in.
    let index = draft.accounts.iter().position(|known| *known == account).unwrap_or_else(|| {
        draft.accounts.push(account);
        draft.accounts.len() - 1
    });
    Ok(AccountHandle { index, user })
}

fn mailbox<'v>(
    draft: &mut Draft,
    positional: Positional<'v>,
    named: &Named<'v>,
    position: Option<Position>,
) -> Result<MailboxHandle, Refusal> {
    let arguments = MAILBOX.arguments(positional.items, named.iter().map(|(name, value)| (name.as_str(), *value)))?;
    let name = arguments.text("mailbox")?;
    let (name_at, _) = arguments.required("mailbox")?;
    let (account_at, account) = arguments.required("account")?;
    let Some(account) = StarlarkAny::<AccountHandle>::get(account) else {
        let given = describe(account);
        return Err(Refusal::new(format!("the `account` of `Office365` must be an `Office365_Account`, not {given}"))
            .hint(format!("write `{}`", MAILBOX.example))
            .at(account_at.clone()));
    };
    let owner = arguments.optional_parsed("mailbox_owner", parse::mailbox_owner)?;
    let tidied = tidy(name, name_at)?;
    let mailbox = MailboxConfig {
        // The name says whose folder it is, wherever it is told.
        name: owner.as_ref().map_or_else(|| tidied.clone(), |owner| format!("{owner}/{tidied}")),
        owner,
        position,
        account: account.index,
        delete_action: arguments.delete_action()?,
        push: arguments.push()?,
        upload: arguments.upload()?,
        since: arguments.optional_parsed("since", since::since)?,
        keep: arguments.optional_switch("keep")?.unwrap_or_default(),
    };
    refuse_of_part(mailbox.upload, &arguments)?;
    if let Some(owner) = &mailbox.owner {
        let whose = Whose { account: mailbox.account, owner };
        refuse_of_others(draft, &whose, mailbox.push, mailbox.upload, &arguments)?;
    }
    // Exchange compares folder names without regard to case.
    let same = |known: &MailboxConfig| {
        known.account == mailbox.account && known.name.to_lowercase() == mailbox.name.to_lowercase()
    };
    if draft.mailboxes.iter().any(same) {
        return Err(Refusal::new(format!("the mailbox `{}` of this account is already there", mailbox.name))
            .hint("remove one of the two lines")
            .at(name_at.clone()));
    }
    draft.mailboxes.push(mailbox);
    Ok(MailboxHandle { name: name.to_owned() })
}

/// Refuses what can't be had in a mailbox of which the cloud and the Maildir don't have the same: what is uploaded there is
/// known again by what the cloud has, and would go there twice.
pub(super) fn refuse_of_part(upload: Upload, arguments: &Arguments<'_>) -> Result<(), Refusal> {
    if upload != Upload::Import {
        return Ok(());
    }
    let keep = arguments.optional_switch("keep")?.unwrap_or_default().then_some("keep");
    for argument in ["since"].into_iter().chain(keep) {
        if let Some((at, _)) = arguments.optional(argument) {
            return Err(Refusal::new(format!("`{argument}` can't be had together with `upload=\"import\"`"))
                .hint("write `upload=\"drafts\"` or `upload=\"none\"`")
                .at(at.clone()));
        }
    }
    Ok(())
}

/// A mailbox that isn't the signed-in user's.
pub(super) struct Whose<'a> {
    /// Which of the configuration's accounts signs in.
    pub(super) account: usize,
    pub(super) owner: &'a str,
}

/// Refuses what can't be had in a mailbox that isn't the signed-in user's.
pub(super) fn refuse_of_others(
    draft: &Draft,
    whose: &Whose<'_>,
    push: Push,
    upload: Upload,
    arguments: &Arguments<'_>,
) -> Result<(), Refusal> {
    let refusal = |argument: &str, what: String, hint: &str| {
        let refusal = Refusal::new(what).hint(hint);
        Err(match arguments.optional(argument) {
            Some((at, _)) => refusal.at(at.clone()),
            None => refusal,
        })
    };
    let Whose { account, owner } = *whose;
    let user = draft.accounts.get(account).and_then(|account| account.user.as_deref());
    if user.is_some_and(|user| user.eq_ignore_ascii_case(owner)) {
        return refusal(
            "mailbox_owner",
            format!("the mailbox of `{owner}` is the account's own"),
            "leave `mailbox_owner` out",
        );
    }
    if push == Push::Stream {
        return refusal(
            "push",
            "of a mailbox that isn't the account's own nothing tells of changes".to_owned(),
            "leave `push` out: it is polled",
        );
    }
    if upload == Upload::Import {
        return refusal(
            "upload",
            "a mailbox that isn't the account's own takes only drafts".to_owned(),
            "write `upload=\"drafts\"` or `upload=\"none\"`",
        );
    }
    Ok(())
}

/// Where the file calls the function that is being carried out.
fn place_of_call(eval: &Evaluator<'_, '_, '_>) -> Option<Position> {
    eval.call_stack_top_location().as_ref().map(position)
}

/// Takes slashes off the ends of a path of folders.
fn tidy(name: &str, at: &Argument) -> Result<String, Refusal> {
    let tidied = name.trim_matches('/').trim();
    if tidied.is_empty() || tidied.split('/').any(|folder| folder.trim().is_empty()) {
        return Err(Refusal::new(format!("`{name}` is not the name of a mailbox"))
            .hint("write `\"inbox\"`, a folder's name, or a path such as `\"Inbox/Lists/rust\"`")
            .at(at.clone()));
    }
    Ok(tidied.to_owned())
}
