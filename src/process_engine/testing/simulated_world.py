"""All that surrounds simulated engines: the store on its disk, the agents, the callers, and the judge.

The world outlives every engine. It remembers what was called, delivered and acknowledged, and after every
commit it reads back from the store, as a stranger would, what the engine claims to have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from process_engine.core import events as e
from process_engine.core.commands import RecordResult
from process_engine.core.events import Event
from process_engine.core.evolve import restore
from process_engine.core.invariants import Audit, check, starts_are_kept
from process_engine.core.plan import Plan, compile_plan
from process_engine.core.results import Completed
from process_engine.core.state import Execution
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import OwnershipLost
from process_engine.ids import DefinitionHash, ExecutionId, StepId
from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.runtime.ports import StoredDefinition
from process_engine.testing.simulated_engine import SimulatedEngine, VirtualTime, is_running, run_now
from process_engine.testing.witness import Witness

AttemptKey = tuple[ExecutionId, str, int, int]


class PromiseBroken(AssertionError):
    """The engine did something that it promises never to do."""


@dataclass
class Call:
    """An attempt that an agent works on; `engine` is who waits for the answer."""

    engine: SimulatedEngine
    item: WorkItem

    @property
    def key(self) -> AttemptKey:
        """Execution, step, visit and attempt."""
        return (self.item.execution_id, self.item.key, self.item.visit, self.item.attempt)


@dataclass
class Record:
    """What the world knows about one execution, fed by what the store holds."""

    plan: Plan
    witness: Witness
    events: list[Event] = field(default_factory=list[Event])


class World:
    """Store, agents, callers and judge of one simulation."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.story: list[str] = []
        self.time = VirtualTime()
        self.tables = Tables()
        self.reader = MemoryRepository(self.tables)
        run_now(self.reader.open(clock=self.time, writer=False))
        self.plans: dict[DefinitionHash, Plan] = {}
        self.definitions: dict[DefinitionHash, ProcessDefinition] = {}
        self.records: dict[ExecutionId, Record] = {}
        self.acknowledged: dict[ExecutionId, object] = {}
        self.calls: list[Call] = []
        self.abandoned: list[Call] = []
        self.called: set[AttemptKey] = set()
        self.requests: dict[tuple[ExecutionId, str, int], object] = {}
        self.delivered: dict[AttemptKey, list[RecordResult]] = {}

    # ------------------------------------------------------------ definitions and engines

    def adopt(self, definition: ProcessDefinition) -> Plan:
        """Compile a definition once."""
        hash = definition.content_hash
        if hash not in self.plans:
            self.plans[hash] = compile_plan(definition)
            self.definitions[hash] = definition
        return self.plans[hash]

    def keep_definition(self, engine: SimulatedEngine, definition: ProcessDefinition) -> None:
        """Store a definition before its first execution starts."""
        stored = StoredDefinition(
            hash=definition.content_hash,
            name=definition.name,
            version=definition.version,
            document=definition.canonical_json(),
        )
        run_now(engine.repository.save_definition(stored))

    def engine(self) -> SimulatedEngine:
        """A new process that takes the store over from whoever had it."""
        repository = MemoryRepository(self.tables)
        engine = SimulatedEngine(repository, self.time, self.plans, self, self.counts)
        engine.after_commit = self.judge
        return engine

    def bury(self, engine: SimulatedEngine) -> None:
        """The process is gone: nobody waits for its calls any more."""
        for call in [call for call in self.calls if call.engine is engine]:
            self.calls.remove(call)
            self.abandoned.append(call)

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.time.moment:%d %H:%M:%S}  {line}")

    # ------------------------------------------------------------ agents

    def call(self, engine: SimulatedEngine, item: WorkItem) -> None:
        """An attempt starts: the last moment to find out that it should not."""
        call = Call(engine, item)
        if call.key in self.called:
            raise PromiseBroken(f"attempt {call.key} was called twice")
        self.called.add(call.key)
        execution = self.stored(item.execution_id)
        if execution is None or not is_running(execution, item):
            raise PromiseBroken(f"attempt {call.key} runs before its commit, or without one")
        self._same_request(item, execution)
        self._no_result_yet(item)
        self.calls.append(call)
        self.counts["agent called"] += 1

    def _same_request(self, item: WorkItem, execution: Execution) -> None:
        request = execution.step(StepId(item.key)).request
        if request is None:
            raise PromiseBroken(f"{item.key} has nothing to ask")
        effect = (item.execution_id, item.key, item.visit)
        if self.requests.setdefault(effect, request) != request:
            raise PromiseBroken(f"{effect} asks one attempt something else than another")
        if request.ref is not None and run_now(self.reader.load_blob(request.ref)) is None:
            raise PromiseBroken(f"the request of {effect} was never stored")

    def _no_result_yet(self, item: WorkItem) -> None:
        for event in reversed(self.records[item.execution_id].events):
            if isinstance(event, e.ProcessReopened) and item.key in event.steps:
                return
            if isinstance(event, (e.StepCompleted, e.StepFailed, e.StepSkipped, e.StepCancelled)) and (
                (event.step_id, event.visit) == (item.key, item.visit)
            ):
                raise PromiseBroken(
                    f"{item.key} runs again although visit {item.visit} ended by {event.type}"
                )

    def hang_up(self, engine: SimulatedEngine, item: WorkItem) -> None:
        """The engine does not want the answer any more; the agent may give it all the same, too late."""
        for call in self.calls:
            if call.engine is engine and call.item == item:
                self.calls.remove(call)
                self.abandoned.append(call)
                return

    def remember(self, command: RecordResult) -> None:
        """Note what is delivered, whoever asked for it."""
        key = (command.execution_id, command.step_id, command.visit, command.attempt)
        self.delivered.setdefault(key, []).append(command)

    # ------------------------------------------------------------ the judge

    def stored(self, execution_id: ExecutionId) -> Execution | None:
        """The execution as a stranger reads it from the store."""
        snapshot = run_now(self.reader.load(execution_id))
        return None if snapshot is None else restore(self.plans[snapshot.created.definition_hash], snapshot)

    def judge(self, transitions: Sequence[Transition]) -> None:
        """Check everything about the executions that a commit touched, from what the store holds."""
        self.counts["commit"] += 1
        touched = {made.execution.id: made.execution for made in transitions}
        for execution_id, claimed in touched.items():
            self._judge_one(execution_id, claimed)
        starts_are_kept(self.acknowledged, self.tables.rows.heads)

    def _judge_one(self, execution_id: ExecutionId, claimed: Execution) -> None:
        snapshot = run_now(self.reader.load(execution_id))
        if snapshot is None:
            raise PromiseBroken(f"{execution_id} was committed and is not there")
        record = self.records.get(execution_id)
        if record is None:
            record = self._new_record(execution_id, snapshot.created.definition_hash)
        for event in run_now(self.reader.events(execution_id, after=len(record.events))):
            record.events.append(event)
            self._note(event)
            record.witness.see(event)
        record.witness.end_of_transition()
        work = [
            item
            for item in self.tables.rows.work.values()
            if item is not None and item.execution_id == execution_id
        ]
        check(Audit(record.plan, snapshot, record.events, work))
        if claimed != restore(record.plan, snapshot):
            raise PromiseBroken(f"{execution_id} is stored in another state than the engine goes on with")

    def _new_record(self, execution_id: ExecutionId, hash: DefinitionHash) -> Record:
        def delivered(step_id: str, visit: int, attempt: int) -> Sequence[RecordResult]:
            return self.delivered.get((execution_id, step_id, visit, attempt), ())

        record = Record(self.plans[hash], Witness(self.definitions[hash], delivered))
        self.records[execution_id] = record
        return record

    def refuse_zombie(self, zombie: SimulatedEngine) -> None:
        """Let an engine that lost the store go on: it must find out, and change nothing."""
        before = self.fingerprint()
        answered: set[AttemptKey] = set(self.called)
        try:
            zombie.turn(1000)
        except OwnershipLost:
            self.counts["zombie refused"] += 1
        if self.fingerprint() != before or self.called != answered:
            raise PromiseBroken("an engine that had lost the store changed something")

    def fingerprint(self) -> bytes:
        """All rows of the store."""
        rows = self.tables.rows
        return msgspec.json.encode(
            [
                rows.heads,
                rows.steps,
                len(rows.log),
                sorted((*key, str(item)) for key, item in rows.work.items()),
            ]
        )

    def all_events(self) -> Sequence[Event]:
        """Every stored event, in the order of their commits."""
        return [entry.event for entry in run_now(self.reader.feed(limit=10**9))]

    # ------------------------------------------------------------ what happened

    def _note(self, event: Event) -> None:
        self.counts[f"event {event.type}"] += 1
        self.tell(describe(event))
        match event:
            case e.StepSkipped():
                self.counts[f"skipped: {event.reason}"] += 1
            case e.StepCancelled():
                self.counts[f"cancelled: {event.reason}"] += 1
            case e.StepFailed():
                self.counts[f"failed: {event.failure.code}"] += 1
            case e.ProcessFailed():
                self.counts[f"failed: {event.failure.code}"] += 1
                self.counts["ended failed"] += 1
            case e.ProcessCompleted():
                self.counts["ended completed"] += 1
            case e.ProcessCancelled():
                self.counts["ended cancelled"] += 1
            case _:
                pass
        self._note_more(event)

    def _note_more(self, event: Event) -> None:
        match event:
            case e.StepsReopened():
                kind = self.records[event.execution_id].plan.steps[event.by].type
                self.counts["loop by gateway" if kind == "gateway" else "loop by on_error"] += 1
            case e.StepFailed() if event.handled_by is not None:
                plan = self.records[event.execution_id].plan
                self.counts["goto forward"] += not plan.steps[event.step_id].on_error.loop
            case e.ProcessPaused() if event.reason.startswith("interrupted"):
                self.counts["paused by interruption"] += 1
            case e.StepCompleted():
                self.counts["large output recorded"] += event.output.ref is not None
                self.counts["cost recorded"] += event.usage.cost > 0
            case e.StepRetrying():
                given = self.delivered.get(
                    (event.execution_id, event.step_id, event.visit, event.attempt), ()
                )
                asked = [one.result.retry_after for one in given if not isinstance(one.result, Completed)]
                self.counts["retry after longer than backoff"] += event.delay_seconds in asked
            case _:
                pass


def describe(event: Event) -> str:
    """One line for people."""
    fields = msgspec.to_builtins(event)
    shared = (
        "type",
        "execution_id",
        "sequence",
        "timestamp",
        "process_name",
        "correlation_id",
        "step_id",
        "visit",
        "attempt",
    )
    rest = {key: value for key, value in fields.items() if key not in shared}
    place = f" {event.step_id} {event.visit}.{event.attempt}" if isinstance(event, e.StepEvent) else ""
    text = msgspec.json.encode(rest).decode() if rest else ""
    return f"{event.execution_id} {event.sequence:>3} {event.type}{place} {text[:160]}".rstrip()
