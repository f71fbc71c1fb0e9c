"""`new`: a process of one's own, begun from a template."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click

from process_engine.cli import outcomes, templates
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.tools import Tools
from process_engine.errors import ConfigurationInvalid

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SUFFIXES = (".yaml", ".yml")


def new(
    tools: Tools,
    *,
    template: str | None,
    file: Path | None,
    listing: bool,
    force: bool,
    as_json: bool,
    no_color: bool,
) -> int:
    """Write a process and its tests, or tell which templates there are."""
    screen = Screen(no_color=no_color)
    if listing and template is not None:
        raise click.UsageError("--list and TEMPLATE exclude each other.")
    if template is None:
        _list(screen, as_json=as_json)
        return outcomes.COMPLETED
    process = file if file is not None else Path(f"{template}.yaml")
    begun = _begin(template, process, force=force)
    if as_json:
        parts = [str(part) for part in begun.parts]
        shown = {"process": str(process), "parts": parts, "tests": str(begun.tests)}
        print_document({"template": template, **shown})
    else:
        _tell(begun, screen)
    return outcomes.COMPLETED


def _list(screen: Screen, *, as_json: bool) -> None:
    found = [templates.template(name) for name in templates.template_names()]
    if as_json:
        print_document([{"name": one.name, "about": one.about} for one in found])
        return
    width = max(len(one.name) for one in found)
    for one in found:
        screen.say(f"{one.name:<{width}}  {one.about}")
    screen.say()
    screen.say("Begin with one of them: process-engine new TEMPLATE FILE")


class _Begun(NamedTuple):
    """The files that were written: a process, those that it runs, and its tests."""

    process: Path
    parts: Sequence[Path]
    tests: Path


def _begin(name: str, process: Path, *, force: bool) -> _Begun:
    """Write the files.

    Raises:
        NotFound: there is no such template.
        ConfigurationInvalid: a file is there already or cannot be written, or its name is none for a process.
    """
    stem = _process_name(process)
    made = templates.template(name).named(stem, process.name)
    tests = process.with_name(f"{process.stem}.test{process.suffix}")
    parts = {process.with_name(f"{_checked(part)}.yaml"): text for part, text in made.parts.items()}
    texts = {tests: made.tests, **parts, process: made.process}
    there = [str(path) for path in texts if os.path.lexists(path)]
    if there and not force:
        raise ConfigurationInvalid(
            f"{' and '.join(there)} {'are' if len(there) > 1 else 'is'} there already; nothing was written.",
            remedy="Name another file, or replace what is there with --force.",
        )
    _write(texts, replace=force)
    return _Begun(process, tuple(parts), tests)


def _process_name(file: Path) -> str:
    """The name that the process gets: that of its file."""
    if file.suffix not in _SUFFIXES:
        raise ConfigurationInvalid(
            f"{file} does not end in .yaml.", remedy=f"Write it to {file.name or 'process'}.yaml, say."
        )
    return _checked(file.stem)


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ConfigurationInvalid(
            f"{name} is no name for a process.",
            remedy="Use small letters, digits, `-` and `_`, at most 64, with a letter first.",
        )
    return name


def _write(texts: Mapping[Path, str], *, replace: bool) -> None:
    """Write each file whole: nobody ever sees half of one, and none that appeared meanwhile is replaced."""
    written: list[Path] = []
    for path, text in texts.items():
        try:
            _write_one(path, text, replace=replace)
        except OSError as error:
            for other in () if replace else written:
                with suppress(OSError):
                    other.unlink()
            raise ConfigurationInvalid(
                f"{path} cannot be written: {error.strerror}.", remedy="Check its directory and your rights."
            ) from None
        written.append(path)


def _write_one(path: Path, text: str, *, replace: bool) -> None:
    descriptor, staged = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # What mkstemp makes is for its owner only; a process is a file like any other.
        os.chmod(staged, 0o666 & ~_umask())
        if replace:
            os.replace(staged, path)
        else:
            _put_where_nothing_is(staged, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged)


def _put_where_nothing_is(staged: str, path: Path) -> None:
    try:
        os.link(staged, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links: the look and the replacement are two operations there.
        if os.path.lexists(path):
            raise
        os.replace(staged, path)


def _umask() -> int:
    """What files that are made do not allow; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _tell(begun: _Begun, screen: Screen) -> None:
    written = ", ".join(str(path) for path in (begun.process, *begun.parts))
    quoted, tested = shlex.quote(str(begun.process)), shlex.quote(str(begun.tests))
    publish = shlex.join(["process-engine", "publish", *map(str, begun.parts)])
    screen.say(f"{written} and {begun.tests} are written. What comes next:")
    screen.say()
    for command, why in (
        (f"process-engine dry-run {quoted} --answers {tested}", "see every step, without calling anybody"),
        (f"process-engine test {tested}", "carry its tests out"),
        (f"process-engine validate {quoted}", "after each change"),
        *([(publish, "so that what it runs is found")] if begun.parts else []),
        (f"process-engine run {quoted}", "once agents.yaml names its agents"),
    ):
        screen.say(f"  {command}")
        screen.say(f"      {why}", style="dim")
