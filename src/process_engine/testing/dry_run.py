"""Carries a process out without the world: answers are made up, people decide at once, time costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import cast

from process_engine.core.approvals import GROUP
from process_engine.core.events import Event
from process_engine.definition.document import AgentTask, ProcessDefinition
from process_engine.errors import CommandRejected
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentRequest, OpenApproval
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock
from process_engine.testing.process_tests import parts_beside
from process_engine.testing.samples import Choice, Sample, over, read_sample
from process_engine.testing.scripted_agents import ScriptedAgents
from process_engine.testing.scripted_channels import ScriptedChannels
from process_engine.testing.stubs import Stubs, fits, fitting
from process_engine.testing.trial import TEST_ID, engine_of_tests

# More turns than any bounded process takes: a fault of ours must not go round for ever.
MAX_TURNS = 100_000
MAX_EVENTS = 1_000_000
# Who has started it, where nobody is named.
STARTER = "dry-run"


@dataclass(frozen=True)
class DryRun:
    """What became of it.

    `events` are all there are, bookkeeping included, in order. `made_up` are the steps whose answers nobody
    had given. `remarks` are sentences about what could not be made up or decided.
    """

    execution: ProcessExecution
    events: Sequence[Event]
    made_up: Sequence[str]
    remarks: Sequence[str]


def dry_run_file(
    process: Path,
    definition: ProcessDefinition,
    *,
    answers: Path | None,
    decide: Choice | None,
    gather: Callable[[Mapping[str, object]], Mapping[str, object]],
) -> DryRun:
    """Carry a process out, from a program without an event loop of its own.

    `answers` is a file with a sample; `gather` makes the input of the one in it. What `process`, the file of
    the definition, runs itself is looked for beside it.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: it has errors.
        InputRejected: the input does not fit the process.
    """
    sample = read_sample(answers) if answers is not None else Sample()
    changed = over(sample, input=gather(sample.input), decide=decide)
    return asyncio.run(dry_run(definition, changed, parts_beside(process, definition)))


async def dry_run(
    definition: ProcessDefinition, sample: Sample, parts: Iterable[ProcessDefinition] = ()
) -> DryRun:
    """Carry a process out from the beginning to its end, or until nothing but the world can help it.

    Nothing is written, nobody is called or told. Agents answer what the sample says, else what `Stubs`
    makes up. People decide as the sample says, as soon as they are asked. `parts` are the processes that this
    one runs.

    Raises:
        InputRejected: the input does not fit the process.
    """
    clock = VirtualClock()
    known = [definition, *parts]
    maker = _Maker(known)
    agents = ScriptedAgents(clock, agents=sample.agents, steps=sample.steps, otherwise=maker.answer)
    async with engine_of_tests(clock, agents, ScriptedChannels()) as engine:
        for part in known[1:]:
            await engine.publish(part)
        people = _People(engine, sample)
        await engine.start(definition, sample.input, started_by=people.starter)
        execution = await _drive(engine, clock, people)
        events = [entry.event for entry in await engine.feed.read(limit=MAX_EVENTS)]
    return DryRun(execution, events, tuple(maker.steps), (*maker.remarks, *people.remarks))


async def _drive(engine: Engine, clock: VirtualClock, people: _People) -> ProcessExecution:
    """Go on from one due moment to the next; whoever is asked decides before time goes on."""
    for _ in range(MAX_TURNS):
        execution = await engine.run_until_settled(TEST_ID, wait_for_timers=False)
        if execution.status.is_final:
            return execution
        if await people.decide():
            continue
        waits = await engine.explain(TEST_ID)
        due = min((one.due for one in waits if one.due is not None), default=None)
        if due is None or due <= clock.now():
            break
        await clock.sleep((due - clock.now()).total_seconds())
    # What is left has no moment of its own that we know: the engine waits for it as it always does.
    return await engine.run_until_settled(TEST_ID)


class _Maker:
    """Makes answers up, and knows for which steps."""

    def __init__(self, known: Iterable[ProcessDefinition]) -> None:
        self._known = {definition.name: (definition, Stubs(definition)) for definition in known}
        self.steps: dict[str, None] = {}
        self.remarks: list[str] = []

    def answer(self, request: AgentRequest) -> object:
        step_id = request.context.step_id
        definition, stubs = self._known[request.context.process]
        step, answer = definition.step(step_id), stubs.answer(step_id, request.agent)
        schema = step.output.json_schema if isinstance(step, AgentTask) and step.output is not None else None
        if step_id not in self.steps and schema is not None and not fits(schema, answer):
            self.remarks.append(f"step {step_id}: what was made up does not fit its output.schema")
        self.steps[step_id] = None
        return answer


class _People:
    """Decides in place of those who are asked, in the order in which they are named."""

    def __init__(self, engine: Engine, sample: Sample) -> None:
        self._engine = engine
        self._sample = sample
        self._given_up: set[str] = set()
        self.starter = sample.started_by if sample.started_by is not None else STARTER
        self.remarks: list[str] = []

    async def decide(self) -> bool:
        """Take one decision wherever one is waited for; False where there is nothing more to decide."""
        decided = False
        for asked in await self._engine.approvals():
            if asked.request.id not in self._given_up:
                decided = await self._decide(asked) or decided
        return decided

    async def _decide(self, asked: OpenApproval) -> bool:
        choice, request = self._sample.choice(asked.step_id), asked.request
        taken = {decision.by for decision in request.decisions}
        who = next((one for one in deciders(request.assignees, self.starter) if one[0] not in taken), None)
        if choice == "nobody" or who is None:
            return self._give_up(asked, "" if choice == "nobody" else "nobody is left who may decide")
        try:
            await self._engine.decide_approval(
                asked.execution_id,
                asked.step_id,
                approve=choice == "approve",
                by=who[0],
                groups=who[1],
                comment="dry run",
                form=_form(asked) if choice == "approve" else None,
            )
        except CommandRejected as error:
            return self._give_up(asked, str(error))
        return True

    def _give_up(self, asked: OpenApproval, why: str) -> bool:
        self._given_up.add(asked.request.id)
        if why:
            self.remarks.append(f"step {asked.step_id}: {why}")
        return False


def _form(asked: OpenApproval) -> Mapping[str, object] | None:
    """What is filled in: the form is part of what people are shown."""
    shown = cast("Mapping[str, object]", asked.request.shown.data or {})
    form = shown.get("form")
    if form is None:
        return None
    filled = fitting(cast("Mapping[str, object]", form), f"form of {asked.step_id}")
    return cast("Mapping[str, object]", filled)


def deciders(assignees: Collection[str], starter: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Who may decide, and their groups: users as they are named, then any number of members of groups.

    The starter is left out: where the duties are to be separated it must not decide.
    """
    users = [name for name in assignees if not name.startswith(GROUP)]
    yield from ((user, ()) for user in users if user != starter)
    groups = tuple(name.removeprefix(GROUP) for name in assignees if name.startswith(GROUP))
    if groups:
        yield from ((f"member {number} of {groups[0]}", groups) for number in count(1))
    elif not assignees:
        yield from ((f"person {number}", ()) for number in count(1))
