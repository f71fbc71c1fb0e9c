"""What one execution writes, as a script for a bare store: statements, transaction by transaction.

All texts are made beforehand, so that what is timed later is SQLite and the disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from process_engine.repositories.connection import SqlValue

# `VALUES (?, ?), (?, ?)`: a list of rows, which may be made longer or shorter.
_ROW_LIST = re.compile(r"VALUES (?P<row>\([?, ]+\))(?:, (?P=row))*")
# Stand-ins in a script for what differs between executions.
ID = object()
NUMBER = object()


@dataclass(frozen=True)
class Write:
    """One statement with its values, of which some are `ID` or `NUMBER`.

    `row` is the row's form where rows of several executions may share a statement, else empty.
    """

    before: str
    row: str
    after: str
    values: tuple[object, ...]

    @classmethod
    def of(cls, sql: str, values: Sequence[object]) -> Write:
        """Split a statement at its list of rows; one that answers something stays as it is."""
        found = _ROW_LIST.search(sql)
        if found is None or "RETURNING" in sql:
            return cls(sql, "", "", tuple(values))
        return cls(sql[: found.start()] + "VALUES", found["row"], sql[found.end() :], tuple(values))

    def filled(self, id: str, number: int) -> list[SqlValue]:
        """The values of one execution."""
        return [id if value is ID else number if value is NUMBER else value for value in self.values]  # type: ignore[misc]


@dataclass(frozen=True)
class Script:
    """What one execution writes: a list of transactions, the first of which creates it.

    `schema` is run once. `numbered` says which table has a row for each execution, for the check at the end.
    """

    schema: str
    transactions: tuple[tuple[Write, ...], ...]
    numbered: str

    @property
    def rows(self) -> float:
        """Rows in one transaction, on average."""
        writes = [write for transaction in self.transactions for write in transaction if write.row]
        rows = sum(len(write.values) // write.row.count("?") for write in writes)
        others = sum(
            not write.row and not write.before.startswith("SELECT")
            for transaction in self.transactions
            for write in transaction
        )
        return (rows + others) / len(self.transactions)


def two_rows(waves: Sequence[int], result: str) -> Script:
    """The least a durable step needs: its result is inserted, the position of its execution updated."""
    schema = """
        CREATE TABLE execution (number INTEGER PRIMARY KEY, state TEXT, position INTEGER, at REAL) STRICT;
        CREATE TABLE step (execution INTEGER, position INTEGER, result TEXT, at REAL,
                           PRIMARY KEY (execution, position)) STRICT, WITHOUT ROWID;
    """
    create = Write.of("INSERT INTO execution VALUES (?, ?, ?, ?)", (NUMBER, "running", 0, 0.0))
    transactions: list[tuple[Write, ...]] = [(create,)]
    done, steps = 0, sum(waves)
    for wave in waves:
        writes: list[Write] = []
        for _ in range(wave):
            done += 1
            state = "completed" if done == steps else "running"
            writes.append(Write.of("INSERT INTO step VALUES (?, ?, ?, ?)", (NUMBER, done, result, 0.0)))
            update = "UPDATE execution SET state = ?, position = ?, at = ? WHERE number = ?"
            writes.append(Write.of(update, (state, done, 0.0, NUMBER)))
        transactions.append(tuple(writes))
    return Script(schema, tuple(transactions), "execution")


Filled = tuple[Write, list[SqlValue]]
