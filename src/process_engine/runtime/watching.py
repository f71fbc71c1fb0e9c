"""Those who wait for something to become of an execution, and of the children that it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from process_engine.core.state import Execution
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.runtime.loop import Loop
from process_engine.runtime.ports import Clock
from process_engine.runtime.settling import awaited

Predicate = Callable[[Execution], bool]
Settles = Callable[[Execution, datetime, Collection[ExecutionId]], bool]
"""Whether an execution has settled at a time, where these of its children have without having ended."""


class Watchers:
    """Waits, on behalf of callers, for what commits make of executions.

    `adopted` are the executions that are driven here: of others nothing is to be expected. `is_busy` says of
    an execution that something is on its way to it which no state shows.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        clock: Clock,
        adopted: Collection[ExecutionId],
        is_busy: Callable[[ExecutionId], bool],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._adopted = adopted
        self._is_busy = is_busy
        self._watchers: dict[ExecutionId, list[tuple[Predicate, asyncio.Future[Execution]]]] = {}
        # Those who look again whatever the news is.
        self._lookers: set[asyncio.Future[Execution]] = set()

    # ------------------------------------------------------------ news

    def watch(self, execution_id: ExecutionId) -> bool:
        """Whether anybody waits for news of this execution."""
        return execution_id in self._watchers

    def tell(self, execution: Execution, *, quiet: bool = False) -> None:
        """Something was committed about this execution, or (`quiet`) nothing is on its way to it any more."""
        for predicate, future in self._watchers.get(execution.id, ()):
            if not future.done() and (predicate(execution) or (quiet and future in self._lookers)):
                future.set_result(execution)

    def give_up(self, error: ProcessEngineError) -> None:
        """Nothing more will be committed."""
        for watchers in self._watchers.values():
            for _, future in watchers:
                if not future.done():
                    future.set_exception(error)

    # ------------------------------------------------------------ waiting

    async def settled(self, execution_id: ExecutionId, settles: Settles) -> Execution:
        """The execution once it has settled, children included.

        Raises:
            NotFound: there is no such execution.
            StorageError: the store failed for good, the engine has stopped.
        """
        while True:
            # First as if each child had settled; whether it has is looked at when nothing else is left.
            found = await self._watch(execution_id, lambda now: self._settles(now, settles, awaited(now)))
            seen: dict[ExecutionId, int] = {}
            if not awaited(found) or execution_id not in self._adopted:
                return found
            if await self._rests(found, settles, seen):
                return found
            await self._change_of(seen)

    async def _watch(self, execution_id: ExecutionId, predicate: Predicate) -> Execution:
        if self._loop.failure is not None:
            raise self._loop.failure
        # Watch first, then look: what is committed in between is told, never missed.
        future = self._watcher(execution_id, predicate)
        try:
            found = await self._loop.require(execution_id)
            # What was found may be older than what was told meanwhile; its end disowns an execution, too.
            if predicate(found) or (execution_id not in self._adopted and not future.done()):
                return found
            with self._clock.idle():
                return await future
        finally:
            future.cancel()
            self._forget((execution_id,))

    async def _rests(self, execution: Execution, settles: Settles, seen: dict[ExecutionId, int]) -> bool:
        """Whether an execution has settled, children included; `seen` gets the last event of each."""
        seen[execution.id] = execution.head.sequence
        quiet: set[ExecutionId] = set()
        for child_id in awaited(execution):
            child = await self._loop.fetch(child_id)
            seen[child_id] = 0 if child is None else child.head.sequence
            parent = child.created.parent if child is not None else None
            if child is None or child.status.is_final or (parent is not None and not parent.waits):
                # It is about to begin, or its end, or that it began, about to be told.
                continue
            if child_id not in self._adopted or await self._rests(child, settles, seen):
                quiet.add(child_id)
        return self._settles(execution, settles, quiet)

    def _settles(self, found: Execution, settles: Settles, quiet: Collection[ExecutionId]) -> bool:
        return settles(found, self._clock.now(), quiet) and not self._is_busy(found.id)

    async def _change_of(self, seen: Mapping[ExecutionId, int]) -> None:
        """Return once something has happened to one of these executions since its event of that number."""
        if self._loop.failure is not None:
            raise self._loop.failure
        futures = [self._watcher(id, _later_than(sequence)) for id, sequence in seen.items()]
        self._lookers.update(futures)
        try:
            for id, sequence in seen.items():
                found = await self._loop.fetch(id)
                if found is not None and found.head.sequence > sequence:
                    return
            with self._clock.idle():
                done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            self._lookers.difference_update(futures)
            self._forget(seen)

    def _watcher(self, execution_id: ExecutionId, predicate: Predicate) -> asyncio.Future[Execution]:
        future: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(execution_id, []).append((predicate, future))
        return future

    def _forget(self, ids: Iterable[ExecutionId]) -> None:
        """Drop the watchers of these executions that have heard, or do not listen any more."""
        for id in ids:
            left = [watcher for watcher in self._watchers.get(id, ()) if not watcher[1].done()]
            if left:
                self._watchers[id] = left
            else:
                self._watchers.pop(id, None)


def _later_than(sequence: int) -> Predicate:
    return lambda found: found.head.sequence > sequence
