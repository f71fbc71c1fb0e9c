"""Faults of the model in plain sentences: what is wrong, and what to write instead."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from pydantic_core import ErrorDetails

from process_engine.definition.document import STEP_TYPES, ProcessDefinition
from process_engine.definition.parts import Document, parts_of
from process_engine.definition.positions import Path
from process_engine.definition.problems import closest, did_you_mean

# Of one step, or of all that is not a step; more in one place tell nobody more.
MAX_FAULTS = 100


class Fault(NamedTuple):
    """One fault: `path` leads to it; `at_key` where its key, not its value, is to be shown."""

    code: str
    path: Path
    message: str
    suggestion: str
    at_key: bool = False


class _Case(NamedTuple):
    """One path with everything the model found wrong there."""

    path: Path
    value: object
    details: Sequence[ErrorDetails]
    owner: type[Document]
    subject: str

    @property
    def context(self) -> Mapping[str, object]:
        return self.details[0].get("ctx", {})

    @property
    def key(self) -> str:
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")


def explain(errors: Iterable[ErrorDetails], raw: object, model: type[Document], whose: str) -> list[Fault]:
    """The faults of one part of a document, `whose` says which (" of step `a`"); one fault for each path.

    Paths are relative to `raw`, the value that was given to `model`.
    """
    found = list(itertools.islice(errors, MAX_FAULTS))
    # A misspelt key is one fault, not an unknown key and a missing one.
    meant = {(*path[:-1], key) for path, key in respellings(found, raw, model).items()}
    grouped: dict[Path, list[ErrorDetails]] = {}
    for error in found:
        path = path_in(raw, error)
        if not (error["type"] == "missing" and path in meant):
            grouped.setdefault(path, []).append(error)
    return [_explained(path, details, raw, model, whose) for path, details in grouped.items()]


def respellings(errors: Iterable[ErrorDetails], raw: object, model: type[Document]) -> dict[Path, str]:
    """For each unknown key the known one that was most likely meant, where that is not given itself."""
    found: dict[Path, str] = {}
    for error in itertools.islice(errors, MAX_FAULTS):
        if error["type"] != "extra_forbidden":
            continue
        path = path_in(raw, error)
        holder = value_at(raw, path[:-1])
        meant = _meant_key(str(path[-1]), _owner(model, path))
        if meant is not None and isinstance(holder, dict) and meant not in holder:
            found[path] = meant
    return found


def _meant_key(key: str, owner: type[Document]) -> str | None:
    return None if _place_elsewhere(key) else closest(key, owner.key_names())


def path_in(raw: object, error: ErrorDetails) -> Path:
    """Where the error is in the document: the model's own words (tags of unions) are left out."""
    found: list[str | int] = []
    here = raw
    located: Sequence[str | int] = error["loc"]
    for number, part in enumerate(located):
        if isinstance(here, dict) and part in here:
            here = cast("dict[str | int, object]", here)[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(cast("list[object]", here)):
            here = cast("list[object]", here)[part]
        elif not (error["type"] == "missing" and number == len(located) - 1):
            continue
        found.append(part)
    return tuple(found)


def _explained(
    path: Path, details: Sequence[ErrorDetails], raw: object, model: type[Document], whose: str
) -> Fault:
    subject = f"`{'.'.join(str(part) for part in path)}`{whose}" if path else f"The value{whose}"
    case = _Case(path, value_at(raw, path), details, _owner(model, path), subject)
    kinds = {error["type"] for error in details}
    if len(kinds) > 1 and kinds <= _KIND_WORDS.keys():
        return _wrong_kind(case)
    return _EXPLAINERS.get(details[0]["type"], _otherwise)(case)


def value_at(raw: object, path: Path) -> object:
    """The value at a path, None where there is none."""
    here = raw
    for part in path:
        if isinstance(here, dict):
            here = cast("dict[str | int, object]", here).get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(cast("list[object]", here)):
            here = cast("list[object]", here)[part]
        else:
            return None
    return here


def _owner(model: type[Document], path: Path) -> type[Document]:
    """The class whose keys stand beside the last key of the path."""
    for part in path[:-1]:
        field = next((f for n, f in model.model_fields.items() if (f.alias or n) == part), None)
        if field is not None:
            model = next(parts_of(field.annotation), model)
            if model.__name__ == "InputSpec":
                model = next(parts_of(model.model_fields["fields"].annotation))
    return model


# Words

_KIND_WORDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_from_float": "a whole number",
}


def in_words(value: object) -> str:
    """What a value is, for a sentence: the text "3", the number 3, a list."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"the word `{str(value).lower()}`"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the text "{value[:60]}{"…" if len(value) > 60 else ""}"'
        case list():
            return "a list"
        case _:
            return "a mapping"


def _wrong_kind(case: _Case) -> Fault:
    # What is wrong below a value of the wrong kind is told of the same place, and only follows from that.
    kinds = (_KIND_WORDS[error["type"]] for error in case.details if error["type"] in _KIND_WORDS)
    wanted = list(dict.fromkeys(kinds))
    if "a whole number" in wanted and "a number" in wanted:
        wanted.remove("a whole number")
    message = f"{case.subject} must be {' or '.join(wanted)}, not {in_words(case.value)}."
    if case.value is None:
        message = f"{case.subject} is empty; it must be {' or '.join(wanted)}."
    return Fault("P103", case.path, message, _kind_advice(case, wanted[0]))


_TRUE_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _kind_advice(case: _Case, wanted: str) -> str:
    value = case.value
    if value is None:
        return "Give it a value, or leave the key out."
    if case.key == "condition":
        return "Write an expression such as `input.count > 5`."
    if wanted == "text" and isinstance(value, (bool, int, float)):
        written = str(value).lower() if isinstance(value, bool) else str(value)
        return f'Write `"{written}"` in quotes.'
    if wanted.startswith("a") and "number" in wanted and isinstance(value, str) and _is_number(value):
        return f"Write `{value.strip()}` without quotes."
    if wanted == "`true` or `false`" and isinstance(value, str):
        return f"Write `{_TRUE_WORDS.get(value.lower(), 'true')}`."
    if wanted == "a mapping":
        keys = _keys_below(case)
        return f"Write it as `{case.key}: {{{', '.join(f'{key}: …' for key in keys[:2])}}}`." if keys else ""
    if wanted == "a list":
        return "Write each item on a line of its own, after `- `."
    return f"Write {wanted} there."


def _keys_below(case: _Case) -> tuple[str, ...]:
    if "input" in case.path and case.owner.__name__ == "InputField":
        return ("type", "required")
    below = _owner(case.owner, (case.key, ""))
    return below.key_names() if below is not case.owner else ()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[0-9]+(\.[0-9]+)?\s*", text) is not None


_EXAMPLES = {
    "message": "message: Summarise {{ input.topic }}",
    "id": "id: review",
    "name": "name: review-article",
    "target": "target: publish",
    "source": 'source: "{{ steps.review.output }}"',
    "type": "type: string",
    "action": "action: goto_step",
    "items": 'items: "{{ input.urls }}"',
    "schema": "schema: {type: object}",
}


def _missing(case: _Case) -> Fault:
    key = str(case.path[-1])
    parent = case.path[:-1]
    where = f"`{'.'.join(str(part) for part in parent)}`" if parent else "The document"
    whose = case.subject.partition("`" + ".".join(str(part) for part in case.path) + "`")[2]
    if not parent and whose:
        where, whose = whose.removeprefix(" of ").capitalize(), ""
    example = (
        "type: agent_task"
        if key == "type" and case.owner.__name__ == "Step"
        else _EXAMPLES.get(key, f"{key}: …")
    )
    if key == "steps":
        example = "steps: [{id: write, type: agent_task, agent: writer, message: …}]"
    return Fault("P102", case.path, f"{where}{whose} has no `{key}`.", f"Add `{example}`.")


def _unknown_key(case: _Case) -> Fault:
    key = str(case.path[-1])
    message = f"The key {case.subject} is not known."
    if key == "<<":
        return Fault("P101", case.path, "YAML 1.2 has no merge keys.", "Write the keys out.", at_key=True)
    elsewhere = _place_elsewhere(key)
    if elsewhere:
        return Fault("P101", case.path, message, elsewhere, at_key=True)
    advice = did_you_mean(key, case.owner.key_names(), limit=16)
    if closest(key, case.owner.key_names()) is None:
        advice = f"{advice} A key of your own begins with `x-`.".strip()
    return Fault("P101", case.path, message, advice, at_key=True)


def _place_elsewhere(key: str) -> str:
    types = [name for name, kind in STEP_TYPES.items() if key in kind.key_names()]
    if types:
        return f"It belongs to a step of type {' or '.join(f'`{name}`' for name in types)}."
    return "It belongs to the top level of the document." if key in ProcessDefinition.key_names() else ""


def _not_allowed(case: _Case) -> Fault:
    words = re.findall(r"'([^']*)'", str(case.context.get("expected", "")))
    allowed = ", ".join(f"`{word}`" for word in words)
    message = f"{case.subject} must be one of {allowed}, not {in_words(case.value)}."
    match = closest(str(case.value), words)
    return Fault("P104", case.path, message, f"Did you mean `{match}`?" if match else "Choose one of them.")


_BOUNDS = {
    "greater_than_equal": ("ge", "at least", "{} or more"),
    "less_than_equal": ("le", "at most", "{} or less"),
    "greater_than": ("gt", "more than", "a number above {}"),
    "less_than": ("lt", "less than", "a number below {}"),
}


def _out_of_range(case: _Case) -> Fault:
    name, words, wanted = _BOUNDS[case.details[0]["type"]]
    bound = case.context[name]
    message = f"{case.subject} must be {words} {bound}, not {case.value}."
    return Fault("P105", case.path, message, f"Write {wanted.format(bound)}.")


def _malformed(case: _Case) -> Fault:
    key, text = case.key, str(case.value)
    if key == "version":
        return Fault(
            "P107",
            case.path,
            f'{case.subject} "{text}" is not a version.',
            'Write `1`, `"1.2"` or `"1.2.3"`.',
        )
    if key in ("retry_on", "do_not_retry_on"):
        message = f'{case.subject} "{text}" is not an error code.'
        return Fault("P107", case.path, message, "Codes are written like `AGENT_TIMEOUT`.")
    proposal = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:64]
    rule = "lower-case letters, digits, `-` and `_`, at most 64, with at least one letter"
    if case.owner is ProcessDefinition:
        rule = "lower-case letters, digits, `-` and `_`, at most 64, with a letter first"
        proposal = proposal.lstrip("0123456789-_")
    advice = f"Write `{key}: {proposal}`." if re.search("[a-z]", proposal) else ""
    return Fault("P107", case.path, f'{case.subject} "{text}" must be {rule}.', advice)


def _empty(case: _Case) -> Fault:
    example = "Give it a value, or leave the key out."
    if case.key == "steps":
        example = "Add at least one step."
    return Fault("P103", case.path, f"{case.subject} is empty.", example)


def _too_long(case: _Case) -> Fault:
    message = f"{case.subject} has more than {case.context.get('max_length')} entries."
    return Fault("P105", case.path, message, "Leave some out, or divide the process.")


def _own_words(case: _Case) -> Fault:
    message = f"{case.subject} {case.context['wording']}."
    code = "P105" if case.details[0]["type"] == "out_of_range" else "P103"
    return Fault(code, case.path, message, str(case.context["fix"]))


def _duration(case: _Case) -> Fault:
    said = str(case.context.get("error", case.details[0]["msg"])).rstrip(".")
    return Fault(
        "P106", case.path, f"{case.subject}: {said}.", "Durations are written like `30s`, `5m`, `1h30m`."
    )


def _otherwise(case: _Case) -> Fault:
    said = re.sub(r"\s*\[.*\]", "", case.details[0]["msg"]).rstrip(".")
    return Fault("P103", case.path, f"{case.subject} cannot be used: {said[:1].lower()}{said[1:]}.", "")


_EXPLAINERS: dict[str, Callable[[_Case], Fault]] = {
    **dict.fromkeys(_KIND_WORDS, _wrong_kind),
    **dict.fromkeys(_BOUNDS, _out_of_range),
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "literal_error": _not_allowed,
    "string_pattern_mismatch": _malformed,
    "string_too_long": _malformed,
    "string_too_short": _empty,
    "too_short": _empty,
    "too_long": _too_long,
    "wrong_value": _own_words,
    "out_of_range": _own_words,
    "value_error": _duration,
}
