-- What the API said last, as far as it tells one cause from another; null before this version.
ALTER TABLE dead_letters ADD COLUMN answer text;

DROP INDEX dead_letters_listed;
CREATE INDEX dead_letters_listed ON dead_letters (id)
    INCLUDE (destination, reason, status_code, error, answer, failed_at, archived_at, order_id) WHERE state = 'dead';
