-- About how many bytes a message has that isn't downloaded yet, as the cloud told.
ALTER TABLE cloud ADD COLUMN size INTEGER;
