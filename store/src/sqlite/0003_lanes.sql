-- How far the outbox is published to a destination that is ahead of the line. The line has the place of the one
-- that is furthest behind.
CREATE TABLE lanes (
    destination     TEXT    NOT NULL PRIMARY KEY,
    published_up_to INTEGER NOT NULL -- its queue has confirmed every event up to this place
) STRICT, WITHOUT ROWID;
