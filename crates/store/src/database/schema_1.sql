CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids are never given twice (AUTOINCREMENT), so that a stale one names nothing instead of something else.
CREATE TABLE mailboxes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    account  TEXT NOT NULL,
    name     TEXT NOT NULL,              -- as configured
    folder   TEXT,                       -- the cloud's id of the folder
    cursor   TEXT,                       -- where the listing goes on
    complete INTEGER NOT NULL DEFAULT 0, -- whether the folder was listed whole
    UNIQUE (account, name)
) STRICT;

CREATE TABLE maildirs (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    path BLOB NOT NULL UNIQUE
) STRICT;

-- What the cloud last told.
CREATE TABLE cloud (
    remote_id        TEXT PRIMARY KEY,
    mailbox          INTEGER NOT NULL REFERENCES mailboxes (id),
    flags            INTEGER NOT NULL,
    received         INTEGER NOT NULL,   -- seconds since 1970
    hash             BLOB,               -- of the content, once downloaded
    revision         TEXT,               -- of a draft, as last told
    fetched_revision TEXT,               -- of a draft, when downloaded
    trouble          TEXT,               -- why it can't be downloaded
    retry_at         INTEGER,            -- seconds since 1970
    attempts         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What both sides last agreed on.
CREATE TABLE synced (
    row_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    remote_id   TEXT UNIQUE,
    mailbox     INTEGER NOT NULL REFERENCES mailboxes (id),
    maildir     INTEGER NOT NULL REFERENCES maildirs (id),
    base_name   TEXT NOT NULL,
    local_flags INTEGER NOT NULL,
    cloud_flags INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    inode       INTEGER NOT NULL,
    received    INTEGER NOT NULL,        -- seconds since 1970
    revision    TEXT,
    UNIQUE (maildir, base_name)
) STRICT;

-- What the user was told about a file, so that it is told once.
CREATE TABLE reported (
    maildir   INTEGER NOT NULL REFERENCES maildirs (id),
    base_name TEXT NOT NULL,
    what      TEXT NOT NULL,
    PRIMARY KEY (maildir, base_name, what)
) STRICT, WITHOUT ROWID;

-- Messages in the store that nothing needs any more, and since when.
CREATE TABLE released (
    hash BLOB PRIMARY KEY,
    at   INTEGER NOT NULL                -- seconds since 1970
) STRICT, WITHOUT ROWID;
