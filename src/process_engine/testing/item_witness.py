"""The rules of `for_each` told once more, from definition and events alone; part of the `Witness`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from process_engine.core import events as e
from process_engine.core.values import Value, pack
from process_engine.definition.document import ForEach, ProcessDefinition


@dataclass
class SeenItem:
    """An item that has begun and not ended."""

    attempt: int
    running: bool = True
    due: datetime | None = None
    retries: int = 0
    interruptions: int = 0


@dataclass
class SeenItems:
    """The items of one visit; `results` has those that ended, None for those passed over."""

    visit: int
    total: int
    next: int = 0
    open: dict[int, SeenItem] = field(default_factory=dict[int, SeenItem])
    results: dict[int, Value | None] = field(default_factory=dict[int, Value | None])
    fresh: bool = True

    @property
    def slots(self) -> int:
        """One for each item that runs, and one for putting together what they gave."""
        running = sum(1 for item in self.open.values() if item.running)
        return running or int(len(self.results) == self.total)


class ItemWitness:
    """Follows the items of all steps that have `for_each`; `demand` objects to what rules do not allow."""

    def __init__(self, definition: ProcessDefinition, demand: Callable[[bool, str], None]) -> None:
        self.rules: dict[str, ForEach] = {
            step.id: step.for_each for step in definition.steps if step.for_each is not None
        }
        self.visits: dict[str, SeenItems] = {}
        self._demand = demand

    def slots(self, step_id: str) -> int:
        """The slots that a running step holds."""
        return self.visits[step_id].slots if step_id in self.rules else 1

    def may_complete(self, step_id: str) -> bool:
        """Whether what runs now may complete the visit of a running step."""
        if step_id not in self.rules:
            return True
        seen = self.visits[step_id]
        running = sum(1 for item in seen.open.values() if item.running)
        return len(seen.results) + running == seen.total

    def begins(self, event: e.StepStarted) -> None:
        """A visit begins; one that is taken up again goes on with the items that have not ended."""
        self._demand(
            (event.items is not None) is (event.step_id in self.rules), f"{event.step_id}: items of no list"
        )
        if event.items is None:
            return
        known = self.visits.get(event.step_id)
        if known is None or known.visit != event.visit:
            self.visits[event.step_id] = SeenItems(event.visit, event.items)
            return
        self._demand(known.total == event.items, f"{event.step_id}: another list than before")
        known.fresh = True

    def ends(self, step_id: str) -> None:
        """A visit ends: what is open would be begun anew, with all its tries."""
        if step_id in self.visits:
            for item in self.visits[step_id].open.values():
                item.running, item.due, item.retries = False, None, 0

    def starts(self, event: e.ItemStarted) -> SeenItem | None:
        """An attempt begins; the answer is the item as it was, None for one that is new."""
        seen, place = self._of(event), f"item {event.item} of {event.step_id}"
        self._demand(event.item not in seen.results, f"{place} has ended and begins again")
        before = seen.open.get(event.item)
        if before is None:
            self._demand(event.item == seen.next, f"{place} begins, and number {seen.next} is next")
            self._demand(event.attempt == 1, f"{place} begins with attempt {event.attempt}")
            seen.next += 1
            seen.open[event.item] = SeenItem(1)
        else:
            self._demand(not before.running, f"{place} runs already")
            self._demand(event.attempt == before.attempt + 1, f"{place}: attempt {event.attempt} is not next")
            due = before.due
            self._demand(due is None or event.timestamp >= due, f"{place} is tried again before {due}")
            before.attempt, before.running, before.due = event.attempt, True, None
        most = self.rules[event.step_id].max_concurrency
        self._demand(len(seen.open) <= most, f"{len(seen.open)} items of {event.step_id} are open")
        seen.fresh = False
        return before

    def answers(self, event: e.ItemEvent) -> SeenItem:
        """An attempt ends; the answer is the item as it was."""
        seen = self._of(event)
        item = seen.open.get(event.item)
        runs = item is not None and item.running and item.attempt == event.attempt
        self._demand(runs, f"{event.type} of item {event.item} of {event.step_id}, which does not run")
        assert item is not None
        passed_over = self.rules[event.step_id].on_item_error == "collect"
        match event:
            case e.ItemCompleted():
                seen.results[event.item] = event.output
                del seen.open[event.item]
            case e.ItemFailed() if passed_over:
                seen.results[event.item] = None
                del seen.open[event.item]
            case e.ItemRetrying():
                item.running, item.due = False, event.due
            case _:
                item.running = False
        return item

    def completes(self, event: e.StepCompleted) -> None:
        """The step gives what its items gave, in the order of the list."""
        seen = self.visits[event.step_id]
        missing = [index for index in range(seen.total) if index not in seen.results]
        self._demand(not missing, f"{event.step_id} completes without items {missing}")
        given = [seen.results[index] for index in range(seen.total)]
        if all(value is None or value.ref is None for value in given):
            expected, _ = pack([value.data if value is not None else None for value in given])
            self._demand(event.output == expected, f"{event.step_id} gives what its items did not")
        told = event.errors.data if event.errors is not None else None
        failed = [index for index, value in enumerate(given) if value is None]
        self._demand(
            isinstance(told, list) and [error["index"] for error in told] == failed,  # type: ignore[index]
            f"{event.step_id} tells of other errors than there were in {failed}",
        )

    def forgotten(self, step_id: str) -> bool:
        """Whether a running step has an item to begin for which it waits for nothing but a slot."""
        seen = self.visits.get(step_id)
        if seen is None:
            return False
        again = any(not item.running and item.due is None for item in seen.open.values())
        room = len(seen.open) < self.rules[step_id].max_concurrency
        return again or (seen.next < seen.total and room)

    def _of(self, event: e.ItemEvent) -> SeenItems:
        seen = self.visits.get(event.step_id)
        self._demand(seen is not None, f"{event.type} of {event.step_id}, which runs no items")
        assert seen is not None
        self._demand(event.visit == seen.visit, f"{event.type} of visit {event.visit} in visit {seen.visit}")
        self._demand(0 <= event.item < seen.total, f"{event.step_id} has no item {event.item}")
        return seen
