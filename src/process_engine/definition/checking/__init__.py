"""The static checks: everything that can be known to be wrong before anything runs.

One function for each rule, grouped by theme; each yields problems of its own codes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from process_engine.definition.checking import (
    approval_rules,
    channel_rules,
    child_rules,
    event_rules,
    expression_rules,
    gateway_rules,
    graph_rules,
    item_rules,
    policy_rules,
    step_rules,
    trigger_rules,
    type_rules,
)
from process_engine.definition.checking.context import Context
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.parsing import ParsedDocument, parse
from process_engine.definition.problems import Problem, has_errors, in_reading_order

__all__ = ["RULES", "check", "load_definition"]

# The same fault more often than that is one mistake of a program that wrote the document.
MAX_PROBLEMS_OF_A_RULE = 100

Rule = Callable[[Context], Iterator[Problem]]

RULES: tuple[Rule, ...] = (
    graph_rules.duplicate_ids,
    graph_rules.duplicate_outputs,
    graph_rules.dependencies,
    graph_rules.cycles,
    graph_rules.ordering_edges,
    graph_rules.gotos,
    graph_rules.default_gotos,
    graph_rules.join_counts,
    graph_rules.join_branches,
    graph_rules.unreachable_steps,
    expression_rules.syntax,
    expression_rules.roots,
    expression_rules.items,
    expression_rules.secrets,
    expression_rules.fields_of_roots,
    expression_rules.steps,
    expression_rules.input_fields,
    expression_rules.order_of_reads,
    expression_rules.skipped_reads,
    expression_rules.constant_conditions,
    type_rules.types,
    type_rules.condition_kinds,
    gateway_rules.without_routes,
    gateway_rules.targets,
    gateway_rules.without_default,
    gateway_rules.loops,
    gateway_rules.bounds_without_loop,
    gateway_rules.unreachable_routes,
    gateway_rules.parallel_conditions,
    policy_rules.retry_policies,
    policy_rules.longer_than_the_limit,
    policy_rules.reads_of_compensations,
    step_rules.later_features,
    step_rules.agents,
    step_rules.timers,
    step_rules.schemas,
    item_rules.types,
    item_rules.variables,
    item_rules.lists,
    item_rules.errors_of_others,
    trigger_rules.duplicate_triggers,
    approval_rules.reminders,
    approval_rules.escalations,
    approval_rules.enough_people,
    approval_rules.separation,
    approval_rules.waved_through,
    approval_rules.unread_rejections,
    approval_rules.without_meaning,
    child_rules.known_processes,
    child_rules.endless_calls,
    child_rules.too_deep,
    channel_rules.ways,
    channel_rules.known,
    channel_rules.needs,
    channel_rules.unused,
    channel_rules.addresses,
    event_rules.outside_match,
    event_rules.names,
    event_rules.blind_matches,
    event_rules.actions_without_timeout,
)


def check(
    document: ParsedDocument | ProcessDefinition,
    *,
    agents: Collection[str] | None = None,
    processes: Mapping[str, ProcessDefinition] | None = None,
    channels: Collection[str] | None = None,
) -> list[Problem]:
    """All problems that the rules find, in reading order; those of parsing are not repeated.

    Of a document that has errors, what could be understood is checked, without asking for what is missing
    only because it could not be read. Each rule tells at most `MAX_PROBLEMS_OF_A_RULE` and then says so.
    `agents` and `channels` are the names the configuration knows, `processes` the others that its steps may
    run, by name; None: not looked at.
    """
    context = _context(document, agents, processes, channels)
    if context is None:
        return []
    found = [problem for rule in RULES for problem in _told_by(rule, context)]
    filename = document.filename if isinstance(document, ParsedDocument) else "process.yaml"
    return [problem.in_file(filename) for problem in in_reading_order(found)]


def _told_by(rule: Rule, context: Context) -> Iterator[Problem]:
    number = 0
    for problem in rule(context):
        if _follows(problem, context):
            continue
        number += 1
        if number > MAX_PROBLEMS_OF_A_RULE:
            message = f"There are more than {MAX_PROBLEMS_OF_A_RULE} problems like {problem.code}."
            yield context.problem("P013", problem.level, problem.path, message, "Correct those listed first.")
            return
        yield problem


def _context(
    document: ParsedDocument | ProcessDefinition,
    agents: Collection[str] | None,
    processes: Mapping[str, ProcessDefinition] | None,
    channels: Collection[str] | None,
) -> Context | None:
    if isinstance(document, ProcessDefinition):
        return Context(document, agents, processes=processes, channels=channels)
    if document.draft is None:
        return None
    return Context(
        document.draft,
        agents,
        positions=document.positions,
        faulty=document.faulty,
        processes=processes,
        channels=channels,
    )


def _follows(problem: Problem, context: Context) -> bool:
    """Whether a problem stands at or below what could not be read, and so may only follow from that."""
    return any(problem.path[: len(fault)] == fault for fault in context.faulty)


def load_definition(
    text: str | bytes,
    filename: str = "process.yaml",
    agents: Collection[str] | None = None,
    channels: Collection[str] | None = None,
    processes: Mapping[str, ProcessDefinition] | None = None,
) -> tuple[ProcessDefinition | None, list[Problem]]:
    """Read and check a process; the definition is None where a problem of level error was found."""
    parsed = parse(text, filename=filename)
    checked = check(parsed, agents=agents, channels=channels, processes=processes)
    problems = [*in_reading_order([*parsed.problems, *checked])]
    return (None if has_errors(problems) else parsed.definition), problems
