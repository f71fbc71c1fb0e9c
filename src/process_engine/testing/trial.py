"""Carries out one test of a process: on a real engine, in virtual time, with scripted agents."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

from process_engine.core.blockers import Blocker
from process_engine.core.events import Event, StepSkipped, StepStarted
from process_engine.core.state import ExecutionStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ProcessEngineError
from process_engine.handlers.built_in import built_in_handlers
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import Notice
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock
from process_engine.testing.process_tests import (
    Action,
    ExpectedCall,
    Given,
    ProcessTest,
    Then,
    parts_beside,
    read_process,
    read_process_tests,
)
from process_engine.testing.scripted_agents import Call, ScriptedAgents
from process_engine.testing.scripted_channels import ScriptedChannels

# What is shown of a value: enough to see a difference, less than a page.
SHOWN_CHARACTERS = 500
TEST_ID = ExecutionId("test")


@dataclass(frozen=True)
class Trial:
    """What became of a test: `mismatches` are sentences, none where all is as it should be.

    `path` are the steps in the order in which they started, `calls` those of agents as they began.
    """

    execution: ProcessExecution | None
    path: Sequence[str]
    skipped: Sequence[str]
    calls: Sequence[Call]
    events: Sequence[Event]
    mismatches: Sequence[str]

    @property
    def passed(self) -> bool:
        """Everything is as the test says."""
        return not self.mismatches


async def try_process(
    definition: ProcessDefinition,
    test: ProcessTest,
    common: Given | None = None,
    parts: Iterable[ProcessDefinition] = (),
) -> Trial:
    """Carry out a test from the beginning; `common` is what holds where the test says nothing.

    `parts` are the processes that this one runs.

    Nothing is written, nobody is called, and time costs nothing: a wait of 30 days is over at once.
    """
    given = _given(test.given, common or Given())
    clock = VirtualClock()
    agents = ScriptedAgents(clock, agents=given.agents, steps=given.steps)
    channels = ScriptedChannels()
    async with engine_of_tests(clock, agents, channels) as engine:
        for part in parts:
            await engine.publish(part)
        return await _Course(engine, clock, agents, channels).of(definition, test, given)


def engine_of_tests(clock: VirtualClock, agents: ScriptedAgents, channels: ScriptedChannels) -> Engine:
    """An engine, not entered yet, that keeps everything in memory; what it starts first is `TEST_ID`."""
    return Engine(
        MemoryRepository(),
        built_in_handlers(agents, channels),
        clock=clock,
        new_id=lambda: TEST_ID,
        serve_inbox=False,
    )


def try_file(
    process: Path, *, given: Mapping[str, object], when: object = (), then: Mapping[str, object]
) -> Trial:
    """Carry out one test of the process in a file, from a program without an event loop of its own.

    `given`, `when` and `then` are what a test file would say, as plain values.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: the process has errors.
        pydantic.ValidationError: the test has.
    """
    test = ProcessTest.model_validate({"name": process.name, "given": given, "when": when, "then": then})
    definition = read_process(process)
    return asyncio.run(try_process(definition, test, parts=parts_beside(process, definition)))


@dataclass(frozen=True)
class TriedTest:
    """One test of a file that was carried out; `line` is where it stands."""

    name: str
    line: int
    mismatches: Sequence[str]


def try_tests(path: Path) -> Iterator[TriedTest]:
    """Carry out the tests in a file, one after the other.

    Raises:
        NotFound: there is no such file, or no such process.
        DefinitionInvalid: with every problem of the file, or of its process.
    """
    read = read_process_tests(path)
    for number, test in enumerate(read.tests.tests):
        trial = asyncio.run(try_process(read.definition, test, read.tests.given, read.parts))
        yield TriedTest(test.name, read.line_of(number), trial.mismatches)


def _given(own: Given, common: Given) -> Given:
    """What the test gives, over what the file gives: input by its fields, answers by their names."""
    return Given(
        input={**common.input, **own.input},
        started_by=own.started_by if own.started_by is not None else common.started_by,
        agents={**common.agents, **own.agents},
        steps={**common.steps, **own.steps},
    )


class _Course:
    """One test under way; what is not as it should be is gathered."""

    def __init__(
        self, engine: Engine, clock: VirtualClock, agents: ScriptedAgents, channels: ScriptedChannels
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._agents = agents
        self._channels = channels
        self._began = clock.now()
        self._mismatches: list[str] = []

    async def of(self, definition: ProcessDefinition, test: ProcessTest, given: Given) -> Trial:
        try:
            await self._engine.start(definition, given.input, started_by=given.started_by)
        except ProcessEngineError as error:
            return Trial(None, (), (), (), (), [f"it was not started: {error}"])
        await self._go_on()
        for number, action in enumerate(test.when, 1):
            await self._act(number, action)
        execution = await self._engine.run_until_settled(TEST_ID)
        events = await self._engine.feed.read(limit=1_000_000)
        story = [entry.event for entry in events]
        # Sub-processes have stories of their own.
        own = [event for event in story if event.execution_id == TEST_ID]
        path = [event.step_id for event in own if isinstance(event, StepStarted)]
        skipped = [event.step_id for event in own if isinstance(event, StepSkipped)]
        for call in self._agents.unscripted:
            self._mismatches.append(
                f"step {call.step} asked {call.agent}, and `given` says no answer: {_shown(call.message)}"
            )
        waits = [one for one in await self._engine.explain(TEST_ID) if one.execution_id is None]
        notices = self._channels.notices
        course = _Observed(execution, path, skipped, self._agents.calls, notices, waits, self._began)
        self._mismatches += course.differences(test.then)
        return Trial(execution, path, skipped, self._agents.calls, story, self._mismatches)

    async def _go_on(self) -> None:
        await self._engine.run_until_settled(TEST_ID, wait_for_timers=False)

    async def _act(self, number: int, action: Action) -> None:
        what = f"action {number} ({action.verb})"
        try:
            await self._carry_out(action)
        except ProcessEngineError as error:
            if action.refused is None:
                self._mismatches.append(f"{what} was refused: {error}")
            elif action.refused.lower() not in str(error).lower():
                self._mismatches.append(f"{what} was refused for another reason: {error}")
        else:
            if action.refused is not None:
                self._mismatches.append(f"{what} was to be refused with {action.refused!r}, and was not")
        await self._go_on()

    async def _carry_out(self, action: Action) -> None:
        if action.after is not None:
            await self._clock.sleep(action.after.seconds)
        elif action.approve is not None or action.reject is not None:
            await self._decide(action, action.approve or action.reject or "")
        else:
            await self._command(action)()

    async def _decide(self, action: Action, step_id: str) -> None:
        await self._engine.decide_approval(
            TEST_ID,
            step_id,
            approve=action.approve is not None,
            by=action.by or "",
            groups=action.groups,
            comment=action.comment,
            form=action.form,
        )

    def _command(self, action: Action) -> Callable[[], Awaitable[object]]:
        engine, by = self._engine, action.by
        match action.verb:
            case "delegate":
                step_id, to = action.delegate or "", action.to or ""
                return lambda: engine.delegate_approval(
                    TEST_ID, step_id, by=by or "", to=to, groups=action.groups, comment=action.comment
                )
            case "publish":
                return lambda: engine.publish_event(action.publish or "", action.payload, by=by)
            case "cancel":
                return lambda: engine.cancel(TEST_ID, reason=action.cancel, by=by)
            case "pause":
                return lambda: engine.pause(TEST_ID, reason=action.pause, by=by)
            case "resume":
                return lambda: engine.resume(TEST_ID, by=by)
            case "retry":
                step = action.retry if isinstance(action.retry, str) else None
                return lambda: engine.retry(TEST_ID, from_step=step, input=action.input, by=by)
            case _:
                raise AssertionError(f"nothing carries out {action.verb}")


@dataclass(frozen=True)
class _Observed:
    """What happened, to be compared with what should have."""

    execution: ProcessExecution
    path: Sequence[str]
    skipped: Sequence[str]
    calls: Sequence[Call]
    notices: Sequence[Notice]
    waits: Sequence[Blocker]
    began: datetime

    def differences(self, then: Then) -> Iterator[str]:
        execution = self.execution
        yield from _differs("status", then.status, str(execution.status), self._why(then.status))
        yield from _differs("error", then.error, execution.error.code if execution.error else None)
        yield from _differs("path", then.path, tuple(self.path))
        yield from _differs("skipped", then.skipped, tuple(self.skipped))
        waits = tuple(blocker.step_id for blocker in self.waits if blocker.step_id is not None)
        yield from _differs("waits_for", then.waits_for, waits)
        yield from _members("output", then.output, execution.outputs or {})
        for step_id, expected in then.steps.items():
            yield from self._step(step_id, expected.model_dump(exclude_unset=True))
        yield from self._calls(then)
        yield from self._notices(then)
        yield from self._took(then)
        yield from _differs("cost", then.cost, self._cost())

    def _why(self, expected: str | None) -> str:
        """What explains a status that was not expected."""
        execution = self.execution
        if execution.error is not None and expected != ExecutionStatus.FAILED:
            place = f" at {execution.error.step_id}" if execution.error.step_id else ""
            return f": {execution.error.code}{place}: {execution.error.message}"
        waits = ", ".join(f"{blocker.kind} {blocker.step_id or ''}".strip() for blocker in self.waits)
        return f": it waits for {waits}" if waits else ""

    def _step(self, step_id: str, expected: Mapping[str, object]) -> Iterator[str]:
        step = self.execution.step_executions.get(step_id)
        if step is None:
            yield f"steps.{step_id}: the process has no such step"
            return
        found: dict[str, object] = {
            "status": str(step.status),
            "output": step.output,
            "error": step.error.code if step.error is not None else None,
            "attempts": step.attempts,
            "visits": step.visits,
        }
        for key, value in expected.items():
            if value != found[key]:
                yield f"steps.{step_id}.{key}: expected {_shown(value)}, found {_shown(found[key])}"

    def _calls(self, then: Then) -> Iterator[str]:
        if then.calls is None:
            return
        if isinstance(then.calls, Mapping):
            counted = Counter(call.agent for call in self.calls)
            for agent, times in then.calls.items():
                yield from _differs(f"calls of {agent}", times, counted[agent])
            return
        for number, (expected, call) in enumerate(zip(then.calls, self.calls, strict=False), 1):
            yield from _call(number, expected, call)
        if len(then.calls) != len(self.calls):
            made = ", ".join(f"{call.agent} at {call.step}" for call in self.calls) or "none"
            yield f"calls: expected {len(then.calls)}, found {len(self.calls)} ({made})"

    def _notices(self, then: Then) -> Iterator[str]:
        if then.notices is None:
            return
        for number, (expected, notice) in enumerate(zip(then.notices, self.notices, strict=False), 1):
            yield from _differs(f"notice {number}, channel", expected.channel, notice.channel)
            yield from _differs(f"notice {number}, step", expected.step, str(notice.context.step_id))
            if expected.contains is not None and expected.contains not in str(notice.message):
                yield f"notice {number}: {_shown(notice.message)} does not contain {expected.contains!r}"
        if len(then.notices) != len(self.notices):
            sent = ", ".join(f"{notice.channel} at {notice.context.step_id}" for notice in self.notices)
            yield f"notices: expected {len(then.notices)}, found {len(self.notices)} ({sent or 'none'})"

    def _took(self, then: Then) -> Iterator[str]:
        ended = self.execution.completed_at
        if then.took is None:
            return
        if ended is None:
            yield f"took: expected {then.took}, and it has not ended"
        elif ended - self.began != timedelta(seconds=then.took.seconds):
            yield f"took: expected {then.took}, found {ended - self.began}"

    def _cost(self) -> Decimal:
        return self.execution.cost


def _call(number: int, expected: ExpectedCall, call: Call) -> Iterator[str]:
    given = expected.model_fields_set
    if "agent" in given:
        yield from _differs(f"call {number}, agent", expected.agent, call.agent)
    if "step" in given:
        yield from _differs(f"call {number}, step", expected.step, call.step)
    if "message" in given:
        yield from _differs(f"call {number}, message", expected.message, call.message)
    if expected.contains is not None and expected.contains not in str(call.message):
        yield f"call {number}: {_shown(call.message)} does not contain {expected.contains!r}"


def _differs(what: str, expected: object, found: object, why: str = "") -> Iterator[str]:
    if expected is not None and expected != found:
        yield f"{what}: expected {_shown(expected)}, found {_shown(found)}{why}"


def _members(what: str, expected: Mapping[str, object] | None, found: Mapping[str, object]) -> Iterator[str]:
    for key, value in (expected or {}).items():
        if key not in found:
            yield f"{what}.{key}: expected {_shown(value)}, and there is none"
        elif found[key] != value:
            yield f"{what}.{key}: expected {_shown(value)}, found {_shown(found[key])}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value))) or "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
