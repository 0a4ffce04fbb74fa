-- Deliveries that wait here for their next attempt, because no worker holds them. A row is removed when the
-- delivery ends, and replaced when it waits again. A pending delivery of which something was reported also has a
-- row in `deliveries`.
CREATE TABLE waiting (
    order_id       BLOB    NOT NULL,
    destination    TEXT    NOT NULL,
    event_id       BLOB    NOT NULL,
    dead_letter    BLOB,             -- the dead letter that the delivery redrives
    correlation_id TEXT    NOT NULL,
    traceparent    TEXT,
    due            INTEGER NOT NULL, -- when it is published again
    released_at    INTEGER,          -- when the broker confirmed that; null while it waits
    spent          INTEGER NOT NULL, -- how many of its attempts count
    unanswered     INTEGER NOT NULL, -- whether an attempt had no answer
    retry_until    INTEGER NOT NULL, -- when it expires
    body           BLOB    NOT NULL, -- of the message
    PRIMARY KEY (order_id, destination)
) STRICT, WITHOUT ROWID;

CREATE INDEX waiting_by_due ON waiting (destination, due) WHERE released_at IS NULL;
CREATE INDEX waiting_released ON waiting (destination, released_at) WHERE released_at IS NOT NULL;
