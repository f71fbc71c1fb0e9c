"""What the targets are given: what was right once and was spoilt, what follows a grammar, and any bytes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import cast

from hypothesis import strategies as st

from process_engine.definition.yaml_text import load
from process_engine.testing.random_processes import random_process
from tests.acceptance.pipeline import TEXT
from tests.docs.snippets import blocks_of
from tests.fuzz.grammar import EXPRESSIONS, SCALARS, SCRAPS, TEMPLATES, VALUES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "events"

Cases = st.SearchStrategy[bytes]
Plain = dict[str, object]
Place = tuple[str | int, ...]
Change = Callable[[object, object], object]
"""A value, and another one of the same document, to what stands in its place."""


def encoded(value: object) -> bytes:
    """The value as JSON, which is YAML too; half characters are kept, so that somebody has to refuse them."""
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def cases() -> Mapping[str, Cases]:
    """The cases of each target, by its name."""
    described = st.fixed_dictionaries({"input": VALUES, "given": VALUES}).map(encoded)
    return {
        "definition": _document_cases(real_processes(), _process_texts()),
        "canonical": _spoilt(_canonical_forms()).map(encoded) | st.binary(max_size=60),
        "expression": _expression_cases(),
        "agents_file": _document_cases([AGENTS], [json.dumps(AGENTS, indent=1)]),
        "process_input": _spoilt(INPUTS).map(encoded) | described,
        "duration": _duration_cases(),
        "record": _record_cases(),
        "answer": _answer_cases(),
    }


# ---------------------------------------------------------------- what was right once


@functools.cache
def _process_texts() -> list[str]:
    """The examples, and the processes of the pages."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.yaml"))]
    return [TEXT, *texts, *(block.text for page in pages for block in blocks_of(page) if block.is_process)]


@functools.cache
def _canonical_forms() -> list[Plain]:
    return [json.loads(random_process(Random(seed), "random").canonical_json()) for seed in range(12)]


@functools.cache
def real_processes() -> list[Plain]:
    """The examples, the processes of the pages and some random ones, as plain values."""
    found = [load(text).value for text in _process_texts()]
    return [
        cast("Plain", one) for one in found if isinstance(one, dict) and "steps" in one
    ] + _canonical_forms()


@functools.cache
def _records() -> list[Plain]:
    return [json.loads(path.read_bytes()) for path in sorted(GOLDEN.rglob("*.json"))]


_HTTP = {"kind": "http", "url": "http://127.0.0.1:9/${KEY}", "headers": {"X-Key": "${KEY}"}, "timeout": "5s"}
AGENTS: Plain = {
    "agents": {
        "a": _HTTP,
        "b": {"kind": "openai", "base_url": "https://example.com/v1", "api_key": "${KEY}", "model": "m"},
        "c": {"kind": "command", "argv": ["cat", "-"], "env": {"A": "${EMPTY}"}, "max_concurrent": 3},
        "d": {"kind": "python", "target": "json:dumps"},
        "e": {"kind": "echo", "rate": "60/m", "description": "${EMPTY}", "x-mine": 1},
    }
}
INPUTS: list[Plain] = [
    {
        "input": {
            "topic": {"type": "string", "required": True, "description": "What about"},
            "count": {"type": "integer", "default": 3, "minimum": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
            "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
        },
        "given": {"topic": "tides", "count": 4, "tags": ["x"]},
        "fields": ["topic=tides", "count=3", "tags=[1]"],
    },
    {
        "input": {
            "schema": {
                "type": "object",
                "required": ["a"],
                "properties": {
                    "a": {"type": ["string", "null"], "pattern": "^(a+)+$", "default": "a"},
                    "b": {"anyOf": [{"$ref": "#/properties/a"}, {"type": "number", "multipleOf": 0.1}]},
                },
                "additionalProperties": False,
            }
        },
        "given": {"a": "aaaa", "b": 1.5},
        "fields": ["a=a", "b=1.5"],
    },
]


# ---------------------------------------------------------------- spoiling


def places(value: object, path: Place = ()) -> list[tuple[Place, object]]:
    """Every value in a value, with the way to it; the value itself comes first."""
    found = [(path, value)]
    if isinstance(value, dict):
        members = list(cast("Plain", value).items())
    else:
        members = list(enumerate(cast("list[object]", value))) if isinstance(value, list) else []
    for key, member in members:
        found += places(member, (*path, key))
    return found


def replaced(value: object, path: Place, new: object) -> object:
    """A copy with something else at the path."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        known = cast("dict[str | int, object]", value)
        return {**known, key: replaced(known[key], tuple(rest), new)}
    items = list(cast("list[object]", value))
    items[cast("int", key)] = replaced(items[cast("int", key)], tuple(rest), new)
    return items


def _spoilt(originals: Sequence[Plain]) -> st.SearchStrategy[object]:
    """A document that was right, in which a few values were changed, moved, wrapped, left out or added."""
    change = _changes(sorted({word for one in originals for word in _words(one)}))
    changes = st.lists(
        st.tuples(st.integers(0, 9_999), st.integers(0, 9_999), change), min_size=1, max_size=3
    )
    return st.tuples(st.sampled_from(originals), changes).map(lambda pair: _changed(*pair))


def _words(original: Plain) -> set[str]:
    """The keys and the short texts of a document, so that one may stand where another should."""
    found: set[str] = set()
    for _, value in places(original):
        found.update(cast("Plain", value) if isinstance(value, dict) else ())
        found.update([value] if isinstance(value, str) and len(value) < 60 else ())
    return found


def _changed(document: object, changes: Sequence[tuple[int, int, Change]]) -> object:
    for one, two, change in changes:
        known = places(document)
        (path, value), (_, other) = known[one % len(known)], known[two % len(known)]
        document = replaced(document, path, change(value, other))
    return document


def _changes(words: Sequence[str]) -> st.SearchStrategy[Change]:
    word, number = st.sampled_from(words), st.integers(0, 99)
    anything = st.one_of(VALUES, word, TEMPLATES)
    return st.one_of(
        anything.map(lambda new: lambda value, other: new),
        st.just(lambda value, other: other),
        st.just(lambda value, other: [value, other]),
        st.tuples(word, word).map(lambda two: lambda value, other: {two[0]: value, two[1]: other}),
        st.integers(2, 70).map(lambda levels: lambda value, other: _nested(value, levels)),
        st.tuples(word, anything).map(lambda two: lambda value, other: _with(value, *two)),
        word.map(lambda key: lambda value, other: _with(value, key, other)),
        st.tuples(word, number).map(lambda two: lambda value, other: _renamed(value, *two)),
        number.map(lambda at: lambda value, other: _without(value, at)),
    )


def _nested(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


def _with(value: object, key: str, member: object) -> object:
    if isinstance(value, dict):
        return {**cast("Plain", value), key: member}
    return [*cast("list[object]", value), member] if isinstance(value, list) else {key: member}


def _renamed(value: object, key: str, number: int) -> object:
    if not isinstance(value, dict) or not value:
        return key
    known = cast("Plain", value)
    old = list(known)[number % len(known)]
    return {key if name == old else name: member for name, member in known.items()}


def _without(value: object, number: int) -> object:
    if isinstance(value, dict):
        known = list(cast("Plain", value).items())
        return dict(_but_one(known, number))
    return _but_one(cast("list[object]", value), number) if isinstance(value, list) else None


def _but_one(items: list[object] | list[tuple[str, object]], number: int) -> list:
    return [item for at, item in enumerate(items) if at != number % len(items)]


_PIECES = [*"\n\t\r\x00\ufeff#{}[]\"'", "  ", "- ", ": ", "&a ", "*a", "!!str ", "|\n", ">\n", "? ", "---\n"]
_PIECES += ["...\n", "%YAML 1.2\n", "<<: ", "{{ ", " }}", "\\u12", "9" * 30, "1e999", "null"]


def _spoilt_texts(originals: Sequence[str]) -> Cases:
    """A text that was right, with pieces put in, taken out, replaced, or copied to another place."""
    spot = st.integers(0, 99_999)
    piece = st.sampled_from(_PIECES) | st.text(max_size=4) | st.none()
    edits = st.lists(st.tuples(spot, spot, st.integers(0, 20), piece), min_size=1, max_size=3)
    return st.tuples(st.sampled_from(originals), edits).map(lambda pair: _edited(*pair))


def _edited(text: str, edits: Sequence[tuple[int, int, int, str | None]]) -> bytes:
    for at, elsewhere, length, piece in edits:
        begin, source = at % (len(text) + 1), elsewhere % (len(text) + 1)
        put = text[source : source + length] if piece is None else piece
        text = text[:begin] + put + text[begin + (length if elsewhere % 2 else 0) :]
    return text.encode(errors="surrogatepass")


# ---------------------------------------------------------------- the targets


def _document_cases(originals: Sequence[Plain], texts: Sequence[str]) -> Cases:
    spoilt = _spoilt(originals).map(encoded)
    return st.one_of(spoilt, spoilt, _spoilt_texts(texts), VALUES.map(encoded), st.binary(max_size=80))


def _expression_cases() -> Cases:
    texts = st.one_of(EXPRESSIONS, EXPRESSIONS, TEMPLATES, SCRAPS)
    return texts.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=40)


_UNITS = ["ms", "s", "m", "h", "d", "w", "P", "T", "M", "PT", "S", "-", "minutes", "µs"]


def _duration_cases() -> Cases:
    amount = st.one_of(
        st.integers(0, 10**9).map(str), st.floats(0, 1e9).map(repr), st.text("01.", max_size=66)
    )
    pair = st.tuples(amount, st.sampled_from([*_UNITS, "", " "]))
    parts = st.lists(pair.map("".join) | pair.map(lambda two: two[1] + two[0]), max_size=4)
    numbers = st.one_of(st.floats(), st.integers(), st.floats(0, 4e8)).map(encoded)
    return st.one_of(parts.map(lambda texts: "".join(texts).encode()), numbers, st.binary(max_size=12))


def _record_cases() -> Cases:
    spoilt = _spoilt(_records()).map(encoded)
    deep = st.integers(1, 3_000).map(lambda n: b'{"type":"StepCompleted","output":{"data":' + b"[" * n)
    texts = _spoilt_texts([json.dumps(one) for one in _records()])
    return st.one_of(spoilt, spoilt, texts, deep, st.binary(max_size=60))


def _answer_cases() -> Cases:
    tokens = st.fixed_dictionaries({"input_tokens": SCALARS, "output_tokens": SCALARS})
    fields = {
        "response": VALUES,
        "output": VALUES,
        "cost": SCALARS | st.decimals().map(str),
        "usage": tokens | VALUES,
    }
    envelope = st.fixed_dictionaries({}, optional=fields)
    fenced = envelope.map(lambda value: b"```json\n" + encoded(value) + b"\n```")
    nested = envelope.map(lambda value: encoded({"response": json.dumps(value)}))
    return st.one_of(envelope.map(encoded), fenced, nested, VALUES.map(encoded), st.binary(max_size=60))
