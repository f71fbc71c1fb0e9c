"""Steps that run once for each item of a list: the list is fixed, and items begin as there is room.

What their answers mean is in `core/item_results.py`.
"""

from __future__ import annotations

from process_engine.core import compensation
from process_engine.core import events as e
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.items import OpenItem
from process_engine.core.plan import ItemPlan, StepPlan
from process_engine.core.results import NO_USAGE
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.values import Value
from process_engine.definition.values import MAX_ITEMS, MISSING, is_list, kind
from process_engine.errors import ExpressionError, OutputTooLarge
from process_engine.ids import StepId

# 1 KiB: the list is part of the step's record, which is written again with every item. A longer one is kept
# apart, and read once.
LIST_INLINE_BYTES = 1024

LIST = "items"
STEPS = "steps"
"""The two parts of the request of such a step: the list, and what else its items are asked about."""


def begin(draft: Draft, step: StepPlan) -> Failure | None:
    """Begin the visit; an empty list completes it. A failure says why there is no list to run."""
    rules, state = step.items, draft.state.step(step.id)
    assert rules is not None
    if state.request is not None and state.items is not None:
        request, total = state.request, state.items.total
    else:
        found = _list_of(draft, step, rules)
        if isinstance(found, Failure):
            return found
        request, total = found
    draft.record_step(
        e.StepStarted,
        step.id,
        attempt=state.attempt + 1,
        step_type=step.type,
        agent=rules.agent,
        request=request,
        items=total,
    )
    if not total:
        draft.record_step(e.StepCompleted, step.id, output=Value([]), errors=Value([]), usage=NO_USAGE)
        if step.undo is not None:
            compensation.prepare(draft, step)
        draft.settled.append(step.id)
    elif (first := _startable(draft, step.id)) is not None:
        # In the slot that the step was let in for.
        start(draft, step.id, first)
    return None


def _list_of(draft: Draft, step: StepPlan, rules: ItemPlan) -> tuple[Value, int] | Failure:
    """The list as it is recorded, with what its items read elsewhere, and its length."""
    try:
        items = rules.list.render(draft.scope)
        if not is_list(items):
            return Failure("EXPRESSION_ERROR", f"for_each.items is {kind(items)}, not a list", step.id)
        if len(items) > MAX_ITEMS:
            message = f"for_each.items has {len(items):,} items, the limit is {MAX_ITEMS:,}"
            return Failure("TOO_MANY_ITEMS", message, step.id)
        asked = {LIST: items, STEPS: _passing(draft, step.id, rules)}
        return draft.pack(asked, LIST_INLINE_BYTES), len(items)
    except (ExpressionError, OutputTooLarge) as error:
        return Failure(error.code, f"for_each.items: {error}", step.id)


def _passing(draft: Draft, step_id: StepId, rules: ItemPlan) -> dict[str, dict[str, list[object]]]:
    """What items read of steps that may go on or begin anew meanwhile: every item has to read the same.

    A value stands in a list of one, and an empty list says that there was none. A settled ancestor can do
    neither without ending this visit, and need not be recorded.
    """
    read: dict[str, dict[str, list[object]]] = {}
    for source, field in sorted(rules.reads):
        if source not in draft.plan.steps:
            continue
        if draft.state.step(source).status.is_settled and draft.plan.graph.is_ancestor(source, step_id):
            continue
        value = draft.scope.step(source, field)
        read.setdefault(source, {})[field] = [] if value is MISSING else [value]
    return read


def start_some(draft: Draft) -> None:
    """Begin items as far as there is room, of the step first that has the fewest under way."""
    if not draft.plan.item_steps or draft.state.stopping is not None:
        return
    if draft.state.status is not ExecutionStatus.RUNNING or draft.state.queue:
        # Steps in line come first: a long list must not hold up another branch.
        return
    slots = draft.config.max_concurrent_steps
    while not slots or draft.state.running < slots:
        chosen = _next_item(draft)
        if chosen is None:
            return
        start(draft, *chosen)


def _next_item(draft: Draft) -> tuple[StepId, OpenItem] | None:
    best: tuple[int, StepId, OpenItem] | None = None
    for step_id in draft.plan.item_steps:
        items = draft.state.step(step_id).items
        if items is None or (best is not None and items.running >= best[0]):
            continue
        item = _startable(draft, step_id)
        if item is not None:
            best = (items.running, step_id, item)
    return best[1:] if best is not None else None


def _startable(draft: Draft, step_id: StepId) -> OpenItem | None:
    """The item of a step to begin next, if the step runs and has one."""
    state, rules = draft.state.step(step_id), draft.plan.steps[step_id].items
    if state.items is None or rules is None or state.status is not StepStatus.RUNNING:
        return None
    return state.items.startable(draft.now, rules.most_open)


def start(draft: Draft, step_id: StepId, item: OpenItem) -> None:
    """Begin an attempt of an item."""
    draft.record_step(e.ItemStarted, step_id, attempt=item.attempt, item=item.index)
