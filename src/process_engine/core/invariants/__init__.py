"""What must hold after every commit, as code. Simulation, contract tests and debug mode check it.

Each function takes an `Audit` and raises `BrokenInvariant`; `ALL` lists them by their number in the
specification of behaviour. They are written from the history alone where that is possible, so that a fault in
`decide` or `evolve` cannot hide behind itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from process_engine.core.invariants.audit import Audit, BrokenInvariant
from process_engine.core.invariants.children import child_agrees, children_agree, children_bind
from process_engine.core.invariants.history import (
    costs_add_up,
    nothing_starts_after_the_end,
    replay_equals_state,
    results_are_final,
    sequences_have_no_gaps,
)
from process_engine.core.invariants.items import items_add_up
from process_engine.core.invariants.mail import events_are_taken_once
from process_engine.core.invariants.paths import edges_allow_starts, edges_are_derived, no_way_around
from process_engine.core.invariants.people import approvals_bind
from process_engine.core.invariants.undo import compensation_ran_in_reverse
from process_engine.core.invariants.waits import slots_hold, something_is_waited_for, timers_end_once
from process_engine.ids import ExecutionId

__all__ = [
    "ALL",
    "Audit",
    "BrokenInvariant",
    "approvals_bind",
    "check",
    "child_agrees",
    "children_agree",
    "children_bind",
    "compensation_ran_in_reverse",
    "costs_add_up",
    "edges_allow_starts",
    "edges_are_derived",
    "events_are_taken_once",
    "items_add_up",
    "no_way_around",
    "nothing_starts_after_the_end",
    "replay_equals_state",
    "results_are_final",
    "sequences_have_no_gaps",
    "slots_hold",
    "something_is_waited_for",
    "starts_are_kept",
    "timers_end_once",
]


def starts_are_kept(acknowledged: Mapping[ExecutionId, object], stored: Mapping[ExecutionId, object]) -> None:
    """I10: a start that was answered with success is never lost."""
    for execution_id in acknowledged:
        if execution_id not in stored:
            raise BrokenInvariant(
                "I10", execution_id, "its start was acknowledged, and the store has no such execution"
            )


ALL: Mapping[str, Callable[[Audit], None]] = MappingProxyType(
    {
        "I1": replay_equals_state,
        "I2": edges_allow_starts,
        "I2b": edges_are_derived,
        "I3": no_way_around,
        "I3b": approvals_bind,
        "I4": results_are_final,
        "I4b": items_add_up,
        "I5": sequences_have_no_gaps,
        "I6": nothing_starts_after_the_end,
        "I7": something_is_waited_for,
        "I8": timers_end_once,
        "I8b": events_are_taken_once,
        "I9": slots_hold,
        "I11": children_bind,
        "I12": compensation_ran_in_reverse,
        "I13": costs_add_up,
    }
)
"""Every invariant of one execution; I10 and `children_agree` look at a whole store."""


def check(audit: Audit) -> None:
    """Check every invariant of one execution.

    Raises:
        BrokenInvariant: the first that does not hold.
    """
    for invariant in ALL.values():
        invariant(audit)
