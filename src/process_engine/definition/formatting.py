"""The canonical form of a process's text: one indentation, today's spellings; comments and order stay.

What a document means never changes: the result is read again, and what cannot be rewritten without changing
the meaning or losing a comment is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from process_engine.definition import comment_lines, yaml_layout
from process_engine.definition.old_forms import Mapping, Rewriter, approvals_of, as_mapping, as_mappings
from process_engine.definition.old_words import OldWord, rewritten
from process_engine.definition.parsing import ParsedDocument, parse
from process_engine.definition.positions import Path, Positions
from process_engine.definition.problems import Problem
from process_engine.errors import ConfigurationInvalid, DefinitionInvalid


class Formatted(NamedTuple):
    """The canonical text, and the old spellings that were rewritten for it, by place in the given text."""

    text: str
    rewritten: tuple[Problem, ...]


def format_text(text: str | bytes, *, filename: str = "process.yaml") -> Formatted:
    """The canonical form of a process's text.

    Raises:
        DefinitionInvalid: the text is no process, with all problems of reading it.
        ConfigurationInvalid: its canonical form would mean something else, or lack a comment.
    """
    before = parse(text, filename=filename)
    if before.definition is None:
        raise DefinitionInvalid([problem for problem in before.problems if problem.level == "error"])
    source = _lines(text)
    made = _written(source)
    _require_the_same(before, source, parse(made, filename=filename), made)
    spellings = tuple(problem for problem in before.problems if problem.code.startswith("P9"))
    return Formatted(made, spellings)


def _lines(text: str | bytes) -> str:
    decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    return re.sub("\r\n?", "\n", decoded)


def _written(source: str) -> str:
    tree = yaml_layout.Tree(source)
    _KeepingRewriter(Positions()).document(tree.root)
    return comment_lines.aligned(source, tree.text().strip("\n") + "\n")


def _require_the_same(before: ParsedDocument, source: str, after: ParsedDocument, made: str) -> None:
    assert before.definition is not None
    if after.definition is None or after.definition.content_hash != before.definition.content_hash:
        raise ConfigurationInvalid(
            f"{before.filename} cannot be formatted: its canonical form would mean something else.",
            remedy="It stays as it is. Rewrite aliases and unusual quoting by hand, and try again.",
        )
    lost = Counter(comment_lines.comments(source)) - Counter(comment_lines.comments(made))
    if lost:
        raise ConfigurationInvalid(
            f"{before.filename} cannot be formatted without losing the comment `{next(iter(lost))}`.",
            remedy="It stays as it is. Put the comment on a line of its own before the key, and try again.",
        )


class _KeepingRewriter(Rewriter):
    """Rewrites a tree that keeps comments; what is no old spelling stays as its author has it."""

    def _drop_without_effect(self, part: Mapping, path: Path) -> None:
        """Such keys are the author's to remove: they may be a note to somebody."""

    def _outputs(self, document: Mapping) -> None:
        for index, output in as_mappings(document.get("outputs")):
            self._rename(output, ("outputs", index), "value", "source")

    def _words(self, document: Mapping) -> None:
        super()._words(document)
        named = as_mapping(document.get("outputs"))
        if named is not None:
            for name, source in list(named.items()):
                bare = isinstance(source, str) and "{{" not in source
                named[name] = self._modern(source, ("outputs", name), approvals_of(document), bare)

    def _relabel(self, part: Mapping, old: str, new: str) -> None:
        yaml_layout.relabel(part, old, new)

    def _insert(self, part: Mapping, key: str, value: object, after: str) -> None:
        yaml_layout.insert(part, key, value, after)

    def _shorten(self, part: Mapping, key: str, value: object) -> None:
        yaml_layout.shorten(part, key, value)

    def _remove_route(self, step: Mapping, routes: list[object], index: int) -> None:
        yaml_layout.remove_item(step, routes, index, "default_route")

    def _respell(self, value: str, words: Collection[OldWord]) -> str:
        grown = [(word.offset, len(word.new) - len(word.word)) for word in words]
        return yaml_layout.respelled(value, rewritten(value, words), grown)
