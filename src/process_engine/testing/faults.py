"""What goes wrong between a simulated process and its store."""

from __future__ import annotations

from random import Random

from process_engine.testing.simulated_ports import WRITES, Operation

_CRASHES = ("crash before", "crash after")

FAILURES: dict[str, tuple[bool, bool | None]] = {
    "refused": (False, True),
    "acknowledgement lost": (True, None),
    "lost": (False, None),
    "failed but written": (True, False),
}
"""Each way to fail: whether the operation comes about all the same, and the `nothing_written` told."""

FAULTS = (
    *(f"{fate} {name}" for fate in (*_CRASHES, *FAILURES) for name in sorted(WRITES)),
    "crash before read",
    "refused read",
    "crash between operations",
    "takeover",
    "stop",
    "outage",
    "clock set back",
    "the engine gave up",
)
"""Every kind of fault that a simulation tells of."""


class Fates:
    """Draws what becomes of operations. Some simulations are calm, some hardly get a commit through."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._rate = rng.choice((0.0, 0.01, 0.03, 0.15))
        # How often an answer of the store takes a while, so that others overtake it.
        self._delay_rate = rng.choice((0.0, 0.1, 0.5))
        self._outage = 0

    @property
    def is_out(self) -> bool:
        """Whether the store does not answer at all for now."""
        return self._outage > 0

    def begin_outage(self) -> None:
        """Nothing comes about for a while; long enough, now and then, for the engine to give up."""
        self._outage = self._rng.choice((3, 9, 9))

    def is_delayed(self) -> bool:
        """Whether who asked hears of it only later."""
        return self._rng.random() < self._delay_rate

    def draw(self, operation: Operation, *, beginning: bool) -> str | None:
        """How an operation goes wrong, if it does; while a process begins, everything depends on each."""
        if self._outage:
            self._outage -= 1
            return "refused"
        if self._rng.random() >= (self._rate * 2 if beginning else self._rate):
            return None
        if operation.name in WRITES:
            return self._rng.choice((*_CRASHES, *FAILURES))
        return self._rng.choice(("crash before", "refused"))
