"""Checks that look at several processes together: what is fine in each can clash between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from process_engine.definition.checking.context import Context
from process_engine.definition.parsing import ParsedDocument
from process_engine.definition.positions import Path
from process_engine.definition.problems import Level, Problem
from process_engine.definition.versions import VersionKey, version_key


def check_across(documents: Sequence[ParsedDocument]) -> list[Problem]:
    """What clashes between processes that are to be published together, each told in the later file."""
    return [*_repeated_versions(documents), *_repeated_triggers(documents)]


def _repeated_versions(documents: Sequence[ParsedDocument]) -> Iterator[Problem]:
    seen: dict[tuple[str, VersionKey], ParsedDocument] = {}
    for document in documents:
        one = document.definition
        if one is None:
            continue
        first = seen.setdefault((one.name, version_key(one.version)), document)
        if first.definition is None or first.definition.content_hash == one.content_hash:
            continue
        message = f"Version {one.version} of process `{one.name}` is in {first.filename} with other content."
        advice = "Raise `version`, or give one of them another name."
        yield _problem(document, "P703", "error", ("name",), message, advice)


def _repeated_triggers(documents: Sequence[ParsedDocument]) -> Iterator[Problem]:
    """Of several versions of one process each may have the same triggers: the newest one's count."""
    seen: dict[str, tuple[str, ParsedDocument]] = {}
    for document in documents:
        one = document.definition
        for number, trigger in enumerate(one.triggers if one is not None else ()):
            assert one is not None
            name, first = seen.setdefault(trigger.id, (one.name, document))
            if name == one.name:
                continue
            message = f"Process `{name}` in {first.filename} has a trigger `{trigger.id}`, too."
            advice = "Give one of them another id: they are unique over all published processes."
            yield _problem(document, "P702", "error", ("triggers", number, "id"), message, advice)


def _problem(
    document: ParsedDocument, code: str, level: Level, path: Path, message: str, suggestion: str
) -> Problem:
    assert document.definition is not None
    context = Context(document.definition, positions=document.positions)
    return context.problem(code, level, path, message, suggestion).in_file(document.filename)
