"""The keys of channels, from the settings classes of their kinds."""

from __future__ import annotations

from typing import cast

from pydantic.fields import FieldInfo

from process_engine.channels import KINDS, ChannelSettings
from tools.reference.markdown import code, table


def kind(word: str) -> str:
    """The keys of one kind; `any` gives those that every kind has."""
    model = ChannelSettings if word == "any" else KINDS[word]
    fields = {
        key: field
        for key, field in model.model_fields.items()
        if word == "any" or key not in ChannelSettings.model_fields
    }
    rows = (
        (code(field.alias or key), _default(field), field.description or "") for key, field in fields.items()
    )
    return table(("key", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = cast("object", field.get_default(call_default_factory=True, validated_data={}))
    return "none" if value in (None, "", ()) else code(str(value))
