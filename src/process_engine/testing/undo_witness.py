"""The part of the witness that looks at compensation: what is owed, in which order, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from process_engine.core import events as e
from process_engine.core.commands import RecordResult
from process_engine.core.failures import TRANSIENT
from process_engine.core.results import Completed
from process_engine.core.values import Value, pack
from process_engine.core.work import undo_key
from process_engine.definition.document import Compensation, ProcessDefinition, RetryPolicy

MAX_INTERRUPTIONS = 10

Visit = tuple[str, int]
Delivered = Callable[[str, int, int], Sequence[RecordResult]]
Demand = Callable[[bool, str], None]


@dataclass(frozen=True)
class Trying:
    """The visit that is being undone: how often it was tried, and what it waits for."""

    visit: Visit
    attempt: int = 1
    retries: int = 0
    interruptions: int = 0
    waits: e.CompensationRetrying | None = None


class UndoWitness:
    """Follows the compensation of one execution. `delivered` gives what was answered, by the key of the work;
    `demand` is told what must hold."""

    def __init__(self, definition: ProcessDefinition, delivered: Delivered, demand: Demand) -> None:
        self.bodies: dict[str, Compensation] = {
            step.id: step.compensation for step in definition.steps if step.compensation is not None
        }
        self.owed: list[Visit] = []
        self.trying: Trying | None = None
        self.has_begun = False
        self._definition = definition
        self._delivered = delivered
        self._demand = demand
        self._expected: Visit | None = None
        self._agents: dict[Visit, str | None] = {}
        self._unable: set[Visit] = set()

    def before(self, event: e.Event) -> None:
        """Object to an event that comes in place of another: a visit that completes says how to undo it."""
        expected, self._expected = self._expected, None
        prepared = isinstance(event, e.CompensationPrepared)
        told = (event.step_id, event.visit) if isinstance(event, e.CompensationPrepared) else None
        self._demand(expected == told, f"{event.type}, and {expected} has to say how it is undone")
        if prepared:
            assert told is not None
            self._prepared(event, told)
        elif isinstance(event, e.StepCompleted) and event.step_id in self.bodies:
            self._expected = (event.step_id, event.visit)

    def _prepared(self, event: e.CompensationPrepared, visit: Visit) -> None:
        named = self.bodies[event.step_id].agent or self._definition.defaults.agent
        self._demand(event.failure is not None or event.agent == named, f"{visit} would ask {event.agent}")
        self._demand((event.request is None) is (event.failure is not None), f"{visit} asks nothing")
        self.owed.append(visit)
        self._agents[visit] = event.agent
        if event.failure is not None:
            self._unable.add(visit)

    def see(self, event: e.StepEvent) -> None:
        """Follow an event about undoing a visit."""
        match event:
            case e.CompensationPrepared():
                pass
            case e.CompensationStarted():
                self._starts(event)
            case e.CompensationRetrying():
                self._retries(event, self._current(event))
            case e.CompensationAttemptStarted():
                self._tries_again(event, self._current(event))
            case e.CompensationCompleted():
                self._completes(event, self._current(event))
            case _:
                assert isinstance(event, e.CompensationFailed)
                self._fails(event, self._current(event))

    def _starts(self, event: e.CompensationStarted) -> None:
        visit = (event.step_id, event.visit)
        self._demand(self.trying is None, f"{visit} is undone beside {self.trying}")
        turn = self.owed.pop() if self.owed else None
        self._demand(turn == visit, f"{visit} is undone, and it is the turn of {turn}")
        self._demand(event.agent == self._agents[visit], f"{visit} asks {event.agent}")
        self._demand(event.attempt == 1, f"{visit} begins with attempt {event.attempt}")
        self.trying, self.has_begun = Trying(visit), True

    def _current(self, event: e.StepEvent) -> Trying:
        trying, visit = self.trying, (event.step_id, event.visit)
        self._demand(trying is not None and trying.visit == visit, f"{event.type} of {visit}, not {trying}")
        assert trying is not None
        number = trying.attempt + isinstance(event, e.CompensationAttemptStarted)
        self._demand(event.attempt == number, f"{event.type} of {visit}: attempt {event.attempt}")
        waits = isinstance(event, e.CompensationAttemptStarted)
        self._demand((trying.waits is not None) is waits, f"{event.type} of {visit} at the wrong time")
        return trying

    def _policy(self, step_id: str) -> RetryPolicy:
        return self.bodies[step_id].retry or self._definition.defaults.retry or RetryPolicy()

    def _retries(self, event: e.CompensationRetrying, trying: Trying) -> None:
        if event.failure.code == "INTERRUPTED":
            self._demand(
                trying.interruptions < MAX_INTERRUPTIONS, f"{trying.visit} was interrupted too often"
            )
            interruptions = trying.interruptions + 1
            self.trying = replace(trying, interruptions=interruptions, waits=event)
            return
        self._demand(self._answered(event, event.usage), f"{trying.visit} is tried again without a failure")
        left = trying.retries + 1 < self._policy(event.step_id).max_attempts
        self._demand(left, f"{trying.visit} has no attempt left to undo it")
        self.trying = replace(trying, retries=trying.retries + 1, waits=event)

    def _tries_again(self, event: e.CompensationAttemptStarted, trying: Trying) -> None:
        assert trying.waits is not None
        self._demand(event.timestamp >= trying.waits.due, f"{trying.visit} is tried again too early")
        self.trying = replace(trying, attempt=event.attempt, waits=None)

    def _completes(self, event: e.CompensationCompleted, trying: Trying) -> None:
        gave = any(
            isinstance(given.result, Completed)
            and _output_of(given) == event.output
            and given.result.usage == event.usage
            for given in self._results(event)
        )
        self._demand(gave, f"{trying.visit} was undone by what attempt {event.attempt} never gave")
        self.trying = None

    def _fails(self, event: e.CompensationFailed, trying: Trying) -> None:
        self.trying = None
        if trying.visit in self._unable:
            return
        if event.failure.code == "INTERRUPTED":
            self._demand(trying.interruptions == MAX_INTERRUPTIONS, f"{trying.visit} was given up too early")
            return
        self._demand(self._answered(event, event.usage), f"{trying.visit}: its last answer was forgotten")
        policy = self._policy(event.step_id)
        again = event.failure.code in {*TRANSIENT, *policy.retry_on} - {*policy.do_not_retry_on}
        spent = trying.retries + 1 >= policy.max_attempts
        self._demand(spent or not again, f"{trying.visit} has an attempt left to undo it")

    def _answered(self, event: e.StepEvent, usage: object) -> bool:
        return any(given.result.usage == usage for given in self._results(event))

    def _results(self, event: e.StepEvent) -> Sequence[RecordResult]:
        return self._delivered(undo_key(event.step_id), event.visit, event.attempt)


def _output_of(given: RecordResult) -> Value:
    if given.value is not None:
        return given.value
    assert isinstance(given.result, Completed)
    return pack(given.result.output)[0]
