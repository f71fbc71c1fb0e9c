"""Text to a definition, with all faults of the text at once.

A fault hides as little as possible: what is faulty is left out, the rest becomes a draft, and the checks look
at the draft, so that an unknown key, a misspelt step and a missing route are all told in one go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from process_engine.definition.document import (
    MAX_STEPS,
    STEP_TYPES,
    AgentTask,
    AnyStep,
    ProcessDefinition,
    Step,
)
from process_engine.definition.faults import (
    MAX_FAULTS,
    Fault,
    explain,
    in_words,
    path_in,
    respellings,
    value_at,
)
from process_engine.definition.old_forms import as_mapping, as_mappings, normalise
from process_engine.definition.parts import Document
from process_engine.definition.positions import Path, Positions
from process_engine.definition.problems import Problem, closest, did_you_mean, has_errors, in_reading_order
from process_engine.definition.yaml_text import LoadedText, load

_LATER = "belongs to the language, but this version does not run it yet"
FUTURE_TRIGGERS = ("webhook", "schedule", "event")

# Stands for an id or reference that could not be read: no id can look like this, so nothing refers to it.
PLACEHOLDER = "?"
_REPAIR_ROUNDS = 4
# A document with more faults is not a process, but something else.
MAX_PROBLEMS = 500
# The same old spelling more often than that is how the author writes; it need not be told of each step.
MAX_NOTES_OF_A_KIND = 100
# What is required and has to look like a name.
_NAMES = {"id": "unnamed", "name": "unnamed"}

_STAND_IN = AgentTask(id="stand-in", message="")

DocumentT = TypeVar("DocumentT", bound=Document)


@dataclass(frozen=True)
class ParsedDocument:
    """What a text says.

    `definition` is None where the text has errors. `draft` is what could be understood all the same, None
    where that is nothing; `faulty` are the paths that were left out of it.
    """

    definition: ProcessDefinition | None
    problems: tuple[Problem, ...]
    positions: Positions
    draft: ProcessDefinition | None = None
    faulty: frozenset[Path] = field(default_factory=frozenset[Path])
    filename: str = "process.yaml"


def parse(text: str | bytes, *, filename: str = "process.yaml") -> ParsedDocument:
    """Read a process from YAML text. Never raises for what the text holds."""
    loaded = load(text, longest={"steps": MAX_STEPS})
    root = as_mapping(loaded.value)
    if not loaded.readable or root is None:
        problems = loaded.problems if not loaded.readable else (*loaded.problems, _no_mapping(loaded))
        return ParsedDocument(None, named(problems, filename), loaded.positions, filename=filename)
    reader = _DocumentReader(loaded, root)
    draft = reader.read()
    problems = named(in_reading_order(reader.problems), filename)
    definition = None if has_errors(problems) else draft
    return ParsedDocument(definition, problems, loaded.positions, draft, frozenset(reader.faulty), filename)


def named(problems: Sequence[Problem], filename: str) -> tuple[Problem, ...]:
    """The problems with the name of their file."""
    return tuple(problem.in_file(filename) for problem in problems)


def _likeliest(raw: dict[str, object]) -> type[Step]:
    """The type whose keys a step without `type` has, so that its other faults are found; else the base."""
    if "type" in raw:
        return Step
    shared = set(Step.key_names())
    own = {kind: raw.keys() & (set(kind.key_names()) - shared) for kind in STEP_TYPES.values()}
    likeliest = max(own, key=lambda kind: len(own[kind]))
    return likeliest if own[likeliest] else Step


def _bounded(notes: Sequence[Problem]) -> list[Problem]:
    """The notes, of each code only as many as tell something new, and one that says that there are more."""
    kept: list[Problem] = []
    counts: Counter[str] = Counter()
    for note in notes:
        counts[note.code] += 1
        if counts[note.code] <= MAX_NOTES_OF_A_KIND:
            kept.append(note)
        elif counts[note.code] == MAX_NOTES_OF_A_KIND + 1:
            message = f"There are more than {MAX_NOTES_OF_A_KIND} problems like {note.code}."
            kept.append(replace(note, code="P013", message=message, suggestion="Correct those listed first."))
    return kept


def _no_mapping(loaded: LoadedText) -> Problem:
    mark = loaded.positions.of_value(())
    if loaded.value is None:
        return Problem("P011", "error", "The document is empty.", *mark, "Begin with `name:` and `steps:`.")
    message = f"The document must be a mapping, not {in_words(loaded.value)}."
    return Problem("P011", "error", message, *mark, "Begin with `name:` and `steps:`.")


class _DocumentReader:
    """Turns plain values into a draft and notes what stood in the way."""

    def __init__(self, loaded: LoadedText, root: dict[str, object]) -> None:
        self.problems: list[Problem] = list(loaded.problems)
        self.faulty: set[Path] = loaded.positions.unreadable
        self._positions = loaded.positions
        self._root = root
        self._noted = 0

    def read(self) -> ProcessDefinition | None:
        self._respell_steps()
        self.problems += _bounded(normalise(self._root, self._positions))
        self._leave_out_future_triggers()
        steps = self._steps()
        # The header is read with stand-ins, because each step has been read by its own class already.
        header = dict(self._root)
        if steps:
            header["steps"] = [_STAND_IN] * len(steps)
        definition = self._validated(ProcessDefinition, header, (), "")
        if definition is None:
            return None
        return definition.model_copy(update={"steps": tuple(steps)}) if steps else definition

    # Steps

    def _respell_steps(self) -> None:
        """Read misspelt `steps` as steps, or one letter would hide every other fault."""
        given = next(
            (key for key in self._root if closest(key, ProcessDefinition.key_names()) == "steps"), None
        )
        if given is None or "steps" in self._root:
            return
        self._root["steps"] = self._root.pop(given)
        self._positions.move(("steps",), (given,))
        advice = "Did you mean `steps`?"
        self._note(Fault("P101", (given,), f"The key `{given}` is not known.", advice, at_key=True))

    def _steps(self) -> list[AnyStep]:
        given = self._root.get("steps")
        if not isinstance(given, list):
            return []
        # A placeholder of the base class is no member of the union; only checks ever see it, in a draft.
        return [
            cast("AnyStep", self._step(entry, index))
            for index, entry in enumerate(cast("list[object]", given))
        ]

    def _step(self, entry: object, index: int) -> Step:
        path: Path = ("steps", index)
        raw = as_mapping(entry)
        unreadable = Step(id="a", type="unknown").model_copy(update={"id": f"{PLACEHOLDER}{index}"})
        if raw is None:
            message = f"A step must be a mapping, not {in_words(entry)}."
            self._note(Fault("P103", path, message, "Begin with `- id: …`."))
            return unreadable
        whose = f" of step `{raw['id']}`" if isinstance(raw.get("id"), str) else f" of step {index + 1}"
        kind = STEP_TYPES.get(str(raw.get("type")))
        if kind is None:
            self._note_type(raw, path, whose)
            kind = _likeliest(raw)
            if kind is Step:
                raw = {key: value for key, value in raw.items() if key in Step.key_names()}
            raw = raw | {"type": next((name for name, each in STEP_TYPES.items() if each is kind), "unknown")}
        step = self._validated(kind, raw, path, whose) or unreadable
        if (*path, "id") not in self.faulty:
            return step
        # A malformed id is kept in the draft: what refers to it is not unknown.
        given = raw.get("id")
        return step.model_copy(update={"id": given if isinstance(given, str) else unreadable.id})

    def _note_type(self, raw: dict[str, object], path: Path, whose: str) -> None:
        self.faulty.add((*path, "type"))
        given = raw.get("type")
        if "type" not in raw:
            known = ", ".join(f"`{name}`" for name in STEP_TYPES)
            message = f"{whose.removeprefix(' of ').capitalize()} has no `type`."
            # Of a step that could be anything nothing more is told.
            place = path if _likeliest(raw) is Step else (*path, "type")
            self._note(Fault("P102", place, message, f"Add `type:` and one of {known}."))
        else:
            shown = f"`{given}`" if isinstance(given, str) else in_words(given)
            message = f"There is no step type {shown}."
            self._note(
                Fault("P108", (*path, "type"), message, did_you_mean(str(given), STEP_TYPES, kind="types"))
            )

    # Triggers

    def _leave_out_future_triggers(self) -> None:
        given = self._root.get("triggers")
        if not isinstance(given, list):
            return
        triggers = cast("list[object]", given)
        kinds = {index: trigger.get("type", "manual") for index, trigger in as_mappings(triggers)}
        future = {index: kind for index, kind in kinds.items() if kind != "manual"}
        for index, kind in future.items():
            if kind in FUTURE_TRIGGERS:
                message = f"The trigger type `{kind}` {_LATER}."
                self._note(Fault("P110", ("triggers", index, "type"), message, "Remove the trigger."))
            else:
                known = ("manual", *FUTURE_TRIGGERS)
                advice = did_you_mean(str(kind), known, kind="types")
                message = f"There is no trigger type {in_words(kind)}."
                self._note(Fault("P104", ("triggers", index, "type"), message, advice))
        # In place, with a stand-in: the places of the others must not move.
        stand_in: dict[str, object] = {"id": "manual"}
        self._root["triggers"] = [
            stand_in if index in future else item for index, item in enumerate(triggers)
        ]

    # Validation

    def _validated(
        self, model: type[DocumentT], raw: dict[str, object], path: Path, whose: str
    ) -> DocumentT | None:
        """The part as a value, without what is faulty in it; None where nothing is left."""
        empty = set(model.empty_keys(raw))
        if empty:
            raw = cast("dict[str, object]", _copied(raw))
        for key in empty:
            self._note_empty(key, path, whose)
            _remove(raw, key)
        for attempt in range(_REPAIR_ROUNDS):
            try:
                return model.model_validate(raw)
            except ValidationError as found:
                errors = found.errors(include_url=False)
            if attempt == 0 and self._noted <= MAX_PROBLEMS:
                for fault in explain(errors, raw, model, whose):
                    # What is empty is missing too, but that is one fault.
                    if fault.path not in empty:
                        self._note(fault._replace(path=path + fault.path))
                if len(errors) > MAX_FAULTS:
                    self._note_more(MAX_FAULTS, path)
                for misspelt, key in respellings(errors, raw, model).items():
                    self._positions.move((*path, *misspelt[:-1], key), path + misspelt)
            raw = cast("dict[str, object]", _without(raw, errors, model, drastic=attempt > 1))
        return None

    def _note_more(self, limit: int, path: Path) -> None:
        mark = self._positions.of_key(path)
        message = f"There are more than {limit} problems here; the rest is not listed."
        self.problems.append(Problem("P013", "error", message, *mark, "Correct the others first."))

    def _note_empty(self, empty: Path, path: Path, whose: str) -> None:
        if path + empty in self.faulty:
            return
        message = f"`{'.'.join(str(part) for part in empty)}`{whose} is empty."
        advice = "Give it a value, or leave the key out."
        self._note(Fault("P103", path + empty, message, advice, at_key=True))

    def _note(self, fault: Fault) -> None:
        self.faulty.add(fault.path)
        # Counted by itself: notes about old spellings must not crowd out a single error.
        self._noted += 1
        if self._noted == MAX_PROBLEMS + 1:
            self._note_more(MAX_PROBLEMS, fault.path)
        if self._noted > MAX_PROBLEMS:
            return
        at = self._positions.of_key if fault.at_key or fault.code == "P102" else self._positions.of_value
        problem = Problem(
            fault.code, "error", fault.message, *at(fault.path), fault.suggestion, path=fault.path
        )
        self.problems.append(problem)


def _without(raw: object, errors: Sequence[ErrorDetails], model: type[Document], *, drastic: bool) -> object:
    """A copy of `raw` that lacks what the errors point at.

    A misspelt key is put right; what is required and missing becomes a placeholder.
    """
    copy = _copied(raw)
    respelt = respellings(errors, raw, model)
    meant = {(*path[:-1], key) for path, key in respelt.items()}
    for error in errors:
        path = path_in(raw, error)
        if path in respelt:
            _set(copy, (*path[:-1], respelt[path]), value_at(raw, path))
            _remove(copy, path)
        elif path in meant:
            continue
        elif error["type"] == "missing" and not drastic:
            _set(copy, path, _NAMES.get(str(path[-1]), PLACEHOLDER))
        elif path:
            _remove(copy, path[:-1] if drastic and len(path) > 1 else path)
    return copy


def _copied(value: object) -> object:
    mapping = as_mapping(value)
    if mapping is not None:
        return {key: _copied(item) for key, item in mapping.items()}
    if isinstance(value, list):
        return [_copied(item) for item in cast("list[object]", value)]
    return value


def _set(root: object, path: Path, value: object) -> None:
    holder = _holder(root, path)
    if isinstance(holder, dict):
        cast("dict[str | int, object]", holder)[path[-1]] = value


def _remove(root: object, path: Path) -> None:
    holder = _holder(root, path)
    if isinstance(holder, dict):
        cast("dict[str | int, object]", holder).pop(path[-1], None)
    elif isinstance(holder, list):
        # Never shorter: the indexes of what follows are its places.
        cast("list[object]", holder)[cast("int", path[-1])] = PLACEHOLDER


def _holder(root: object, path: Path) -> object:
    return value_at(root, path[:-1])
