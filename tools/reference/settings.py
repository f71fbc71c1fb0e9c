"""What can be set beside processes and agents, with its defaults, and the limits that cannot."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module

import msgspec

from process_engine.agents import command
from process_engine.app import ExecutionEngine
from process_engine.core.config import ExecutionConfig
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import AgentContext, AgentRequest
from tools.reference.errors import PACKAGE
from tools.reference.markdown import code, codes, table

_CONFIG = {
    "parallel_execution": "False: one attempt of an execution at a time",
    "stop_on_failure": "False: independent branches run to their end before the execution fails",
    "max_concurrent_steps": "attempts of one execution at once; 0 is no bound. The smaller of this and the "
    "process's `limits.max_concurrent_steps` holds",
    "default_step_timeout": "seconds, for agent tasks and notifications that name no timeout and whose "
    "process has no default; None: 5 minutes and 30 seconds",
    "cancel_grace": "seconds that running attempts may still answer once an execution is about to fail",
}
_ENGINE = {
    "repositories": 'a path, `":memory:"`, or [a store](ports.md#executionrepository)',
    "agents": "[an agent gateway](ports.md#agentgateway)",
    "channels": "[the ways of notifications](ports.md#channels); None: `log`, and `webhook` with a `url`",
    "config": "[as above](#executionconfig); None: its defaults",
    "registry": "the step types; None: those built in. Begin with `built_in_handlers(agents)` to add to them",
    "clock": "[a clock](ports.md#clock); None: the machine's",
    "event_bus": "[where committed events are announced](ports.md#eventbus); None: an `InMemoryEventBus`",
    "new_id": "makes the id of an execution that is given none; these ids sort by time",
    "recover": "False: what is open in the store is left alone until it is named by `resume` or `retry`",
    "serve_inbox": "False: commands that other processes leave stay where they are",
}
_STORE = {
    "path": "the file. On a local disk: it is locked with `flock`, and SQLite's log needs shared memory",
    "synchronous": '`"FULL"`: a commit is on the disk when it returns. `"NORMAL"`, `"OFF"`: it survives the '
    "end of the process, and a power cut may take back the last ones",
    "vfs": "a registered SQLite VFS, to inject faults in tests",
}
_READ = {
    "PROCESS_ENGINE_DB": "the store, where `--db` is not given",
    "NO_COLOR": "set to anything but nothing: no colours, as with `--no-color`",
}
_SET = {
    "PROCESS_ENGINE_IDEMPOTENCY_KEY": "the same for every attempt of a visit",
    "PROCESS_ENGINE_EXECUTION_ID": "which execution",
    "PROCESS_ENGINE_PROCESS": "the name of its process",
    "PROCESS_ENGINE_STEP_ID": "which step",
    "PROCESS_ENGINE_VISIT": "which visit of it, from 1",
    "PROCESS_ENGINE_ATTEMPT": "which attempt of that, from 1",
    "PROCESS_ENGINE_MODEL": "the step's `model`, where it has one",
    "PROCESS_ENGINE_TEMPERATURE": "the step's `temperature`, where it has one",
    "PROCESS_ENGINE_SYSTEM": "the step's `system`, where it has one",
    "TRACEPARENT": "W3C trace context",
}


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _size(value: float) -> str:
    return f"{value / 1024:g} KiB" if value < 1024**2 else f"{value / 1024**2:g} MiB"


# What is bounded, in the words of a user; where; how the number is shown.
_LIMITS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("attempts of all executions at once in one process", "runtime/steps.py", "MOST_ATTEMPTS", _count),
    (
        "executions kept in memory; others are loaded when something happens to them",
        "runtime/loop.py",
        "MOST_EXECUTIONS",
        _count,
    ),
    ("commands in one commit", "runtime/loop.py", "MOST_COMMANDS", _count),
    (
        "a value kept in place, of JSON; larger ones become blobs",
        "core/values.py",
        "INLINE_LIMIT_BYTES",
        _size,
    ),
    ("a value at all, of JSON", "core/values.py", "VALUE_LIMIT_BYTES", _size),
    ("large values kept in memory", "runtime/outputs.py", "CACHE_BYTES", _size),
    (
        "repetitions of an attempt that dies with its process, in one visit",
        "core/backoff.py",
        "MAX_INTERRUPTIONS",
        _count,
    ),
    ("a wait that an agent may ask for, in seconds", "core/backoff.py", "MAX_RETRY_AFTER_SECONDS", _count),
    ("the text of a recorded failure, in characters", "runtime/steps.py", "MESSAGE_CHARACTERS", _count),
    ("what a failed attempt tells the next one, of JSON", "core/results.py", "PROGRESS_LIMIT_BYTES", _size),
    ("recipients of a notification", "handlers/notification.py", "MOST_RECIPIENTS", _count),
    ("channels of a notification", "definition/parts.py", "MAX_CHANNELS", _count),
    ("deliveries of a channel at once", "channels/gateway.py", "MOST_AT_ONCE", _count),
    ("the text of an e-mail", "channels/email.py", "MAX_TEXT_BYTES", _size),
    ("the body of a webhook", "channels/webhook.py", "MAX_BODY_BYTES", _size),
    ("the text of a message to Slack, in characters", "channels/slack.py", "MAX_CHARACTERS", _count),
    ("a document", "definition/yaml_text.py", "MAX_TEXT_BYTES", _size),
    ("levels of a document", "definition/yaml_events.py", "MAX_NESTING", _count),
    ("steps of a process", "definition/document.py", "MAX_STEPS", _count),
    ("visits of a step that a process may allow", "definition/parts.py", "MAX_VISITS", _count),
    ("attempts that a process may allow", "definition/parts.py", "MAX_ATTEMPTS", _count),
    ("an expression, in characters", "definition/tokens.py", "MAX_SOURCE_CHARACTERS", _count),
    ("brackets of an expression within one another", "definition/parser.py", "MAX_NESTING", _count),
    (
        "the text that an expression gives, in characters",
        "definition/values.py",
        "MAX_TEXT_CHARACTERS",
        _count,
    ),
    ("items that an expression gives", "definition/values.py", "MAX_ITEMS", _count),
)


def execution_config() -> str:
    """The fields of the configuration, each with its default and meaning."""
    fields = msgspec.structs.fields(ExecutionConfig)
    return table(
        ("field", "default", "meaning"),
        ((code(field.name), code(str(field.default)), _CONFIG[field.name]) for field in fields),
    )


def parameters_of_the_engine() -> str:
    return _parameters(ExecutionEngine, _ENGINE)


def parameters_of_the_store() -> str:
    return _parameters(SqliteRepository, _STORE)


def _parameters(kind: type, meanings: Mapping[str, str]) -> str:
    rows = (
        (code(name), _default(parameter), meanings[name])
        for name, parameter in inspect.signature(kind).parameters.items()
    )
    return table(("parameter", "default", "meaning"), rows)


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    name = getattr(parameter.default, "__name__", None)
    if name is not None:
        return code(name)
    return code(f'"{parameter.default}"' if isinstance(parameter.default, str) else str(parameter.default))


def variables_read() -> str:
    """The environment variables that the package asks for."""
    return table(("variable", "meaning"), ((code(name), _READ[name]) for name in _asked_for()))


def _asked_for() -> list[str]:
    """The names in the sources, in the order of the meanings; one without a meaning is an error."""
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    found = {name for text in texts for name in re.findall(r"\bPROCESS_ENGINE_[A-Z_]*[A-Z]\b", text)}
    found |= {name for text in texts for name in re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", text)}
    return sorted(found - set(variables_of_programs()), key=list(_READ).index)


def variables_set() -> str:
    """The environment variables that a `command` agent is given about its call."""
    return table(("variable", "meaning"), ((code(name), _SET[name]) for name in variables_of_programs()))


def variables_of_programs() -> tuple[str, ...]:
    """Their names, as a call gives them in which everything is set."""
    context = AgentContext(
        execution_id=ExecutionId("e"),
        process="p",
        version="1",
        step_id=StepId("s"),
        visit=1,
        attempt=1,
        correlation_id="e",
    )
    request = AgentRequest(
        agent="a",
        message="m",
        context=context,
        idempotency_key="k",
        model="m",
        temperature=0.1,
        system="s",
    )
    return tuple(command._identity(request))  # pyright: ignore[reportPrivateUsage]


def inherited() -> str:
    """The variables that a program gets of the engine's own environment."""
    return codes(command.INHERITED) + "."


def limits() -> str:
    """The numbers as they stand in the code."""
    rows = (
        (what, show(_constant(place, name)), f"{code(place)} ({code(name)})")
        for what, place, name, show in _LIMITS
    )
    return table(("what", "at most", "where"), rows)


def _constant(place: str, name: str) -> float:
    module = import_module("process_engine." + place.removesuffix(".py").replace("/", "."))
    value = getattr(module, name)
    assert isinstance(value, int | float)
    return value
