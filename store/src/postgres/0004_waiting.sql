-- Deliveries that wait here for their next attempt, because no worker holds them. A row is removed when the
-- delivery ends, and replaced when it waits again. A pending delivery of which something was reported also has a
-- row in `deliveries`.
CREATE TABLE waiting (
    order_id       uuid    NOT NULL,
    destination    text    NOT NULL,
    event_id       uuid    NOT NULL,
    dead_letter    uuid,             -- the dead letter that the delivery redrives
    correlation_id text    NOT NULL,
    traceparent    text,
    due            bigint  NOT NULL, -- when it is published again
    released_at    bigint,           -- when the broker confirmed that; null while it waits
    spent          bigint  NOT NULL, -- how many of its attempts count
    unanswered     boolean NOT NULL, -- whether an attempt had no answer
    retry_until    bigint  NOT NULL, -- when it expires
    body           bytea   NOT NULL, -- of the message
    PRIMARY KEY (order_id, destination)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX waiting_by_due ON waiting (destination, due) WHERE released_at IS NULL;
CREATE INDEX waiting_released ON waiting (destination, released_at) WHERE released_at IS NOT NULL;
