//! The page as HTML, complete without its script.

use super::accounts::{accounts, trouble};
use super::answer::Nonce;
use super::board::Series;
use super::html::{escape, fill};
use super::overall::Overall;
use super::panel::{is_done, is_told, panel};
use super::status::Status;
use super::words::sentence;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// All that goes into the page.
pub(super) struct View<'a> {
    pub(super) status: &'a Status,
    pub(super) series: Series,
    pub(super) key: &'a str,
    pub(super) now: i64,
}

/// What the page says first, once.
pub(super) struct Banner {
    pub(super) good: bool,
    pub(super) heading: String,
    pub(super) words: String,
}

/// The whole page.
pub(super) fn page(view: &View<'_>, banner: Option<&Banner>, nonce: &Nonce) -> String {
    let overall = Overall::of(view.status);
    fill(
        PAGE,
        &[
            ("nonce", nonce.as_str()),
            ("style", STYLE),
            ("script", SCRIPT),
            ("state", overall.state),
            ("title", &escape(&title(&overall))),
            ("icon", &icon(&overall)),
            ("banner", &banner.map(|banner| show_banner(banner, view)).unwrap_or_default()),
            ("content", &content(view)),
        ],
    )
}

/// The part that changes with the status.
pub(super) fn content(view: &View<'_>) -> String {
    let overall = Overall::of(view.status);
    // Only a daemon is meant to run on.
    let over =
        if is_done(view) && view.status.command != "run" { "cms has finished" } else { "cms isn’t running any more" };
    format!(
        "<div id=\"content\" data-state=\"{}\" data-title=\"{}\" data-icon=\"{}\" data-over=\"{over}\" \
         data-now=\"{}\">\n<header><p class=\"brand\">Cloud MailDir Sync</p>\
         <div class=\"overall\" aria-live=\"polite\"><h1 id=\"overall\">{}</h1></div></header>\n\
         <main><div aria-live=\"polite\">{}{}</div>\n\
         <section class=\"accounts\" aria-labelledby=\"accounts-title\"><h2 id=\"accounts-title\">Accounts</h2>{}\
         </section></main>\n<footer>cms {} · <code>cms {}</code> · process {}</footer></div>",
        overall.state,
        escape(&title(&overall)),
        icon(&overall),
        view.now,
        escape(&overall.sentence),
        panel(view),
        view.status.troubles.iter().map(trouble).collect::<String>(),
        accounts(view),
        escape(&view.status.version),
        escape(&view.status.command),
        view.status.pid,
    )
}

fn title(overall: &Overall) -> String {
    format!("{} – cms", overall.sentence)
}

/// An envelope, with a dot if somebody has to do something.
fn icon(overall: &Overall) -> String {
    let dot = match overall.state {
        "needed" | "signing-in" | "keyring" => "%3Ccircle cx='25' cy='8' r='7' fill='%23e8590c'/%3E",
        "trouble" => "%3Ccircle cx='25' cy='8' r='7' fill='%23d6336c'/%3E",
        _ => "",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E\
         %3Crect x='2' y='6' width='28' height='21' rx='4' fill='%233b6cf0'/%3E\
         %3Cpath d='M5 11l11 8 11-8' fill='none' stroke='%23fff' stroke-width='2.5'/%3E{dot}%3C/svg%3E"
    )
}

fn show_banner(banner: &Banner, view: &View<'_>) -> String {
    let (tone, role) = if banner.good { ("good", "status") } else { ("bad", "alert") };
    // The panel says it as well, and for as long as it matters.
    let words = if is_told(&banner.words, view) { String::new() } else { sentence(&banner.words) };
    format!(
        "<div id=\"banner\" class=\"{tone}\" role=\"{role}\" data-good=\"{}\"><strong>{}</strong> <span>{}</span></div>",
        banner.good,
        escape(&banner.heading),
        escape(&words)
    )
}
