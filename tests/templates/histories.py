"""Histories of the templates and examples: what their tests let happen, one line for each public event.

`python -m tests.templates.histories` tells which are out of date, with `--write` writes them anew. A change
in one of them is a change in how processes behave: it belongs into the change log.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from process_engine.core import events as e
from process_engine.core.values import Value
from process_engine.testing.process_tests import read_process_tests
from process_engine.testing.trial import try_process
from tests.architecture.places import ROOT, SOURCE, TESTS

TEMPLATES = SOURCE / "templates"
EXAMPLES = ROOT / "examples"
HISTORIES = TESTS / "fixtures" / "histories"
# What every event has, and moments: they are those of the virtual clock, and say nothing more.
_LEFT_OUT = frozenset(
    {
        *e.StepEvent.__struct_fields__,
        "due",
        "deadline",
        "usage",
        "delay_seconds",
    }
)
# Fields of values that differ from one machine's clock, or from one version of a request, to the next.
_MOMENTS = frozenset({"at", "asked_at", "deadline", "decided_at", "sha256", "due_at"})


def files_of_tests() -> list[Path]:
    """Every file of tests of a template or an example."""
    return [*sorted(TEMPLATES.glob("*.test.yaml")), *sorted(EXAMPLES.glob("*.test.yaml"))]


def golden_of(tests: Path) -> Path:
    """Where the history of a file of tests is kept."""
    folder = "templates" if tests.parent == TEMPLATES else "examples"
    return HISTORIES / folder / f"{tests.name.removesuffix('.test.yaml')}.txt"


def history_of(tests: Path) -> str:
    """What happens in each test of a file, in order."""
    return "".join(f"{line}\n" for line in _lines(tests))


def _lines(path: Path) -> Iterator[str]:
    read = read_process_tests(path)
    for number, test in enumerate(read.tests.tests):
        if number:
            yield ""
        yield f"# {test.name}"
        trial = asyncio.run(try_process(read.definition, test, read.tests.given, read.parts))
        assert trial.passed, trial.mismatches
        for event in trial.events:
            if event.public:
                own = event.process_name == read.definition.name
                yield line_of(event) if own else f"{event.process_name}: {line_of(event)}"


def line_of(event: e.Event) -> str:
    """One event: its type, its step with visit and attempt, and its own fields as JSON."""
    words = [event.type]
    if isinstance(event, e.StepEvent):
        words.append(f"{event.step_id} {event.visit}/{event.attempt}")
    plain = {name: _plain(getattr(event, name)) for name in event.__struct_fields__ if name not in _LEFT_OUT}
    told = {name: value for name, value in plain.items() if value not in (None, [], {})}
    if told:
        words.append(msgspec.json.encode(told, order="sorted").decode())
    return " ".join(words)


def _plain(value: object) -> object:
    """A field as plain values, without what a machine's clock puts into it."""
    return _without_moments(value.data if isinstance(value, Value) else msgspec.to_builtins(value))


def _without_moments(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_moments(item) for key, item in value.items() if key not in _MOMENTS}
    if isinstance(value, (list, tuple)):
        return [_without_moments(item) for item in value]
    return value


def main(arguments: list[str]) -> int:
    stale = [path for path in files_of_tests() if _stale(path)]
    for path in stale:
        golden = golden_of(path)
        print(f"{'written' if '--write' in arguments else 'out of date'}: {golden.relative_to(ROOT)}")
        if "--write" in arguments:
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(history_of(path), encoding="utf-8")
    return 1 if stale and "--write" not in arguments else 0


def _stale(path: Path) -> bool:
    golden = golden_of(path)
    return not golden.exists() or golden.read_text(encoding="utf-8") != history_of(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
