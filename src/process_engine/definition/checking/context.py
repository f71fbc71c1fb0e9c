"""What every check looks at: the definition, its graph, its expressions, and where all of it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from process_engine.definition.document import ProcessDefinition, Step
from process_engine.definition.durations import Duration
from process_engine.definition.expressions import (
    ExpressionSyntaxError,
    Read,
    compile_template,
    parse_condition,
)
from process_engine.definition.graph import DependencyResolver
from process_engine.definition.parts import Document, ExpressionKind, ExpressionSite, Path
from process_engine.definition.positions import Mark, Positions
from process_engine.definition.problems import Level, Problem
from process_engine.definition.syntax import Node, children, parse_template


@dataclass(frozen=True)
class Site:
    """One text that holds expressions: where it stands, and what it was parsed to.

    `step` is None for an output of the process. A text of a larger template is a site of its own. `whole`
    says that the text is exactly one expression. Where it cannot be parsed, `error` is set, the rest empty.
    """

    step: Step | None
    path: Path
    source: str
    kind: ExpressionKind
    nodes: tuple[Node, ...] = ()
    reads: tuple[Read, ...] = ()
    whole: bool = True
    error: ExpressionSyntaxError | None = None


@dataclass
class Context:
    """A definition with what the checks share; a draft may hold repeated ids and unknown types."""

    definition: ProcessDefinition
    agents: Collection[str] | None = None
    processes: Mapping[str, ProcessDefinition] | None = None
    positions: Positions | None = None
    faulty: frozenset[Path] = field(default_factory=frozenset[Path])
    channels: Collection[str] | None = None

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Where each step is in the definition; of repeated ids the first."""
        found: dict[str, int] = {}
        for number, step in enumerate(self.definition.steps):
            found.setdefault(step.id, number)
        return found

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        return {step_id: self.definition.steps[number] for step_id, number in self.index.items()}

    @cached_property
    def graph(self) -> DependencyResolver:
        return DependencyResolver(self.definition)

    @cached_property
    def level(self) -> Mapping[str, int]:
        """A number for each step, larger than those of all the steps it waits for."""
        groups = self.graph.parallel_groups()
        return {step_id: number for number, group in enumerate(groups) for step_id in group}

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every expression of the definition, in reading order."""
        found: list[Site] = []
        for number, step in enumerate(self.definition.steps):
            found += _sites(step, step, ("steps", number))
        for number, output in enumerate(self.definition.outputs):
            found += _sites(None, output, ("outputs", number))
        return tuple(found)

    @cached_property
    def sites_of(self) -> Mapping[str, tuple[Site, ...]]:
        """The sites of each step; of repeated ids those of the first."""
        found: dict[str, list[Site]] = {step_id: [] for step_id in self.steps}
        for site in self.sites:
            if site.step is not None and self.steps[site.step.id] is site.step:
                found[site.step.id].append(site)
        return {step_id: tuple(sites) for step_id, sites in found.items()}

    def path_of(self, step_id: str, *below: str | int) -> Path:
        return ("steps", self.index[step_id], *below)

    def problem(
        self, code: str, level: Level, path: Path, message: str, suggestion: str = "", *, at_key: bool = False
    ) -> Problem:
        """A problem at the value of `path`, or at its key."""
        mark = Mark(0, 0)
        if self.positions is not None:
            mark = self.positions.of_key(path) if at_key else self.positions.of_value(path)
        return Problem(code, level, message, *mark, suggestion, path=path)

    def problem_in(
        self, code: str, level: Level, site: Site, offset: int, message: str, suggestion: str = ""
    ) -> Problem:
        """A problem at a character of an expression."""
        mark = Mark(0, 0)
        if self.positions is not None:
            written = self.positions.text_at(site.path)
            # Outputs may be written without the braces that they have in the model.
            shift = max(site.source.find(written), 0) if written else 0
            mark = self.positions.within(site.path, max(offset - shift, 0))
        return Problem(code, level, message, *mark, suggestion, path=site.path)

    def is_faulty(self, path: Path) -> bool:
        """Whether something at, above or below `path` could not be read: what is there is unknown."""
        return any(path[: len(fault)] == fault or fault[: len(path)] == path for fault in self.faulty)


def _sites(step: Step | None, part: Document, path: Path) -> Iterator[Site]:
    for site in part.expressions():
        if site.kind == "condition":
            yield _condition_site(step, site, path + site.path)
        elif not isinstance(site.source, Duration):
            yield from _template_sites(step, site.source, path + site.path)


def _condition_site(step: Step | None, site: ExpressionSite, path: Path) -> Site:
    source = str(site.source)
    try:
        parsed = parse_condition(source)
    except ExpressionSyntaxError as error:
        return Site(step, path, source, "condition", error=error)
    return Site(step, path, source, "condition", (parsed.node,), parsed.reads)


def _template_sites(step: Step | None, value: object, path: Path) -> Iterator[Site]:
    """A site for each text of the value that holds an expression, so that each tells its own faults."""
    if isinstance(value, str):
        if "{{" in value:
            yield _text_site(step, value, path)
    elif isinstance(value, Mapping):
        for key, member in cast("Mapping[str, object]", value).items():
            if "{{" in key:
                fault = ExpressionSyntaxError("a key cannot hold an expression", source=key, offset=0)
                yield Site(step, (*path, key), key, "template", error=fault)
            yield from _template_sites(step, member, (*path, key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(cast("list[object]", value)):
            yield from _template_sites(step, item, (*path, number))


def _text_site(step: Step | None, source: str, path: Path) -> Site:
    try:
        reads = compile_template(source).reads
        text = parse_template(source)
    except ExpressionSyntaxError as error:
        return Site(step, path, source, "template", error=error)
    whole = len(text.parts) == 1
    return Site(step, path, source, "template", children(text), reads, whole)
