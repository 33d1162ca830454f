//! `cms sign-out`: forgets a sign-in.

use cms_auth::Patience;

use super::setup::{self, Manner};
use super::sign_in::find;
use super::{Context, Ended};
use crate::output;
use crate::problem::Problem;

/// Forgets the sign-in of one account, here and where the cloud can be told.
pub async fn run(context: &Context, account: &str) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let manner = Manner::of(context, "sign-out", Patience::None);
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let source = find(&accounts.sources, account)?;
    let name = source.name();
    let signed_out = source
        .sign_out()
        .await
        .map_err(|error| Problem::from_error(format!("could not forget the sign-in of {name}"), error))?;
    if !signed_out.was_signed_in {
        output::line(format_args!("{name} was not signed in"))?;
        return Ok(Ended::Done);
    }
    output::line(format_args!("{name} is signed out: nothing of it is kept here any more"))?;
    if signed_out.revoked {
        output::line(format_args!("{} was told, and accepts the sign-in no longer", source.registration().service()))?;
    } else if let Some(trouble) = &signed_out.trouble {
        output::line(format_args!("{} couldn't be told: {trouble}", source.registration().service()))?;
        return Ok(Ended::Failed);
    } else if let Some(page) = source.registration().sign_ins_page() {
        output::line(format_args!(
            "{} lets no program end a sign-in; to end it there too, see {page}",
            source.registration().service()
        ))?;
    }
    Ok(Ended::Done)
}
