//! Entries of the journal in words, and as JSON.

use cms_engine::{Became, Because, Flags};
use cms_store::{After, Deed, Ended, Heard, Standing, Wanted};
use serde_json::{Value, json};

use super::{History, Told, time};
use crate::envelope::Envelope;

/// An entry in one line: when, its number, what was done to which message.
pub(crate) fn line(history: &History, told: &Told) -> String {
    let mut line = format!("{}  {:>5}  {}", time(told.entry.at), told.number, what(history, told));
    let envelope = told.hash().and_then(|hash| history.envelope(&hash));
    match (&envelope, &told.message) {
        (Some(Envelope { subject, from, .. }), _) => {
            line.push_str(": ");
            line.push_str(if subject.is_empty() { "(no subject)" } else { subject });
            if !from.is_empty() {
                line.push_str(" · ");
                line.push_str(from);
            }
        }
        (None, Some(message)) => {
            line.push_str(": ");
            line.push_str(message.file.base_name.as_str());
        }
        (None, None) => {}
    }
    line
}

/// What was done, and for whom.
pub(crate) fn what(history: &History, told: &Told) -> String {
    let entry = &told.entry;
    let mailbox = told.message.as_ref().and_then(|message| message.mailbox);
    let mailbox = mailbox.map_or("?".to_owned(), |id| history.mailbox(id).to_owned());
    let maildir = told.message.as_ref().map_or("?".to_owned(), |message| history.maildir_name(message.file.maildir));
    let after = entry.after.standing();
    let maildir_after = after.map_or("?".to_owned(), |after| history.maildir_name(after.file.maildir));
    let mailbox_after =
        after.and_then(|after| after.mailbox).map_or("?".to_owned(), |id| history.mailbox(id).to_owned());
    let by = match entry.wanted {
        Wanted::Undo => " (undo)",
        Wanted::Restore => " (restore)",
        Wanted::Word if allows(told) => " (you allowed it)",
        Wanted::Word => " (as you said)",
        Wanted::Start => " (start)",
        Wanted::Cloud | Wanted::Local | Wanted::Nobody => "",
    };
    let text = match entry.deed {
        Deed::Delivered => format!("came into {maildir}"),
        Deed::Returned => format!("came back into {maildir}"),
        Deed::Replaced => format!("replaced by its new version in {maildir}"),
        Deed::FlaggedHere => format!("{} here", flag_changes(told, false)),
        Deed::MovedHere => format!("moved here from {maildir} to {maildir_after}"),
        Deed::RemovedHere if entry.wanted == Wanted::Cloud => {
            format!("deleted in the cloud, and so removed from {maildir}")
        }
        Deed::RemovedHere => format!("removed from {maildir}"),
        Deed::LeftoverRemoved => format!("old file removed from {maildir}"),
        Deed::FlaggedThere => format!("{} in the cloud", flag_changes(told, true)),
        Deed::MovedThere => format!("moved in the cloud from {mailbox} to {mailbox_after}"),
        Deed::DeletedThere if entry.wanted == Wanted::Local => {
            format!("deleted here, and so from {mailbox} in the cloud")
        }
        Deed::DeletedThere => format!("deleted from {mailbox} in the cloud"),
        Deed::Agreed => "found the same on both sides".to_owned(),
        Deed::Forgotten if told.leaves_the_file() => {
            format!("found gone from {mailbox} in the cloud; its file stays in {maildir}")
        }
        Deed::Forgotten => "found gone from both sides".to_owned(),
        Deed::RestoredHere => format!("put back into {maildir}, for the Maildir only"),
        Deed::RestoredThere => format!("moved back in the cloud to {mailbox}"),
        Deed::FoundEdited => format!("found edited in {maildir}"),
        Deed::Uploaded => format!("uploaded from {maildir} to {mailbox}"),
        Deed::UpdatedThere => format!("updated in {mailbox} in the cloud"),
    };
    match entry.ended {
        Ended::Done => format!("{text}{by}"),
        Ended::Refused => format!("refused by the cloud: {text}{by}"),
    }
}

/// Whether the user's word was that a deletion is meant, going by what followed from it.
fn allows(told: &Told) -> bool {
    told.is_removal() || told.entry.deed == Deed::LeftoverRemoved
}

/// Such as `marked S` or `unmarked F`, or both.
fn flag_changes(told: &Told, cloud: bool) -> String {
    let side = |flags: cms_engine::Sides<Flags>| if cloud { flags.cloud } else { flags.local };
    let (Some(before), Some(after)) = (told.entry.before.as_ref(), told.entry.after.flags()) else {
        return "flags set".to_owned();
    };
    let (before, after) = (side(before.flags), side(after));
    match (after - before, before - after) {
        (set, cleared) if set.is_empty() && cleared.is_empty() => "flags settled".to_owned(),
        (set, cleared) if cleared.is_empty() => format!("marked {}", flags_in_words(set)),
        (set, cleared) if set.is_empty() => format!("no longer {}", flags_in_words(cleared)),
        (set, cleared) => format!("marked {}, no longer {}", flags_in_words(set), flags_in_words(cleared)),
    }
}

/// Flags as words: `read and flagged`.
pub(crate) fn flags_in_words(flags: Flags) -> String {
    const WORDS: [(Flags, &str); 6] = [
        (Flags::SEEN, "read"),
        (Flags::REPLIED, "replied"),
        (Flags::PASSED, "forwarded"),
        (Flags::FLAGGED, "flagged"),
        (Flags::DRAFT, "draft"),
        (Flags::TRASHED, "trashed"),
    ];
    let words: Vec<&str> = WORDS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    if words.is_empty() { "without flags".to_owned() } else { words.join(" and ") }
}

/// The rest of an entry's story, a line each: how it was heard of, which rule decided, what was asked and answered.
pub(crate) fn why(told: &Told) -> Vec<String> {
    let entry = &told.entry;
    let Because { here, there } = entry.because;
    let heard = heard_in_words(entry.heard);
    let mut lines = vec![match entry.heard_at {
        Some(at) if at != entry.at => {
            format!("seen    {} by {heard}: here {}, in the cloud {}", time(at), became(here), became(there))
        }
        _ => format!("seen    by {heard}: here {}, in the cloud {}", became(here), became(there)),
    }];
    lines.push(format!("wanted  by {}", wanted_in_words(told)));
    lines.push(format!("rule    {}", rule(told)));
    if let Some(request) = &entry.request {
        let answer = match (entry.ended, &entry.answer) {
            (Ended::Done, None) => "done".to_owned(),
            (Ended::Done, Some(answer)) => format!("done; {answer}"),
            (Ended::Refused, why) => format!("refused: {}", why.as_deref().unwrap_or("it didn't say why")),
        };
        lines.push(format!("asked   {request}"));
        let status = entry.status.map_or_else(String::new, |status| format!("{status}, "));
        lines.push(format!("answer  {status}{}", crate::envelope::harmless(&answer)));
        if let Some(id) = &entry.request_id {
            lines.push(format!("known   to the service as client-request-id {id}"));
        }
    } else if let Some(answer) = &entry.answer {
        lines.push(format!("note    {}", crate::envelope::harmless(answer)));
    }
    lines
}

fn wanted_in_words(told: &Told) -> &'static str {
    match told.entry.wanted {
        Wanted::Cloud => "who changed it in the cloud",
        Wanted::Local => "who changed it in the Maildir",
        Wanted::Nobody => "nobody: there was nothing to change",
        Wanted::Start => "the rule for what changed while cms wasn't running",
        Wanted::Word if allows(told) => "you, who allowed the deletions that were held",
        Wanted::Word => "you, when asked about the deletions that were held",
        Wanted::Undo => "you, by `cms undo`",
        Wanted::Restore => "you, by `cms restore`",
    }
}

fn heard_in_words(heard: Heard) -> &'static str {
    match heard {
        Heard::Listing => "the listing of the mailbox",
        Heard::Poll => "a poll of the cloud",
        Heard::Asked => "asking the cloud for this message",
        Heard::StartScan => "the listing of the Maildir at the start",
        Heard::Watch => "watching the Maildir",
        Heard::Scan => "listing the Maildir again",
        Heard::Command => "your command",
        Heard::Verification => "comparing both sides",
    }
}

fn became(became: Became) -> &'static str {
    match became {
        Became::Absent => "not there",
        Became::New => "new",
        Became::Unchanged => "unchanged",
        Became::Flags => "other flags",
        Became::Moved => "moved",
        Became::Edited => "other content",
        Became::Trashed => "marked for deletion",
        Became::Gone => "gone",
        Became::Missing => "missing, and nobody saw it go",
        Became::Unreadable => "unreadable",
    }
}

/// The rule of the planner that such a step follows from.
fn rule(told: &Told) -> &'static str {
    let Because { here, there } = told.entry.because;
    match (told.entry.deed, here, there) {
        (Deed::Delivered, ..) => "what is new in the cloud comes here",
        (Deed::Returned, Became::Missing, _) => "a file that vanished while nobody watched comes back",
        (Deed::Returned, _, Became::Moved) => {
            "what the cloud moved wasn't deleted: the file comes back in its new place"
        }
        (Deed::Returned, Became::Edited, _) => "a draft that was edited on both sides is kept twice",
        (Deed::Returned, _, Became::Edited) => "an edit beats a deletion: the file comes back",
        (Deed::Returned, ..) => "what both sides shall have comes back",
        (Deed::Replaced, ..) => "a draft's new version in the cloud replaces the old one here",
        (Deed::FlaggedHere, Became::Unchanged, _) => "flags that changed in the cloud change here",
        (Deed::FlaggedHere, ..) => "flags that changed on both sides are merged flag by flag",
        (Deed::MovedHere, Became::Moved, Became::Moved) => "where both sides moved it, the cloud's place holds",
        (Deed::MovedHere, ..) => "what moved in the cloud moves here",
        (Deed::RemovedHere, Became::Trashed, _) => "what was marked for deletion here and is gone in the cloud goes",
        (Deed::RemovedHere, Became::Flags, _) => "a deletion in the cloud beats a change of flags here",
        (Deed::RemovedHere, ..) => "what the cloud deleted goes here too; its content is kept for some days",
        (Deed::LeftoverRemoved, ..) => "a copy and the old file marked for deletion are one move",
        (Deed::FlaggedThere, ..) => "flags that changed here are told to the cloud",
        (Deed::MovedThere, ..) if matches!(told.entry.wanted, Wanted::Undo | Wanted::Restore) => {
            "what you take back is moved back in the cloud, and its file follows"
        }
        (Deed::MovedThere, ..) => "a file that moved to another Maildir moves in the cloud",
        (Deed::DeletedThere, Became::Trashed, _) => "what was marked for deletion here is deleted in the cloud",
        (Deed::DeletedThere, ..) => "what was seen to go here is deleted in the cloud",
        (Deed::Agreed, Became::New, _) => "a file and a message with the same content are one message",
        (Deed::Agreed, ..) => "what is the same on both sides is noted as such",
        (Deed::Forgotten, Became::Edited, _) => "an edit beats a deletion: the file stays, for the Maildir only",
        (Deed::Forgotten, ..) if !told.leaves_the_file() => "what neither side has is forgotten",
        (Deed::Forgotten, ..) if told.entry.wanted == Wanted::Word => {
            "what isn't meant to go and can't be brought back in the cloud stays, for the Maildir only"
        }
        (Deed::Forgotten, ..) => "a file that may be a copy of the user's stays, for the Maildir only",
        (Deed::RestoredHere | Deed::RestoredThere, ..) => "what you want back comes back as far as the cloud can do it",
        (Deed::Uploaded, ..) => "what is new in a Maildir goes to the cloud, as far as it takes it",
        (Deed::UpdatedThere, ..) => "a draft that was edited here is edited in the cloud",
        (Deed::FoundEdited, ..) => "an edit stays in the Maildir; the cloud can't take it",
    }
}

/// An entry for programs.
pub(crate) fn json(history: &History, told: &Told) -> Value {
    let entry = &told.entry;
    let envelope = told.hash().and_then(|hash| history.envelope(&hash)).unwrap_or_default();
    json!({
        "number": told.number,
        "at": crate::logging::utc(u64::try_from(entry.at.0).unwrap_or_default()),
        "did": word(entry.deed),
        "text": what(history, told),
        "done": entry.ended == Ended::Done,
        "wanted_by": word(entry.wanted),
        "here": word(entry.because.here),
        "in_cloud": word(entry.because.there),
        "rule": rule(told),
        "heard": word(entry.heard),
        "heard_at": entry.heard_at.map(|at| crate::logging::utc(u64::try_from(at.0).unwrap_or_default())),
        "undo": entry.undo,
        "row": entry.row.map(|row| row.0),
        "request": entry.request,
        "client_request_id": entry.request_id,
        "status": entry.status,
        "answer": entry.answer,
        "subject": envelope.subject,
        "from": envelope.from,
        "message_id": envelope.message_id,
        "message": told.message.as_ref().map(|message| standing(history, message)),
        "before": entry.before.as_ref().map(|before| standing(history, before)),
        "after": match &entry.after {
            After::Nothing => Value::Null,
            After::As(after) => standing(history, after),
            After::AsItsRow(_) => told.message.as_ref().map_or(Value::Null, |message| standing(history, message)),
        },
    })
}

pub(super) fn standing(history: &History, standing: &Standing) -> Value {
    json!({
        "id": standing.remote.as_ref().map(cms_engine::RemoteId::as_str),
        "mailbox": standing.mailbox.map(|id| history.mailbox(id).to_owned()),
        "maildir": history.maildir(standing.file.maildir).map(|path| path.display().to_string()),
        "file": standing.file.base_name.as_str(),
        "flags": standing.flags.local.to_string(),
        "flags_in_cloud": standing.flags.cloud.to_string(),
        "hash": standing.hash.to_string(),
    })
}

/// A variant as a word for programs: `FlaggedHere` is `flagged here`.
fn word(variant: impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push(' ');
        }
        word.extend(letter.to_lowercase());
    }
    word
}
