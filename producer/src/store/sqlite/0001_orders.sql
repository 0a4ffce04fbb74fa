-- An order, as the event that is published of it: the bytes that go on the wire, written once.
-- AUTOINCREMENT: a place is never given twice, not even after the newest order was removed.
CREATE TABLE orders (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id     BLOB    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL, -- microseconds since 1970
    event        BLOB    NOT NULL,
    traceparent  TEXT    NOT NULL,
    destinations TEXT    NOT NULL  -- who was to be told when it was accepted, with commas between
) STRICT;

-- Events that the broker has not confirmed yet. A row is deleted by its confirm.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY REFERENCES orders (seq)
) STRICT;

-- The ledger: how each delivery ended. No row means that it is pending.
-- Order ids sort by time, so that new rows go to the end.
CREATE TABLE deliveries (
    order_id    BLOB NOT NULL,
    destination TEXT NOT NULL,
    status      TEXT NOT NULL,
    outcome     TEXT NOT NULL, -- JSON
    PRIMARY KEY (order_id, destination)
) STRICT, WITHOUT ROWID;

-- The clients' keys, written in the transaction of their order.
CREATE TABLE idempotency_keys (
    scope       TEXT    NOT NULL, -- the client; one for all while there is no authentication
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL, -- SHA-256 of the request
    order_id    BLOB    NOT NULL,
    created_at  INTEGER NOT NULL, -- microseconds since 1970
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
