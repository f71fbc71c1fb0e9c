"""JSON and YAML values with `{{ … }}` in their texts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import msgspec

from process_engine.definition.compiling import CACHED_SOURCES, Compiler, Run, Scope, constant
from process_engine.definition.nodes import Hole
from process_engine.definition.paths import Segments
from process_engine.definition.reads import Read, reads_of
from process_engine.definition.syntax import (
    MAX_NESTING,
    MAX_SOURCE_CHARACTERS,
    ExpressionSyntaxError,
    parse_template,
)
from process_engine.definition.values import is_list, is_object


class Template:
    """A JSON or YAML value whose texts may hold `{{ … }}`, compiled once.

    `constant` says that none does, and then `render` gives `source` itself. A text that is exactly one
    `{{ … }}` becomes the expression's value and keeps its type.
    """

    __slots__ = ("_run", "constant", "reads", "source")

    def __init__(self, source: object) -> None:
        self.source = source
        holes: list[Read] = []
        run = _compiled(source, (), holes)
        self.reads = tuple(holes)
        self.constant = run is None
        self._run = run or constant(source)

    def render(self, scope: Scope) -> object:
        """The value with every expression in it worked out; what is constant in it is shared, not copied.

        Raises:
            ExpressionError: `expression` is the text concerned, or of a long text the `{{ … }}` alone.
        """
        return self._run(scope)


def compile_template(value: object) -> Template:
    """The template of any JSON or YAML value.

    Raises:
        ExpressionSyntaxError: `source` is the text concerned and `offset` counts in it.
    """
    return Template(value)


def _compiled(value: object, location: Segments, reads: list[Read]) -> Run | None:
    """The closure that renders the value, None if it is constant; its reads are added to `reads`."""
    if len(location) > MAX_NESTING:
        raise ExpressionSyntaxError(f"nested deeper than {MAX_NESTING} levels", source="", offset=0)
    if isinstance(value, str):
        return _compiled_text(value, location, reads)
    if is_list(value):
        return _compiled_list(value, location, reads)
    return _compiled_object(value, location, reads) if is_object(value) else None


def _compiled_text(value: str, location: Segments, reads: list[Read]) -> Run | None:
    if "{{" not in value:
        return None
    known = _cached_text(value) if len(value) <= MAX_SOURCE_CHARACTERS else _parsed_text(value)
    reads.extend(msgspec.structs.replace(read, location=location) for read in known.reads)
    return known.run


class _ParsedText(msgspec.Struct, frozen=True):
    """A text with holes, ready to be rendered anywhere."""

    run: Run
    reads: tuple[Read, ...]


def _parsed_text(source: str) -> _ParsedText:
    node = parse_template(source)
    compiler = Compiler(source)
    match node.parts:
        case (Hole() as only,):
            run = compiler.around(only).value(only.node)
        case _:
            run = compiler.text(node)
    return _ParsedText(run, tuple(reads_of(node)))


_cached_text = functools.lru_cache(maxsize=CACHED_SOURCES)(_parsed_text)


def _compiled_list(value: Sequence[object], location: Segments, reads: list[Read]) -> Run | None:
    runs = [_compiled(item, (*location, position), reads) for position, item in enumerate(value)]
    if not any(runs):
        return None
    items = [run or constant(item) for run, item in zip(runs, value, strict=True)]
    return lambda scope: [item(scope) for item in items]


def _compiled_object(value: Mapping[str, object], location: Segments, reads: list[Read]) -> Run | None:
    for key in value:
        if "{{" in str(key):
            raise ExpressionSyntaxError("a key cannot hold an expression", source=str(key), offset=0)
    runs = {key: _compiled(member, (*location, key), reads) for key, member in value.items()}
    if not any(runs.values()):
        return None
    members = [(key, run or constant(value[key])) for key, run in runs.items()]
    return lambda scope: {key: member(scope) for key, member in members}
