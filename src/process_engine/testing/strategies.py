"""Strategies for property tests with Hypothesis, which has to be installed to import this module."""

from __future__ import annotations

from random import Random

from hypothesis import strategies

from process_engine.definition.document import ProcessDefinition
from process_engine.testing.random_processes import random_process


def processes(name: str = "example") -> strategies.SearchStrategy[ProcessDefinition]:
    """Process definitions of every shape, up to 40 steps; each passes the static checks.

    Gateways, loops, joins, retries, timers, `goto`, skips, limits and expressions, in combinations nobody
    would think of. A failing example shrinks to fewer steps and fewer constructs.
    """

    def drawn(rng: Random) -> ProcessDefinition:
        return random_process(rng, name)

    return strategies.randoms(use_true_random=False).map(drawn)
