"""Mutants: exact texts in the source, what to put in their place, and copies of the source with it done."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = "process_engine"

# What no run of a suite reads: environments, builds and the history of the checkout.
_NOT_COPIED = shutil.ignore_patterns(".*", "site", "results", "node_modules")


@dataclass(frozen=True)
class Patch:
    """A text that stands exactly once in a file of the package, and what to put in its place."""

    file: str
    old: str
    new: str

    def apply(self, source: Path) -> None:
        """Change the file below `source`.

        Raises:
            ValueError: the text is not there, or more than once.
        """
        path = source / PACKAGE / self.file
        text = path.read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} holds the text {found} times, not once: {self.old.strip()!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Mutant:
    """One way to break the engine.

    `noticed_by` are tests that have to fail then. `suffers` says what it would mean for a user. `hangs` says
    that waiting for ever is how it shows, so that a run that does not end counts as having noticed it.
    """

    name: str
    patches: tuple[Patch, ...]
    noticed_by: frozenset[str] = frozenset()
    suffers: str = ""
    hangs: bool = False


def load_mutants(suite: str) -> list[Mutant]:
    """The mutants of a suite, in the order of its file."""
    document = tomllib.loads((HERE / f"{suite}.toml").read_text(encoding="utf-8"))
    return [_mutant(entry) for entry in document["mutant"]]


def _mutant(entry: dict) -> Mutant:
    patches = [entry, *entry.get("also", [])]
    return Mutant(
        name=entry["name"],
        patches=tuple(Patch(patch["file"], patch["old"], patch["new"]) for patch in patches),
        noticed_by=frozenset(entry.get("noticed_by", ())),
        suffers=entry.get("suffers", ""),
        hangs=entry.get("hangs", False),
    )


@contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of the checkout as it is now: what somebody edits meanwhile does not reach a run."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        copy = Path(place).resolve() / "tree"
        shutil.copytree(ROOT, copy, ignore=_NOT_COPIED)
        yield copy


@contextmanager
def copied_source(tree: Path, patches: Sequence[Patch] = ()) -> Iterator[Path]:
    """A copy of the `src` of `tree` with the patches applied."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copy = Path(place).resolve() / "src"
        # With the compiled files: those of unchanged modules stay valid and save most of the start-up.
        shutil.copytree(tree / "src", copy)
        for patch in patches:
            patch.apply(copy)
            broken = copy / PACKAGE / patch.file
            for compiled in broken.parent.glob(f"__pycache__/{broken.stem}.*"):
                compiled.unlink()
        yield copy
