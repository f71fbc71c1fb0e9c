"""The templates that come with the engine: processes to begin from, each with its tests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from process_engine.definition.problems import did_you_mean
from process_engine.errors import NotFound

_SUFFIX = ".yaml"
_TESTS = ".test.yaml"
_NAME = re.compile(r"^name: \S+$", re.MULTILINE)
_PROCESS = re.compile(r"^process: \S+$", re.MULTILINE)
# The first comment of a template is what it is about, up to its first full stop.
_ABOUT = re.compile(r"\A((?:# .*\n)+)")


class Template(NamedTuple):
    """A process, those that it runs, and its tests, as text; `about` says in a sentence what it is.

    `parts` are by their names, each of which begins with the name of the template and a hyphen.
    """

    name: str
    about: str
    process: str
    parts: Mapping[str, str]
    tests: str

    def named(self, name: str, file: str) -> Template:
        """The template as the process `name` in a file called `file`."""
        renamed = {part: f"{name}{part.removeprefix(self.name)}" for part in self.parts}
        process = _NAME.sub(f"name: {name}", self.process, count=1)
        for part, new in renamed.items():
            process = process.replace(f"process: {part}\n", f"process: {new}\n").replace(
                f"{part}{_SUFFIX}", f"{new}{_SUFFIX}"
            )
        parts = {new: _NAME.sub(f"name: {new}", self.parts[part], count=1) for part, new in renamed.items()}
        tests = _PROCESS.sub(f"process: {file}", self.tests, count=1)
        return Template(name, self.about, process, parts, tests)


def template_names() -> Sequence[str]:
    """Their names, in order."""
    # What has no tests of its own is a part of another one.
    return sorted(name.removesuffix(_TESTS) for name in _files() if name.endswith(_TESTS))


def template(name: str) -> Template:
    """The template of that name.

    Raises:
        NotFound: there is none.
    """
    known = template_names()
    if name not in known:
        raise NotFound(
            f"there is no template {name}.",
            remedy=f"{did_you_mean(name, known)} `process-engine new --list` tells which there are.".strip(),
        )
    process = _text(f"{name}{_SUFFIX}")
    parts = {part: _text(f"{part}{_SUFFIX}") for part in _parts_of(name)}
    return Template(name, _about(process), process, parts, _text(f"{name}{_TESTS}"))


def _parts_of(name: str) -> Sequence[str]:
    files = [file for file in _files() if file.startswith(f"{name}-") and not file.endswith(_TESTS)]
    parts = [file.removesuffix(_SUFFIX) for file in files]
    return sorted(part for part in parts if part not in template_names())


def _files() -> Sequence[str]:
    return [entry.name for entry in _folder().iterdir() if entry.name.endswith(_SUFFIX)]


def _about(process: str) -> str:
    comment = _ABOUT.match(process)
    words = " ".join(line.removeprefix("# ") for line in comment[1].splitlines()) if comment else ""
    return words.partition(". ")[0].removesuffix(".") + "."


def _text(name: str) -> str:
    return (_folder() / name).read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("process_engine") / "templates"
