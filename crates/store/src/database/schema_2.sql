-- What was deleted lately, so that many small deletions aren't a way around the limit of one large one.
CREATE TABLE deleted (
    row_id  INTEGER NOT NULL,            -- of the Synced tree; the row itself may be gone
    side    INTEGER NOT NULL,            -- the side that lost the message: 0 the Maildirs, 1 the cloud
    mailbox INTEGER NOT NULL REFERENCES mailboxes (id),
    at      INTEGER NOT NULL,            -- seconds since 1970
    PRIMARY KEY (row_id, side)
) STRICT, WITHOUT ROWID;

-- What the user said of deletions that were held, until it is done.
CREATE TABLE words (
    row_id INTEGER PRIMARY KEY,          -- of the Synced tree
    word   INTEGER NOT NULL              -- 0 keep, 1 delete
) STRICT;
