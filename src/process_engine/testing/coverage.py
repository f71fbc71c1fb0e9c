"""Which steps and routes of a process a set of samples reaches, and which none does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from process_engine.core.events import Event, StepCompleted, StepStarted
from process_engine.definition.document import Gateway, ProcessDefinition
from process_engine.definition.graph import gateway_targets
from process_engine.errors import ProcessEngineError
from process_engine.testing.dry_run import dry_run
from process_engine.testing.process_tests import Given, ProcessTest, ProcessTests, parts_beside
from process_engine.testing.samples import Sample, read_samples
from process_engine.testing.trial import try_process


@dataclass(frozen=True)
class SampleRun:
    """One sample carried out: its status at the end and the steps that started, in order.

    `refused` says why it was not even started.
    """

    name: str
    status: str | None
    path: Sequence[str]
    refused: str | None = None


@dataclass(frozen=True)
class Coverage:
    """What there is, and what no sample reaches, in definition order; a route is (gateway, target)."""

    runs: Sequence[SampleRun]
    steps: Sequence[str]
    routes: Sequence[tuple[str, str]]
    unreached_steps: Sequence[str]
    unreached_routes: Sequence[tuple[str, str]]


def cover_file(process: Path, definition: ProcessDefinition, samples: Path) -> Coverage:
    """Carry out every sample, or test, of a file, from a program without an event loop of its own.

    What `process`, the file of the definition, runs itself is looked for beside it.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: it has errors.
    """
    course = _Course(definition, parts_beside(process, definition))
    told = asyncio.run(course.of(samples))
    return coverage_of(definition, [run for run, _ in told], [events for _, events in told])


def coverage_of(
    definition: ProcessDefinition, runs: Sequence[SampleRun], stories: Iterable[Sequence[Event]]
) -> Coverage:
    """What the stories reach: steps that started, and targets that a gateway chose."""
    started: set[str] = set()
    taken: set[tuple[str, str]] = set()
    for event in (event for story in stories for event in _own(definition, story)):
        if isinstance(event, StepStarted):
            started.add(event.step_id)
        elif isinstance(event, StepCompleted):
            taken.update((event.step_id, target) for target in event.routes or ())
    steps, routes = [step.id for step in definition.steps], list(_routes(definition))
    return Coverage(
        runs=runs,
        steps=steps,
        routes=routes,
        unreached_steps=[step for step in steps if step not in started],
        unreached_routes=[route for route in routes if route not in taken],
    )


def _routes(definition: ProcessDefinition) -> Iterator[tuple[str, str]]:
    for step in definition.steps:
        if isinstance(step, Gateway):
            yield from ((step.id, target) for target, _ in gateway_targets(step))


_Told = tuple[SampleRun, Sequence[Event]]


class _Course:
    """Carries samples, or tests, of one process out."""

    def __init__(self, definition: ProcessDefinition, parts: Sequence[ProcessDefinition]) -> None:
        self._definition = definition
        self._parts = parts

    async def of(self, path: Path) -> list[_Told]:
        samples = read_samples(path)
        if isinstance(samples, ProcessTests):
            return [await self._test(test, samples.given) for test in samples.tests]
        return [await self._sample(sample, number) for number, sample in enumerate(samples, 1)]

    async def _sample(self, sample: Sample, number: int) -> _Told:
        name = sample.name or f"sample {number}"
        try:
            run = await dry_run(self._definition, sample, self._parts)
        except ProcessEngineError as error:
            return SampleRun(name, None, (), str(error)), ()
        return SampleRun(name, str(run.execution.status), self._path(run.events)), run.events

    async def _test(self, test: ProcessTest, common: Given) -> _Told:
        trial = await try_process(self._definition, test, common, self._parts)
        if trial.execution is None:
            return SampleRun(test.name, None, (), "; ".join(trial.mismatches)), ()
        return SampleRun(test.name, str(trial.execution.status), trial.path), trial.events

    def _path(self, events: Iterable[Event]) -> Sequence[str]:
        """The steps that started, in order."""
        own = _own(self._definition, events)
        return [event.step_id for event in own if isinstance(event, StepStarted)]


def _own(definition: ProcessDefinition, events: Iterable[Event]) -> Iterator[Event]:
    """The events of this process; those that it runs have stories of their own."""
    return (event for event in events if event.process_name == definition.name)
