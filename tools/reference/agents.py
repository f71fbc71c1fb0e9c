"""The keys of agents.yaml, from the settings classes of the kinds that come with the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic.fields import FieldInfo

from process_engine.agents import KINDS, AgentSettings
from tools.reference.markdown import code, codes, table

_OWN_MODULES = "process_engine."


def kinds() -> Mapping[str, type[AgentSettings]]:
    """The settings classes by kind, without those of other distributions that are installed here."""
    return {word: KINDS[word] for word in KINDS if KINDS[word].__module__.startswith(_OWN_MODULES)}


def kind(word: str) -> str:
    """The keys of one kind; `any` gives those that every kind has."""
    model = AgentSettings if word == "any" else kinds()[word]
    fields = {
        key: field
        for key, field in model.model_fields.items()
        if word == "any" or not _same(field, AgentSettings.model_fields.get(key))
    }
    rows = (
        (code(key), _default(field), field.description or "")
        for key, field in fields.items()
        if key != "kind" or word == "any"
    )
    return table(("key", "default", "meaning"), rows)


def _same(field: FieldInfo, other: FieldInfo | None) -> bool:
    return other is not None and (field.description, field.default) == (other.description, other.default)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = cast("object", field.get_default(call_default_factory=True, validated_data={}))
    if value in (None, "", (), {}, frozenset()):
        return "none"
    human = getattr(value, "human_readable", None)
    return code(human(separator=" ").replace(".0 ", " ") if human else str(value))


def every_key() -> str:
    """Every key with the kinds that have it."""
    having: dict[str, list[str]] = {}
    for word, model in kinds().items():
        for key in model.model_fields:
            having.setdefault(key, []).append(word)
    everywhere = len(kinds())
    rows = ((code(key), "all" if len(of) == everywhere else codes(of)) for key, of in having.items())
    return table(("key", "kinds"), rows)
