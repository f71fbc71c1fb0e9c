"""`test`: the tests of processes that people write beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from process_engine.cli import outcomes
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.tools import Tools, TriedTest
from process_engine.errors import NotFound

PATTERNS = ("*.test.yaml", "*.test.yml")


def test(tools: Tools, *, files: Sequence[Path], as_json: bool, no_color: bool) -> int:
    """Carry out every test in the files, and tell each; 0 where all pass."""
    try_tests, screen = tools.try_tests, Screen(no_color=no_color)
    passed = failed = 0
    told: list[dict[str, object]] = []
    for path in _tests_in(files):
        for tried in try_tests(path):
            passed, failed = passed + (not tried.mismatches), failed + bool(tried.mismatches)
            if as_json:
                told.append(_document(path, tried))
            else:
                _tell(path, tried, screen)
    if as_json:
        print_document({"passed": passed, "failed": failed, "tests": told})
    else:
        screen.say(f"{passed} passed" + (f", {failed} failed." if failed else "."))
    return outcomes.FAILED if failed else outcomes.COMPLETED


def _tests_in(files: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those below directories, in the order of their names."""
    for path in files:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for pattern in PATTERNS for file in path.rglob(pattern))
        if not found:
            raise NotFound(
                f"there are no tests in {path}.", remedy="Files of tests are named like order.test.yaml."
            )
        yield from found


def _tell(path: Path, tried: TriedTest, screen: Screen) -> None:
    mark = Text("failed", style="bold red") if tried.mismatches else Text("passed", style="green")
    screen.say(Text.assemble(mark, f"  {path}:{tried.line}  {tried.name}"))
    for mismatch in tried.mismatches:
        screen.say(f"        {mismatch}")


def _document(path: Path, tried: TriedTest) -> dict[str, object]:
    return {
        "file": str(path),
        "line": tried.line,
        "name": tried.name,
        "passed": not tried.mismatches,
        "mismatches": list(tried.mismatches),
    }
