"""The judge of a simulation: after every commit it reads the store as a stranger would, and compares.

It sees three things: what the store holds, what agents are asked, and what callers are told. It outlives
every process, and trusts none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

import msgspec

from process_engine.core import events as e
from process_engine.core.blockers import blockers
from process_engine.core.commands import RecordResult
from process_engine.core.evolve import Evolution, apply, restore
from process_engine.core.invariants import Audit, check, child_agrees, children_agree, starts_are_kept
from process_engine.core.plan import TIMEOUT_OF_TYPE, Plan, compile_plan
from process_engine.core.results import Failed
from process_engine.core.state import Execution, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem, WorkKind, execution_work, place_of, work_key, work_of
from process_engine.definition.document import AgentTask, Compensation, Notification, ProcessDefinition
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.ports import AgentRequest, ExecutionRepository, StepContext
from process_engine.testing.answers import recorded
from process_engine.testing.disks import all_of, run_now
from process_engine.testing.letters import NAMES, Postman
from process_engine.testing.simulated_ports import AttemptKey, key_of
from process_engine.testing.simulated_time import SimulatedTime
from process_engine.testing.telling import Teller
from process_engine.testing.witness import Witness

# More than a simulation ever has of anything.
EVERYTHING = 10**6
# A history is looked at as a whole again when it is twice as long as the last time, and at the very end.
_GROWTH = 2
_FEW_EVENTS = 10
# What is worked out here without asking anybody has no time to keep to.
_NEVER = timedelta(days=10_000)


class Scrutiny(IntEnum):
    """How closely a judge looks.

    FOLLOW only keeps up with what is stored. USUAL compares state and history after every commit; the
    invariants that read a whole history, and hold for each beginning of it where they hold for all of it, are
    checked now and then, and at the end. ALL checks everything after every commit, and so tells the moment
    of a fault exactly.
    """

    FOLLOW = 0
    USUAL = 1
    ALL = 2


class PromiseBroken(AssertionError):
    """The engine did something that it promises never to do."""


@dataclass
class Record:
    """What the judge knows about one execution, from what the store held at its last commit.

    `replayed` is what its events alone lead to.
    """

    plan: Plan
    witness: Witness
    events: list[e.Event] = field(default_factory=list[e.Event])
    replayed: Execution | None = None
    audited: int = 0

    @property
    def execution(self) -> Execution:
        """The execution as stored."""
        assert self.replayed is not None
        return self.replayed


class Judge:
    """Checks all promises over all executions of one store."""

    def __init__(
        self,
        reader: ExecutionRepository,
        time: SimulatedTime,
        teller: Teller,
        scrutiny: Scrutiny = Scrutiny.USUAL,
    ) -> None:
        self.reader = reader
        self.time = time
        self.teller = teller
        self.scrutiny = scrutiny
        self.plans: dict[DefinitionHash, Plan] = {}
        self.definitions: dict[DefinitionHash, ProcessDefinition] = {}
        self.records: dict[ExecutionId, Record] = {}
        self.acknowledged: dict[ExecutionId, object] = {}
        self.postman = Postman(reader)
        self.called_before: set[AttemptKey] = set()
        self._asked: dict[str, object] = {}
        self._delivered: dict[AttemptKey, list[RecordResult]] = {}
        # The earliest and the latest time that clocks have shown from an attempt's commit to its call.
        self._earliest: dict[AttemptKey, datetime] = {}
        self._latest: dict[AttemptKey, datetime] = {}
        self._late: set[AttemptKey] = set()

    @property
    def counts(self) -> Counter[str]:
        """How often what has happened."""
        return self.teller.counts

    def adopt(self, definition: ProcessDefinition) -> None:
        """Take note of a definition that somebody is about to start."""
        hash = definition.content_hash
        if hash not in self.plans:
            self.plans[hash] = compile_plan(definition)
            self.definitions[hash] = definition

    # ------------------------------------------------------------ commits

    def committed(self, transitions: Sequence[Transition]) -> None:
        """Check every execution that a commit has touched.

        Raises:
            AssertionError: a promise is broken.
        """
        self.counts["commit"] += 1
        self.counts["commit of several transitions"] += len(transitions) > 1
        touched = {made.execution.id: made.execution for made in transitions}
        for execution_id in touched:
            self._follow(execution_id)
        if self.scrutiny > Scrutiny.FOLLOW:
            timers = self._timers()
            for execution_id, claimed in touched.items():
                self._judge(execution_id, claimed, timers.get(execution_id, {}))

    def _timers(self) -> dict[ExecutionId, dict[str, WorkItem]]:
        found: dict[ExecutionId, dict[str, WorkItem]] = {}
        for item in run_now(self.reader.timers(after=None, limit=EVERYTHING)):
            found.setdefault(item.execution_id, {})[item.key] = item
        return found

    def _judge(self, execution_id: ExecutionId, claimed: Execution, timers: Mapping[str, WorkItem]) -> None:
        snapshot = run_now(self.reader.load(execution_id))
        if snapshot is None:
            raise PromiseBroken(f"{execution_id} was committed and is not there")
        record = self.records[execution_id]
        stored = restore(record.plan, snapshot)
        if record.replayed != stored:
            raise PromiseBroken(f"I1: {record.replayed} replayed, {stored} stored")
        if claimed != stored:
            raise PromiseBroken(f"{execution_id} is stored in another state than the engine goes on with")
        owed = {item.key: item for item in owed_by(stored)}
        if {key: item for key, item in owed.items() if item.due is not None} != timers:
            raise PromiseBroken(f"I1: {execution_id} owes {owed}, stored are {timers}")
        if not stored.status.is_final and not blockers(stored):
            raise PromiseBroken(f"I7: {execution_id} is {stored.status} and waits for nothing")
        if self.scrutiny is Scrutiny.ALL or len(record.events) > max(record.audited, _FEW_EVENTS) * _GROWTH:
            self._audit(record, snapshot, owed)

    def _new_record(self, execution_id: ExecutionId, created: e.ExecutionCreated) -> Record:
        def delivered(work_key: str, visit: int, attempt: int) -> Sequence[RecordResult]:
            return self.delivered((execution_id, work_key, visit, attempt))

        hash = created.definition_hash
        record = Record(self.plans[hash], Witness(self.definitions[hash], delivered))
        self.records[execution_id] = record
        return record

    def _follow(self, execution_id: ExecutionId) -> None:
        """Take in the new events: replay them, and hear the witness about each."""
        record = self.records.get(execution_id)
        after = len(record.events) if record is not None else 0
        new = run_now(self.reader.events(execution_id, after=after, limit=EVERYTHING))
        first = None
        if record is None:
            first = new[0] if new else None
            if not isinstance(first, e.ExecutionCreated):
                raise PromiseBroken(f"{execution_id} was committed, and its history begins with {first}")
            record = self._new_record(execution_id, first)
        evolution = Evolution(record.plan, record.replayed, first)
        for event in new[1:] if first else new:
            apply(evolution, event)
        record.replayed = evolution.freeze()
        for event in new:
            record.events.append(event)
            self._note(record, event)
            if (fault := self.postman.follow(record.plan, event)) is not None:
                raise PromiseBroken(fault)
            record.witness.see(event)
        record.witness.end_of_transition()

    def _note(self, record: Record, event: e.Event) -> None:
        key = _key_of_start(record.plan, event)
        if key is not None:
            self._earliest[key] = self._latest[key] = self.time.moment
        if isinstance(event, e.ChildEnded):
            child = self.records.get(event.child_id)
            child_agrees(event, child.events if child is not None else None)
            self.counts[f"child {event.outcome}"] += 1
        elif isinstance(event, e.StepRetrying):
            given = self._delivered.get((event.execution_id, event.step_id, event.visit, event.attempt), ())
            asked = [one.result.retry_after for one in given if isinstance(one.result, Failed)]
            self.counts["retry after longer than backoff"] += event.delay_seconds in asked
        self.teller.note(record.plan, event)

    def _audit(self, record: Record, snapshot: Snapshot, owed: Mapping[str, WorkItem]) -> None:
        record.audited = len(record.events)
        check(Audit(record.plan, snapshot, record.events, tuple(owed.values())))

    # ------------------------------------------------------------ what agents are asked

    def called(self, request: AgentRequest) -> None:
        """Check a call: recorded before, asked once, the same for every attempt of the visit.

        Raises:
            PromiseBroken: it should not have been made.
        """
        context = request.context
        key = key_of(request)
        if key in self.called_before:
            raise PromiseBroken(f"attempt {key} was called twice")
        self.called_before.add(key)
        if key not in self._earliest:
            raise PromiseBroken(f"attempt {key} runs before its commit, or without one")
        effect = f"{context.execution_id}/{context.step_id}/{context.visit}"
        if context.item is not None:
            effect += f"/{context.item}"
        if context.undo:
            effect += "/undo"
        if request.idempotency_key != effect:
            raise PromiseBroken(f"attempt {key} carries the key {request.idempotency_key}")
        asked = (request.agent, request.message, request.model, request.temperature, request.system)
        if self._asked.setdefault(effect, asked) != asked:
            raise PromiseBroken(f"{effect} asks one attempt something else than another")
        self.counts["agent called"] += 1

    def told_of_progress(self, context: StepContext) -> None:
        """Check that an attempt hears what those before it did all the same, counted from the history alone.

        Raises:
            PromiseBroken: it hears something else.
        """
        told: object = None
        for event in self.records[context.execution_id].events:
            if not isinstance(event, e.StepRetrying | e.StepFailed):
                continue
            if (event.step_id, event.visit) == (context.step_id, context.visit):
                told = event.progress or told
        if context.progress != told:
            raise PromiseBroken(f"{context.effect_key} hears of {context.progress}, what was told is {told}")
        self.counts["notification begun"] += 1
        self.counts["progress handed on"] += told is not None

    def delivered(self, key: AttemptKey) -> Sequence[RecordResult]:
        """Every result that there can be for an attempt by now: those given, and that it took too long."""
        given = self._delivered.get(key, [])
        if not self._took_too_long(key):
            return given
        late = Failed("TIMEOUT", "no answer in time", transient=True)
        return [*given, recorded(key, late)]

    def remember(self, result: RecordResult) -> None:
        """Take note of an answer that is given, whoever gives it."""
        place = work_key(result.step_id, result.item, undo=result.undo)
        key = (result.execution_id, place, result.visit, result.attempt)
        self._delivered.setdefault(key, []).append(result)

    def clocks_go_back(self, seconds: float) -> None:
        """The clocks are about to go back: who is late by now stays late, who begins has more time."""
        earlier = self.time.moment - timedelta(seconds=seconds)
        for key, begun in self._earliest.items():
            if self._took_too_long(key):
                self._late.add(key)
            if key not in self.called_before:
                self._earliest[key] = min(begun, earlier)
                self._latest[key] = max(self._latest[key], self.time.moment)

    def _took_too_long(self, key: AttemptKey) -> bool:
        begun = self._earliest.get(key)
        return key in self._late or (begun is not None and self.time.moment >= begun + self._timeout(key))

    def latest_end(self, key: AttemptKey) -> datetime:
        """When an attempt of which an agent hears now has to be over at the latest, by the clock."""
        return max(self._latest[key], self.time.moment) + self._timeout(key)

    def _timeout(self, key: AttemptKey) -> timedelta:
        record = self.records[key[0]]
        definition = record.plan.definition
        place = place_of(key[1])
        step = next(step for step in definition.steps if step.id == place.step_id)
        call = step.compensation if place.undo else step
        if not isinstance(call, AgentTask | Compensation | Notification):
            return _NEVER
        own = call.timeout or definition.defaults.timeout
        if own is not None:
            return timedelta(seconds=own.seconds)
        configured = record.execution.created.config.default_step_timeout
        return timedelta(seconds=configured if configured is not None else TIMEOUT_OF_TYPE[call.type])

    # ------------------------------------------------------------ the whole store

    def look_at_everything(self) -> None:
        """Check each execution from its first event on, and that nothing acknowledged is missing.

        Raises:
            AssertionError: a promise is broken.
        """
        timers = self._timers()
        attempts: dict[ExecutionId, dict[str, WorkItem]] = {}
        for item in run_now(all_of(self.reader.attempts())):
            attempts.setdefault(item.execution_id, {})[item.key] = item
        for wait in run_now(all_of(self.reader.waits())):
            work = WorkItem(
                wait.execution_id, wait.step_id, WorkKind.EVENT, wait.visit, wait.attempt, wait.due
            )
            attempts.setdefault(wait.execution_id, {})[wait.step_id] = work
        stored: dict[ExecutionId, Snapshot] = {}
        for line in run_now(self.reader.list(limit=EVERYTHING)):
            snapshot = run_now(self.reader.load(line.id))
            assert snapshot is not None
            stored[line.id] = snapshot
            kept = timers.pop(line.id, {}) | attempts.pop(line.id, {})
            events = run_now(self.reader.events(line.id, limit=EVERYTHING))
            if list(events) != self.records[line.id].events:
                raise PromiseBroken(f"the history of {line.id} was changed afterwards")
            check(Audit(self.records[line.id].plan, snapshot, events, tuple(kept.values())))
        children_agree({id: record.events for id, record in self.records.items()}, settled=True)
        if timers or attempts:
            raise PromiseBroken(f"work of executions that do not exist: {timers} {attempts}")
        starts_are_kept(self.acknowledged, stored)
        if missing := set(self.records) - set(stored):
            raise PromiseBroken(f"{sorted(missing)} were stored and are gone")

    def fingerprint(self) -> bytes:
        """All that the store holds and that only the owner may change."""
        last = sum(len(record.events) for record in self.records.values())
        return msgspec.json.encode(
            [
                [run_now(self.reader.load(execution_id)) for execution_id in self.records],
                run_now(self.reader.feed(after=last, limit=EVERYTHING)),
                run_now(self.reader.timers(after=None, limit=EVERYTHING)),
                run_now(self.reader.inbox(limit=EVERYTHING)),
                [run_now(self.reader.mail(name, key)) for name in NAMES for key in self.records],
            ]
        )

    def history(self) -> list[e.Event]:
        """Every stored event, in the order of their commits."""
        return [entry.event for entry in run_now(self.reader.feed(limit=EVERYTHING))]


def _key_of_start(plan: Plan, event: e.Event) -> AttemptKey | None:
    """The attempt that an event begins, if one has to be run for it."""
    match event:
        case e.CompensationStarted() | e.CompensationAttemptStarted():
            return (event.execution_id, work_key(event.step_id, undo=True), event.visit, event.attempt)
        case e.ItemStarted():
            place = work_key(event.step_id, event.item)
        case e.StepStarted(items=None) | e.AttemptStarted():
            place = event.step_id
        case _:
            return None
    outside = plan.steps[event.step_id].inline is None
    return (event.execution_id, place, event.visit, event.attempt) if outside else None


def owed_by(execution: Execution) -> list[WorkItem]:
    """All work that follows from a state."""
    steps = (work_of(execution.id, step_id, state) for step_id, state in execution.steps.items())
    return [item for owed in steps for item in owed] + list(execution_work(execution.id, execution.head))
