"""Agents that are Python functions in the process of the engine."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Field, ValidationInfo

from process_engine.agents.answers import MAX_NESTING, checked_usage, nested_at_most
from process_engine.agents.settings import AgentSettings
from process_engine.core.values import VALUE_LIMIT_BYTES
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest

# Calls of one function that run in threads at the same time; further ones wait.
MAX_THREADS = 64

# An object of so many members, and a text of so many characters, needs no measuring: both together stay far
# below what may be recorded.
_FEW_MEMBERS = 64
_SHORT_CHARACTERS = 10_000
_LARGE = 2**63

AgentFunction = Callable[..., object]

# What a function may ask for by naming a parameter so.
_OFFERED: dict[str, Callable[[AgentRequest], object]] = {
    "message": lambda request: request.message,
    "context": lambda request: request.context,
    "request": lambda request: request,
}


def load_function(target: str, directory: Path | None = None) -> AgentFunction:
    """The function that `module:function` names; `directory` is looked in first and stays importable.

    Raises:
        ValueError: there is no such function, its module cannot be imported, or it cannot be called.
    """
    module_name, _, path = target.partition(":")
    if not (module_name and path):
        raise ValueError("must be written as module:function")
    if directory is not None and str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    try:
        found: object = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ValueError(f"cannot be imported: {_described(error)}") from error
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ValueError(f"names no function: {module_name} has no callable {path}")
    Call(found)
    return found


class Call:
    """How a function is called for a request: with what it asks for by the names of its parameters.

    The names are `message`, `context` (an `AgentContext`) and `request` (the whole `AgentRequest`);
    one required parameter of another name stands for the message.

    Raises:
        ValueError: the function needs an argument that there is none for.
    """

    def __init__(self, function: AgentFunction) -> None:
        self._function = function
        self._by_position: list[str] = []
        self._by_name: dict[str, str] = {}
        parameters = tuple(inspect.signature(function).parameters.values())
        for parameter in parameters:
            self._plan(parameter)
        sources = (*self._by_position, *self._by_name.values())
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        # The usual function, called in the usual way, at a third of the cost.
        self._takes_message_alone = sources == ("message",) and parameters[0].kind in positional

    def __call__(self, request: AgentRequest) -> object:
        if self._takes_message_alone:
            return self._function(request.message)
        given = [_OFFERED[source](request) for source in self._by_position]
        named = {name: _OFFERED[source](request) for name, source in self._by_name.items()}
        return self._function(*given, **named)

    @property
    def is_async(self) -> bool:
        function = self._function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - the method of an object that is callable
        )

    def _plan(self, parameter: inspect.Parameter) -> None:
        if parameter.kind is parameter.VAR_KEYWORD:
            missing = {"message", "context"} - {*self._by_position, *self._by_name.values()}
            self._by_name |= {name: name for name in missing}
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            source = self._source_for(parameter)
            if source and parameter.kind is parameter.POSITIONAL_ONLY:
                self._by_position.append(source)
            elif source:
                self._by_name[parameter.name] = source

    def _source_for(self, parameter: inspect.Parameter) -> str | None:
        if parameter.name in _OFFERED:
            return parameter.name
        if parameter.default is not parameter.empty:
            return None
        if "message" in self._by_position or "message" in self._by_name.values():
            raise ValueError(f"needs `{parameter.name}`; a function gets `message`, `context` and `request`")
        return "message"


class PythonAgent:
    """Calls a function: a coroutine function in the running loop, any other in a thread.

    A thread cannot be ended: when the call is cancelled the function runs on and its answer is dropped.
    """

    def __init__(self, function: AgentFunction) -> None:
        self._function = Call(function)
        self._is_async = self._function.is_async
        self._slots = asyncio.Semaphore(MAX_THREADS)

    async def call(self, request: AgentRequest) -> AgentReply:
        """Call the function once; as `AgentGateway.call`."""
        if self._is_async:
            # A coroutine function does nothing yet when it is called: what it does comes with awaiting.
            return await _awaited(cast("Awaitable[object]", self._function(request)))
        outcome = await self._in_thread(request)
        if isinstance(outcome, AgentCallFailed):
            raise outcome
        if inspect.isawaitable(outcome):
            return await _awaited(outcome)
        return cast("AgentReply", outcome)

    async def aclose(self) -> None:
        pass

    async def _in_thread(self, request: AgentRequest) -> object:
        """What the function came to: an `AgentReply`, an `AgentCallFailed`, or something to await."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[object] = loop.create_future()

        def settle(outcome: object) -> None:
            self._slots.release()
            if not settled.done():
                settled.set_result(outcome)

        def run() -> None:
            outcome = _outcome(lambda: self._function(request))
            # The loop may be gone by now; then nobody waits either.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, outcome)

        try:
            # A daemon, and no pool: a function that hangs must not keep the process from ending.
            threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
        except RuntimeError as error:
            settle(_failure(error))
        return await settled


def _importable(target: str, info: ValidationInfo) -> str:
    context = cast("dict[str, object]", info.context or {})
    directory = context.get("directory")
    load_function(target, directory if isinstance(directory, Path) else None)
    return target


class PythonSettings(AgentSettings, frozen=True):
    """An agent that is a Python function."""

    kind: Literal["python"] = Field(default="python", description="A Python function.")
    target: Annotated[str, AfterValidator(_importable)] = Field(
        description="The function, as module:function; modules beside the configuration are found."
    )

    def connect(self) -> PythonAgent:
        return PythonAgent(load_function(self.target))


def reply_of(result: object) -> AgentReply:
    """The reply that a function's result is.

    Raises:
        AgentCallFailed: INVALID_OUTPUT if it is no JSON value, OUTPUT_TOO_LARGE if it is too long a one.
    """
    reply = result if isinstance(result, AgentReply) else AgentReply(output=result)
    if not _is_small(reply.output):
        _require_json(reply.output)
    checked_usage(reply.usage)
    return reply


def _is_small(output: object) -> bool:
    """Whether it is plainly JSON of a modest size, as most answers are; told at a tenth of the cost."""
    if type(output) is not dict:
        return _is_plain(output)
    members = cast("dict[object, object]", output)
    if len(members) > _FEW_MEMBERS:
        return False
    for key, member in members.items():
        if type(key) is not str or not _is_plain(key) or not _is_plain(member):
            return False
    return True


def _is_plain(value: object) -> bool:
    """Whether it is a short text, a whole number of 64 bits, true, false or null. Some floats are no JSON."""
    if type(value) is str:
        return len(value) <= _SHORT_CHARACTERS and value.isascii()
    if type(value) is int:
        return -_LARGE < value < _LARGE
    return value is None or value is True or value is False


def _require_json(output: object) -> None:
    try:
        text = json.dumps(output, allow_nan=False, ensure_ascii=False)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise AgentCallFailed("INVALID_OUTPUT", f"the function returned no JSON value: {error}") from None
    if not nested_at_most(output, MAX_NESTING):
        raise AgentCallFailed("INVALID_OUTPUT", f"the result is nested over {MAX_NESTING} levels")
    if size > VALUE_LIMIT_BYTES:
        raise AgentCallFailed("OUTPUT_TOO_LARGE", f"the function returned {size:,} bytes of JSON")


async def _awaited(result: Awaitable[object]) -> AgentReply:
    try:
        return reply_of(await result)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancelled this call: it is the function's own, and must not look like the engine's.
        raise _failure(error) from error
    except (Exception, SystemExit) as error:
        raise _failure(error) from error


def _outcome(call: Callable[[], object]) -> object:
    try:
        result = call()
        return result if inspect.isawaitable(result) else reply_of(result)
    except BaseException as error:
        # The edge of foreign code in a thread of its own: whatever it raises is the answer to the call.
        return _failure(error)


def _failure(error: BaseException) -> AgentCallFailed:
    if isinstance(error, AgentCallFailed):
        return error
    return AgentCallFailed("HANDLER_ERROR", _described(error))


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
