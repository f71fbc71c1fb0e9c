"""A child process that is spoken to through pipes, and of which nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Seconds between SIGTERM and SIGKILL: time to remove a temporary file, not to finish the work.
GRACE_SECONDS = 2.0
# Seconds that a process which has left the group may keep our pipes open after the child has ended.
DRAIN_SECONDS = 1.0
# Bytes that are moved at once: what a pipe holds on Linux.
PART_BYTES = 64 * 1024
# Bytes of the error output that are kept, from its end.
KEPT_ERROR_BYTES = 16 * 1024
# The exit code where there is none to be had, because something in this process reaps all children.
UNKNOWN_CODE = 255


class TooMuchOutput(Exception):
    """The child wrote more to its output than was allowed."""


class Child:
    """A program in a session of its own that is given bytes, and writes bytes until it ends.

    Making it starts it, in one go: there is no moment at which a cancelled caller could lose it. Whoever
    made it must await `end()`. It inherits its three pipes and no other descriptor. `asyncio.subprocess`
    would reap the child before the rest of its group could be signalled by its number.

    Raises:
        OSError: it cannot be started.
        ValueError: an argument or a variable cannot be passed on.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        given: bytes,
        max_output: int,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._exited = asyncio.Event()
        self._done_signalling = threading.Event()
        self._code = UNKNOWN_CODE
        self._max_output = max_output
        self._output = bytearray()
        self._errors = bytearray()
        self._process = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
            close_fds=True,
        )
        try:
            threading.Thread(target=self._watch, daemon=True).start()
            self._pipes = self._connected(given)
        except BaseException as error:
            self._signal(signal.SIGKILL)
            self._done_signalling.set()
            with self._process:
                raise OSError(errno.EAGAIN, str(error)) from error

    @property
    def pid(self) -> int:
        """The number of the process, of its group and of its session."""
        return self._process.pid

    @property
    def output(self) -> bytes:
        """What it has written so far."""
        return bytes(self._output)

    @property
    def errors(self) -> bytes:
        """The end of what it has written to its error output so far."""
        return bytes(self._errors[-KEPT_ERROR_BYTES:])

    async def finished(self) -> int:
        """Wait for the child to end, end what it left running in its group, and give its exit code.

        128 + n if signal n ended it, as shells have it.

        Raises:
            TooMuchOutput: it wrote too much; it may still be running.
        """
        await self._changed.wait()
        self._check_size()
        # Whoever is left would keep the pipes open: the answer is what was written when the child ended.
        self._signal(signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for pipe in self._pipes[1:]:
                    await pipe.closed.wait()
        self._check_size()
        return self._code

    async def end(self) -> None:
        """End the child and its group, politely first; again is no fault. Cancelled, it does so at once."""
        try:
            if not self._exited.is_set():
                self._signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(GRACE_SECONDS):
                        await self._exited.wait()
        finally:
            self._signal(signal.SIGKILL)
            self._done_signalling.set()
            for pipe in self._pipes:
                pipe.close()

    def _connected(self, given: bytes) -> tuple[_Sink, _Source, _Source]:
        process = self._process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("three pipes were asked for")
        return (
            _Sink(self._loop, process.stdin, given),
            _Source(self._loop, process.stdout, self._keep_output),
            _Source(self._loop, process.stderr, self._keep_errors),
        )

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so that the number can be nobody else's.
        if not self._done_signalling.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _watch(self) -> None:
        """In a thread: tell the loop of the exit, and reap the child when nobody will signal it any more."""
        code = _exit_code(self._process)
        # The loop may be gone by now; then nobody waits either.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._note_exit, code)
        self._done_signalling.wait()
        self._process.wait()

    def _note_exit(self, code: int) -> None:
        self._code = code
        self._exited.set()
        self._changed.set()

    def _check_size(self) -> None:
        if len(self._output) > self._max_output:
            raise TooMuchOutput

    def _keep_output(self, part: bytes) -> None:
        # Past the limit the rest is read and dropped, until the child has been ended.
        if len(self._output) <= self._max_output:
            self._output += part
        if len(self._output) > self._max_output:
            self._changed.set()

    def _keep_errors(self, part: bytes) -> None:
        self._errors += part
        if len(self._errors) > 2 * KEPT_ERROR_BYTES:
            del self._errors[:-KEPT_ERROR_BYTES]


class _Source:
    """A pipe that is read to its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pipe: IO[bytes], keep: Callable[[bytes], None]
    ) -> None:
        self.closed = asyncio.Event()
        self._loop = loop
        self._pipe = pipe
        self._keep = keep
        os.set_blocking(pipe.fileno(), False)
        loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            part = os.read(self._pipe.fileno(), PART_BYTES)
        except BlockingIOError:
            return
        if part:
            self._keep(part)
        else:
            self.close()

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()


class _Sink:
    """A pipe that is given some bytes and then its end. A child that does not read them is no fault."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: IO[bytes], given: bytes) -> None:
        self.closed = asyncio.Event()
        self._loop = loop
        self._pipe = pipe
        self._left = memoryview(given)
        os.set_blocking(pipe.fileno(), False)
        loop.add_writer(pipe.fileno(), self._write)

    def _write(self) -> None:
        try:
            written = os.write(self._pipe.fileno(), self._left[:PART_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.close()
            return
        self._left = self._left[written:]
        if not self._left:
            self.close()

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._loop.remove_writer(self._pipe.fileno())
            self._pipe.close()


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process to end and leave it unreaped, where the system can do so."""
    if not hasattr(os, "waitid"):
        code = process.wait()
        return code if code >= 0 else 128 - code
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return UNKNOWN_CODE
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
