"""An execution as people and programs read it: every step listed, large values loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import cast

from process_engine.core.approvals import Request
from process_engine.core.blockers import Blocker, blockers, waits_for_people
from process_engine.core.children import Parent
from process_engine.core.failures import Failure
from process_engine.core.items import Items
from process_engine.core.plan import Plan
from process_engine.core.state import Execution, ExecutionStatus, StepState, StepStatus
from process_engine.core.undo import Undo
from process_engine.core.values import NULL, Value
from process_engine.definition.document import ProcessDefinition
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.outputs import OutputStorage

# The reason of a pause that nobody ordered.
APPROVAL = "approval"


class StepExecution:
    """One step of an execution, as committed. `output` is that of its latest settled visit.

    `errors` are those of items that were passed over (`{index, code, message}`), where it ran for items.
    """

    __slots__ = ("_state", "errors", "id", "output", "type")

    def __init__(
        self, step_id: StepId, step_type: str, state: StepState, output: object, errors: object
    ) -> None:
        self.id = step_id
        self.type = step_type
        self.output = output
        self.errors = errors
        self._state = state

    def __repr__(self) -> str:
        return f"StepExecution({self.id}, {self.status}, attempts={self.attempts})"

    @property
    def status(self) -> StepStatus:
        """Where the current visit stands."""
        return self._state.status

    @property
    def visits(self) -> int:
        """Visits so far, the current one included; 0 if the step was never looked at."""
        return 0 if self._state.status is StepStatus.PENDING and self._state.visit == 1 else self._state.visit

    @property
    def attempts(self) -> int:
        """Attempts begun in the current visit."""
        return self._state.attempt

    @property
    def retry_count(self) -> int:
        """Attempts after the first one of the current visit."""
        return self._state.retry_count

    @property
    def error(self) -> Failure | None:
        """Why it failed, or why its last attempt did."""
        return self._state.error

    @property
    def reason(self) -> str | None:
        """Why it was skipped or cancelled."""
        return self._state.reason

    @property
    def started_at(self) -> datetime | None:
        """When the current visit began."""
        return self._state.started_at

    @property
    def completed_at(self) -> datetime | None:
        """When the current visit ended."""
        return self._state.completed_at

    @property
    def approval(self) -> Request | None:
        """What it asks people, and what they have decided so far; None once that is enough."""
        return self._state.approval

    @property
    def execution_id(self) -> ExecutionId | None:
        """The execution that it had started last, whatever became of it; None for other types of steps."""
        return self._state.child.id if self._state.child is not None else None

    @property
    def undos(self) -> tuple[Undo, ...]:
        """Its completed visits that are undone if the execution fails or is cancelled, oldest first."""
        return self._state.undos

    @property
    def items(self) -> Items | None:
        """How far it has got with the items of its list; None where it has none."""
        return self._state.items

    @property
    def due(self) -> datetime | None:
        """When its timer or its next attempt is due."""
        return self._state.due


class ProcessExecution:
    """One execution as it was at one moment; it does not follow what happens later."""

    def __init__(
        self,
        plan: Plan,
        execution: Execution,
        loaded: Mapping[str, object],
        outputs: Mapping[str, object] | None,
    ) -> None:
        self._plan = plan
        self._execution = execution
        self._loaded = loaded
        self.outputs = outputs

    def __repr__(self) -> str:
        return f"ProcessExecution({self.id}, {self.process_name}, {self.status})"

    @property
    def id(self) -> ExecutionId:
        """The execution's id."""
        return self._execution.id

    @property
    def process_name(self) -> str:
        """The name of the process it runs."""
        return self._execution.created.process_name

    @property
    def version(self) -> str:
        """The version of the process it runs."""
        return self._execution.created.version

    @property
    def parent(self) -> Parent | None:
        """The step whose sub-process it is; None where nobody called it."""
        return self._execution.created.parent

    @property
    def definition(self) -> ProcessDefinition:
        """The definition it runs, and keeps to its end."""
        return self._plan.definition

    @property
    def status(self) -> ExecutionStatus:
        """Where it stands. What waits for people and runs nothing meanwhile reads as paused."""
        return ExecutionStatus.PAUSED if waits_for_people(self._execution) else self._execution.status

    @property
    def pause_reason(self) -> str | None:
        """Why it is paused: an operator's word, or `approval`."""
        return APPROVAL if waits_for_people(self._execution) else self._execution.head.pause_reason

    @property
    def error(self) -> Failure | None:
        """Why it failed."""
        return self._execution.head.failure if self.status is ExecutionStatus.FAILED else None

    @property
    def cost(self) -> Decimal:
        """What all attempts cost together, failed ones included."""
        return self._execution.head.cost

    @property
    def tokens(self) -> int:
        """The tokens of all attempts, failed ones included."""
        return self._execution.head.tokens

    @property
    def input(self) -> object:
        """What it was started with."""
        return self._value(self._execution.input)

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""
        return self._execution.created.timestamp

    @property
    def started_at(self) -> datetime | None:
        """When its first steps were started."""
        return self._execution.head.started_at

    @property
    def completed_at(self) -> datetime | None:
        """When it ended."""
        return self._execution.head.completed_at

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """What it waits for; empty once it has ended."""
        return blockers(self._execution)

    @cached_property
    def step_executions(self) -> Mapping[str, StepExecution]:
        """Every step of the process by id, in definition order."""
        steps = self._plan.steps
        return MappingProxyType(
            {
                step_id: StepExecution(
                    step_id,
                    steps[step_id].type,
                    self._execution.step(step_id),
                    self._value(self._execution.step(step_id).output),
                    self._value(self._execution.step(step_id).errors or NULL),
                )
                for step_id in self._plan.order
            }
        )

    def _value(self, value: Value) -> object:
        return value.data if value.ref is None else self._loaded[value.ref.sha256]


async def view(plan: Plan, execution: Execution, storage: OutputStorage) -> ProcessExecution:
    """The view of an execution, with every large value that it refers to loaded."""
    loaded: dict[str, object] = {}
    steps = execution.steps.values()
    for value in (execution.input, *(state.output for state in steps), *(state.errors for state in steps)):
        if value is not None and value.ref is not None:
            loaded[value.ref.sha256] = await storage.unpack(value)
    outputs = execution.head.outputs
    unpacked = cast("dict[str, object]", await storage.unpack(outputs)) if outputs is not None else None
    return ProcessExecution(plan, execution, loaded, unpacked)
