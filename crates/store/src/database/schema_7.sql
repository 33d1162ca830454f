-- The folders of accounts that are kept as a whole: which mailbox and which Maildir each one is.
CREATE TABLE tree_folders (
    mailbox   INTEGER PRIMARY KEY REFERENCES mailboxes (id), -- its row has the cloud's id and the name
    tree      TEXT NOT NULL,
    maildir   INTEGER NOT NULL UNIQUE REFERENCES maildirs (id),
    directory BLOB NOT NULL,                                 -- below the tree's root
    standing  INTEGER NOT NULL                               -- 0: kept the same, 1: gone from the cloud, 2: left out
) STRICT;
