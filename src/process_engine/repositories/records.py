"""The records of a store as JSON text, and back.

Evolution: a field that a record does not know is ignored, one that is missing takes its default. So an older
record can be read for ever, as long as new fields have defaults and no field changes its meaning.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from process_engine.core.commands import InboxCommand
from process_engine.core.events import AnyEvent, Event, ExecutionCreated, Waiting
from process_engine.core.mailbox import NewEvent
from process_engine.core.state import Execution, Head, StepState, StepStatus
from process_engine.errors import InternalError, StorageIncompatible
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import ExecutionSummary, InboxAnswer, OpenApproval, OpenWait

Given = TypeVar("Given")
Kept = TypeVar("Kept")

_encode = msgspec.json.Encoder().encode


class Codec(Generic[Given, Kept]):
    """One kind of record: `Given` may be written, `Kept` is read back; `kind` is for messages."""

    def __init__(self, kind: str, decoder: msgspec.json.Decoder[Kept]) -> None:
        self._kind = kind
        self._decode = decoder.decode

    def encode(self, record: Given) -> str:
        """The record as JSON text.

        Raises:
            InternalError: something in it has no JSON form, half a surrogate pair for example.
        """
        try:
            return str(_encode(record), "utf-8")
        except (TypeError, ValueError, OverflowError, RecursionError) as fault:
            raise InternalError(f"a {self._kind} has no JSON form ({fault}); nothing was written.") from fault

    def decode(self, text: str) -> Kept:
        """The record that `encode` wrote, now or in an older version.

        Raises:
            StorageIncompatible: the text is none of ours.
        """
        try:
            return self._decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as fault:
            raise StorageIncompatible(
                f"a stored {self._kind} cannot be read: {fault}.",
                remedy="Restore the database from a backup, or open it with the version that wrote it.",
            ) from fault


CREATED: Codec[ExecutionCreated, ExecutionCreated] = Codec(
    "creation record", msgspec.json.Decoder(ExecutionCreated)
)
HEAD: Codec[Head, Head] = Codec("execution head", msgspec.json.Decoder(Head))
STEP: Codec[StepState, StepState] = Codec("step state", msgspec.json.Decoder(StepState))
EVENT: Codec[Event, AnyEvent] = Codec("event", msgspec.json.Decoder(AnyEvent))
COMMAND: Codec[InboxCommand, InboxCommand] = Codec("command", msgspec.json.Decoder(InboxCommand))
MAIL: Codec[NewEvent, NewEvent] = Codec("published event", msgspec.json.Decoder(NewEvent))
ANSWER: Codec[InboxAnswer, InboxAnswer] = Codec("answer", msgspec.json.Decoder(InboxAnswer))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, exact; sorts like the moment itself."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The aware UTC moment that `to_microseconds` was given."""
    return _EPOCH + timedelta(microseconds=microseconds)


def summary_of(execution: Execution) -> ExecutionSummary:
    """The line of a list that an execution in this state makes."""
    created, head = execution.created, execution.head
    return ExecutionSummary(
        id=created.execution_id,
        process=created.process_name,
        version=created.version,
        status=head.status,
        created_at=created.timestamp,
        started_at=head.started_at,
        completed_at=head.completed_at,
    )


def open_approval(
    execution: ExecutionId, process: str, step: StepId, state: StepState
) -> OpenApproval | None:
    """The question that a step in this state asks, if it waits for an answer."""
    if state.status is not StepStatus.WAITING_APPROVAL or state.approval is None:
        return None
    return OpenApproval(
        execution_id=execution, process=process, step_id=step, visit=state.visit, request=state.approval
    )


def open_wait(execution: ExecutionId, step: StepId, state: StepState) -> OpenWait | None:
    """The event that a step in this state waits for, if it does."""
    if (
        state.status is not StepStatus.WAITING
        or state.waiting_for is not Waiting.EVENT
        or state.event is None
    ):
        return None
    return OpenWait(execution, step, state.visit, state.attempt, state.event, state.due)
