//! The folders that every mailbox has, and what people call them.

/// One folder that can be named without its id.
#[derive(Debug)]
pub(crate) struct WellKnown {
    /// The name that stands for the id, in lower case.
    pub(crate) name: &'static str,
    /// Whether it lies beside the folders that people see.
    pub(crate) outside: bool,
    pub(crate) hidden: bool,
    /// Its name in English, German, French and Japanese.
    titles: [&'static str; 4],
}

impl WellKnown {
    /// What a mailbox of this language calls the folder; English when the language isn't known.
    pub(crate) fn title(&self, locale: &str) -> &'static str {
        let column = match locale.get(..2).unwrap_or(locale) {
            "de" => 1,
            "fr" => 2,
            "ja" => 3,
            _ => 0,
        };
        self.titles.get(column).copied().unwrap_or(self.name)
    }
}

const fn folder(name: &'static str, outside: bool, hidden: bool, titles: [&'static str; 4]) -> WellKnown {
    WellKnown { name, outside, hidden, titles }
}

/// All of them; the first is the root. The position is the folder's key.
pub(crate) const ALL: [WellKnown; 13] = [
    folder(
        "msgfolderroot",
        true,
        false,
        [
            "Top of Information Store",
            "Oberste Ebene des Informationsspeichers",
            "Banque d'informations",
            "インフォメーション ストアの先頭",
        ],
    ),
    folder("inbox", false, false, ["Inbox", "Posteingang", "Boîte de réception", "受信トレイ"]),
    folder("drafts", false, false, ["Drafts", "Entwürfe", "Brouillons", "下書き"]),
    folder("sentitems", false, false, ["Sent Items", "Gesendete Elemente", "Éléments envoyés", "送信済みアイテム"]),
    folder(
        "deleteditems",
        false,
        false,
        ["Deleted Items", "Gelöschte Elemente", "Éléments supprimés", "削除済みアイテム"],
    ),
    folder("junkemail", false, false, ["Junk Email", "Junk-E-Mail", "Courrier indésirable", "迷惑メール"]),
    folder("archive", false, false, ["Archive", "Archiv", "Archive", "アーカイブ"]),
    folder("outbox", false, false, ["Outbox", "Postausgang", "Boîte d'envoi", "送信トレイ"]),
    folder(
        "conversationhistory",
        false,
        false,
        ["Conversation History", "Aufgezeichnete Unterhaltungen", "Historique des conversations", "会話の履歴"],
    ),
    folder(
        "syncissues",
        false,
        true,
        ["Sync Issues", "Synchronisierungsprobleme", "Problèmes de synchronisation", "同期の失敗"],
    ),
    folder("clutter", false, true, ["Clutter", "Clutter", "Courrier pêle-mêle", "低優先メール"]),
    folder("recoverableitemsdeletions", true, true, ["Deletions", "Deletions", "Deletions", "Deletions"]),
    folder("searchfolders", true, true, ["Search Folders", "Suchordner", "Dossiers de recherche", "検索フォルダー"]),
];

/// Key of the root.
pub(crate) const ROOT: u32 = 0;
/// Key of the inbox.
pub(crate) const INBOX: u32 = 1;
/// Key of the drafts.
pub(crate) const DRAFTS: u32 = 2;
/// Key of the deleted items.
pub(crate) const DELETED: u32 = 4;
/// Key of the archive.
pub(crate) const ARCHIVE: u32 = 6;
/// Key of the folder for what was deleted from the deleted items.
pub(crate) const RECOVERABLE: u32 = 11;

/// The key of a well-known name in any case.
pub(crate) fn key(name: &str) -> Option<u32> {
    ALL.iter().position(|one| one.name.eq_ignore_ascii_case(name)).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_positions() {
        for (name, expected) in [
            ("MsgFolderRoot", ROOT),
            ("Inbox", INBOX),
            ("drafts", DRAFTS),
            ("DeletedItems", DELETED),
            ("archive", ARCHIVE),
            ("recoverableitemsdeletions", RECOVERABLE),
        ] {
            assert_eq!(key(name), Some(expected));
        }
        assert_eq!(key("Posteingang"), None);
        assert_eq!(ALL[1].title("de-CH"), "Posteingang");
    }
}
