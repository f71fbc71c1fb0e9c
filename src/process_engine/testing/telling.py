"""What happened in a simulation: counted, and told line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import msgspec

from process_engine.core import events as e
from process_engine.core.plan import Plan
from process_engine.testing.simulated_time import SimulatedTime

# Fields that every line of a story shows in its own way, or that are the same in all of them.
_SHARED = (
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


class Teller:
    """Keeps the counts and the story of one simulation."""

    def __init__(self, time: SimulatedTime) -> None:
        self.counts: Counter[str] = Counter()
        self._time = time
        self.lines: list[tuple[datetime, str | e.Event]] = []

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.lines.append((self._time.moment, line))

    def fault(self, kind: str) -> None:
        """Count a fault and tell of it."""
        self.counts[f"fault: {kind}"] += 1
        self.tell(f"-- {kind}")

    def note(self, plan: Plan, event: e.Event) -> None:
        """Count and tell an event that was stored."""
        self.counts[f"event {event.type}"] += 1
        self.lines.append((self._time.moment, event))
        match event:
            case e.StepSkipped() | e.StepCancelled():
                kind = "skipped" if isinstance(event, e.StepSkipped) else "cancelled"
                self.counts[f"{kind}: {event.reason}"] += 1
            case e.StepFailed():
                self.counts[f"failed: {event.failure.code}"] += 1
                if event.handled_by is not None and not plan.steps[event.step_id].on_error.loop:
                    self.counts["goto forward"] += 1
            case e.ItemRetrying():
                self.counts[f"item retried: {event.failure.code}"] += 1
            case e.StepRetrying():
                self.counts[f"retried: {event.failure.code}"] += 1
            case e.StepsReopened():
                kind = plan.steps[event.by].type
                self.counts["loop by gateway" if kind == "gateway" else "loop by on_error"] += 1
            case e.StepCompleted():
                self.counts["large output recorded"] += event.output.ref is not None
                self.counts["cost recorded"] += event.usage.cost > 0
                if event.errors is not None:
                    self.counts["list completed"] += 1
                    self.counts["item passed over"] += bool(event.errors.data)
            case e.CompensationRetrying():
                self.counts[f"undo retried: {event.failure.code}"] += 1
            case e.CompensationFailed():
                self.counts[f"undo failed: {event.failure.code}"] += 1
            case e.CompensationStarted():
                self.counts["earlier visit undone"] += event.visit > 1
                self.counts["list undone"] += plan.steps[event.step_id].items is not None
            case _:
                self._note_process(event)

    def _note_process(self, event: e.Event) -> None:
        match event:
            case e.ProcessPaused() if event.reason.startswith("interrupted"):
                self.counts["paused by interruption"] += 1
            case e.ProcessFailed():
                self.counts[f"failed: {event.failure.code}"] += 1
                self.counts["ended failed"] += 1
            case e.ProcessCompleted():
                self.counts["ended completed"] += 1
            case e.ProcessCancelled():
                self.counts["ended cancelled"] += 1
            case _:
                pass


def told(lines: Iterable[tuple[datetime, str | e.Event]]) -> list[str]:
    """Lines of a story, for people."""
    return [
        f"{moment:%d %H:%M:%S}  {line if isinstance(line, str) else describe(line)}" for moment, line in lines
    ]


def describe(event: e.Event) -> str:
    """One line for people."""
    fields = msgspec.to_builtins(event)
    rest = {key: value for key, value in fields.items() if key not in _SHARED}
    place = f" {event.step_id} {event.visit}.{event.attempt}" if isinstance(event, e.StepEvent) else ""
    text = msgspec.json.encode(rest).decode() if rest else ""
    return f"{event.execution_id} {event.sequence:>3} {event.type}{place} {text[:160]}".rstrip()
