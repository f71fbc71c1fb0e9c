"""`graph`: a process as a picture, in the words of Mermaid or as nodes and edges."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from process_engine.cli import outcomes
from process_engine.cli.printing import print_document
from process_engine.cli.store import load, reading, resolve
from process_engine.cli.tools import Tools
from process_engine.cli.validating import read_process
from process_engine.definition.document import Gateway, ProcessDefinition, Step
from process_engine.definition.graph import DependencyResolver, Edge, LoopBack
from process_engine.errors import NotFound
from process_engine.runtime.view import ProcessExecution

# Longer texts make the picture wider than a page; the process itself has them whole.
MOST_CHARACTERS = 60

_SHAPES = {"gateway": ("{", "}"), "timer": ("([", "])")}
_COLOURS = {
    "pending": "fill:#f6f8fa,stroke:#8c959f,color:#57606a",
    "ready": "fill:#ddf4ff,stroke:#0969da,color:#0a3069",
    "running": "fill:#b6e3ff,stroke:#0969da,color:#0a3069,stroke-width:3px",
    "waiting": "fill:#fff8c5,stroke:#9a6700,color:#4d2d00",
    "waiting_approval": "fill:#fff8c5,stroke:#9a6700,color:#4d2d00",
    "completed": "fill:#dafbe1,stroke:#1a7f37,color:#04260f",
    "failed": "fill:#ffebe9,stroke:#cf222e,color:#4c0014",
    "skipped": "fill:#f6f8fa,stroke:#8c959f,color:#8c959f,stroke-dasharray:4 3",
    "cancelled": "fill:#fbefff,stroke:#8250df,color:#2e1461",
}
# Characters that mean something to Mermaid or to the HTML it makes; all else stands for itself.
_SPECIAL = re.compile(r"[^\w .,:!?'()*/+=-]", re.ASCII)


def graph(tools: Tools, *, subject: str, form: str, db: Path, as_json: bool, no_color: bool) -> int:
    """The steps of a process and how they hang together; of an execution with their statuses."""
    definition, statuses = _subject(subject, db)
    resolver = DependencyResolver(definition)
    if as_json or form == "json":
        print_document(graph_document(definition, resolver, statuses))
    else:
        click.echo(mermaid(definition, resolver, statuses))
    return outcomes.COMPLETED


def _subject(subject: str, db: Path) -> tuple[ProcessDefinition, Mapping[str, str] | None]:
    """The process that a file holds or an execution runs, and where its steps stand."""
    file = Path(subject)
    if is_file(file):
        return read_process(file, None)[0], None
    if file.suffix in (".yaml", ".yml", ".json") or len(file.parts) > 1:
        raise NotFound(f"there is no file {file}.", remedy="Check the path of the process.")
    found = asyncio.run(_execution(db, subject))
    return found.definition, {step.id: str(step.status) for step in found.step_executions.values()}


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for one is none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


async def _execution(db: Path, prefix: str) -> ProcessExecution:
    async with reading(db) as reader:
        return await load(reader, await resolve(reader, prefix))


# ---------------------------------------------------------------- nodes and edges


def graph_document(
    definition: ProcessDefinition, graph: DependencyResolver, statuses: Mapping[str, str] | None
) -> dict[str, object]:
    """Nodes, edges, loops, and the steps by level, all in definition order."""
    return {
        "process": definition.name,
        "version": definition.version,
        "nodes": [_node(step, statuses) for step in definition.steps],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "kind": edge.kind,
                "condition": edge_label(definition, edge),
            }
            for edge in graph.edges
        ],
        "loops": [
            {
                "source": loop.source,
                "target": loop.target,
                "kind": loop.kind,
                "max_visits": loop.max_visits,
                "condition": loop_condition(definition, loop),
            }
            for loop in graph.loops
        ],
        "levels": graph.parallel_groups(),
    }


def _node(step: Step, statuses: Mapping[str, str] | None) -> dict[str, object]:
    node: dict[str, object] = {"id": step.id, "type": step.type, "name": step.name or step.id}
    return node if statuses is None else node | {"status": statuses[step.id]}


def edge_label(definition: ProcessDefinition, edge: Edge) -> str | None:
    """The condition of a route; None for edges without one."""
    return _route_condition(definition, edge.source, edge.target) if edge.kind == "route" else None


def loop_condition(definition: ProcessDefinition, loop: LoopBack) -> str | None:
    """The condition of a route that leads back."""
    return _route_condition(definition, loop.source, loop.target) if loop.kind == "route" else None


def _route_condition(definition: ProcessDefinition, source: str, target: str) -> str | None:
    """The conditions under which a gateway goes to a step, as they are written."""
    gateway = definition.step(source)
    assert isinstance(gateway, Gateway)
    conditions = [route.condition for route in gateway.routes if route.target == target]
    told = [condition for condition in conditions if condition is not None]
    if gateway.default_route == target:
        told.append("default")
    return " or ".join(told) or None


# ---------------------------------------------------------------- Mermaid


def mermaid(
    definition: ProcessDefinition, graph: DependencyResolver, statuses: Mapping[str, str] | None
) -> str:
    """The picture as a Mermaid flowchart; loops are dashed, and steps are numbered, not named, inside it."""
    names = {step.id: f"s{number}" for number, step in enumerate(definition.steps)}
    lines = ["flowchart TD"]
    for step in definition.steps:
        status = "" if statuses is None else f":::{statuses[step.id]}"
        begin, end = _SHAPES.get(step.type, ("[", "]"))
        lines.append(f'    {names[step.id]}{begin}"{_label(step)}"{end}{status}')
    for edge in graph.edges:
        lines.append(f"    {names[edge.source]} {_arrow(definition, edge)} {names[edge.target]}")
    for loop in graph.loops:
        lines.append(f"    {names[loop.source]} {_back(definition, loop)} {names[loop.target]}")
    lines += _classes(statuses)
    return "\n".join(lines)


def _label(step: Step) -> str:
    title = f"{step.id}: {step.name}" if step.name and step.name != step.id else step.id
    return _safe(title)


def _arrow(definition: ProcessDefinition, edge: Edge) -> str:
    match edge.kind:
        case "route":
            condition = edge_label(definition, edge)
            return f'-->|"{_safe(condition)}"|' if condition else "-->"
        case "goto":
            return '-->|"on error"|'
        case "ordering":
            return '-->|"reads"|'
        case "depends":
            return "-->"


def _back(definition: ProcessDefinition, loop: LoopBack) -> str:
    why = "on error" if loop.kind == "goto" else loop_condition(definition, loop) or "again"
    bound = f", at most {loop.max_visits} visits" if loop.max_visits is not None else ""
    return f'-.->|"{_safe(why)}{bound}"|'


def _classes(statuses: Mapping[str, str] | None) -> Iterator[str]:
    if statuses is not None:
        present = set(statuses.values())
        yield from (f"    classDef {name} {colours}" for name, colours in _COLOURS.items() if name in present)


def _safe(text: str) -> str:
    """`text` so that Mermaid shows exactly it: on one line, cut, odd characters by their numbers."""
    line = " ".join(text.split())
    cut = line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", cut)
