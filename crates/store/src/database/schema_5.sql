-- When it was by the state's own clock, which no setting of the computer's moves; nothing for entries from before that.
ALTER TABLE journal ADD COLUMN age INTEGER;
