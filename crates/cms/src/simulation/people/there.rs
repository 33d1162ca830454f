//! What is done to messages in the cloud: by somebody with Outlook, by senders, and by the service itself.

use std::collections::{BTreeMap, BTreeSet};

use cms_engine::{ContentHash, Flags, MessageId};
use rand::seq::IndexedRandom as _;
use simcloud::{Deletion, FlagChange, FlagStatus, MessageState, NewMessage};

use crate::simulation::ledger::{Item, Message, Spot};
use crate::simulation::people::{ELSEWHERE, People, Rest};
use crate::simulation::texts::essence;

impl People {
    pub(super) fn message_bytes(&mut self, what: &str) -> Vec<u8> {
        self.serial += 1;
        let serial = self.serial;
        let lines = self.dice(6) as usize;
        let body = "A line of some length, and another one.\n".repeat(lines);
        format!("From: Ann <ann@example.org>\nSubject: {what} {serial}\nMessage-ID: <{serial}@example.org>\n\n{body}{serial}\n")
            .into_bytes()
    }

    /// Somebody does something in the cloud.
    pub(crate) fn act_there(&mut self) {
        let dice = self.dice(100);
        if dice < 22 || self.ledger.messages.is_empty() {
            return self.arrive();
        }
        let at = self.dice(u32::try_from(self.ledger.messages.len()).unwrap_or(1)) as usize;
        let id = self.ledger.messages[at].id.clone();
        let Some((now, _)) = self.outcome_there().remove(&id) else { return };
        match dice {
            22..58 => self.flag_there(at, &id),
            58..70 => {
                // Deleting what is deleted already is for good.
                let (how, to) = match self.dice(6) {
                    0 => (Deletion::Purge, Spot::Nowhere),
                    1 => (Deletion::Soft, Spot::Nowhere),
                    _ if now == self.deleted_spot() => return,
                    _ => (Deletion::Trash, self.deleted_spot()),
                };
                self.trace.line(format_args!("there delete {id} {how:?}"));
                if self.cloud.delete_message("", &id, how).is_ok() {
                    self.ledger.messages[at].is_kept = false;
                    self.ledger.messages[at].put_there.push(to);
                }
            }
            70..86 => {
                let to = match self.dice(10) {
                    0 => Spot::Elsewhere,
                    1 => self.deleted_spot(),
                    _ => Spot::Box(self.dice(u32::try_from(self.pairs.len()).unwrap_or(1)) as usize),
                };
                let is_gone =
                    |rest: &Rest| matches!(rest, Rest::MakeFolder(at) | Rest::NameFolder(at) if to == Spot::Box(*at));
                if to == now || to == self.drafts.map_or(Spot::Nowhere, Spot::Box) || self.rest.iter().any(is_gone) {
                    return;
                }
                self.trace.line(format_args!("there move {id} to {to:?}"));
                if self.cloud.move_message("", &id, self.folder_of(to)).is_ok() {
                    // A folder that was made again is another one, of which the program may not know yet.
                    let unknown = (self.extras.folders && self.is_removable(to)).then_some(Spot::Elsewhere);
                    self.ledger.messages[at].put_there.extend(unknown);
                    self.ledger.messages[at].is_kept = false;
                    self.ledger.messages[at].put_there.push(to);
                }
            }
            86..91 => {
                self.trace.line(format_args!("there move {id} away and back"));
                if self.cloud.move_away_and_back("", &id, ELSEWHERE).is_ok() {
                    self.ledger.messages[at].put_there.extend([Spot::Elsewhere, now]);
                }
            }
            _ if self.ledger.messages[at].is_draft => {
                let bytes = self.message_bytes("draft");
                self.trace.line(format_args!("there edit {id}"));
                if self.cloud.edit_draft("", &id, &bytes).is_ok() {
                    let message = &mut self.ledger.messages[at];
                    message.old_hashes.push(message.hash);
                    message.hash = ContentHash::of(&bytes);
                    // An edit holds against a deletion.
                    message.put_there.push(now);
                }
            }
            _ => self.flag_there(at, &id),
        }
    }

    /// Messages get other ids: one, as on the way through an archive mailbox, or all at once with a mailbox that moves.
    pub(super) fn renumber(&mut self) {
        let there = self.outcome_there();
        let one = self.dice(4) > 0;
        let mut ids: Vec<String> = there.keys().cloned().collect();
        if one {
            ids = ids.choose(&mut self.random).cloned().into_iter().collect();
        }
        for id in &ids {
            // The file that a message with another id is taken for has the cloud's bytes, unless those were known.
            if let Some(text) = there.get(id).and_then(|(_, item)| self.texts.get_mut(&item.hash)) {
                text.unsure = true;
                text.renumbered += 1;
            }
            let Ok(new) = self.cloud.renumber("", id) else { continue };
            self.trace.line(format_args!("there {id} is {new} from now on"));
            if let Some(message) = self.ledger.messages.iter_mut().find(|message| message.id == *id) {
                message.id = new;
                // What is asked of the old one is asked of nobody.
                message.unsure = true;
            }
        }
        if !one {
            self.trace.line("trouble: all delta tokens are forgotten");
            drop(self.cloud.kill_delta_tokens(""));
        }
    }

    pub(super) fn flag_there(&mut self, at: usize, id: &str) {
        if let Some(change) = self.toggle_there(id) {
            self.ledger.messages[at].flagged_there.push(change);
        }
    }

    /// Gives a message in the cloud another flag; what was changed.
    pub(crate) fn toggle_there(&mut self, id: &str) -> Option<(Flags, bool)> {
        let flag = self.some_flag();
        let on = self.dice(2) == 0;
        let change = if flag == Flags::SEEN {
            FlagChange { is_read: Some(on), ..FlagChange::default() }
        } else if flag == Flags::REPLIED {
            FlagChange { replied: Some(on), ..FlagChange::default() }
        } else {
            let status = if on { FlagStatus::Flagged } else { FlagStatus::NotFlagged };
            FlagChange { flag: Some(status), ..FlagChange::default() }
        };
        self.trace.line(format_args!("there {id} {flag} {on}"));
        let now = self.outcome_there().get(id).map(|(_, item)| item.flags.contains(flag));
        // To say again what is said already is no change.
        (now.is_some_and(|now| now != on) && self.cloud.set_flags("", id, change).is_ok()).then_some((flag, on))
    }

    /// New mail, now and then twice the same, or a new draft.
    pub(crate) fn arrive(&mut self) {
        let draft = self.drafts.filter(|_| self.extras.uploads.is_none() && self.dice(5) == 0);
        let to = draft.unwrap_or_else(|| {
            let ordinary: Vec<usize> = (0..self.pairs.len()).filter(|at| !self.is_special(*at)).collect();
            ordinary.choose(&mut self.random).copied().unwrap_or_default()
        });
        if self.has_another_name(to) {
            return;
        }
        let bytes = self.message_bytes(if draft.is_some() { "draft" } else { "mail" });
        let received = 1_790_000_000 + i64::from(self.dice(5));
        // A part of it is newer than the beginning of that day.
        let received = if self.extras.scope && self.dice(2) == 0 { received + 50_000 } else { received };
        let is_old = self.extras.scope && received < 1_790_035_200;
        let times = if draft.is_none() && self.dice(12) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let is_read = self.dice(3) == 0;
            let new = NewMessage {
                received: Some(received),
                is_read,
                is_draft: draft.is_some(),
                ..NewMessage::mime(self.pairs[to].folder, bytes.clone())
            };
            let Ok(id) = self.cloud.add_message("", new) else { return };
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("there arrives {id} in {to}: {hash}"));
            self.ledger.messages.push(Message {
                id,
                is_draft: draft.is_some(),
                is_old,
                spot: Spot::Box(to),
                flags: if is_read { Flags::SEEN } else { Flags::NONE },
                ..Message::new(hash)
            });
        }
    }

    pub(crate) fn outcome_there(&self) -> BTreeMap<String, (Spot, Item)> {
        let Ok(state) = self.cloud.state("") else { return BTreeMap::new() };
        let mut found = BTreeMap::new();
        for message in state.messages() {
            if self.is_left_of_a_lost_state(message) {
                continue;
            }
            let spot = self.spot_of(&message.folder);
            let Some(raw) = ContentHash::from_hex(&message.blake3_lf) else { continue };
            let hash = if self.extras.uploads.is_some() { self.essence_of(&message.id) } else { raw };
            let mut flags = if message.is_read { Flags::SEEN } else { Flags::NONE };
            if message.flag == FlagStatus::Flagged {
                flags |= Flags::FLAGGED;
            }
            if matches!(message.verb, Some(102 | 103)) {
                flags |= Flags::REPLIED;
            }
            if spot != Spot::Nowhere {
                found.insert(message.id.clone(), (spot, Item { hash, raw, flags, trashed: false }));
            }
        }
        found
    }

    fn essence_of(&self, id: &str) -> ContentHash {
        let bytes = self.cloud.mime("", id).unwrap_or_default();
        essence(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").as_bytes())
    }

    /// The texts of what is passed over for a day. Somebody may have written them there before the state was lost.
    pub(super) fn passed_over(&self) -> BTreeSet<ContentHash> {
        let Ok(state) = self.cloud.state("") else { return BTreeSet::new() };
        let left = state.messages().filter(|message| self.is_left_of_a_lost_state(message));
        left.map(|message| self.essence_of(&message.id)).collect()
    }

    /// Whether it is what an attempt to make a draft has left of which nobody knows any more, since the state was lost. For a
    /// day it is passed over.
    fn is_left_of_a_lost_state(&self, message: &MessageState) -> bool {
        is_unfinished(message) && self.ledger.lost_state || self.left.contains(&message.id)
    }

    /// Notes what a lost state has left, once nothing is being made any more.
    pub(crate) fn note_what_is_left(&mut self) {
        if self.ledger.lost_state
            && let Ok(state) = self.cloud.state("")
        {
            self.left
                .extend(state.messages().filter(|message| is_unfinished(message)).map(|message| message.id.clone()));
        }
    }
}

fn is_unfinished(message: &MessageState) -> bool {
    message.message_id.as_deref().is_some_and(MessageId::is_unfinished)
}
