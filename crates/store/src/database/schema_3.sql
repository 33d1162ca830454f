-- What was done to either side, in the order in which it was done. Written in the transaction that moves the base.
--
-- Most entries are first deliveries. They hold only what their row can't tell: who the message is and where it lies stands
-- in the row while that exists, and in the entry that ends it afterwards.
CREATE TABLE journal (
    number       INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,   -- seconds since 1970
    deed         INTEGER NOT NULL,
    wanted       INTEGER NOT NULL,   -- by whom
    here         INTEGER NOT NULL,   -- what became of the file since the base
    there        INTEGER NOT NULL,   -- what became of the message in the cloud since the base
    heard        INTEGER NOT NULL,   -- by which observation
    heard_at     INTEGER,
    undo         INTEGER,            -- of which undo it is a part
    row_id       INTEGER,
    -- The row before.
    remote_id    TEXT,
    mailbox      INTEGER,
    maildir      INTEGER,
    base_name    TEXT,
    hash         BLOB,
    local_flags  INTEGER,
    cloud_flags  INTEGER,
    -- The row after: nothing where it is the same.
    new_id       TEXT,
    new_mailbox  INTEGER,
    new_maildir  INTEGER,
    new_name     TEXT,
    new_hash     BLOB,
    new_local    INTEGER,
    new_cloud    INTEGER,
    -- What the cloud was asked and what it answered, where that wasn't simply that it is done.
    request      TEXT,
    answer       TEXT
) STRICT;
