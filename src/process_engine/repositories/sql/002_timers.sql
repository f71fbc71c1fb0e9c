-- Only what is due at a time needs a row of its own, to be found by it. That a step runs, and so owes an attempt,
-- stands in its state already. When an execution began and ended stands in its head.

CREATE TABLE timers (
    execution_id TEXT NOT NULL,           -- by id, not by number: what is due together goes in the order of ids
    key          TEXT NOT NULL,           -- a step, or `:deadline`, `:grace` for the execution as a whole
    kind         TEXT NOT NULL,
    visit        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    due          INTEGER NOT NULL,        -- microseconds since 1970, UTC
    PRIMARY KEY (execution_id, key)
) STRICT, WITHOUT ROWID;

INSERT INTO timers SELECT execution_id, key, kind, visit, attempt, due FROM work_items WHERE due IS NOT NULL;

DROP TABLE work_items;

CREATE INDEX timers_by_due ON timers (due, execution_id, key);

DROP VIEW execution_list;

ALTER TABLE heads DROP COLUMN started_at;
ALTER TABLE heads DROP COLUMN completed_at;

CREATE VIEW execution_list AS
    SELECT id, process, version, status, created_at, head ->> 'started_at' AS started_at,
           head ->> 'completed_at' AS completed_at, head ->> 'failure' AS failure
    FROM executions JOIN heads ON execution = number;
