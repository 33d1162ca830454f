-- As what the cloud's own logs know the request, and the status of its answer.
ALTER TABLE journal ADD COLUMN request_id TEXT;
ALTER TABLE journal ADD COLUMN status INTEGER;
