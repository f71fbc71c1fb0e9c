"""The samples of the contract, and work to go with them that is made up by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from process_engine.core.events import Event
from process_engine.core.state import Execution
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem, WorkKind
from process_engine.ids import ExecutionId
from process_engine.testing.repository_contract import samples
from process_engine.testing.repository_contract.samples import NOON, begun, created, execution

__all__ = ["NOON", "begun", "created", "execution", "timer", "transition"]


def timer(id: str, key: str, *, seconds: float, kind: WorkKind = WorkKind.TIMER) -> WorkItem:
    return WorkItem(ExecutionId(id), key, kind, 1, 1, NOON + timedelta(seconds=seconds))


def transition(
    state: Execution,
    events: Sequence[Event] | None = None,
    *,
    work: Sequence[WorkItem] = (),
    done: Sequence[str] = (),
    blobs: Mapping[str, bytes] | None = None,
) -> Transition:
    """The transition to `state` with this work, whatever the state owes; `done` are the keys of timers."""
    settled = [timer(state.id, key, seconds=0) for key in done]
    return samples.transition(state, events, work=work, done=settled, blobs=blobs)
