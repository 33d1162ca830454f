//! `cms check`: what works, what doesn't, and what to do.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cms_auth::{AccessTokens as _, AuthError, KeyDescription, KeyringState, Patience, TokenSource};
use cms_cloud::contract::CloudError;
use cms_maildir::Maildir;

use super::setup::{self, Manner};
use super::{Context, Ended};
use crate::configuration::{Configuration, Since};
use crate::logging::utc;
use crate::output;
use crate::problem::Problem;
use crate::tree::taken_in;

/// Looks at everything that a run rests on, and changes nothing; but a sign-in that it takes is kept.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    output::line(format_args!("ok    configuration: `{}`", configuration.file.display()))?;
    let mut worst = Ended::Done;
    for maildir in &configuration.maildirs {
        note(&mut worst, check_maildir(&maildir.path))?;
    }
    note(&mut worst, check_state_dir(&configuration))?;
    let vault = setup::vault(&configuration);
    let manner = Manner::of(context, "check", Patience::Once(setup::PATIENCE));
    let accounts = setup::accounts(&configuration, Some(&vault), manner)?;
    for (index, account) in configuration.accounts.iter().enumerate() {
        let name = account.user.as_deref().unwrap_or("the account");
        let source = &accounts.sources[index];
        let signed_in = check_sign_in(source).await?;
        let go_on = signed_in.is_ok();
        note(&mut worst, signed_in)?;
        if !go_on {
            continue;
        }
        for mailbox in configuration.mailboxes.iter().filter(|mailbox| mailbox.account == index) {
            let finding = match accounts.clients[accounts.client_of(mailbox)].open(&mailbox.name).await {
                Ok(folder) => Ok(format!(
                    "mailbox: `{}` of {name} holds {} items{}",
                    folder.path,
                    folder.total_items,
                    scope(mailbox.since, mailbox.keep)
                )),
                Err(CloudError::NoSuchFolder { nearest, .. }) => Err(Finding {
                    what: format!("mailbox: {name} has no folder `{}`", mailbox.name),
                    hint: match nearest.as_slice() {
                        [] => "look up its name in Outlook".to_owned(),
                        nearest => format!(
                            "did you mean {}?",
                            nearest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
                        ),
                    },
                    ended: Ended::Failed,
                }),
                Err(error) => Err(Finding {
                    ended: if matches!(error, CloudError::SignInNeeded { .. }) {
                        Ended::SignInNeeded
                    } else {
                        Ended::Failed
                    },
                    what: format!("mailbox: `{}` of {name}: {}", mailbox.name, crate::problem::with_causes(&error)),
                    hint: hint_for(&error),
                }),
            };
            note(&mut worst, finding)?;
        }
        for tree in setup::trees(&configuration, &accounts).iter().filter(|tree| tree.account == index) {
            let root = tree.root.display();
            let whose = tree.shape.owner.as_deref().unwrap_or(name);
            note(
                &mut worst,
                match accounts.clients[tree.client].tree(&[]).await {
                    Ok(listed) => {
                        let taken_in = taken_in(tree, &listed, &[]).len();
                        Ok(format!(
                            "tree: `{root}` takes in {taken_in} of the {} folders of {whose}{}",
                            listed.folders.len(),
                            scope(tree.since, tree.keep)
                        ))
                    }
                    Err(error) => Err(Finding {
                        what: format!("tree: the folders of {whose}: {}", crate::problem::with_causes(&error)),
                        hint: hint_for(&error),
                        ended: Ended::Failed,
                    }),
                },
            )?;
        }
    }
    super::webhooks::check(&configuration).await?;
    tell_key(&vault.describe_key().await)?;
    accounts.sign_ins.finish().await;
    Ok(worst)
}

/// What to do where a mailbox can't be looked into.
fn hint_for(error: &CloudError) -> String {
    let remedy = match error {
        CloudError::Refused { .. } => crate::problem::remedy(error),
        _ => None,
    };
    remedy.unwrap_or_else(|| "check the network and the account, then run `cms check` again".to_owned())
}

/// What of a mailbox is brought here and stays here, if it isn't all that the cloud has and nothing else.
fn scope(since: Option<Since>, keep: bool) -> String {
    let mut text = String::new();
    if let Some(since) = since {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
        let day = utc(since.at(now).max(0).cast_unsigned());
        // Writing to a string can't fail.
        let _ = write!(text, "; what came before {} isn't brought here", day.split('T').next().unwrap_or_default());
    }
    if keep {
        text.push_str("; what is deleted there stays here");
    }
    text
}

/// Has a token, and tells what is known of the sign-in behind it.
async fn check_sign_in(source: &TokenSource) -> Result<Result<String, Finding>, Problem> {
    let name = source.name();
    let report = match source.access_token().await {
        Ok(_) => source.report().await,
        Err(error) => {
            let (ended, hint) = match &error {
                AuthError::Unreachable(_) => {
                    (Ended::Failed, "check the network, then run `cms check` again".to_owned())
                }
                AuthError::Configuration(_) => (Ended::Failed, "set it right in cms.cfg".to_owned()),
                _ => (Ended::SignInNeeded, format!("cms sign-in {name}")),
            };
            return Ok(Err(Finding {
                what: format!("sign-in: {name}: {}", crate::problem::with_causes(&error)),
                hint,
                ended,
            }));
        }
    };
    let mut told = format!("sign-in: {}", report.user.as_deref().unwrap_or(name));
    let mut add = |text: String| {
        told.push_str("; ");
        told.push_str(&text);
    };
    add(format!("signed in {}, renewed {}", utc(report.signed_in_at), utc(report.renewed_at)));
    add(format!("may {}", report.scopes.iter().map(|scope| short(scope)).collect::<Vec<_>>().join(", ")));
    add(match &report.not_kept {
        None => "kept for the next start".to_owned(),
        // Why not is told with the key, or was told when the user signed in.
        Some(_) => "not kept for the next start".to_owned(),
    });
    if let Some(at) = report.ends_at {
        add(format!("ends {}: the redirect address is registered as `spa`", utc(at)));
    }
    if let Some(clock) = report.clock {
        tell_note(&clock, "turn on time synchronisation (timedatectl set-ntp true)")?;
    }
    Ok(Ok(told))
}

/// Tells where the key of the token vault is. Without one everything works, but the next start begins with a sign-in.
fn tell_key(key: &KeyDescription) -> Result<(), Problem> {
    let told = format!("key of the token vault: {key}");
    let hint = match key {
        KeyDescription::Command(_) | KeyDescription::Keyring(KeyringState::HasKey | KeyringState::Ready) => {
            return output::line(format_args!("ok    {told}"));
        }
        KeyDescription::Keyring(KeyringState::Locked) => {
            "log in to the desktop, or unlock the keyring in its own program"
        }
        KeyDescription::Keyring(KeyringState::LacksKey | KeyringState::Absent(_) | KeyringState::Failed(_)) => {
            "`cfg.token_key_command = \"pass show cms\"` or the like gives a key without a keyring"
        }
    };
    tell_note(&told, hint)
}

/// Tells something that isn't as it should be and keeps nothing from working.
fn tell_note(what: &str, hint: &str) -> Result<(), Problem> {
    output::line(format_args!("note  {what}\n      hint: {hint}"))
}

/// The last part of a scope, as people know it: `Mail.ReadWrite`.
fn short(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

/// Something that doesn't work.
struct Finding {
    what: String,
    hint: String,
    ended: Ended,
}

fn note(worst: &mut Ended, finding: Result<String, Finding>) -> Result<(), Problem> {
    match finding {
        Ok(text) => output::line(format_args!("ok    {text}")),
        Err(finding) => {
            if *worst != Ended::SignInNeeded {
                *worst = finding.ended;
            }
            output::line(format_args!("FAIL  {}\n      hint: {}", finding.what, finding.hint))
        }
    }
}

fn check_maildir(path: &Path) -> Result<String, Finding> {
    if !path.exists() {
        return match existing_parent(path) {
            Some(parent) if is_writable(parent) => Ok(format!("Maildir: `{}` will be made", path.display())),
            _ => Err(Finding {
                what: format!("Maildir: `{}` doesn't exist and can't be made", path.display()),
                hint: "make its parent directory writable, or name another path in cms.cfg".to_owned(),
                ended: Ended::Failed,
            }),
        };
    }
    let failed = |what: String| Finding {
        what,
        hint: format!("mkdir -p {0}/cur {0}/new {0}/tmp, and see that you may write there", path.display()),
        ended: Ended::Failed,
    };
    let scan = Maildir::open(path)
        .and_then(|maildir| maildir.scan())
        .map_err(|error| failed(format!("Maildir: {}", crate::problem::with_causes(&error))))?;
    if ["cur", "new", "tmp"].iter().any(|part| !is_writable(&path.join(part))) {
        return Err(failed(format!("Maildir: `{}` can't be written to", path.display())));
    }
    Ok(format!("Maildir: `{}` holds {} messages", path.display(), scan.entries.len()))
}

fn check_state_dir(configuration: &Configuration) -> Result<String, Finding> {
    let path = &configuration.state_dir;
    match existing_parent(path) {
        Some(parent) if is_writable(parent) => Ok(format!("state: `{}`", path.display())),
        _ => Err(Finding {
            what: format!("state: `{}` can't be written to", path.display()),
            hint: "set `cfg.state_dir` to a directory of yours on the Maildirs' file system".to_owned(),
            ended: Ended::Failed,
        }),
    }
}

fn existing_parent(path: &Path) -> Option<&Path> {
    path.ancestors().find(|ancestor| ancestor.exists())
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
