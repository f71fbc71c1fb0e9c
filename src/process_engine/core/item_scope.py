"""What the expressions of one item can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from process_engine.core.evolve import Evolution
from process_engine.core.item_runs import LIST, STEPS
from process_engine.core.plan import Plan, StepPlan
from process_engine.core.scope import ExecutionScope, ValueNotLoaded
from process_engine.core.state import Execution
from process_engine.core.values import Value
from process_engine.definition.expressions import MISSING
from process_engine.errors import InternalError


class ItemScope:
    """Reads what an execution holds, and `item` and `index` beside it.

    `loaded` holds large values by SHA-256, decoded: they are read again for every item. What the list was
    recorded with comes before what other steps say by now, so that all items and all attempts read the same.

    Raises (from `root` and `step`):
        ValueNotLoaded: a large value is needed that `loaded` does not hold.
    """

    def __init__(
        self, plan: Plan, execution: Execution, step: StepPlan, index: int, loaded: Mapping[str, object]
    ) -> None:
        state = execution.step(step.id)
        if step.items is None or state.request is None:
            raise InternalError(f"step {step.id} of {execution.id} runs no items.")
        self._execution = execution
        self._loaded = loaded
        self._around = ExecutionScope(Evolution(plan, execution), {})
        asked = cast("Mapping[str, object]", self._open(state.request))
        self._steps = cast("Mapping[str, Mapping[str, list[object]]]", asked[STEPS])
        item = cast("list[object]", asked[LIST])[index]
        self._own: dict[str, object] = {"item": item, step.items.variable: item, "index": index}

    def root(self, name: str) -> object:
        """The value of a root other than `steps`."""
        if name in self._own:
            return self._own[name]
        return self._open(self._execution.input) if name == "input" else self._around.root(name)

    def step(self, step_id: str, field: str) -> object:
        """A field of a step."""
        recorded = self._steps.get(step_id)
        if recorded is not None and field in recorded:
            return next(iter(recorded[field]), MISSING)
        state = self._execution.steps.get(step_id)  # type: ignore[call-overload]
        if field == "output" and state is not None and state.output.ref is not None:
            return self._open(state.output)
        return self._around.step(step_id, field)

    def _open(self, value: Value) -> object:
        if value.ref is None:
            return value.data
        if value.ref.sha256 not in self._loaded:
            raise ValueNotLoaded(value.ref)
        return self._loaded[value.ref.sha256]
