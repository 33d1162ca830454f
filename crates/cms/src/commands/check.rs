//! `cms check`: what works, what doesn't, and what to do.

use std::path::Path;

use cms_auth::Browser;
use cms_cloud::contract::CloudError;
use cms_maildir::Maildir;

use super::{Context, Ended, setup};
use crate::configuration::Configuration;
use crate::output;
use crate::problem::Problem;

/// Looks at everything that a run rests on, and changes nothing.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    output::line(format_args!("ok    configuration: `{}`", configuration.file.display()))?;
    let mut worst = Ended::Done;
    for maildir in &configuration.maildirs {
        note(&mut worst, check_maildir(&maildir.path))?;
    }
    note(&mut worst, check_state_dir(&configuration))?;
    for (index, account) in configuration.accounts.iter().enumerate() {
        let name = account.user.as_deref().unwrap_or("the account");
        let client =
            setup::account(&configuration, account, setup::prompt(&context.progress), Browser::from_environment())?;
        for mailbox in configuration.mailboxes.iter().filter(|mailbox| mailbox.account == index) {
            let finding = match client.open(&mailbox.name).await {
                Ok(folder) => Ok(format!("mailbox: `{}` of {name} holds {} items", folder.path, folder.total_items)),
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
                    hint: "check the network and the account, then run `cms check` again".to_owned(),
                }),
            };
            note(&mut worst, finding)?;
        }
    }
    Ok(worst)
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
