"""An event loop that moves only when it is told to: no selector, no threads, no time of its own."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import Context
from itertools import count
from typing import Any, cast

from process_engine.testing.simulated_time import SimulatedTime

Awaiting = Coroutine[Any, Any, Any] | Generator[Any, None, Any]

# Finished tasks are dropped from the list of all tasks when it has grown to twice this and what is open.
_FEW_TASKS = 64


class SimulatedEventLoop(asyncio.BaseEventLoop):
    """An event loop for one simulated process.

    Each `turn` makes the calls that are in line when it begins, as one round of a real loop would; what they
    put in line waits for the next. There are no threads: what is sent to an executor is done one turn later.
    Once dead it makes no call any more, whoever asks. `on_fault` is told what escaped a callback or a task.
    """

    def __init__(self, time: SimulatedTime, on_fault: Callable[[BaseException], None]) -> None:
        super().__init__()
        self.dead = False
        self._simulated_time = time
        self._on_fault = on_fault
        self._line: deque[asyncio.Handle] = deque()
        self._later: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._most_tasks = _FEW_TASKS
        self.set_task_factory(self._make_task)

    # ------------------------------------------------------------ for the simulation

    @property
    def is_busy(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._line) or self._is_due()

    @property
    def next_due(self) -> float | None:
        """When, on its clock, the first delayed call is due; None if there is none."""
        while self._later and self._later[0][2].cancelled():
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    @property
    def open_tasks(self) -> list[asyncio.Task[Any]]:
        """Every task that has not ended, in the order of their beginning."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def turn(self) -> None:
        """One round: the calls that are in line now, and the delayed ones that are due."""
        while self._is_due():
            self._line.append(heapq.heappop(self._later)[2])
        with self._being_the_running_one():
            for _ in range(len(self._line)):
                if self.dead:
                    return
                handle = self._line.popleft()
                if not handle.cancelled():
                    handle._run()  # pyright: ignore[reportPrivateUsage]

    def die(self) -> None:
        """End like a process that is killed: nothing goes on, and what was in the middle is let go of.

        Coroutines are closed; whatever their clean-up tries to do has no effect, and no failure of it counts.
        """
        self.dead = True
        self._line.clear()
        self._later.clear()
        with self._being_the_running_one():
            for task in self.open_tasks:
                coroutine = task.get_coro()
                with suppress(BaseException):
                    assert coroutine is not None
                    coroutine.close()
        self._tasks.clear()
        self.close()

    def _is_due(self) -> bool:
        due = self.next_due if self._later else None
        return due is not None and due <= self._simulated_time.elapsed

    @contextmanager
    def _being_the_running_one(self) -> Generator[None]:
        # What `run_forever` does, without the rest of it. Simulations may run inside of a real loop.
        outer = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(outer)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Awaiting, **options: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(
            cast("Coroutine[Any, Any, Any]", coroutine), loop=loop, **options
        )
        self._tasks.append(task)
        if len(self._tasks) > self._most_tasks:
            self._most_tasks = _FEW_TASKS + 2 * len(self.open_tasks)
        return task

    # ------------------------------------------------------------ for asyncio

    def time(self) -> float:
        """Simulated seconds."""
        return self._simulated_time.elapsed

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Put a call in line."""
        call = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self._line.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a call `delay` seconds from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a call at `when`; those of the same time in the order in which they were asked for."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.dead:
            heapq.heappush(self._later, (when, next(self._numbers), handle))
        return handle

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Do it in the next turn; there are no threads here."""
        done: asyncio.Future[Any] = self.create_future()
        self.call_soon(_do, done, func, args)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the simulation what escaped; a dead process reports nothing."""
        if not self.dead:
            fault = context.get("exception")
            known = isinstance(fault, BaseException)
            self._on_fault(fault if known else AssertionError(str(context["message"])))

    def get_debug(self) -> bool:
        """Never: asyncio's debug mode looks at the real clock."""
        return False


def _do(done: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if done.cancelled():
        return
    try:
        done.set_result(func(*args))
    except Exception as error:
        done.set_exception(error)
