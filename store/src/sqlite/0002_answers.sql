-- What the API said last, as far as it tells one cause from another; null before this version.
ALTER TABLE dead_letters ADD COLUMN answer TEXT;

DROP INDEX dead_letters_grouped;
CREATE INDEX dead_letters_grouped ON dead_letters
    (destination, reason, status_code, error, answer, failed_at, id, archived_at, order_id) WHERE state = 'dead';
