"""Rules about ids, dependencies, joins and jumps."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.constants import constant_of
from process_engine.definition.checking.context import Context
from process_engine.definition.checking.worlds import Worlds
from process_engine.definition.document import ProcessDefinition, Step
from process_engine.definition.graph import DependencyResolver, Edge
from process_engine.definition.parts import Path
from process_engine.definition.problems import Problem, did_you_mean

# Each round finds one cycle more; a document with more of them is told the first ones.
_MAX_CYCLES = 10
_MAX_SHOWN = 20


def duplicate_ids(context: Context) -> Iterator[Problem]:
    """P201: two steps have the same id."""
    for number, step in enumerate(context.definition.steps):
        first = context.index[step.id]
        if first != number:
            message = f"The id `{step.id}` belongs to step {first + 1} already."
            path: Path = ("steps", number, "id")
            yield context.problem("P201", "error", path, message, "Give every step an id of its own.")


def duplicate_outputs(context: Context) -> Iterator[Problem]:
    """P212: two outputs have the same name."""
    seen: set[str] = set()
    for number, output in enumerate(context.definition.outputs):
        if output.name in seen:
            message = f"There is an output `{output.name}` already."
            path: Path = ("outputs", number, "name")
            yield context.problem("P212", "error", path, message, "Give every output a name of its own.")
        seen.add(output.name)


def dependencies(context: Context) -> Iterator[Problem]:
    """P202, P203, P211: a dependency is unknown, the step itself, or named twice."""
    for number, step in enumerate(context.definition.steps):
        for place, source in enumerate(step.depends_on):
            path: Path = ("steps", number, "depends_on", place)
            if source == step.id:
                yield context.problem(
                    "P203", "error", path, f"Step `{step.id}` depends on itself.", "Remove it."
                )
            elif source not in context.steps:
                message = f"Step `{step.id}` depends on `{source}`, which does not exist."
                others = [name for name in context.steps if name != step.id]
                yield context.problem(
                    "P202", "error", path, message, did_you_mean(source, others, kind="steps")
                )
            elif source in step.depends_on[:place]:
                message = f"Step `{step.id}` names `{source}` twice."
                yield context.problem("P211", "warning", path, message, "Remove one of them.")


def cycles(context: Context) -> Iterator[Problem]:
    """P204: steps wait for each other; the cycle is spelled out."""
    graph, definition = context.graph, context.definition
    for _ in range(_MAX_CYCLES):
        cycle = graph.cycle or ()
        if len(cycle) < 2:
            return
        # A step that depends on itself has been told already.
        if len(cycle) > 2:
            yield _cycle_problem(context, cycle)
        cut = _without_edge(definition, cycle[-2], cycle[-1])
        if cut is None:
            return
        definition, graph = cut, DependencyResolver(cut)


def _cycle_problem(context: Context, cycle: tuple[str, ...]) -> Problem:
    shown = cycle if len(cycle) <= _MAX_SHOWN else (*cycle[: _MAX_SHOWN - 3], "…", *cycle[-2:])
    spelled = " → ".join(shown)
    source, target = cycle[-2], cycle[-1]
    depends_on = context.steps[target].depends_on
    if source in depends_on:
        path = context.path_of(target, "depends_on", depends_on.index(source))
        advice = (
            "Remove one of these depends_on; to repeat steps, route back from a gateway with `max_visits`."
        )
    else:
        path = context.path_of(target)
        advice = "Read one of them with `| default(…)` on a loop, or remove one of the reads."
    return context.problem("P204", "error", path, f"Steps wait for each other: {spelled}.", advice)


def _without_edge(definition: ProcessDefinition, source: str, target: str) -> ProcessDefinition | None:
    """The definition without that dependency, None if it is none that is named."""
    changed = False
    steps: list[Step] = []
    for step in definition.steps:
        if step.id == target and source in step.depends_on:
            changed = True
            left = tuple(name for name in step.depends_on if name != source)
            steps.append(step.model_copy(update={"depends_on": left}))
        else:
            steps.append(step)
    return definition.model_copy(update={"steps": tuple(steps)}) if changed else None


def ordering_edges(context: Context) -> Iterator[Problem]:
    """P209: a step waits for another one only because it reads it."""
    waiting = {(edge.source, edge.target) for edge in context.graph.edges if edge.kind == "ordering"}
    for step_id, sites in context.sites_of.items():
        for site in sites:
            for read in site.reads:
                if (read.step, step_id) not in waiting:
                    continue
                waiting.discard((str(read.step), step_id))
                message = f"Step `{step_id}` waits for `{read.step}` because it reads it."
                advice = f"Add `{read.step}` to `depends_on` if `{step_id}` should be skipped when it fails."
                yield context.problem_in("P209", "info", site, read.offset, message, advice)


def gotos(context: Context) -> Iterator[Problem]:
    """P208, P210, P505, P506: `on_error` goes nowhere, to its own step, or names a target without going."""
    for number, step in enumerate(context.definition.steps):
        policy, path = step.on_error, ("steps", number, "on_error")
        if policy is None or context.is_faulty((*path, "target_step")):
            continue
        target, place = policy.target_step, (*path, "target_step")
        if policy.action != "goto_step":
            if target is not None:
                message = f"`target_step` has no effect with `{policy.action}`."
                yield context.problem(
                    "P506", "error", place, message, "Write `action: goto_step`, or remove it."
                )
        elif target is None:
            message = f"Step `{step.id}` does not say where to go to."
            yield context.problem("P505", "error", path, message, "Add `target_step`.")
        elif target == step.id:
            message = f"Step `{step.id}` goes to itself when it has failed."
            yield context.problem("P210", "error", place, message, "Use `retry` to try it again.")
        elif target not in context.steps:
            message = f"The target `{target}` does not exist."
            advice = did_you_mean(target, context.steps, kind="steps")
            yield context.problem("P208", "error", place, message, advice)


def default_gotos(context: Context) -> Iterator[Problem]:
    """P208, P505, P506 of `defaults.on_error`."""
    policy, path = context.definition.defaults.on_error, ("defaults", "on_error")
    if policy is None or context.is_faulty(path):
        return
    target = policy.target_step
    if policy.action == "goto_step" and target is None:
        yield context.problem("P505", "error", path, "It does not say where to go to.", "Add `target_step`.")
    elif policy.action != "goto_step" and target is not None:
        message = f"`target_step` has no effect with `{policy.action}`."
        yield context.problem("P506", "error", path, message, "Write `action: goto_step`, or remove it.")
    elif target is not None and target not in context.steps:
        advice = did_you_mean(target, context.steps, kind="steps")
        yield context.problem("P208", "error", path, f"The target `{target}` does not exist.", advice)


def join_counts(context: Context) -> Iterator[Problem]:
    """P206: a join waits for more edges than lead to its step."""
    for step_id, step in context.steps.items():
        if not isinstance(step.join, int) or context.is_faulty(context.path_of(step_id, "depends_on")):
            continue
        edges = len(deciding_edges(context, step_id))
        if step.join > edges:
            message = f"Step `{step_id}` waits for {step.join} live edges, but only {edges} lead to it."
            advice = f"Write a number up to {edges}." if edges else "Remove `join`."
            yield context.problem("P206", "error", context.path_of(step_id, "join"), message, advice)


def deciding_edges(context: Context, step_id: str) -> list[Edge]:
    """The edges that decide whether a step lives."""
    return [edge for edge in context.graph.incoming[step_id] if edge.kind != "ordering"]


def join_branches(context: Context) -> Iterator[Problem]:
    """P207: a join waits for more branches than an exclusive gateway lets live together."""
    for step_id, step in context.steps.items():
        edges = deciding_edges(context, step_id)
        if not isinstance(step.join, int) or not 1 < step.join <= len(edges):
            continue
        worlds = Worlds.around(context, {step_id})
        most = worlds.most_live_edges(step_id) if worlds is not None else len(edges)
        if most < step.join:
            message = (
                f"Step `{step_id}` waits for {step.join} live edges, but at most {most} can live together."
            )
            advice = "An exclusive gateway takes one route: write `join: all`, or an inclusive gateway."
            yield context.problem("P207", "error", context.path_of(step_id, "join"), message, advice)


def unreachable_steps(context: Context) -> Iterator[Problem]:
    """P205: no path to a step can ever be live; told once, at the first step behind what is closed."""
    if all(constant_of(step.condition) is not False for step in context.steps.values()):
        return
    for step_id in context.steps:
        edges = deciding_edges(context, step_id)
        if not edges or any(edge.kind == "route" for edge in edges):
            continue
        worlds = Worlds.around(context, {step_id})
        if worlds is None or worlds.may_start(step_id):
            continue
        if any(worlds.may_start(edge.source) for edge in edges):
            message = f"Step `{step_id}` is never reached: every path to it is closed."
            advice = "Look at the conditions before it."
            yield context.problem("P205", "warning", context.path_of(step_id), message, advice)
