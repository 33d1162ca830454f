//! `cms sign-in`: has the user sign in.

use cms_auth::{AccessTokens as _, AuthError, Browser, Patience, TokenSource};

use super::setup::{self, Manner};
use super::{Context, Ended};
use crate::output;
use crate::problem::{ExitStatus, Problem};
use crate::sign_in::Invitation;

/// Signs in to one account, or to every account that isn't signed in.
pub async fn run(context: &Context, account: Option<&str>, device: bool) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let invitation = Invitation::User {
        progress: context.progress.clone(),
        browser: Browser::from_environment(),
        with_code: device,
    };
    let manner = Manner { command: "sign-in", patience: Patience::None, invitation };
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let wanted = match account {
        Some(name) => vec![find(&accounts.sources, name)?.clone()],
        None => accounts.sources.clone(),
    };
    let mut ended = Ended::Done;
    for source in wanted {
        if account.is_none() && works(&source).await? {
            output::line(format_args!("{} is signed in", source.name()))?;
            continue;
        }
        let signed_in = tokio::select! {
            signed_in = source.sign_in(setup::PATIENCE) => signed_in,
            () = context.stop.requested() => return Ok(Ended::Interrupted),
        };
        signed_in.map_err(|error| {
            Problem::from_error(format!("could not sign in to {}", source.name()), error)
                .with_exit(ExitStatus::SignInNeeded)
        })?;
        let report = source.report().await;
        output::line(format_args!("{} is signed in now", report.user.as_deref().unwrap_or(source.name())))?;
        if report.not_kept.is_some() {
            // The reason has been told, and the sign-in is gone when this ends.
            ended = Ended::Failed;
        }
    }
    accounts.sign_ins.finish().await;
    Ok(ended)
}

/// Whether the sign-in that is kept is still good; what is kept may have ended long ago.
async fn works(source: &TokenSource) -> Result<bool, Problem> {
    match source.access_token().await {
        Ok(_) => Ok(true),
        Err(error @ AuthError::Unreachable(_)) => {
            Err(Problem::from_error(format!("could not see whether {} is signed in", source.name()), error)
                .with_hint("check the network, then run `cms sign-in` again"))
        }
        Err(_) => Ok(false),
    }
}

/// The account that is meant by its name or a part of it.
pub(super) fn find<'s>(sources: &'s [TokenSource], name: &str) -> Result<&'s TokenSource, Problem> {
    let wanted = name.to_lowercase();
    if let Some(exact) = sources.iter().find(|source| source.name().to_lowercase() == wanted) {
        return Ok(exact);
    }
    let parts: Vec<_> = sources.iter().filter(|source| source.name().to_lowercase().contains(&wanted)).collect();
    let names = |all: &mut dyn Iterator<Item = &TokenSource>| {
        all.map(|source| format!("`{}`", source.name())).collect::<Vec<_>>().join(", ")
    };
    match parts.as_slice() {
        [one] => Ok(one),
        [] => Err(Problem::new(format!("there is no account `{name}` in the configuration"))
            .with_hint(format!("the accounts are {}", names(&mut sources.iter())))
            .with_exit(ExitStatus::Usage)),
        several => Err(Problem::new(format!("`{name}` could be more than one account"))
            .with_hint(format!("write one of {}", names(&mut several.iter().copied())))
            .with_exit(ExitStatus::Usage)),
    }
}
