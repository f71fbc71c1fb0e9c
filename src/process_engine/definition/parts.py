"""What all parts of a document have in common: unknown keys are refused, expressions are found.

Below the base class stand the kinds of values that the fields of several parts share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Literal, NamedTuple, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, PydanticUndefined

from process_engine.definition.durations import Duration

NAME_PATTERN = "^[a-z][a-z0-9_-]{0,63}$"
STEP_ID_PATTERN = "^([a-z]|[0-9][0-9_-]{0,62}[a-z])[a-z0-9_-]{0,63}$"
VERSION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9}){0,2}$"
ERROR_CODE_PATTERN = "^[A-Z][A-Z0-9_]{0,63}$"
CHANNEL_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"

# The most that is kept of each: bounds that no real process meets, so that nothing here is unbounded.
MAX_VISITS = 10_000
MAX_ATTEMPTS = 100
MAX_CONCURRENCY = 10_000
MAX_DECISIONS = 100
MAX_CHANNELS = 10

ExpressionKind = Literal["template", "condition"]
Path = tuple[str | int, ...]


class TemplateText:
    """Marks a field whose texts may hold `{{ … }}`."""


class ConditionText:
    """Marks a field that is a condition."""


class ExpressionSite(NamedTuple):
    """One field that holds an expression: `path` from its step, `source` as written, and how it is read."""

    path: Path
    source: object
    kind: ExpressionKind


def _close_schema(schema: JsonDict) -> None:
    # The model gathers `x-…` keys in one field; editors must see them as the language has them.
    properties = cast("dict[str, object]", schema.get("properties", {}))
    properties.pop("x-", None)
    schema["patternProperties"] = {"^x-": {}}


class Document(BaseModel, frozen=True):
    """A part of a document: unknown keys are refused, `x-…` keys are the author's own and kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_close_schema, allow_inf_nan=False)

    extensions: Mapping[str, object] = Field(
        default_factory=dict[str, object], alias="x-", description="The author's own `x-…` keys."
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_extensions(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        given = cast("Mapping[object, object]", value)
        own = {key: item for key, item in given.items() if isinstance(key, str) and key.startswith("x-")}
        if not own:
            return given
        return {key: item for key, item in given.items() if key not in own} | {"x-": own}

    @model_serializer(mode="wrap")
    def _spread_extensions(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return self.flattened(handler(self))

    def flattened(self, plain: dict[str, object]) -> dict[str, object]:
        """The serialised fields with the author's own keys among them, as they are written."""
        plain.pop("extensions", None)
        plain.pop("x-", None)
        return plain | dict(self.extensions)

    @classmethod
    def key_names(cls) -> tuple[str, ...]:
        """The keys this part may have, as they are written, in the order of the reference."""
        return tuple(key for key in (f.alias or n for n, f in cls.model_fields.items()) if key != "x-")

    @classmethod
    def empty_keys(cls, given: object) -> Iterator[Path]:
        """The keys of a raw part, and of the parts in it, that are written without the value they need.

        A field that is left out may be None; but who writes its key means something.
        """
        if not isinstance(given, dict):
            return
        values = cast("dict[str, object]", given)
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if key not in values:
                continue
            value = values[key]
            is_free = field.annotation is object and TemplateText not in map(type, field.metadata)
            if value is None and not is_free and field.get_default() in (None, PydanticUndefined):
                yield (key,)
            for part in parts_of(field.annotation):
                yield from _empty_below(part, key, value)

    def expressions(self) -> Iterator[ExpressionSite]:
        """Every field that holds an expression and is set, in field order, nested parts included."""
        for name, key, kind in _expression_fields(type(self)):
            value: object = getattr(self, name)
            if value is None:
                continue
            if kind is None:
                yield from _nested_sites(key, value)
            elif not isinstance(value, Duration):
                yield ExpressionSite((key,), value, kind)


def _empty_below(part: type[Document], key: str, value: object) -> Iterator[Path]:
    if isinstance(value, list):
        for number, item in enumerate(cast("list[object]", value)):
            yield from ((key, number, *path) for path in part.empty_keys(item))
    else:
        yield from ((key, *path) for path in part.empty_keys(value))


def _nested_sites(key: str, value: object) -> Iterator[ExpressionSite]:
    if isinstance(value, Document):
        for site in value.expressions():
            yield site._replace(path=(key, *site.path))
    elif isinstance(value, tuple):
        for index, item in enumerate(cast("tuple[object, ...]", value)):
            if isinstance(item, Document):
                for site in item.expressions():
                    yield site._replace(path=(key, index, *site.path))


@cache
def _expression_fields(kind: type[Document]) -> tuple[tuple[str, str, ExpressionKind | None], ...]:
    """Attribute, key and kind of the fields to look at; kind None: a part with fields of its own."""
    found: list[tuple[str, str, ExpressionKind | None]] = []
    for name, field in kind.model_fields.items():
        attached: list[object] = [*field.metadata, *_within(field.annotation)]
        marks = {type(mark) for mark in attached}
        if TemplateText in marks:
            found.append((name, field.alias or name, "template"))
        elif ConditionText in marks:
            found.append((name, field.alias or name, "condition"))
        elif any(parts_of(field.annotation)):
            found.append((name, field.alias or name, None))
    return tuple(found)


def _within(annotation: object) -> Iterator[object]:
    for argument in get_args(annotation):
        yield argument
        yield from _within(argument)


def parts_of(annotation: object) -> Iterator[type[Document]]:
    """The document classes that a field of this annotation may hold."""
    for part in (annotation, *_within(annotation)):
        if isinstance(part, type) and issubclass(part, Document):
            yield part


# Values


def _plain(message: str, fix: str = "", kind: str = "wrong_value") -> PydanticCustomError:
    """A fault in our own words: what the value must be, and what to write instead."""
    return PydanticCustomError(kind, "{wording}", {"wording": message, "fix": fix})  # type: ignore[arg-type]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _condition_text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _version_text(value: object) -> object:
    if isinstance(value, float):
        raise _plain("must be text where it holds a dot, or 1.10 would become 1.1", f'Write `"{value}"`.')
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _latest_as_none(value: object) -> object:
    return None if value == "latest" else value


def braced(value: object) -> object:
    """A text as the template that it is meant to be."""
    # A source without braces is an expression all the same: nobody wants a path's name as an output.
    return f"{{{{ {value} }}}}" if isinstance(value, str) and value.strip() and "{{" not in value else value


def outputs_as_list(value: object) -> object:
    """Outputs given as a map, as the list that they are."""
    if not isinstance(value, Mapping):
        return value
    return [{"name": name, "source": source} for name, source in cast("Mapping[str, object]", value).items()]


def _longer_than_zero(value: Duration) -> Duration:
    if value.seconds == 0:
        raise _plain("must be longer than zero", "Leave it out for the default.", "out_of_range")
    return value


def _join_count(value: object) -> object:
    if value in ("all", "any") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise _plain("must be `all`, `any` or a whole number from 1", "Write for example `any` or `2`.")


def _delay_kind(value: object) -> str:
    return "template" if isinstance(value, str) and "{{" in value else "duration"


Text = Annotated[str, Field(min_length=1)]
ProcessName = Annotated[str, Field(pattern=NAME_PATTERN)]
StepName = Annotated[str, Field(pattern=STEP_ID_PATTERN, max_length=64)]
ErrorCodes = tuple[Annotated[str, Field(pattern=ERROR_CODE_PATTERN)], ...]
Timeout = Annotated[Duration, AfterValidator(_longer_than_zero)]
Attempts = Annotated[StrictInt, Field(ge=1, le=MAX_ATTEMPTS)]
MaxVisits = Annotated[StrictInt, Field(ge=1, le=MAX_VISITS)]
Concurrency = Annotated[StrictInt, Field(ge=1, le=MAX_CONCURRENCY)]
Quorum = Annotated[StrictInt, Field(ge=1, le=MAX_DECISIONS)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
ChannelName = Annotated[str, Field(pattern=CHANNEL_PATTERN)]
ChannelNames = Annotated[
    tuple[ChannelName, ...],
    Field(max_length=MAX_CHANNELS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
Urgency = Literal["low", "normal", "high", "critical"]
ConditionSource = Annotated[
    Text, BeforeValidator(_condition_text, json_schema_input_type=str | bool), ConditionText()
]
Delay = Annotated[
    Annotated[Duration, Tag("duration")] | Annotated[str, Tag("template")], Discriminator(_delay_kind)
]
Join = Annotated[
    Literal["all", "any"] | int,
    BeforeValidator(_join_count, json_schema_input_type=Literal["all", "any"] | int),
]
JsonSchema = Mapping[str, object]
Version = Annotated[
    str, Field(pattern=VERSION_PATTERN), BeforeValidator(_version_text, json_schema_input_type=str | int)
]
VersionOrLatest = Annotated[
    Version | None, BeforeValidator(_latest_as_none, json_schema_input_type=str | int)
]
