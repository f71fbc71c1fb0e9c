"""The ports: what each method is called with and promises, what each record holds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import msgspec

from process_engine.agents import Agent
from process_engine.core.results import NO_USAGE
from process_engine.runtime import ports
from process_engine.runtime.feed import EventBus
from tools.reference.markdown import code, paragraphs

# Two ports stand beside their consumer.
_ELSEWHERE = {"Agent": Agent, "EventBus": EventBus}


def named(name: str) -> type[object]:
    """The port or record of that name."""
    return _ELSEWHERE.get(name) or getattr(ports, name)


def port(name: str) -> str:
    """What a port is for, and each method with its promise, in the order of the source."""
    kind = named(name)
    listed = "\n\n".join(_member(member, thing) for member, thing in _members(kind))
    return "\n\n".join([*paragraphs(kind.__doc__ or ""), listed])


def _members(kind: type) -> Iterator[tuple[str, object]]:
    return ((name, thing) for name, thing in vars(kind).items() if not name.startswith("_"))


def _member(name: str, thing: object) -> str:
    first, *more = paragraphs(str(thing.__doc__))
    return "\n\n".join([f"- {code(_call(name, thing))}", *(f"    {told}" for told in (first, *more))])


def _call(name: str, thing: object) -> str:
    """How a member is used: `await` where it is to be awaited, a property without brackets."""
    if isinstance(thing, property):
        assert thing.fget is not None
        return f"{name}: {inspect.signature(thing.fget).return_annotation}"
    assert callable(thing)
    signature = inspect.signature(thing)
    parameters = [value for key, value in signature.parameters.items() if key != "self"]
    told = str(signature.replace(parameters=parameters)).replace("'", "")
    return f"{'await ' if inspect.iscoroutinefunction(thing) else ''}{name}{told}"


def record(name: str) -> str:
    """What a record is, and its fields with their kinds and defaults."""
    kind = named(name)
    return "\n\n".join([*paragraphs(kind.__doc__ or ""), _fields(kind)])


def _fields(kind: type[object]) -> str:
    if issubclass(kind, Exception):
        told = (_parameter(value) for value in inspect.signature(kind).parameters.values())
    else:
        assert issubclass(kind, msgspec.Struct)
        derived = (_call(name, thing) for name, thing in vars(kind).items() if isinstance(thing, property))
        told = (*(_field(kind, field) for field in msgspec.structs.fields(kind)), *derived)
    return "\n".join(f"- {code(field)}" for field in told)


def _parameter(value: inspect.Parameter) -> str:
    return str(value).replace("'", "").replace(repr(NO_USAGE), _shown(NO_USAGE))


def _field(kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> str:
    annotation = inspect.get_annotations(kind)[field.name]
    if field.required:
        return f"{field.name}: {annotation}"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"{field.name}: {annotation} = {_shown(default)}"


def _shown(default: object) -> str:
    return "Usage()" if default == NO_USAGE else repr(default)
