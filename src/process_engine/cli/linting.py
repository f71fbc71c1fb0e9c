"""`lint` and `fmt`: processes looked through as their authors want it, and brought into one form."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from process_engine.cli import outcomes
from process_engine.cli.documents import Document
from process_engine.cli.printing import print_document
from process_engine.cli.reporting import Reporter
from process_engine.cli.screen import Screen
from process_engine.cli.text import printable
from process_engine.cli.tools import Tools
from process_engine.cli.validating import known_names, problem_document, read_text
from process_engine.definition.checking import check
from process_engine.definition.checking.across import check_across
from process_engine.definition.formatting import format_text
from process_engine.definition.parsing import parse
from process_engine.definition.problems import Level, Problem, has_errors, in_reading_order

_LEVELS: tuple[tuple[Level, str], ...] = (("error", "error"), ("warning", "warning"), ("info", "note"))


# ---------------------------------------------------------------- lint


def lint(
    tools: Tools, *, files: Sequence[Path], agents: Path | None, strict: bool, as_json: bool, no_color: bool
) -> int:
    """Every check on every file, and those that look at all of them together."""
    found, remarks = _looked_through(files, agents)
    counts: Counter[str] = Counter(problem.level for problems in found.values() for problem in problems)
    failed = counts["error"] > 0 or (strict and counts["warning"] > 0)
    if as_json:
        print_document(_lint_document(found, counts, passed=not failed))
    else:
        reporter = Reporter(as_json=False, no_color=no_color)
        reporter.problems((one for problems in found.values() for one in problems), to_stderr=False)
        click.echo(_count_line(len(found), counts))
        for remark in remarks:
            click.echo(printable(remark), err=True)
    return outcomes.REFUSED if failed else outcomes.COMPLETED


def _looked_through(
    files: Sequence[Path], agents: Path | None
) -> tuple[dict[str, list[Problem]], Sequence[str]]:
    """The problems of each file, in reading order; and remarks on what was not looked at."""
    remarks: dict[str, None] = {}
    found: dict[str, list[Problem]] = {}
    read = {str(file): parse(read_text(file), filename=str(file)) for file in files}
    for name, document in read.items():
        known, ways, remark = known_names(agents, Path(name))
        remarks |= {remark: None} if remark else {}
        found[name] = [*document.problems, *check(document, agents=known, channels=ways)]
    for problem in check_across(list(read.values())):
        found[problem.filename].append(problem)
    return {name: list(in_reading_order(problems)) for name, problems in found.items()}, list(remarks)


def _lint_document(found: dict[str, list[Problem]], counts: Counter[str], *, passed: bool) -> Document:
    return {
        "passed": passed,
        "counts": {level: counts[level] for level, _ in _LEVELS},
        "files": [
            {
                "file": name,
                "valid": not has_errors(problems),
                "problems": list(map(problem_document, problems)),
            }
            for name, problems in found.items()
        ],
    }


def _count_line(files: int, counts: Counter[str]) -> str:
    told = [_counted(counts[level], word) for level, word in _LEVELS if counts[level]]
    return f"{_counted(files, 'file')}: {', '.join(told) or 'nothing to remark'}."


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# ---------------------------------------------------------------- fmt


class _Made(NamedTuple):
    file: Path
    before: bytes
    after: bytes
    rewritten: Sequence[Problem]

    @property
    def changed(self) -> bool:
        return self.before != self.after


def fmt(
    tools: Tools,
    *,
    files: Sequence[Path],
    only_check: bool,
    show_diff: bool,
    as_json: bool,
    no_color: bool,
) -> int:
    """Bring files into the canonical form; where one of them cannot be, none is touched."""
    made = [_formatted(file) for file in dict.fromkeys(files)]
    changed = [one for one in made if one.changed]
    look_only = only_check or show_diff
    if not look_only:
        for one in changed:
            _replace(one.file, one.after)
    if as_json:
        print_document([_fmt_document(one) for one in made])
    else:
        _tell(made, Screen(no_color=no_color), show_diff=show_diff, look_only=look_only)
    return outcomes.DIFFERENT if look_only and changed else outcomes.COMPLETED


def _formatted(file: Path) -> _Made:
    before = read_text(file)
    text, rewritten = format_text(before, filename=str(file))
    return _Made(file, before, text.encode(), rewritten)


def _replace(file: Path, content: bytes) -> None:
    """Write the file anew, all of it or nothing; a link stays one, and the rights stay as they are."""
    target = file.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        shutil.copymode(target, name)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _tell(made: Iterable[_Made], screen: Screen, *, show_diff: bool, look_only: bool) -> None:
    for one in made:
        if not one.changed:
            continue
        if show_diff:
            _tell_diff(one, screen)
        else:
            why = _why(one.rewritten)
            screen.say(f"{one.file} {'would be' if look_only else 'was'} rewritten{why}.")
    unchanged = sum(not one.changed for one in made)
    if unchanged and not show_diff:
        screen.say(f"{_counted(unchanged, 'file')} unchanged.", "dim")


def _why(rewritten: Sequence[Problem]) -> str:
    return f": {_counted(len(rewritten), 'old spelling')}" if rewritten else ""


def _tell_diff(one: _Made, screen: Screen) -> None:
    before, after = (text.decode(errors="replace").split("\n") for text in (one.before, one.after))
    name = str(one.file)
    for line in difflib.unified_diff(before, after, name, f"{name} (formatted)", lineterm=""):
        screen.say(line, {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


def _fmt_document(one: _Made) -> Document:
    return {
        "file": str(one.file),
        "changed": one.changed,
        "rewritten": [problem_document(problem) for problem in one.rewritten],
    }
