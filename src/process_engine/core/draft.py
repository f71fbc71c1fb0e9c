"""A transition in the making."""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from process_engine.core import events as e
from process_engine.core.config import ExecutionConfig
from process_engine.core.evolve import Evolution, apply
from process_engine.core.plan import Plan
from process_engine.core.scope import ExecutionScope
from process_engine.core.state import UNTOUCHED, Execution
from process_engine.core.transition import Transition
from process_engine.core.values import INLINE_LIMIT_BYTES, Blobs, Value, pack
from process_engine.core.work import WorkItem, execution_work, item_work_between, step_work
from process_engine.ids import StepId


class Draft:
    """A transition in the making: recording an event appends it and applies it, in one act.

    `now` is the time of all its events; `scope` is what expressions read; `settled` is the line of steps
    whose dependants are still to be looked at. Nothing is changed but by `record`.
    """

    __slots__ = (
        "_envelope",
        "before",
        "blobs",
        "events",
        "new_blobs",
        "now",
        "plan",
        "scope",
        "settled",
        "state",
    )

    def __init__(
        self,
        plan: Plan,
        execution: Execution | None,
        now: datetime,
        blobs: Blobs,
        created: e.ExecutionCreated | None = None,
    ) -> None:
        self.plan = plan
        self.before = execution
        self.state = Evolution(plan, execution, created)
        self.blobs = blobs
        self.new_blobs: dict[str, bytes] = {}
        # What this very transition records can be read by what it starts, before any store has it.
        readable = ChainMap(self.new_blobs, dict(blobs)) if blobs else self.new_blobs
        self.scope = ExecutionScope(self.state, readable)
        # Time never goes back within an execution, whatever the machine's clock does.
        self.now = max(now, self.state.timestamp)
        self.events: list[e.Event] = [created] if created is not None else []
        self.settled: deque[StepId] = deque()
        facts = self.state.created
        self._envelope = {
            "execution_id": facts.execution_id,
            "timestamp": self.now,
            "process_name": facts.process_name,
            "correlation_id": facts.correlation_id,
        }

    @property
    def config(self) -> ExecutionConfig:
        """The configuration in force for this execution."""
        return self.state.created.config

    def record(self, kind: Callable[..., e.Event], **fields: object) -> None:
        """Append the next event, an event of `kind` with these fields, and apply it."""
        event = kind(sequence=self.state.sequence + 1, **self._envelope, **fields)
        apply(self.state, event)
        self.events.append(event)

    def record_step(
        self,
        kind: Callable[..., e.StepEvent],
        step_id: StepId,
        *,
        attempt: int | None = None,
        **fields: object,
    ) -> None:
        """Record an event about the current visit of a step, and its current attempt if none is given."""
        evolution = self.state
        state = evolution.steps.get(step_id, UNTOUCHED)
        event = kind(
            sequence=evolution.sequence + 1,
            step_id=step_id,
            visit=state.visit,
            attempt=state.attempt if attempt is None else attempt,
            **self._envelope,
            **fields,
        )
        apply(evolution, event)
        self.events.append(event)

    def pack(self, value: object, inline_limit_bytes: int = INLINE_LIMIT_BYTES) -> Value:
        """Make a value recordable; a large one is committed with this transition."""
        packed, blobs = pack(value, inline_limit_bytes)
        self.new_blobs.update(blobs)
        return packed

    def finish(self) -> Transition:
        """The transition, with the work that follows from the change of state."""
        if not self.events:
            assert self.before is not None
            return Transition(self.before)
        after = self.state.freeze()
        work, done = _work_between(self.before, after, self.state.changed, self.events)
        return Transition(after, tuple(self.events), work, done, tuple(self.state.changed), self.new_blobs)


def _work_between(
    before: Execution | None, after: Execution, changed: Mapping[StepId, None], events: Sequence[e.Event]
) -> tuple[tuple[WorkItem, ...], tuple[WorkItem, ...]]:
    """What is owed now and was not before, and what was owed and is not any more."""
    work: list[WorkItem] = []
    done: list[WorkItem] = []
    id = after.created.execution_id
    steps_before = before.steps if before is not None else {}
    steps_after = after.steps
    for step_id in changed:
        state = steps_before.get(step_id)
        old = step_work(id, step_id, state) if state is not None else None
        now = steps_after[step_id]
        new = step_work(id, step_id, now)
        if now.items is not None or (state is not None and state.items is not None):
            own = (event for event in events if isinstance(event, e.ItemEvent) and event.step_id == step_id)
            begun, ended = item_work_between(id, step_id, state, now, (event.item for event in own))
            work += begun
            done += ended
        if new == old:
            continue
        if old is not None:
            done.append(old)
        if new is not None:
            work.append(new)
    earlier = execution_work(id, before.head) if before is not None else ()
    later = execution_work(id, after.head)
    if earlier != later:
        done.extend(item for item in earlier if item not in later)
        work.extend(item for item in later if item not in earlier)
    return tuple(work), tuple(done)
