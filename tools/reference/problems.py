"""The problem codes by group, each with a line that has the problem and what the checks say about it."""

from __future__ import annotations

from process_engine.definition.problems import CATALOGUE
from tools.reference import faulty
from tools.reference.markdown import code, table


def table_of(group: str) -> str:
    """The codes that begin so, in order."""
    return table(
        ("code", "level", "problem", "for example", "what is told"),
        (row for name, title in CATALOGUE.items() if name.startswith(group) for row in _rows(name, title)),
    )


def _rows(name: str, title: str) -> list[tuple[str, str, str, str, str]]:
    return [
        (code(name), problem.level, title, code(line), f"{problem.message} {problem.suggestion}")
        for line, problem in faulty.told(name)
    ]
