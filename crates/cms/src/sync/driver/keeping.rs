//! Before a message comes into a mailbox that keeps: whether it is one that is here already, under a new id.

use std::collections::BTreeMap;

use cms_engine::{RemoteId, Row};

use crate::sync::driver::Driver;

impl Driver {
    /// Forgets what was noted of messages that are no more.
    pub(super) fn forget_what_is_no_more(&mut self) {
        self.world.tidy();
        let world = &self.world;
        self.filing.waited_for.retain(|id| world.knows(id));
        self.drafts_asked_for.retain(|id| world.knows(id));
        self.setbacks.keep(|id| world.knows(id));
    }

    /// Whether a new message waits for what the cloud says of others, which are noted to be asked for. Where another id is heard of before the old one is
    /// known to be gone, the new message would be put beside the file that stays: in a mailbox that keeps nothing, the file
    /// goes by itself when that is known.
    pub(super) fn may_be_another(&mut self, base: &Row, to_ask: &mut Vec<RemoteId>) -> bool {
        let account = self.mailbox(base.mailbox).map(|mailbox| mailbox.account);
        let mut others = self.world.twins_to_ask_for(base);
        others.retain(|other| self.account_of(other) == account);
        let is_unsure = !others.is_empty();
        to_ask.append(&mut others);
        is_unsure
    }

    /// Asks for messages of any accounts.
    pub(super) fn ask_for_others(&mut self, ids: Vec<RemoteId>) {
        let mut by_account: BTreeMap<usize, Vec<RemoteId>> = BTreeMap::new();
        for id in ids {
            by_account.entry(self.account_to_ask(&id).unwrap_or_default()).or_default().push(id);
        }
        for (_, mut ids) in by_account {
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|id| !self.world.busy.ids.contains(id));
            self.ask(None, ids);
        }
    }
}
