"""Runs tests of processes with pytest: files `*.test.yaml`, and a fixture for tests in Python.

Loaded by pytest itself wherever the package is installed; `-p no:process_engine` leaves it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from process_engine.testing.process_tests import ReadTests
    from process_engine.testing.trial import Trial

SUFFIXES = (".test.yaml", ".test.yml")

TryProcess = Callable[..., "Trial"]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take files of process tests, and no others."""
    if file_path.name.endswith(SUFFIXES):
        # pytest does not say what its constructors of nodes take.
        return ProcessTestFile.from_parent(parent, path=file_path)  # pyright: ignore[reportUnknownMemberType]
    return None


class ProcessTestFile(pytest.File):
    """A file of tests of one process."""

    def collect(self) -> Iterator[pytest.Item]:
        """Each test of the file, by its name."""
        # Loaded here: a run of pytest without such files must not wait for an engine.
        from process_engine.testing.process_tests import read_process_tests

        read = read_process_tests(self.path)
        for number, test in enumerate(read.tests.tests):
            item = ProcessTestItem.from_parent(self, name=test.name)  # pyright: ignore[reportUnknownMemberType]
            yield item.about(read, number)


class Mismatch(Exception):
    """A process did not do what its test says."""


class ProcessTestItem(pytest.Item):
    """One test of a process."""

    _read: ReadTests
    _number: int

    def about(self, read: ReadTests, number: int) -> Self:
        """Let it carry out the test of this number."""
        self._read, self._number = read, number
        return self

    def runtest(self) -> None:
        """Carry it out; every difference is told at once."""
        from process_engine.testing.trial import try_process

        read = self._read
        test = read.tests.tests[self._number]
        trial = asyncio.run(try_process(read.definition, test, read.tests.given, read.parts))
        if not trial.passed:
            raise Mismatch("\n".join(trial.mismatches))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The differences, without the way through the code to them."""
        if isinstance(excinfo.value, Mismatch):
            line = self._read.line_of(self._number)
            return f"{self.path}:{line}: {self.name}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the test stands."""
        return self.path, self._read.line_of(self._number) - 1, f"{self.path.name}: {self.name}"


@pytest.fixture
def try_process() -> TryProcess:
    """Tries a process from Python: `try_process("file.yaml", given=…, when=…, then=…)`.

    The keys are those of a test file; the path is taken from the current directory. It returns the `Trial`,
    after failing the test where `then` does not hold.
    """
    from process_engine.testing.trial import try_file

    def attempt(
        process: str | Path,
        *,
        given: Mapping[str, object] | None = None,
        when: object = (),
        then: Mapping[str, object] | None = None,
    ) -> Trial:
        trial = try_file(Path(process), given=given or {}, when=when, then=then or {})
        if not trial.passed:
            pytest.fail("\n".join(trial.mismatches), pytrace=False)
        return trial

    return attempt
