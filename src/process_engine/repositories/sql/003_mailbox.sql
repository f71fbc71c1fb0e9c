-- What was published, for whoever waits for it now or later. An execution records what it has taken itself; here
-- nothing is changed, only removed once it is old.

CREATE TABLE mailbox (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of publishing; never used again
    id           TEXT NOT NULL UNIQUE,               -- what is published again under it is the same event
    name         TEXT NOT NULL,
    execution_id TEXT,                    -- the only execution that may take it; NULL: every one that was there
    executions   INTEGER NOT NULL,        -- the last of executions.number when it was published
    published_at INTEGER NOT NULL,        -- microseconds since 1970, UTC
    event        TEXT NOT NULL            -- all of it, with its payload
) STRICT;

CREATE INDEX mailbox_for_all ON mailbox (name, position) WHERE execution_id IS NULL;
-- Finds the last event before an execution began: as positions grow, so do the numbers of executions.
CREATE INDEX mailbox_by_beginning ON mailbox (name, executions, position) WHERE execution_id IS NULL;
CREATE INDEX mailbox_for_one ON mailbox (execution_id, name, position) WHERE execution_id IS NOT NULL;
CREATE INDEX mailbox_by_age ON mailbox (published_at, position);
