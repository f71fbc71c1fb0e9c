-- Which definition a version of a process stands for. A row never changes, apart from `archived_at`: no new start
-- finds an archived version by its name. Definitions without a row here are drafts.

CREATE TABLE versions (
    name         TEXT NOT NULL,
    major        INTEGER NOT NULL,        -- versions compare by these three numbers: 1, 1.0 and 1.0.0 are one
    minor        INTEGER NOT NULL,
    patch        INTEGER NOT NULL,
    version      TEXT NOT NULL,           -- as it was written
    hash         TEXT NOT NULL,           -- definitions.hash
    published_at TEXT NOT NULL,
    published_by TEXT,
    archived_at  TEXT,                    -- NULL: in use
    PRIMARY KEY (name, major, minor, patch)
) STRICT, WITHOUT ROWID;

CREATE INDEX definitions_by_name ON definitions (name);
