"""Old words in expressions that read an approval, rewritten to those its output has.

`comments` and `approved_by` are fields it had; with `approve` and `reject` its decision was compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from process_engine.definition.expressions import ExpressionSyntaxError, parse_condition
from process_engine.definition.syntax import (
    Compare,
    Filter,
    ListNode,
    Literal,
    Node,
    Path,
    parse_template,
    walk,
)

FIELDS = {"comments": "comment", "approved_by": "decided_by"}
DECISIONS = {"approve": "approved", "reject": "rejected"}
_ANY = re.compile("|".join((*FIELDS, *DECISIONS)))
# One segment of a path, with a dot before it or in brackets; the field stands in the group.
_SEGMENT = r"(?:\s*\.\s*|\s*\[\s*[\"'])({})(?:[\"']\s*\])?"


class OldWord(NamedTuple):
    """`source[offset:offset + len(word)]` is `word`, and ought to be `new`."""

    offset: int
    word: str
    new: str


def old_words(source: str, approvals: Collection[str], *, condition: bool) -> list[OldWord]:
    """The old words of a condition, or of a text with `{{ … }}`, in order; none where it cannot be read.

    `approvals` are the ids of the steps that ask people.
    """
    if not approvals or "steps" not in source or _ANY.search(source) is None:
        return []
    try:
        root = parse_condition(source).node if condition else parse_template(source)
    except ExpressionSyntaxError:
        return []
    found = (word for node in walk(root) for word in _of_node(source, node, approvals))
    return sorted(set(found))


def rewritten(source: str, words: Collection[OldWord]) -> str:
    """The source with the words in place of the old ones."""
    for word in sorted(words, reverse=True):
        source = source[: word.offset] + word.new + source[word.offset + len(word.word) :]
    return source


def _of_node(source: str, node: Node, approvals: Collection[str]) -> Iterator[OldWord]:
    match node:
        case Path() if _field(node, approvals) in FIELDS:
            segments = [_SEGMENT.format(re.escape(str(one))) for one in node.segments[:3]]
            written = re.compile(r"steps" + "".join(segments)).match(source, node.offset)
            if written is not None:
                yield OldWord(written.start(3), written[3], FIELDS[written[3]])
        case Compare() if node.op in ("==", "!=", "in", "not in"):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if _is_decision(one, approvals):
                    yield from _of_literals(source, other)
        case _:
            return


def _of_literals(source: str, node: Node) -> Iterator[OldWord]:
    for one in node.items if isinstance(node, ListNode) else (node,):
        if isinstance(one, Literal) and one.value in DECISIONS:
            word = str(one.value)
            # Behind the quote; a word that is spelled with escapes stays as it is.
            if source.startswith(word, one.offset + 1):
                yield OldWord(one.offset + 1, word, DECISIONS[word])


def _is_decision(node: Node, approvals: Collection[str]) -> bool:
    while isinstance(node, Filter) and node.name == "default":
        node = node.operand
    return isinstance(node, Path) and _field(node, approvals) == "decision"


def _field(path: Path, approvals: Collection[str]) -> str | int | None:
    """The field of an approval's output that the path leads to, or through."""
    if path.root != "steps" or len(path.segments) < 3 or path.segments[1] != "output":
        return None
    return path.segments[2] if path.segments[0] in approvals else None
