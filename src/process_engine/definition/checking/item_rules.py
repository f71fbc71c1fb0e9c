"""Rules about `for_each`: which steps may have it, what its list is, and what its items are called."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.context import Context
from process_engine.definition.checking.types import of_value
from process_engine.definition.document import ForEach, Step
from process_engine.definition.parts import Path
from process_engine.definition.problems import Problem
from process_engine.definition.syntax import ROOTS
from process_engine.definition.values import MAX_ITEMS, is_list

# What the grammar reads as something else, so that no item could be called like it.
_WORDS = frozenset({"and", "or", "not", "in", "contains", "matches", "true", "false", "null"})


def types(context: Context) -> Iterator[Problem]:
    """P616: a step that cannot run once for each item of a list."""
    for step, _, path in _loops(context):
        if not step.runs_per_item:
            message = f"`{step.id}` cannot run for each item of a list: it is of type {step.type}."
            advice = "Put the list into a step that does the work, such as an agent_task."
            yield context.problem("P616", "error", path, message, advice, at_key=True)


def variables(context: Context) -> Iterator[Problem]:
    """P617: items are called like something else that expressions read."""
    for _, rules, path in _loops(context):
        hidden = rules.variable in ROOTS and rules.variable != "item"
        if hidden or rules.variable in _WORDS:
            message = f"`{rules.variable}` means something else in expressions."
            yield context.problem("P617", "error", (*path, "as"), message, "Call the item something else.")


def lists(context: Context) -> Iterator[Problem]:
    """P618: what stands in the document as the list is none, or is too long."""
    for _, rules, path in _loops(context):
        items = rules.items
        place = (*path, "items")
        if isinstance(items, str) and "{{" in items:
            continue
        if not is_list(items):
            message = f"The items are {of_value(items)}, not a list."
            yield context.problem("P618", "error", place, message, _advice(items))
        elif len(items) > MAX_ITEMS:
            message = f"There are {len(items):,} items, the limit is {MAX_ITEMS:,}."
            yield context.problem("P618", "error", place, message, "Divide the list among several steps.")


def _advice(items: object) -> str:
    if isinstance(items, str):
        return f'Write an expression, as `"{{{{ {items} }}}}"`, or a list.'
    return 'Write a list, or an expression that yields one, as `"{{ input.rows }}"`.'


def errors_of_others(context: Context) -> Iterator[Problem]:
    """P314: `errors` of a step is read that does not run for the items of a list."""
    for site in context.sites:
        for read in site.reads:
            source = context.steps.get(read.step) if read.step is not None else None
            if read.field != "errors" or source is None or source.for_each is not None:
                continue
            message = f"`{source.id}` has no `errors`: it does not run for each item of a list."
            advice = f"Read `steps.{source.id}.error`."
            yield context.problem_in("P314", "error", site, read.offset, message, advice)


def _loops(context: Context) -> Iterator[tuple[Step, ForEach, Path]]:
    for number, step in enumerate(context.definition.steps):
        if step.for_each is not None:
            yield step, step.for_each, ("steps", number, "for_each")
