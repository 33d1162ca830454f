-- What the cloud has where it isn't what the file has: nothing for the same, an empty blob for what wasn't read yet.
ALTER TABLE synced ADD COLUMN cloud_hash BLOB;
