-- The store of a process engine: one file, everything that it knows.
--
-- A *definition* is a process as it was written, under the SHA-256 of its canonical form. An *execution* is one
-- run of one definition: a row in `executions` for what never changes, a row in `heads` for what changes with
-- every transition, and a row in `steps` for each step that has begun. `events` tells how it came to that, and
-- is never changed. `work_items` is what remains to be done: attempts to run now, and timers. Values of more
-- than 64 KiB lie in `blobs` under the SHA-256 of their text, and the records refer to them. In `inbox` other
-- processes leave commands for the one that runs executions. `ownership` says how often the store was taken
-- over for running.
--
-- All that one command causes is written in one transaction. Records are JSON text. To look around, begin with
-- the three views at the end. Write nothing by hand: the engine keeps copies in memory.

PRAGMA application_id = 0x50724567;  -- "PrEg"

CREATE TABLE definitions (
    hash     TEXT NOT NULL PRIMARY KEY,
    name     TEXT NOT NULL,
    version  TEXT NOT NULL,
    document TEXT NOT NULL                -- canonical JSON; its SHA-256 is `hash`
) STRICT;

CREATE TABLE executions (
    number          INTEGER PRIMARY KEY,  -- short name of an execution inside this file, in order of arrival
    id              TEXT NOT NULL UNIQUE,
    process         TEXT NOT NULL,
    version         TEXT NOT NULL,
    definition_hash TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    created         TEXT NOT NULL         -- the event that made it, with its input
) STRICT;

CREATE INDEX executions_by_process ON executions (process, number);

-- Apart from `executions`, so that a transition never rewrites an input of up to 64 KiB.
CREATE TABLE heads (
    execution    INTEGER PRIMARY KEY,     -- executions.number
    status       TEXT NOT NULL,
    started_at   TEXT,
    completed_at TEXT,
    head         TEXT NOT NULL
) STRICT;

CREATE INDEX heads_by_status ON heads (status, execution);

CREATE TABLE steps (
    execution INTEGER NOT NULL,           -- executions.number
    step_id   TEXT NOT NULL,
    state     TEXT NOT NULL,
    UNIQUE (execution, step_id)
) STRICT;

CREATE TABLE events (
    position  INTEGER PRIMARY KEY,        -- order of commit over all executions
    execution INTEGER NOT NULL,           -- executions.number
    sequence  INTEGER NOT NULL,           -- 1, 2, 3 … within the execution
    body      TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_of_execution ON events (execution, sequence);

-- By id, not by number: timers that are due together go in the order of ids.
CREATE TABLE work_items (
    execution_id TEXT NOT NULL,
    key          TEXT NOT NULL,           -- a step, or `:deadline`, `:grace` for the execution as a whole
    kind         TEXT NOT NULL,
    visit        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    due          INTEGER,                 -- microseconds since 1970, UTC; NULL: now
    PRIMARY KEY (execution_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX work_items_by_due ON work_items (due, execution_id, key) WHERE due IS NOT NULL;

CREATE TABLE blobs (
    sha256  TEXT NOT NULL PRIMARY KEY,
    size    INTEGER NOT NULL,             -- bytes of `content` in UTF-8
    content TEXT NOT NULL
) STRICT;

CREATE TABLE inbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    arrived_at TEXT NOT NULL,
    command    TEXT NOT NULL,
    answer     TEXT                       -- NULL: not taken up yet
) STRICT;

CREATE INDEX inbox_open ON inbox (id) WHERE answer IS NULL;

CREATE TABLE ownership (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    INTEGER NOT NULL,            -- grows each time a process takes the store over
    repaired INTEGER NOT NULL             -- failed commits whose traces were overwritten
) STRICT;

INSERT INTO ownership VALUES (1, 0, 0);

CREATE VIEW execution_list AS
    SELECT id, process, version, status, created_at, started_at, completed_at, head ->> 'failure' AS failure
    FROM executions JOIN heads ON execution = number;

CREATE VIEW step_list AS
    SELECT id AS execution_id, step_id, coalesce(state ->> 'status', 'pending') AS status, state
    FROM steps JOIN executions ON execution = number;

CREATE VIEW event_log AS
    SELECT position, id AS execution_id, sequence, body ->> 'timestamp' AS timestamp, body ->> 'type' AS type,
           body ->> 'step_id' AS step_id, body
    FROM events JOIN executions ON execution = number;
