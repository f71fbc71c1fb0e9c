"""Processes drawn in one line, for tests: `process("a -> b, a -> c, b & c -> d")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from process_engine.definition.document import ProcessDefinition

StepKeys = Mapping[str, object]


def process(drawing: str, **keys: object) -> ProcessDefinition:
    """The definition of a drawing: clauses between commas, `&` for several steps, `->` for "comes before".

    Every step is an agent task (`agent: worker`, its id as message) unless a keyword of its id says else:
    a mapping of the step's keys in the document (`a={"join": "any"}`). Steps come in the order in which they
    are first named. Any other keyword is a key of the document (`limits={"timeout": "10s"}`).
    """
    sources = _sources(drawing)
    steps = [_step(step_id, depends, keys.get(step_id)) for step_id, depends in sources.items()]
    document = {"name": "drawn", **{key: value for key, value in keys.items() if key not in sources}}
    return ProcessDefinition.model_validate({**document, "steps": steps})


def gateway(
    *routes: tuple[str | None, str] | tuple[str | None, str, int],
    kind: Literal["exclusive", "inclusive", "parallel"] = "exclusive",
    default: str | None = None,
) -> StepKeys:
    """The keys of a gateway; a route is (condition or None, target), where need be with `max_visits`."""
    written: list[dict[str, object]] = []
    for condition, target, *bound in routes:
        route: dict[str, object] = {"target": target}
        if condition is not None:
            route["condition"] = condition
        if bound:
            route["max_visits"] = bound[0]
        written.append(route)
    keys: dict[str, object] = {"type": "gateway", "gateway_type": kind, "routes": written}
    return keys if default is None else {**keys, "default_route": default}


def timer(delay: str | float) -> StepKeys:
    """The keys of a timer."""
    return {"type": "timer", "delay": delay}


def approval(**keys: object) -> StepKeys:
    """The keys of a step that asks people."""
    return {"type": "human_approval", "title": "May it go on?", **keys}


def event(name: str, **keys: object) -> StepKeys:
    """The keys of a step that waits for an event."""
    return {"type": "wait_for_event", "event": name, **keys}


def sub_process(process: str, **keys: object) -> StepKeys:
    """The keys of a step that runs another process."""
    return {"type": "sub_process", "process": process, **keys}


def _sources(drawing: str) -> dict[str, list[str]]:
    """Each step of the drawing with the steps it depends on, both in the order of their appearance."""
    sources: dict[str, list[str]] = {}
    for clause in drawing.split(","):
        before: list[str] = []
        for part in clause.split("->"):
            here = [step_id.strip() for step_id in part.split("&")]
            for step_id in here:
                known = sources.setdefault(step_id, [])
                known.extend(source for source in before if source not in known)
            before = here
    return sources


def _step(step_id: str, depends: list[str], keys: object) -> dict[str, object]:
    given = cast("StepKeys", keys if isinstance(keys, Mapping) else {})
    step: dict[str, object] = {"id": step_id}
    if depends:
        step["depends_on"] = depends
    if given.get("type", "agent_task") == "agent_task":
        step |= {"type": "agent_task", "agent": "worker", "message": step_id}
    return {**step, **given}
