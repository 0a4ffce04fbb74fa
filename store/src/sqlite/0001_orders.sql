-- An order, as the event that is published: the bytes that go on the wire, written once.
CREATE TABLE orders (
    order_id     BLOB    NOT NULL UNIQUE, -- version 7: sorts by time
    customer_id  TEXT    NOT NULL,
    created_at   INTEGER NOT NULL, -- microseconds since 1970, as every time here
    event        BLOB    NOT NULL,
    traceparent  TEXT    NOT NULL,
    destinations TEXT    NOT NULL  -- the destinations that were configured when it was accepted, with commas between
) STRICT;

CREATE INDEX orders_by_customer ON orders (customer_id, order_id);

-- Orders with a pending delivery. A row is removed when the last of them has ended, so that the table is
-- small. Those with a place beyond the line's published_up_to are the outbox.
CREATE TABLE pending (
    order_id BLOB    NOT NULL PRIMARY KEY,
    open     TEXT    NOT NULL, -- the destinations whose delivery is pending, with commas between
    place    INTEGER           -- in the order of commits; null while a dead letter is being sent again
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX pending_by_place ON pending (place) WHERE place IS NOT NULL;

-- One row: the last numbers that were given, and how far the outbox is published.
CREATE TABLE line (
    last_place      INTEGER NOT NULL, -- a place is never given twice
    published_up_to INTEGER NOT NULL, -- the broker has confirmed every event up to this place
    last_change     INTEGER NOT NULL
) STRICT;

INSERT INTO line VALUES (0, 0, 0);

-- The ledger: how each delivery ended. No row means that nothing has been reported yet.
CREATE TABLE deliveries (
    order_id    BLOB    NOT NULL,
    destination TEXT    NOT NULL,
    status      TEXT    NOT NULL, -- delivered, dead_lettered; pending while a dead letter of it is being sent again
    dead_letter BLOB,             -- the dead letter that is being sent again
    change      INTEGER NOT NULL, -- in the order of commits; a new one with each change of the row
    outcome     TEXT    NOT NULL, -- JSON
    PRIMARY KEY (order_id, destination)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX deliveries_by_change ON deliveries (change);
CREATE INDEX deliveries_dead ON deliveries (order_id, destination) WHERE status = 'dead_lettered';

-- The clients' keys, written in the transaction of their order.
CREATE TABLE idempotency_keys (
    scope       TEXT    NOT NULL, -- the client; the same for all while there is no authentication
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL, -- SHA-256 of the request
    order_id    BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Every dead letter that was taken from a dead-letter queue, whatever program put it there.
CREATE TABLE dead_letters (
    id          BLOB    NOT NULL PRIMARY KEY, -- version 7: sorts by the time it was recorded
    fingerprint BLOB    NOT NULL UNIQUE,      -- SHA-256 of what identifies it when it comes again
    order_id    BLOB,                         -- null if the body names no order
    destination TEXT    NOT NULL,
    state       TEXT    NOT NULL, -- dead; redriving: being sent again; redriven: dead again as a later one; delivered
    reason      TEXT    NOT NULL,
    status_code INTEGER,
    error       TEXT,
    failed_at   INTEGER NOT NULL,
    key_used_at INTEGER,          -- when the idempotency key was first used
    attempts    TEXT    NOT NULL, -- JSON
    body        BLOB    NOT NULL,
    headers     TEXT    NOT NULL, -- JSON
    properties  TEXT    NOT NULL, -- JSON
    deaths      TEXT    NOT NULL, -- JSON: the broker's x-death
    parent      BLOB,             -- the dead letter that was sent again and became this one
    redrives    INTEGER NOT NULL, -- how many times it was sent again, over the whole lineage
    archived_at INTEGER,
    note        TEXT
) STRICT, WITHOUT ROWID;

-- Each holds everything that lists or groups look at, in their order: neither reads bodies.
CREATE INDEX dead_letters_listed ON dead_letters
    (id, destination, reason, status_code, error, failed_at, archived_at, order_id) WHERE state = 'dead';
CREATE INDEX dead_letters_grouped ON dead_letters
    (destination, reason, status_code, error, failed_at, id, archived_at, order_id) WHERE state = 'dead';
CREATE INDEX dead_letters_by_order ON dead_letters (order_id, destination) WHERE order_id IS NOT NULL;
CREATE INDEX dead_letters_by_parent ON dead_letters (parent) WHERE parent IS NOT NULL;

-- Jobs that send dead letters again.
CREATE TABLE redrives (
    id                      BLOB    NOT NULL PRIMARY KEY, -- version 7
    status                  TEXT    NOT NULL, -- running, paused, stopped, completed, cancelled
    detail                  TEXT,             -- why it stopped
    filter                  TEXT    NOT NULL, -- JSON: what was asked for
    rate                    REAL    NOT NULL, -- dead letters a second
    concurrency             INTEGER NOT NULL, -- at most this many that were sent and have not ended
    stop_after_failed_share REAL    NOT NULL,
    body                    BLOB,             -- replaces the dead letter's own
    new_key                 INTEGER NOT NULL,
    matched                 INTEGER NOT NULL,
    refused                 TEXT    NOT NULL, -- JSON: how many were refused, and why
    judged_from             INTEGER NOT NULL, -- what ended before is not counted for stopping
    created_at              INTEGER NOT NULL,
    updated_at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX redrives_running ON redrives (id) WHERE status = 'running';

-- What each job sends, fixed when it is created: what fails later is not included.
CREATE TABLE redrive_items (
    redrive_id  BLOB    NOT NULL,
    dead_letter BLOB    NOT NULL,
    state       TEXT    NOT NULL, -- queued, sending, sent, delivered, dead_lettered, cancelled
    sent_at     INTEGER,          -- when the broker confirmed it last
    ended_at    INTEGER,          -- when it was delivered or dead again
    PRIMARY KEY (redrive_id, dead_letter)
) STRICT, WITHOUT ROWID;

CREATE INDEX redrive_items_by_state ON redrive_items (redrive_id, state, dead_letter);
CREATE INDEX redrive_items_by_dead_letter ON redrive_items (dead_letter);
CREATE INDEX redrive_items_sending ON redrive_items (dead_letter) WHERE state = 'sending';
CREATE INDEX redrive_items_sent ON redrive_items (sent_at) WHERE state = 'sent';
CREATE INDEX redrive_items_ended ON redrive_items (redrive_id, ended_at) WHERE ended_at IS NOT NULL;
