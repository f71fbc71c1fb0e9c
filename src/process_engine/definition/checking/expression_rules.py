"""Rules about what expressions name: roots, steps, fields, and when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from process_engine.definition.checking.constants import constant_of
from process_engine.definition.checking.context import Context, Site
from process_engine.definition.checking.types import input_place, path_places
from process_engine.definition.checking.worlds import Worlds
from process_engine.definition.expressions import Read, hint_for_hyphen
from process_engine.definition.problems import Problem, did_you_mean
from process_engine.definition.syntax import ROOTS, Path, format_path, walk

FIELDS_OF_ROOTS = {
    "execution": ("id", "started_at", "started_by"),
    "process": ("name", "version"),
    "trigger": ("type", "id", "payload"),
}
_ITEM_ROOTS = ("item", "index")
# Roots that exist in few places: nobody is pointed to them anywhere else.
_RARE_ROOTS = ("secrets", "event", *_ITEM_ROOTS)


def syntax(context: Context) -> Iterator[Problem]:
    """P301: an expression cannot be read."""
    for site in context.sites:
        if site.error is not None:
            message = f"{site.error.message[:1].upper()}{site.error.message[1:]}"
            shown = message if message.endswith(".") else f"{message}."
            yield context.problem_in("P301", "error", site, site.error.offset, shown, site.error.suggestion)


def roots(context: Context) -> Iterator[Problem]:
    """P302: an expression begins with a name that does not exist."""
    for site, read in _reads(context):
        if read.root in ROOTS or read.root == _loop_variable(site):
            continue
        advice = f"Write `steps.{read.text}`." if read.root in context.steps else _near_root(site, read.root)
        message = f"There is no `{read.root}` to read."
        yield context.problem_in("P302", "error", site, read.offset, message, advice)


def _near_root(site: Site, root: str) -> str:
    known = [name for name in ROOTS if name not in _RARE_ROOTS]
    variable = _loop_variable(site)
    near = did_you_mean(root, [*known, *([variable] if variable else [])], kind="roots")
    return near if near.startswith("Did") else f'{near} A text stands in quotes: `"{root}"`.'


def _loop_variable(site: Site) -> str | None:
    return site.step.for_each.variable if _knows_item(site) and site.step and site.step.for_each else None


def _knows_item(site: Site) -> bool:
    """Whether an expression is asked for each item: what decides about the step as a whole is not."""
    whole = ("for_each", "condition", "compensation")
    return site.step is not None and site.step.for_each is not None and site.path[2] not in whole


def items(context: Context) -> Iterator[Problem]:
    """P309: `item` or `index` outside `for_each`."""
    for site, read in _reads(context):
        if read.root in _ITEM_ROOTS and not _knows_item(site):
            message = f"`{read.root}` exists only in what a step with `for_each` asks for each item."
            yield context.problem_in("P309", "error", site, read.offset, message, "Read the list itself.")


def secrets(context: Context) -> Iterator[Problem]:
    """P308: a secret would be stored and shown."""
    for site, read in _reads(context):
        if read.root == "secrets":
            message = "Secrets are not allowed here: what a step is asked is stored and shown."
            advice = "Put the secret into the agent's settings."
            yield context.problem_in("P308", "error", site, read.offset, message, advice)


def fields_of_roots(context: Context) -> Iterator[Problem]:
    """P310: `execution`, `process` or `trigger` has no such field."""
    for site, read in _reads(context):
        known = FIELDS_OF_ROOTS.get(read.root)
        name = read.path[0] if read.path else None
        if known is not None and name is not None and name not in known:
            message = f"`{read.root}` has no field `{name}`."
            advice = did_you_mean(str(name), known, kind="fields")
            yield context.problem_in("P310", "error", site, read.offset, message, advice)


def steps(context: Context) -> Iterator[Problem]:
    """P303: an expression reads a step that does not exist."""
    for site, read in _reads(context):
        if read.step is None or read.step in context.steps:
            continue
        advice = did_you_mean(read.step, context.steps, kind="steps")
        shorter = read.step.rpartition("-")[0]
        if shorter in context.steps and not advice.startswith("Did"):
            advice = f"{advice} Note: {hint_for_hyphen(read.step)}."
        message = f"There is no step `{read.step}`."
        yield context.problem_in("P303", "error", site, read.offset, message, advice)


def input_fields(context: Context) -> Iterator[Problem]:
    """P304: an expression reads an input field that the schema does not have."""
    if input_place(context).fields is None and not input_place(context).closed:
        return
    for site, path in _paths(context):
        if path.root != "input":
            continue
        places = path_places(context, path)
        if len(places) > len(path.segments) or not places[-1].closed:
            continue
        segment = path.segments[len(places) - 1]
        if isinstance(segment, str) and segment not in (places[-1].fields or {}):
            where = format_path("input", path.segments[: len(places) - 1])
            advice = did_you_mean(segment, places[-1].fields or {}, kind="fields")
            if segment.rpartition("-")[0] in (places[-1].fields or {}):
                advice = f"{advice} Note: {hint_for_hyphen(segment)}."
            message = f"`{where}` has no field `{segment}`."
            yield context.problem_in("P304", "error", site, path.offset, message, advice)


def order_of_reads(context: Context) -> Iterator[Problem]:
    """P305: a step is read that cannot have run before."""
    for step_id, sites in context.sites_of.items():
        for site, read in _reads_of(sites):
            if read.step is None or read.step not in context.steps:
                continue
            undoes = site.path[2:3] == ("compensation",)
            own = read.step == step_id and not undoes
            later = own or context.graph.is_ancestor(step_id, read.step)
            if not later or (read.has_default and _on_common_loop(context, step_id, read.step)):
                continue
            yield context.problem_in(
                "P305", "error", site, read.offset, *_too_early(context, step_id, read.step)
            )


def _too_early(context: Context, step_id: str, read: str) -> tuple[str, str]:
    if _on_common_loop(context, step_id, read):
        return f"On the first round `{read}` has not run yet.", "Add `| default(…)`."
    if read == step_id:
        return f"Step `{step_id}` reads itself.", "Read another step, or the input."
    return (
        f"Step `{read}` runs after `{step_id}`, so it cannot be read here.",
        "Read a step that runs before.",
    )


def _on_common_loop(context: Context, one: str, other: str) -> bool:
    """Whether some loop goes back to before both steps, so that each may have run before the other."""
    graph = context.graph
    for loop in graph.loops:
        region = graph.descendants(loop.target) | {loop.target}
        if {one, other, loop.source} <= region:
            return True
    return False


def skipped_reads(context: Context) -> Iterator[Problem]:
    """P306: the output of a step is read without default although the step may have been skipped."""
    for step_id, sites in context.sites_of.items():
        asked = _asked_about(sites)
        for site, read in _reads_of(sites):
            source = read.step
            if source is None or source not in context.steps or read.field != "output" or read.has_default:
                continue
            later = source == step_id or context.graph.is_ancestor(step_id, source)
            if later or (source in asked and site.path[2:3] != ("condition",)):
                continue
            worlds = Worlds.around(context, {source, step_id})
            if worlds is not None and worlds.may_lack(
                source, step_id, in_condition=site.path[2:3] == ("condition",)
            ):
                message = f"Step `{source}` may have been skipped; its output is then null."
                advice = f"Write `{{{{ {read.text} | default(…) }}}}`, or ask for `steps.{source}.status`."
                yield context.problem_in("P306", "warning", site, read.offset, message, advice)


def _asked_about(sites: tuple[Site, ...]) -> set[str]:
    """The steps that the condition of a step asks about: what it lets pass is its author's decision."""
    own = (site for site in sites if site.path[2:] == ("condition",))
    return {read.step for site in own for read in site.reads if read.step is not None}


def constant_conditions(context: Context) -> Iterator[Problem]:
    """P312: the condition of a step is always false."""
    for number, step in enumerate(context.definition.steps):
        if step.condition is not None and constant_of(step.condition) is False:
            message = f"Step `{step.id}` never runs: its condition is always false."
            path = ("steps", number, "condition")
            yield context.problem("P312", "warning", path, message, "Remove the step or the condition.")


def _reads(context: Context) -> Iterator[tuple[Site, Read]]:
    return _reads_of(context.sites)


def _reads_of(sites: Iterable[Site]) -> Iterator[tuple[Site, Read]]:
    for site in sites:
        for read in site.reads:
            yield site, read


def _paths(context: Context) -> Iterator[tuple[Site, Path]]:
    for site in context.sites:
        for root in site.nodes:
            for node in walk(root):
                if isinstance(node, Path):
                    yield site, node
