//! Those who put mail into the Maildirs that isn't a draft: programs that deliver, and mail programs that file what was sent.

use cms_engine::Flags;
use cms_maildir::{FileName, Place};
use rand::seq::IndexedRandom as _;
use simcloud::NewMessage;

use super::ledger::Spot;
use super::people::{People, Rest};
use super::texts::Text;

impl People {
    /// Somebody delivers or sends, or does something to what was delivered or sent.
    pub(super) fn mail(&mut self) {
        match self.dice(100) {
            0..35 => self.deliver_for_all(),
            35..60 => self.send(),
            60..72 => self.flag_text_here(),
            72..80 => self.flag_text_there(),
            80..86 => self.trash_text_here(),
            86..92 => self.delete_text_there(),
            _ => self.rename_text_here(),
        }
    }

    /// Another program delivers a message that goes to the cloud.
    pub(super) fn deliver_for_all(&mut self) {
        let Some(to) = self.ordinary().choose(&mut self.random).copied() else { return };
        if self.is_unmounted() {
            return;
        }
        let message_id = self.new_message_id();
        let bytes = self.text(&message_id);
        let name = FileName::bare(self.fresh_name(Flags::NONE).base_name);
        if self.put_text(to, Place::New, &name, &bytes) {
            let text = Text { is_mail: true, ..self.text_of(&bytes, to) };
            self.trace.line(format_args!("here {} is delivered into {to}: {}", name.on_disk(), text.hash));
            self.texts.0.push(text);
        }
    }

    /// A mail program sends a message and files a copy of it. The cloud files one of its own.
    fn send(&mut self) {
        let Some(sent) = self.sent.filter(|_| !self.is_unmounted()) else { return };
        let serial = self.next_serial();
        let bytes = self.text(&format!("Message-ID: <{serial}@example.org>\n"));
        let name = self.fresh_name(Flags::SEEN);
        if self.put_text(sent, Place::Cur, &name, &bytes) {
            let text = Text { is_mail: true, ..self.text_of(&bytes, sent) };
            self.trace.line(format_args!("here {} is filed into {sent}: {}", name.on_disk(), text.hash));
            self.texts.0.push(text);
            self.rest.push(Rest::Sent { bytes });
            self.perhaps_at_once();
        }
    }

    /// The cloud files what was sent: as it went out, and with a field of its own.
    pub(super) fn file_sent(&self, bytes: &[u8]) {
        let Some(sent) = self.sent else { return };
        let own = [b"X-MS-Exchange-Organization-SCL: -1\n", bytes].concat();
        let new = NewMessage { is_read: true, ..NewMessage::mime(self.pairs[sent].folder, own) };
        let filed = self.cloud.add_message("", new);
        self.trace.line(format_args!(
            "there what was sent is filed as {:?}: {:?}",
            filed.as_ref().ok(),
            Spot::Box(sent)
        ));
    }
}
