-- How far a line is published to a destination that is ahead of it. The line has the place of the one that is
-- furthest behind.
CREATE TABLE lanes (
    owner           uuid   NOT NULL REFERENCES lines ON DELETE CASCADE,
    destination     text   NOT NULL,
    published_up_to bigint NOT NULL, -- its queue has confirmed every event up to this place
    PRIMARY KEY (owner, destination)
);

-- The destinations that another producer had published it to, before its line was taken over.
ALTER TABLE pending ADD COLUMN published_to text[];
