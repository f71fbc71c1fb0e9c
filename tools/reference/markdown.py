"""Markdown that reads the same on every site: tables without pipes in their cells, code spans, docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from html import escape
from types import NoneType, UnionType
from typing import Union, get_args, get_origin

from process_engine.core.config import ExecutionConfig

# Sites differ in what a backslash before a pipe means inside a code span of a table; this means one thing.
_PIPE = "&#124;"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Text on one line; a pipe in it, also in a code span, is written so that it ends no cell."""
    line = " ".join(text.split())
    return re.sub(r"(`+)(.+?)\1", _marked_up, line).replace("|", _PIPE) if "|" in line else line


def _marked_up(span: re.Match[str]) -> str:
    return f"<code>{escape(span[2].strip(), quote=False)}</code>" if "|" in span[2] else span[0]


def code(text: str) -> str:
    """A code span, also of a text with backticks."""
    marks = "``" if "`" in text else "`"
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{padding}{text}{padding}{marks}"


def codes(names: Iterable[str]) -> str:
    return ", ".join(map(code, names))


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring, each on one line; `Raises:` comes as a sentence for each error."""
    found: list[str] = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if part.startswith("Raises:"):
            found += [f"Raises `{name}`: {told}" for name, told in _raised(part)]
        else:
            found.append(" ".join(part.split()))
    return found


def _raised(part: str) -> list[tuple[str, str]]:
    """The errors of a `Raises:` paragraph, each with what is said of it."""
    listed = re.findall(r"^    (\w[\w.]*): (.*(?:\n {5,}.*)*)", part, re.MULTILINE)
    return [(name, " ".join(told.split())) for name, told in listed]


_WORDS: dict[type[object], str] = {
    bool: "true or false",
    datetime: "moment",
    float: "number",
    int: "integer",
    str: "text",
    ExecutionConfig: "[configuration](settings.md#executionconfig)",
}


def words_of(annotation: object) -> str:
    """The kind of a value for people: `text`, `list of text`, the name of a record; without null."""
    plain: object = getattr(annotation, "__supertype__", annotation)
    kinds = [kind for kind in get_args(plain) if kind not in (NoneType, Ellipsis)]
    if get_origin(plain) in (Union, UnionType):
        return " or ".join(map(words_of, kinds))
    if get_origin(plain) is tuple:
        return f"list of {words_of(kinds[0])}"
    assert isinstance(plain, type)
    if issubclass(plain, StrEnum):
        return " or ".join(map(code, plain))
    return next((word for kind, word in _WORDS.items() if kind is plain), plain.__name__.lower())
