"""What changed between two definitions, in words.

Steps, input fields and outputs are matched by their names, routes by where they lead; everything else by its
key. Spellings and order of keys tell nothing: the canonical forms are compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, cast

from process_engine.definition.document import ProcessDefinition

Kind = Literal["added", "removed", "changed"]
Mapped = Mapping[str, object]

# A longer value is cut: people read differences, and the processes have the whole.
MOST_CHARACTERS = 60
# So much of what two long texts have in common is shown before the place where they part.
_LEAD = 15
_PLAIN = re.compile(r"[\w.,:@/%+-]+")
# What stands in a list of things with names of their own.
_BY_NAME = {"steps": ("step", "id"), "outputs": ("output", "name"), "triggers": ("trigger", "id")}


class Difference(NamedTuple):
    """One difference: `str()` tells it.

    `subject` is what differs ("step review", or "" for the process itself), `key` where in it (dotted; ""
    for all of it), `old` and `new` its values, None where there is none. Of what is `whole` not the value is
    told, but `note`.
    """

    kind: Kind
    subject: str
    key: str
    old: object
    new: object
    note: str = ""
    whole: bool = False

    def __str__(self) -> str:
        name = f"{self.subject}: {self.key}" if self.subject and self.key else self.subject or self.key
        if self.whole or not self.key:
            return f"{name} {self.kind} {self.note}".rstrip()
        if self.key == "required":
            return f"{self.subject}: {'now' if self.new else 'no longer'} required"
        if self.kind == "added":
            return f"{name} {_shown(self.new)} added"
        if self.kind == "removed":
            return f"{name} {_shown(self.old)} removed"
        old, new = _apart(_written(self.old), _written(self.new))
        return f"{name} {old} -> {new}"


def differences(old: ProcessDefinition, new: ProcessDefinition) -> list[Difference]:
    """Everything that differs, in the order of the language's keys; empty for equal definitions."""
    before, after = _plain(old), _plain(new)
    found: list[Difference] = []
    for key in ProcessDefinition.key_names():
        if key == "input":
            found += _input(_mapping(before.get(key)), _mapping(after.get(key)))
        elif key in _BY_NAME:
            found += _named(key, _sequence(before.get(key)), _sequence(after.get(key)))
        else:
            found += _values("", key, before.get(key), after.get(key))
    own = sorted(key for key in {*before, *after} if key.startswith("x-"))
    return [*found, *(one for key in own for one in _values("", key, before.get(key), after.get(key)))]


def _plain(definition: ProcessDefinition) -> Mapped:
    return cast("Mapped", json.loads(definition.canonical_json()))


def _mapping(value: object) -> Mapped:
    return cast("Mapped", value) if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


# ---------------------------------------------------------------- input


def _input(old: Mapped, new: Mapped) -> Iterator[Difference]:
    if "schema" in {*old, *new}:
        yield from _values("", "input", dict(old) or None, dict(new) or None)
        return
    for name in _names(old, new):
        subject = f"input field {name}"
        if name not in old:
            yield Difference("added", subject, "", None, new[name], _declared(_mapping(new[name])))
        elif name not in new:
            yield Difference("removed", subject, "", old[name], None)
        else:
            yield from _values(subject, "", old[name], new[name])


def _declared(field: Mapped) -> str:
    words = [str(field.get("type", "any")), *["required"][: bool(field.get("required"))]]
    if "default" in field:
        words.append(f"default {_shown(field['default'])}")
    return f"({', '.join(words)})"


# ---------------------------------------------------------------- steps, outputs, triggers


def _named(key: str, old: Sequence[object], new: Sequence[object]) -> Iterator[Difference]:
    word, name_key = _BY_NAME[key]
    before = {str(_mapping(one)[name_key]): _mapping(one) for one in old}
    after = {str(_mapping(one)[name_key]): _mapping(one) for one in new}
    for name in _names(before, after):
        subject = f"{word} {name}"
        if name not in before:
            note = _place(after[name]) if key == "steps" else _value_of(after[name])
            yield Difference("added", subject, "", None, after[name], note)
        elif name not in after:
            yield Difference("removed", subject, "", before[name], None)
        else:
            yield from _part(subject, before[name], after[name])
    kept = [[name for name in these if name in before and name in after] for these in (before, after)]
    if kept[0] != kept[1]:
        yield Difference("changed", f"order of {key}", "", kept[0], kept[1])


def _place(step: Mapped) -> str:
    waited_for = step.get("depends_on")
    names = [str(one) for one in _sequence(waited_for)] if waited_for else []
    return f"after {', '.join(names)}" if names else "at the beginning"


def _value_of(output: Mapped) -> str:
    return f"({_shown(output['source'])})" if "source" in output else ""


def _part(subject: str, old: Mapped, new: Mapped) -> Iterator[Difference]:
    for key in _names(old, new):
        if key == "routes":
            yield from _routes(subject, _sequence(old.get(key)), _sequence(new.get(key)))
        else:
            yield from _values(subject, key, old.get(key), new.get(key))


def _routes(subject: str, old: Sequence[object], new: Sequence[object]) -> Iterator[Difference]:
    """Routes by their targets; of several to one target the n-th is compared with the n-th."""
    before, after = _by_target(old), _by_target(new)
    for name in _names(before, after):
        key = f"route to {name}"
        if name not in before:
            condition = _mapping(after[name]).get("condition")
            note = f"(if {_shown(condition)})" if condition is not None else "(always)"
            yield Difference("added", subject, key, None, after[name], note, whole=True)
        elif name not in after:
            yield Difference("removed", subject, key, before[name], None, whole=True)
        else:
            yield from _values(f"{subject}, {key}", "", before[name], after[name])
    kept = [[name for name in these if name in before and name in after] for these in (before, after)]
    if kept[0] != kept[1]:
        yield Difference("changed", f"{subject}: order of routes", "", kept[0], kept[1])


def _by_target(routes: Sequence[object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for route in routes:
        target = str(_mapping(route).get("target"))
        number = sum(name.split(" ")[0] == target for name in found)
        found[f"{target} ({number + 1})" if number else target] = route
    return found


# ---------------------------------------------------------------- values


def _values(subject: str, key: str, old: object, new: object) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = _mapping(cast("object", old)), _mapping(cast("object", new))
        for name in _names(before, after):
            below = f"{key}.{name}" if key else name
            yield from _values(subject, below, before.get(name), after.get(name))
        return
    kind: Kind = "changed" if None not in (old, new) else "added" if old is None else "removed"
    yield Difference(kind, subject, key, old, new)


def _names(old: Mapped, new: Mapped) -> list[str]:
    """The keys of both: the old ones in their order, then what is new."""
    return list(dict.fromkeys((*old, *new)))


def _shown(value: object) -> str:
    return _cut(_written(value))


def _written(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _apart(old: str, new: str) -> tuple[str, str]:
    """Both, cut so that the place where they part is seen."""
    same = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    start = max(same - _LEAD, 0) if max(len(old), len(new)) > MOST_CHARACTERS else 0
    lead = "…" if start else ""
    return _cut(lead + old[start:]), _cut(lead + new[start:])
