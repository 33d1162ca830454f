-- Changes of flags and of the place that the cloud was asked for, until what came of them is written down.
CREATE TABLE asked (
    number       INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,   -- seconds since 1970
    remote_id    TEXT NOT NULL,
    -- Of flags.
    add_flags    INTEGER,
    remove_flags INTEGER,
    -- Of the place: the mailbox that it was to be in, and where its file was to be.
    mailbox      INTEGER,
    maildir      INTEGER,
    base_name    TEXT
) STRICT;
