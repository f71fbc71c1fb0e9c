"""Rules about sub-processes: the process is known, and calls come to an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from process_engine.definition.checking.context import Context
from process_engine.definition.document import Gateway, HumanApproval, ProcessDefinition, SubProcess
from process_engine.definition.graph import DependencyResolver
from process_engine.definition.problems import Problem, did_you_mean

# What the engine runs: children of children of … an execution that nobody called.
MAX_DEPTH = 10


def known_processes(context: Context) -> Iterator[Problem]:
    """P651: a step runs a process that is not among those that are known, or in another version."""
    if context.processes is None:
        return
    known = _with_itself(context)
    for number, step in _calls(context.definition):
        called = known.get(step.process)
        path = ("steps", number, "process")
        if called is None:
            advice = did_you_mean(step.process, known, kind="processes")
            yield context.problem("P651", "error", path, f"There is no process `{step.process}`.", advice)
        elif step.version not in (None, called.version):
            message = f"There is no version {step.version} of `{step.process}`, only {called.version}."
            advice = "Leave `version` out for the newest."
            yield context.problem("P651", "error", ("steps", number, "version"), message, advice)


def endless_calls(context: Context) -> Iterator[Problem]:
    """P652: the process runs itself, straight or by way of others, and no step decides about it."""
    known = _with_itself(context)
    for number, step in _calls(context.definition):
        way = (
            _way_back(context.definition.name, known, step) if _is_certain(context.definition, step) else None
        )
        if way is not None:
            message = f"The process calls itself without end: {' → '.join(way)}."
            advice = f"Give one of the steps a condition; the call after {MAX_DEPTH} levels fails."
            yield context.problem("P652", "error", ("steps", number, "process"), message, advice)


def too_deep(context: Context) -> Iterator[Problem]:
    """P653: processes that run each other are nested over more levels than the engine runs."""
    known = _with_itself(context)
    for number, step in _calls(context.definition):
        if _is_too_deep(context.definition.name, known, step.process):
            message = f"`{step.process}` leads more than {MAX_DEPTH} levels down, and no more are run."
            place = ("steps", number, "process")
            yield context.problem("P653", "error", place, message, "Let one process do what several do.")


def _calls(definition: ProcessDefinition) -> Iterator[tuple[int, SubProcess]]:
    for number, step in enumerate(definition.steps):
        if isinstance(step, SubProcess):
            yield number, step


def _with_itself(context: Context) -> Mapping[str, ProcessDefinition]:
    return {**(context.processes or {}), context.definition.name: context.definition}


def _is_certain(definition: ProcessDefinition, step: SubProcess) -> bool:
    """Whether the step runs whenever nothing fails: neither it nor anything before it decides otherwise."""
    before = DependencyResolver(definition).ancestors(step.id)
    steps = [one for one in definition.steps if one.id == step.id or one.id in before]
    return not any(isinstance(one, Gateway | HumanApproval) or one.condition is not None for one in steps)


def _way_back(name: str, known: Mapping[str, ProcessDefinition], step: SubProcess) -> list[str] | None:
    """The processes from `name` back to itself by way of `step`, where every call on the way is certain."""
    stack, seen = [[name, step.process]], {step.process}
    while stack:
        way = stack.pop()
        if way[-1] == name:
            return way
        if (called := known.get(way[-1])) is None:
            continue
        for _, further in _calls(called):
            if (further.process == name or further.process not in seen) and _is_certain(called, further):
                seen.add(further.process)
                stack.append([*way, further.process])
    return None


def _is_too_deep(name: str, known: Mapping[str, ProcessDefinition], called: str) -> bool:
    """Whether a chain of calls is longer than what is run; one that comes back has an end of its own."""
    level = {called}
    for _ in range(MAX_DEPTH):
        definitions = [known[one] for one in level if one in known and one != name]
        level = {further.process for definition in definitions for _, further in _calls(definition)}
    return bool(level) and not _comes_back(known, called)


def _comes_back(known: Mapping[str, ProcessDefinition], called: str) -> bool:
    """Whether some process below `called` runs itself, straight or by way of others."""
    below: dict[str, set[str]] = {}
    names = [called]
    while names:
        one = names.pop()
        if one not in below:
            below[one] = {further.process for _, further in _calls(known[one])} if one in known else set()
            names.extend(below[one])
    while free := [one for one, further in below.items() if not further & below.keys()]:
        for one in free:
            del below[one]
    return bool(below)
