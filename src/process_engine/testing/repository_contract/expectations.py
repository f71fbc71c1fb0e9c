"""How the promises of a store are told and tested, without a test framework's help."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from process_engine.errors import ProcessEngineError
from process_engine.runtime.ports import ExecutionRepository

# Enough of a value to see where it differs; snapshots with large values run to megabytes.
_SHOWN = 300

Refused = TypeVar("Refused", bound=ProcessEngineError)


class ContractBroken(AssertionError):
    """A store did not do what a store has to do; the message says what, and how to see it again."""


class StillClock:
    """A clock that stands still, and counts what is under way."""

    def __init__(self) -> None:
        self.busy = 0
        self.calls = 0
        self._entered = asyncio.Event()

    def now(self) -> datetime:
        """Always the same moment."""
        return datetime(2026, 3, 1, 12, tzinfo=UTC)

    async def sleep_until(self, due: datetime) -> None:
        """Refuse: a store never waits for a time."""
        raise AssertionError("a store never waits for a time")

    async def until_busy(self) -> None:
        """Return once something has been under way since this object was made."""
        await self._entered.wait()

    @contextmanager
    def outstanding(self) -> Generator[None, None, None]:
        """Count what is under way while entered."""
        self.busy += 1
        self.calls += 1
        self._entered.set()
        try:
            yield
        finally:
            self.busy -= 1

    @contextmanager
    def idle(self) -> Generator[None, None, None]:
        """Nothing: time stands still whoever waits."""
        yield


class StoreUnderContract(ABC):
    """Says where the store comes from.

    `lives_in_its_object` is for a store whose data ends with the object: then nobody else can open it, and
    opening the same object again has to find everything.
    """

    lives_in_its_object: ClassVar[bool] = False

    @abstractmethod
    def store_at(self, place: Path) -> ExecutionRepository:
        """A store that is not open, at `place`: a directory of its own, empty at first.

        Asked again with the same directory it gives another way to the same data, as another process has.
        """
        ...


StoreAt = Callable[[Path], ExecutionRepository]
"""Gives a store that is not open, at a directory of its own; asked again, another way to the same data."""

Contract = TypeVar("Contract", bound=StoreUnderContract)
Promise = Callable[[Contract, ExecutionRepository, StillClock], Awaitable[None]]


def on_a_store(promise: Promise[Contract]) -> Callable[[Contract, Path], None]:
    """Make a test of a promise: it gets an open, empty store, and the clock that this was opened with."""

    async def keep(contract: Contract, place: Path) -> None:
        clock = StillClock()
        store = contract.store_at(place)
        await store.open(clock=clock)
        try:
            await promise(contract, store, clock)
        finally:
            await store.close()

    # Not `functools.wraps`: a test framework would then ask for the promise's arguments, not for these.
    def test(self: Contract, tmp_path: Path) -> None:
        asyncio.run(keep(self, tmp_path))

    test.__doc__ = promise.__doc__
    return test


def expect(actual: object, expected: object, what: str = "the answer") -> None:
    """Go on where the two are equal.

    Raises:
        ContractBroken: they are not; the message shows both where they begin to differ.
    """
    if actual != expected:
        raise ContractBroken(f"{what} is not what it has to be.\n{contrast(actual, expected)}")


def contrast(actual: object, expected: object, names: tuple[str, str] = ("it is", "should be")) -> str:
    """Two values, one below the other, cut to where they begin to differ."""
    one, other = repr(actual), repr(expected)
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, same - _SHOWN // 3)
    width = max(map(len, names))
    return "\n".join(
        f"  {name:>{width}}: {'…' if start else ''}{text[start : start + _SHOWN]}"
        f"{'…' if len(text) > start + _SHOWN else ''}"
        for name, text in zip(names, (one, other), strict=True)
    )


class refused(Generic[Refused]):
    """A context whose body has to be refused with an error of this kind; `error` is the one that came."""

    error: Refused

    def __init__(self, kind: type[Refused]) -> None:
        self._kind = kind

    def __enter__(self) -> refused[Refused]:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            raise ContractBroken(f"it was accepted, and should have been refused with {self._kind.__name__}.")
        if not isinstance(error, self._kind):
            return False
        self.error = error
        return True
