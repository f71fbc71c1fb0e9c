"""Rules about what single steps and the input say: agents, times, schemas, features of later versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from process_engine.definition.checking.context import Context
from process_engine.definition.document import AgentCall, AgentTask, HumanApproval, InputField, Timer
from process_engine.definition.json_schema import CompiledSchema, SchemaInvalid
from process_engine.definition.parts import JsonSchema, Path
from process_engine.definition.problems import Problem, did_you_mean

_TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")


_SCHEMA_ADVICE = "Write words of JSON Schema; patterns are without look-around, references within the schema."


def later_features(context: Context) -> Iterator[Problem]:
    """P110: what is read and checked, but not run yet: nothing that a process asks for is ignored."""
    parts: list[tuple[Path, object]] = [
        (("limits", key), getattr(context.definition.limits, key))
        for key in ("budget", "max_concurrent_executions")
    ]
    for number, step in enumerate(context.definition.steps):
        keys = ("roles",)
        parts.extend((("steps", number, key), getattr(step, key)) for key in keys)
    for path, part in parts:
        if part is not None:
            message = f"`{path[-1]}` belongs to the language, but this version does not run it yet."
            yield context.problem("P110", "error", path, message, "Remove it.", at_key=True)


def agents(context: Context) -> Iterator[Problem]:
    """P601, P602: a step has no agent, or one that the configuration does not know."""
    default = context.definition.defaults.agent
    if default is not None:
        yield from _agent(context, default, ("defaults", "agent"))
    for call, path in _calls(context):
        if call.agent is not None:
            yield from _agent(context, call.agent, (*path, "agent"))
        elif default is None and not context.is_faulty((*path, "agent")):
            message = "No agent is named."
            yield context.problem("P601", "error", path, message, "Add `agent:` here, or `defaults.agent`.")


def _calls(context: Context) -> Iterator[tuple[AgentCall, Path]]:
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, AgentTask):
            yield step, ("steps", number)
        if step.compensation is not None:
            yield step.compensation, ("steps", number, "compensation")


def _agent(context: Context, name: str, path: Path) -> Iterator[Problem]:
    if "{{" in name:
        message = "The agent must be a name: it is known before anything runs."
        yield context.problem("P602", "error", path, message, "Let a gateway choose among steps.")
    elif context.agents is not None and name not in context.agents:
        known = sorted(context.agents)
        advice = (
            did_you_mean(name, known, kind="agents") or "No agents are configured: add it to `agents.yaml`."
        )
        yield context.problem("P602", "error", path, f"There is no agent `{name}`.", advice)


def timers(context: Context) -> Iterator[Problem]:
    """P603, P604, P605: a timer has no time or two, an unknown zone, or a time that cannot be read."""
    for number, step in enumerate(context.definition.steps):
        if not isinstance(step, Timer):
            continue
        path: Path = ("steps", number)
        unknown = context.is_faulty((*path, "delay")) or context.is_faulty((*path, "until"))
        if not unknown and (step.delay is None) == (step.until is None):
            message = (
                "has both `delay` and `until`" if step.delay is not None else "does not say how long to wait"
            )
            advice = "Keep one of them." if step.delay is not None else "Add `delay: 5m` or `until: …`."
            yield context.problem("P603", "error", path, f"The timer `{step.id}` {message}.", advice)
        if step.until is not None and "{{" not in step.until and not _is_moment(step.until):
            message = f'"{step.until}" is neither a timestamp nor a time of day.'
            advice = "Write `09:30`, `2030-01-31T09:30:00Z`, or an expression."
            yield context.problem("P605", "error", (*path, "until"), message, advice)
        if not _is_zone(step.timezone):
            message = f'There is no time zone "{step.timezone}".'
            yield context.problem(
                "P604", "error", (*path, "timezone"), message, "Write for example `Europe/Berlin`."
            )


def _is_moment(text: str) -> bool:
    if _TIME_OF_DAY.fullmatch(text.strip()):
        return True
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def schemas(context: Context) -> Iterator[Problem]:
    """P113, P114: a JSON Schema is not valid, or a default does not fit its own field."""
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, AgentTask) and step.output is not None:
            yield from _schema(context, step.output.json_schema, ("steps", number, "output", "schema"))
        if step.compensation is not None and step.compensation.output is not None:
            place = ("steps", number, "compensation", "output", "schema")
            yield from _schema(context, step.compensation.output.json_schema, place)
        if isinstance(step, HumanApproval) and step.form is not None:
            yield from _schema(context, step.form, ("steps", number, "form"))
    spec = context.definition.input
    if spec.json_schema is not None:
        yield from _schema(context, spec.json_schema, ("input", "schema"))
    for name, field in (spec.fields or {}).items():
        yield from _field(context, field, ("input", name))


def _field(context: Context, declared: InputField, path: Path) -> Iterator[Problem]:
    try:
        schema = CompiledSchema(declared.schema_of_value())
    except SchemaInvalid as fault:
        place = (*path, *fault.path)
        yield context.problem(
            "P113", "error", place, f"The field cannot be checked: {fault.message}.", _SCHEMA_ADVICE
        )
        return
    if declared.default is None:
        return
    for path_in_value, reason in schema.faults(declared.default)[:1]:
        message = f"The default does not fit its field: it {reason}."
        place = (*path, "default", *path_in_value)
        yield context.problem("P114", "error", place, message, "Change the default or the field.")


def _schema(context: Context, schema: JsonSchema, path: Path) -> Iterator[Problem]:
    try:
        CompiledSchema(schema)
    except SchemaInvalid as fault:
        message = f"This is not a JSON Schema that can be used: {fault.message}."
        yield context.problem("P113", "error", (*path, *fault.path), message, _SCHEMA_ADVICE)
