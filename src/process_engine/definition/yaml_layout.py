"""A YAML text as a tree that keeps comments, order, quotes and anchors, and back; how such a tree is changed.

Everything here is about the library that does it. Its parts are untyped, so what comes out of them is Any.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingSuperCall=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import FoldedScalarString, ScalarString
from ruamel.yaml.tag import Tag
from ruamel.yaml.tokens import CommentToken

# Longer than any document may be: no text is broken into lines that its author has on one.
_WIDTH = 1 << 21
_TRUTH = ("true", "True", "TRUE", "false", "False", "FALSE")
_NOTHING = ("", "~", "null", "Null", "NULL")
# Where the keys of a step stand, and only of steps something is removed.
_STEP_COLUMN = 4
_KINDS = {SequenceNode: "seq", MappingNode: "map"}


class _Resolver(VersionedResolver):
    """Words stay as they are written: only truth and nothing are values, which rewriting asks for."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        name = _KINDS.get(kind, "str")
        if kind is ScalarNode and implicit[0] and value in _TRUTH:
            name = "bool"
        elif kind is ScalarNode and implicit[0] and value in _NOTHING:
            name = "null"
        return Tag(suffix=f"tag:yaml.org,2002:{name}")


class _Representer(RoundTripRepresenter):
    def represent_none(self, data: object) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


class Tree:
    """A text that can be read already, as a tree: mappings and lists as usual, with more in them."""

    def __init__(self, source: str) -> None:
        self._library = YAML(typ="rt", pure=True)
        self._library.Resolver = _Resolver
        self._library.Representer = _Representer
        self._library.preserve_quotes = True
        self._library.width = _WIDTH
        self._library.indent(mapping=2, sequence=4, offset=2)
        self._library.explicit_start = source.startswith("---")
        self.root = cast("dict[str, object]", self._library.load(source))

    def text(self) -> str:
        """The tree as text: two spaces for a level, lists indented below their keys."""
        stream = io.StringIO()
        self._library.dump(self.root, stream)
        return stream.getvalue()


def relabel(part: dict[str, object], old: str, new: str) -> None:
    """Give a key another name; its place and its comments stay."""
    holder = cast("CommentedMap", part)
    place = list(holder).index(old)
    comments = holder.ca.items.pop(old, None)
    value = holder.pop(old)
    holder.insert(place, new, value)
    if comments is not None:
        holder.ca.items[new] = comments


def insert(part: dict[str, object], key: str, value: object, after: str) -> None:
    """Add a key behind another one."""
    holder = cast("CommentedMap", part)
    holder.insert(list(holder).index(after) + 1, key, value)
    told = holder.ca.items.get(after)
    token = told[2] if told is not None else None
    if told is not None and isinstance(token, CommentToken):
        # What stands on lines of its own belongs to the key that comes next.
        beside, line, below = str(token.value).partition("\n")
        holder.ca.items[key] = [None, None, CommentToken(line + below, token.start_mark, None), None]
        told[2] = CommentToken(f"{beside}\n", token.start_mark, None) if beside else None


def shorten(part: dict[str, object], key: str, value: object) -> None:
    """Put something that is in the mapping under the key in the mapping's place; its comments come before."""
    holder = cast("CommentedMap", part)
    tokens = holder.ca.items.pop(key, None) or [None] * 4
    told = [*_texts(tokens[3]), *_comments(holder[key])]
    if tokens[2] is not None:
        # What stands beside the mapping stands beside the value.
        holder.ca.items[key] = [None, None, tokens[2], None]
        told = [text for text in told if text not in set(_texts(tokens[2]))]
    holder[key] = value
    _tell_before(holder, key, told)


def remove_item(part: dict[str, object], items: list[object], index: int, before: str) -> None:
    """Remove an item of a list; what was remarked on it stands before the key of `part` from then on."""
    listed = cast("CommentedSeq", items)
    told = [*_texts(listed.ca.items.get(index)), *_comments(listed[index])]
    del listed[index]
    _tell_before(cast("CommentedMap", part), before, told)


def respelled(value: str, new: str, offsets: list[tuple[int, int]]) -> str:
    """The text in the style it was written in; `offsets` say where it grew, and by how much."""
    if not isinstance(value, ScalarString):
        return new
    made = type(value)(new)
    if isinstance(value, FoldedScalarString):
        folds = cast("list[int]", getattr(value, "fold_pos", []))
        moved = [fold + sum(by for place, by in offsets if place < fold) for fold in folds]
        cast("Any", made).fold_pos = moved
    if getattr(value, "comment", None) is not None:
        cast("Any", made).comment = cast("Any", value).comment
    anchor = value.yaml_anchor()
    if anchor is not None and anchor.value is not None:
        made.yaml_set_anchor(anchor.value, always_dump=True)
    return made


def _comments(node: object) -> Iterator[str]:
    """Everything that is remarked on a part and in it."""
    if not isinstance(node, (CommentedMap, CommentedSeq)):
        return
    yield from _texts(node.ca.comment)
    for tokens in node.ca.items.values():
        yield from _texts(tokens)
    below = node.values() if isinstance(node, CommentedMap) else node
    for one in below:
        yield from _comments(one)


def _texts(tokens: object) -> Iterator[str]:
    if isinstance(tokens, CommentToken):
        lines = (line.strip().removeprefix("#").strip() for line in str(tokens.value).split("\n"))
        yield from (line for line in lines if line)
    elif isinstance(tokens, list):
        for token in cast("list[object]", tokens):
            yield from _texts(token)


def _tell_before(holder: CommentedMap, key: str, told: list[str]) -> None:
    if told:
        text = "\n".join(dict.fromkeys(told))
        holder.yaml_set_comment_before_after_key(key, before=text, indent=_STEP_COLUMN)
