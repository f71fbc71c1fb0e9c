"""The codes that an execution records, and the tree of refusals."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from process_engine import core
from process_engine import errors as tree
from process_engine.core.failures import CODES, TRANSIENT
from process_engine.errors import ProcessEngineError
from tools.reference.markdown import code, paragraphs, table

PACKAGE = Path(core.__file__).parents[1]


def recorded() -> str:
    """Every recorded code; those that nothing in the package records are reserved."""
    rows = (
        (code(name), _when(name, told), "yes" if name in TRANSIENT else "no") for name, told in CODES.items()
    )
    return table(("code", "when", "transient"), rows)


def _when(name: str, told: str) -> str:
    return told if name in _used() else f"{told} *Reserved: this version never records it.*"


@cache
def _used() -> frozenset[str]:
    """The codes that are named where executions are decided and attempts made, outside their list."""
    folders = ("core", "runtime", "handlers", "agents", "channels", "definition")
    sources = [path for folder in folders for path in (PACKAGE / folder).glob("*.py")]
    return frozenset(
        name
        for path in sources
        if path.name != "failures.py"
        for name in re.findall(r'"([A-Z][A-Z_]+)"', path.read_text(encoding="utf-8"))
    )


def refusals() -> str:
    """Every class of the tree with its code, in the order of the source."""
    kinds = [
        kind
        for kind in vars(tree).values()
        if isinstance(kind, type) and issubclass(kind, ProcessEngineError)
    ]
    rows = (
        (code(kind.__name__), code(kind.code), code(kind.__mro__[1].__name__), " ".join(_told(kind)))
        for kind in kinds
    )
    return table(("class", "code", "is a", "when"), rows)


def _told(kind: type[ProcessEngineError]) -> list[str]:
    return paragraphs(kind.__doc__ or "")
