import asyncio
import functools
import subprocess
import sys
import threading
from contextvars import ContextVar
from decimal import Decimal
from pathlib import Path

import pytest

from process_engine.agents.python import MAX_THREADS, Call, PythonAgent, PythonSettings, load_function
from process_engine.core.results import Usage
from process_engine.runtime.ports import AgentCallFailed, AgentContext, AgentReply, AgentRequest
from tests.unit.agents.support import CONTEXT, a_request, eventually, failure_of


async def result_of(function, request: AgentRequest | None = None) -> object:
    return (await PythonAgent(function).call(request or a_request())).output


# ---------------------------------------------------------------- how a function is called


def both(message, context: AgentContext):
    return [message, context.step_id]


def only_message(message):
    return message


def another_name(prompt, temperature=0.5):
    return prompt


def another_name_and_context(prompt, context):
    return [prompt, context.step_id]


def the_whole_request(request: AgentRequest):
    return [request.message, request.idempotency_key]


def keywords(**given):
    return [given["message"], given["context"].step_id]


def by_position(message, context, /):
    return [message, context.step_id]


def nothing():
    return "constant"


async def coroutine(message, context):
    await asyncio.sleep(0)
    return [message, context.step_id]


class Callable_:
    def __call__(self, message):
        return message


class AsyncCallable:
    async def __call__(self, message):
        return message


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (both, ["tides", "write"]),
        (only_message, "tides"),
        (another_name, "tides"),
        (another_name_and_context, ["tides", "write"]),
        (the_whole_request, ["tides", "e1/write/1"]),
        (keywords, ["tides", "write"]),
        (by_position, ["tides", "write"]),
        (nothing, "constant"),
        (coroutine, ["tides", "write"]),
        (functools.partial(coroutine, context=CONTEXT), ["tides", "write"]),
        (Callable_(), "tides"),
        (AsyncCallable(), "tides"),
        (lambda message: coroutine(message, CONTEXT), ["tides", "write"]),
        (str.upper, "TIDES"),
    ],
)
async def test_a_function_gets_what_its_parameters_name(function, output: object):
    assert await result_of(function) == output


@pytest.mark.parametrize("function", [lambda a, b: 1, lambda message, x: 1, lambda *, message, x: 1])
def test_a_function_that_needs_more_is_refused(function):
    with pytest.raises(ValueError, match="a function gets `message`, `context` and `request`"):
        Call(function)


async def test_a_plain_function_runs_in_a_thread_with_the_context_variables_of_its_caller():
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("seen")
    threads: list[bool] = []

    def agent():
        threads.append(threading.current_thread() is threading.main_thread())
        return variable.get()

    assert await result_of(agent) == "seen"
    assert threads == [False]


async def test_plain_functions_run_side_by_side():
    meeting = threading.Barrier(3, timeout=10)

    def agent():
        meeting.wait()

    agent_ = PythonAgent(agent)
    await asyncio.gather(*(agent_.call(a_request()) for _ in range(3)))


async def test_no_more_threads_run_than_the_limit():
    running: list[int] = []
    go_on = threading.Event()

    def agent():
        running.append(1)
        go_on.wait(10)

    limited = PythonAgent(agent)
    calls = [asyncio.ensure_future(limited.call(a_request())) for _ in range(MAX_THREADS + 5)]
    await eventually(lambda: len(running) == MAX_THREADS)
    started = len(running)
    go_on.set()
    await asyncio.gather(*calls)

    assert (started, len(running)) == (MAX_THREADS, MAX_THREADS + 5)


# ---------------------------------------------------------------- what it returns


async def test_a_reply_is_taken_as_it_is():
    reply = AgentReply(output={"a": 1}, usage=Usage(cost=Decimal("0.2"), input_tokens=3))

    assert await PythonAgent(lambda: reply).call(a_request()) == reply


async def test_text_that_looks_like_json_stays_text():
    assert await result_of(lambda: "[1]") == "[1]"


def looped() -> list[object]:
    holder: list[object] = []
    holder.append(holder)
    return holder


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


NO_JSON = [
    object(),
    b"bytes",
    {1, 2},
    float("nan"),
    float("inf"),
    {"a": Decimal(1)},
    "\ud800",
    looped(),
    {(1,): 2},
    deep(500),
    deep(50_000),
    AgentReply(output=object()),
    AgentReply(output=1, usage=Usage(cost=Decimal(-1))),
]


@pytest.mark.parametrize("value", NO_JSON, ids=range(len(NO_JSON)))
async def test_a_result_that_is_no_json_value_is_invalid_output(value: object):
    async def coroutine_function():
        return value

    for function in (lambda: value, coroutine_function):
        error = await failure_of(PythonAgent(function))
        assert (error.code, error.transient) == ("INVALID_OUTPUT", False)


async def test_a_result_that_is_too_long_is_refused():
    assert (await failure_of(PythonAgent(lambda: "x" * (10 * 1024 * 1024)))).code == "OUTPUT_TOO_LARGE"


# ---------------------------------------------------------------- what it raises


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException):
    def function():
        raise error

    async def coroutine_function():
        raise error

    return function, coroutine_function


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no tides here"), "ValueError: no tides here"),
        (KeyError("moon"), "KeyError: 'moon'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (StopIteration(5), "StopIteration: 5"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (Unspeakable(), "Unspeakable: (its text cannot be made)"),
    ],
)
async def test_an_exception_is_a_handler_error_with_its_type_and_text(error: BaseException, message: str):
    function, coroutine_function = raising(error)

    in_thread = await failure_of(PythonAgent(function))
    assert (in_thread.code, in_thread.message) == ("HANDLER_ERROR", message)

    if not isinstance(error, StopIteration):  # a coroutine cannot raise one
        awaited = await failure_of(PythonAgent(coroutine_function))
        assert (awaited.code, awaited.message) == ("HANDLER_ERROR", message)


async def test_a_failure_that_the_function_names_itself_passes_through():
    named = AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True, retry_after=5.0)

    for function in raising(named):
        assert await failure_of(PythonAgent(function)) is named


async def test_cancelling_ends_a_coroutine():
    ended: list[str] = []

    async def agent():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    call = asyncio.ensure_future(PythonAgent(agent).call(a_request()))
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == ["ended"]


async def test_the_answer_of_a_thread_whose_call_was_cancelled_is_dropped():
    go_on, started = threading.Event(), threading.Event()

    def function():
        started.set()
        go_on.wait(10)
        return "too late"

    agent = PythonAgent(function)
    call = asyncio.ensure_future(agent.call(a_request()))
    await eventually(started.is_set)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    go_on.set()
    assert (await agent.call(a_request())).output == "too late"
    await agent.aclose()


def test_a_function_that_hangs_does_not_keep_the_process_from_ending():
    script = """
import asyncio, threading
from process_engine.agents import PythonAgent
from tests.unit.agents.support import a_request

async def main():
    call = asyncio.ensure_future(PythonAgent(threading.Event().wait).call(a_request()))
    while threading.active_count() == 1:
        await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.wait([call])

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30, cwd=Path(__file__).parents[3])


# ---------------------------------------------------------------- finding the function


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "house_agents.py").write_text(
        "class Team:\n    @staticmethod\n    def lead(message): return message\n"
        "def research(message, context): return message\nVALUE = 5\ndef odd(a, b): pass\n"
    )
    (tmp_path / "broken_agents.py").write_text("raise RuntimeError('no key')\n")
    (tmp_path / "leaving_agents.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "torn_agents.py").write_text("def (\n")
    return tmp_path


async def test_a_module_beside_the_configuration_is_found(folder: Path):
    settings = PythonSettings.model_validate(
        {"target": "house_agents:research"}, context={"directory": folder}
    )

    assert (await settings.connect().call(a_request())).output == "tides"
    assert load_function("house_agents:Team.lead", folder)("x") == "x"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("house_agents", "must be written as module:function"),
        (":x", "must be written as module:function"),
        ("house_agents:", "must be written as module:function"),
        ("no_such_agents:x", "cannot be imported: ModuleNotFoundError"),
        ("broken_agents:x", "cannot be imported: RuntimeError: no key"),
        ("leaving_agents:x", "cannot be imported: SystemExit: 1"),
        ("torn_agents:x", "cannot be imported: SyntaxError"),
        (".relative:x", "cannot be imported: TypeError"),
        ("house_agents:missing", "has no callable missing"),
        ("house_agents:VALUE", "has no callable VALUE"),
        ("house_agents:odd", "needs `b`"),
    ],
)
def test_a_target_that_cannot_be_called_is_found_at_once(folder: Path, target: str, message: str):
    with pytest.raises(ValueError, match="target") as caught:
        PythonSettings.model_validate({"target": target}, context={"directory": folder})

    assert message in str(caught.value)
