"""What one command causes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from process_engine.core.events import Event
from process_engine.core.state import Execution
from process_engine.core.values import BlobRef
from process_engine.core.work import WorkItem
from process_engine.ids import StepId


class Transition(msgspec.Struct, frozen=True, gc=False):
    """The new state, with everything that must be written together with it.

    `execution` is the new state, `events` what changed it (in order), `work` what must be done after the
    commit, `done` the work that is thereby settled (replaced work included), `changed` the ids of the steps
    whose records differ from before, `blobs` the large values that the state refers to for the first time.
    Without events nothing has changed, and nothing needs to be written.
    """

    execution: Execution
    events: tuple[Event, ...] = ()
    work: tuple[WorkItem, ...] = ()
    done: tuple[WorkItem, ...] = ()
    changed: tuple[StepId, ...] = ()
    blobs: Mapping[str, bytes] = {}


class Needs(msgspec.Struct, frozen=True, gc=False):
    """The decision depends on large values that were not given: load them and decide again."""

    refs: tuple[BlobRef, ...]
