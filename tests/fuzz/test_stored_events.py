"""Every kind of event survives the store whatever it holds, and older records are read for ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import NewType, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_engine.core import events
from process_engine.core.values import Value
from process_engine.repositories.records import EVENT

GOLDEN = Path(__file__).parents[1] / "fixtures" / "events"
MANIFEST = GOLDEN / "SHA256SUMS"
NOT_REQUIRED_ANY_MORE = {"StepWaiting": {"due"}}
FILES = sorted(GOLDEN.rglob("*.json"))
KINDS = get_args(events.AnyEvent)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FINITE, st.text()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
PLAIN: Mapping[object, st.SearchStrategy[object]] = {
    str: st.text(),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    float: FINITE,
    object: JSON,
    type(None): st.none(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


def anything(kind: object) -> st.SearchStrategy[object]:
    """Every value that a field of this type may have."""
    if isinstance(kind, NewType):
        return anything(kind.__supertype__)
    if kind in PLAIN:
        return PLAIN[kind]
    if get_origin(kind) in (Union, UnionType):
        return st.one_of([anything(one) for one in get_args(kind)])
    if get_origin(kind) is tuple:
        return st.lists(anything(get_args(kind)[0]), max_size=4).map(tuple)
    assert isinstance(kind, type), f"the test does not know what a field of type {kind} may hold"
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return any_record(kind)


def any_record(kind: type) -> st.SearchStrategy[object]:
    """Every record of a kind; what has a default is left out as often as not."""
    hints = get_type_hints(kind)
    fields = {field.name: anything(hints[field.name]) for field in msgspec.structs.fields(kind)}
    optional = {field.name for field in msgspec.structs.fields(kind) if not field.required}
    drawn = st.fixed_dictionaries(
        {name: values for name, values in fields.items() if name not in optional},
        optional={name: fields[name] for name in optional},
    )
    return drawn.map(lambda given: kind(**given))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_survives_the_store_whatever_its_fields_hold(kind):
    @settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
    @given(any_record(kind))
    def survives(event: events.Event) -> None:
        assert EVENT.decode(EVENT.encode(event)) == event

    survives()


# ---------------------------------------------------------------- golden files


def digests() -> dict[str, str]:
    """The SHA-256 of every golden file, by its path in the folder."""
    return {
        path.relative_to(GOLDEN).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES
    }


def test_no_golden_file_was_changed_removed_or_added_without_a_word():
    """A golden file is never changed: whoever adds one adds its line, as `sha256sum` prints it."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()

    assert {name: digest for digest, _, name in (line.partition("  ") for line in lines)} == digests()
    assert len(lines) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(GOLDEN).as_posix())
def test_what_was_written_once_is_read_and_nothing_of_it_is_lost(path):
    text = path.read_text(encoding="utf-8")

    event = EVENT.decode(text)

    assert event.type == path.stem.partition("-")[0]
    assert json.loads(EVENT.encode(event), parse_float=Decimal) == json.loads(text, parse_float=Decimal)


def test_every_kind_of_event_has_its_least_form_among_the_golden_files():
    """What has a default is missing in it, as in a record written before the field was there."""
    for kind in KINDS:
        written = json.loads((GOLDEN / "v1" / "least" / f"{kind.__name__}.json").read_text(encoding="utf-8"))

        required = {"type", *(f.name for f in msgspec.structs.fields(kind) if f.required)}
        # A field may be optional now that had to be there when the file was written.
        assert set(written) - required <= NOT_REQUIRED_ANY_MORE.get(kind.__name__, set())
        assert required <= set(written)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_an_event_stands_in_a_golden_file(kind):
    """A new field needs a golden file that has it: a file of its own, in a folder for the new version."""
    written = [json.loads(path.read_bytes()) for path in FILES]
    fields = {name for one in written if one["type"] == kind.__name__ for name in one}

    assert {field.encode_name for field in msgspec.structs.fields(kind)} - fields == set()


def test_every_field_inside_an_event_and_every_word_of_an_enumeration_stands_in_a_golden_file():
    inside, words = parts_of(KINDS)
    keys: dict[str, set[str]] = {kind.__name__: set() for kind in inside}
    said: set[str] = set()
    for path in FILES:
        note(EVENT.decode(path.read_text(encoding="utf-8")), json.loads(path.read_bytes()), keys, said)

    wanted = {kind.__name__: {field.encode_name for field in msgspec.structs.fields(kind)} for kind in inside}
    assert {name: fields - keys[name] for name, fields in wanted.items()} == {name: set() for name in wanted}
    assert {word.value for kind in words for word in kind} - said == set()


def parts_of(kinds: tuple[type, ...]) -> tuple[set[type], set[type[Enum]]]:
    """The records inside these records, and the enumerations."""
    inside: set[type] = set()
    words: set[type[Enum]] = set()
    open_kinds = [hint for kind in kinds for hint in get_type_hints(kind).values()]
    while open_kinds:
        kind = open_kinds.pop()
        open_kinds += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Enum):
            words.add(kind)
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in inside:
            inside.add(kind)
            open_kinds += get_type_hints(kind).values()
    return inside, words


def note(record: object, written: object, keys: dict[str, set[str]], said: set[str]) -> None:
    """Note the keys that were written for each kind of record, and the texts."""
    said.update([written] if isinstance(written, str) else ())
    if not isinstance(record, msgspec.Struct) or not isinstance(written, dict):
        return
    keys.setdefault(type(record).__name__, set()).update(written)
    if not isinstance(record, Value):
        for name, below in written.items():
            note(getattr(record, name, None), below, keys, said)
    elif record.ref is not None:
        note(record.ref, written["ref"], keys, said)
