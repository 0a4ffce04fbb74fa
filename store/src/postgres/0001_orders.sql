-- Times are microseconds since 1970, as in every database of this program: they are compared and shown here,
-- and never calculated with. Only leases are timestamps: they follow the server's clock.

-- An order, as the event that is published: the bytes that go on the wire, written once.
CREATE TABLE orders (
    order_id     uuid   NOT NULL PRIMARY KEY, -- version 7: sorts by time
    customer_id  text   NOT NULL,
    created_at   bigint NOT NULL,
    event        bytea  NOT NULL,
    traceparent  text   NOT NULL,
    destinations text[] NOT NULL -- the destinations that were configured when it was accepted
);

CREATE INDEX orders_by_customer ON orders (customer_id, order_id);

-- Each running producer has a line: its outbox, which gives the orders that it accepts their places. A line
-- whose lease has ended is taken over by any other producer, row by row, and removed when it is empty.
CREATE TABLE lines (
    owner           uuid        NOT NULL PRIMARY KEY,
    last_place      bigint      NOT NULL, -- a place is never given twice
    published_up_to bigint      NOT NULL, -- the broker has confirmed every event up to this place
    leased_until    timestamptz NOT NULL  -- renewed with every commit
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Orders with a pending delivery. A row is removed when the last of them has ended, so that the table is
-- small. Those with a place beyond their line's published_up_to are the outbox. The pages have room, so that
-- a change of `open` touches no index.
CREATE TABLE pending (
    order_id uuid   NOT NULL PRIMARY KEY,
    open     text[] NOT NULL, -- the destinations whose delivery is pending
    owner    uuid,            -- the line of its place; null while a dead letter is being sent again
    place    bigint           -- in the order of its owner's commits
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX pending_by_place ON pending (owner, place) WHERE place IS NOT NULL;

-- Numbers the changes of a transaction.
CREATE SEQUENCE changes CACHE 64;

-- The ledger: how each delivery ended. No row means that nothing has been reported yet.
--
-- The feed of changes is ordered by (recorded, change). Transactions of several producers do not end in
-- the order in which they began, so a reader stops where a running transaction may still come
-- before: WHERE recorded < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY recorded, change. Every change of
-- a row sets both again: recorded = pg_current_xact_id(), change = nextval('changes').
CREATE TABLE deliveries (
    order_id    uuid   NOT NULL,
    destination text   NOT NULL,
    status      text   NOT NULL, -- delivered, dead_lettered; pending while a dead letter of it is being sent again
    dead_letter uuid,            -- the dead letter that is being sent again
    recorded    xid8   NOT NULL DEFAULT pg_current_xact_id(),
    change      bigint NOT NULL DEFAULT nextval('changes'),
    outcome     text   NOT NULL, -- JSON
    PRIMARY KEY (order_id, destination)
);

CREATE INDEX deliveries_by_change ON deliveries (recorded, change);
CREATE INDEX deliveries_dead ON deliveries (order_id, destination) WHERE status = 'dead_lettered';

-- The clients' keys, written in the transaction of their order.
CREATE TABLE idempotency_keys (
    scope       text   NOT NULL, -- the client; the same for all while there is no authentication
    key         text   NOT NULL,
    fingerprint bytea  NOT NULL, -- SHA-256 of the request
    order_id    uuid   NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Every dead letter that was taken from a dead-letter queue, whatever program put it there.
CREATE TABLE dead_letters (
    id          uuid    NOT NULL PRIMARY KEY, -- version 7: sorts by the time it was recorded
    fingerprint bytea   NOT NULL UNIQUE,      -- SHA-256 of what identifies it when it comes again
    order_id    uuid,                         -- null if the body names no order
    destination text    NOT NULL,
    state       text    NOT NULL, -- dead; redriving: being sent again; redriven: dead again as a later one; delivered
    reason      text    NOT NULL,
    status_code integer,
    error       text,
    failed_at   bigint  NOT NULL,
    key_used_at bigint,           -- when the idempotency key was first used
    attempts    text    NOT NULL, -- JSON
    body        bytea   NOT NULL,
    headers     text    NOT NULL, -- JSON
    properties  text    NOT NULL, -- JSON
    deaths      text    NOT NULL, -- JSON: the broker's x-death
    parent      uuid,             -- the dead letter that was sent again and became this one
    redrives    bigint  NOT NULL, -- how many times it was sent again, over the whole lineage
    archived_at bigint,
    note        text
);

-- Everything that lists and groups look at, in the order of lists: neither reads the rows, which are wide.
CREATE INDEX dead_letters_listed ON dead_letters (id)
    INCLUDE (destination, reason, status_code, error, failed_at, archived_at, order_id) WHERE state = 'dead';
CREATE INDEX dead_letters_by_order ON dead_letters (order_id, destination) WHERE order_id IS NOT NULL;
CREATE INDEX dead_letters_by_parent ON dead_letters (parent) WHERE parent IS NOT NULL;

-- Jobs that send dead letters again.
CREATE TABLE redrives (
    id                      uuid             NOT NULL PRIMARY KEY, -- version 7
    status                  text             NOT NULL, -- running, paused, stopped, completed, cancelled
    detail                  text,                      -- why it stopped
    filter                  text             NOT NULL, -- JSON: what was asked for
    rate                    double precision NOT NULL, -- dead letters a second
    concurrency             bigint           NOT NULL, -- at most this many that were sent and have not ended
    stop_after_failed_share double precision NOT NULL,
    body                    bytea,                     -- replaces the dead letter's own
    new_key                 boolean          NOT NULL,
    matched                 bigint           NOT NULL,
    refused                 text             NOT NULL, -- JSON: how many were refused, and why
    judged_from             bigint           NOT NULL, -- what ended before is not counted for stopping
    created_at              bigint           NOT NULL,
    updated_at              bigint           NOT NULL
);

-- What each job sends, fixed when it is created: what fails later is not included.
CREATE TABLE redrive_items (
    redrive_id  uuid NOT NULL,
    dead_letter uuid NOT NULL,
    state       text NOT NULL, -- queued, sending, sent, delivered, dead_lettered, cancelled
    sent_at     bigint,        -- when the broker confirmed it last
    ended_at    bigint,        -- when it was delivered or dead again
    PRIMARY KEY (redrive_id, dead_letter)
);

CREATE INDEX redrive_items_by_state ON redrive_items (redrive_id, state, dead_letter);
CREATE INDEX redrive_items_by_dead_letter ON redrive_items (dead_letter);
CREATE INDEX redrive_items_sending ON redrive_items (dead_letter) WHERE state = 'sending';
CREATE INDEX redrive_items_sent ON redrive_items (sent_at) WHERE state = 'sent';
CREATE INDEX redrive_items_ended ON redrive_items (redrive_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX redrives_running ON redrives (id) WHERE status = 'running';

-- What only one producer does at a time, and which one: another takes over when the lease has ended.
CREATE TABLE leases (
    what         text        NOT NULL PRIMARY KEY,
    holder       uuid        NOT NULL,
    leased_until timestamptz NOT NULL
);
