"""A definition made ready to run: every expression compiled, every default filled in, every edge known.

A plan is built once per definition and shared by all its executions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from process_engine.core.approvals import ApprovalRules, compile_rules
from process_engine.core.backoff import Retry
from process_engine.core.children import ChildRules
from process_engine.core.children import compile_rules as compile_child
from process_engine.core.inline import INLINE, InlineStep
from process_engine.core.state import Tally
from process_engine.core.undo import UndoPlan
from process_engine.core.values import Value, pack
from process_engine.definition.document import (
    AgentCall,
    Compensation,
    HumanApproval,
    Notification,
    ProcessDefinition,
    RetryPolicy,
    Step,
    SubProcess,
    Transform,
)
from process_engine.definition.expressions import Expression, Template, compile_template, parse_condition
from process_engine.definition.graph import DependencyResolver, Edge, step_reads
from process_engine.definition.json_schema import CompiledSchema
from process_engine.ids import DefinitionHash, StepId

# A loop without a bound of its own; static checks ask for one, this holds where they were skipped.
DEFAULT_MAX_VISITS = 10
# An agent that has not answered in five minutes is asked again rather than waited for.
AGENT_TASK_TIMEOUT_SECONDS = 300.0
# Who takes a message says so within a second; half a minute allows for one that is slow to greet.
NOTIFICATION_TIMEOUT_SECONDS = 30.0
TIMEOUT_OF_TYPE = MappingProxyType(
    {"agent_task": AGENT_TASK_TIMEOUT_SECONDS, "notification": NOTIFICATION_TIMEOUT_SECONDS}
)

_JOIN_WORDS = {"all": 0, "any": 1}


@dataclass(frozen=True, slots=True)
class ErrorAction:
    """What happens once a step has failed for good; `loop` says that the target is an ancestor."""

    action: str = "fail_process"
    target: StepId | None = None
    loop: bool = False
    max_visits: int = DEFAULT_MAX_VISITS


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """How a step runs once for each item of a list.

    `list` renders the list, and `variable` is the name of an item beside `item`. At most `most_open` items
    have begun and not ended. `collects` says that items which fail are passed over. `reads` are the fields of
    other steps that an item is asked about. `inline` makes the item's value where nobody is asked.
    """

    list: Template
    variable: str
    most_open: int
    collects: bool
    agent: str | None
    reads: frozenset[tuple[StepId, str]]
    inline: InlineStep | None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, ready to run.

    `inline` decides steps that need no work outside, `items` says how one runs for each item of a list.
    `request` renders what an attempt gets, field by field; where that is always the same, `constant_request`
    is the agent and the request, ready to be recorded.
    `need` is the number of live edges that start the step, 0 for all edges settled. `guards` are the gateways
    that route to this step, with all the descendants of each. `reads` are the steps its expressions read.
    `undo` is what takes a completed visit back.
    """

    id: StepId
    type: str
    inline: InlineStep | None
    condition: Expression | None
    request: tuple[tuple[str, Template], ...]
    constant_request: tuple[str | None, Value] | None
    need: int
    incoming: tuple[Edge, ...]
    outgoing: tuple[Edge, ...]
    guards: tuple[tuple[StepId, frozenset[str]], ...]
    reads: frozenset[str]
    output_schema: CompiledSchema | None
    approval: ApprovalRules | None
    child: ChildRules | None
    loops: Mapping[StepId, int]
    retry: Retry
    on_error: ErrorAction
    on_interrupt: str
    timeout_seconds: float | None
    default_timeout_applies: bool
    undo: UndoPlan | None = None
    items: ItemPlan | None = None


@dataclass(frozen=True)
class Plan:
    """A whole process, ready to run."""

    definition: ProcessDefinition
    hash: DefinitionHash
    steps: Mapping[StepId, StepPlan]
    order: tuple[StepId, ...]
    roots: tuple[StepId, ...]
    tallies: Mapping[StepId, Tally]
    outputs: tuple[tuple[str, Template], ...] | None
    graph: DependencyResolver
    slots: int
    timeout_seconds: float | None
    undoable: tuple[StepId, ...] = ()
    _regions: dict[StepId, tuple[StepId, ...]] = field(default_factory=dict[StepId, tuple[StepId, ...]])

    @property
    def name(self) -> str:
        """The process's name."""
        return self.definition.name

    @cached_property
    def item_steps(self) -> tuple[StepId, ...]:
        """Steps that run once for each item of a list, in definition order."""
        return tuple(step_id for step_id in self.order if self.steps[step_id].items is not None)

    @cached_property
    def leaves(self) -> tuple[StepId, ...]:
        """Steps without dependants: their outputs are the process's where it names none."""
        return tuple(step_id for step_id in self.order if not self.steps[step_id].outgoing)

    def region(self, target: StepId) -> tuple[StepId, ...]:
        """What a loop back to `target` reopens: it and its descendants, in definition order."""
        if target not in self._regions:
            members = self.graph.descendants(target) | {target}
            self._regions[target] = tuple(step_id for step_id in self.order if step_id in members)
        return self._regions[target]


def compile_plan(definition: ProcessDefinition) -> Plan:
    """Compile a definition that passed its static checks."""
    graph = DependencyResolver(definition)
    steps = {StepId(step.id): _compile_step(definition, step, graph) for step in definition.steps}
    order = tuple(steps)
    limits = definition.limits
    timeout = limits.timeout
    return Plan(
        definition=definition,
        hash=definition.content_hash,
        steps=steps,
        order=order,
        roots=tuple(step_id for step_id in order if not steps[step_id].incoming),
        tallies={step_id: _untouched(plan.incoming) for step_id, plan in steps.items()},
        outputs=tuple((output.name, compile_template(output.source)) for output in definition.outputs)
        or None,
        graph=graph,
        slots=limits.max_concurrent_steps or 0,
        timeout_seconds=timeout.seconds if timeout is not None else None,
        undoable=tuple(step_id for step_id in order if steps[step_id].undo is not None),
    )


def _compile_step(definition: ProcessDefinition, step: Step, graph: DependencyResolver) -> StepPlan:
    defaults = definition.defaults if step.takes_defaults else None
    timeout = step.timeout or (defaults.timeout if defaults is not None else None)
    retry = step.retry or (defaults.retry if defaults is not None else None)
    incoming = graph.incoming[step.id]
    inline = INLINE[step.type](step) if step.type in INLINE else None
    request = _compile_request(definition, step)
    return StepPlan(
        id=StepId(step.id),
        type=step.type,
        # An item is decided outside, whatever its type: a transition has no time for a hundred thousand.
        inline=inline if step.for_each is None else None,
        condition=parse_condition(step.condition) if step.condition is not None else None,
        request=request,
        constant_request=_constant(request),
        need=_needed(step, incoming),
        incoming=incoming,
        outgoing=graph.outgoing[step.id],
        guards=tuple(
            (StepId(edge.source), frozenset(graph.descendants(edge.source)))
            for edge in incoming
            if edge.kind == "route"
        ),
        output_schema=_compile_schema(step),
        approval=compile_rules(step) if isinstance(step, HumanApproval) else None,
        child=compile_child(step) if isinstance(step, SubProcess) else None,
        reads=frozenset(read.step for read in step_reads(step) if read.step is not None),
        loops={
            StepId(loop.target): loop.max_visits or DEFAULT_MAX_VISITS
            for loop in graph.loops
            if loop.source == step.id and loop.kind == "route"
        },
        retry=_compile_retry(step, retry),
        on_error=_compile_on_error(definition, step, graph),
        on_interrupt=step.on_interrupt,
        timeout_seconds=timeout.seconds if timeout is not None else None,
        default_timeout_applies=step.takes_defaults,
        undo=_compile_undo(definition, step.compensation) if step.compensation is not None else None,
        items=_compile_items(step, request, inline),
    )


def _compile_items(
    step: Step, request: Sequence[tuple[str, Template]], inline: InlineStep | None
) -> ItemPlan | None:
    rules = step.for_each
    if rules is None:
        return None
    templates = [template for _, template in request]
    if isinstance(step, Transform):
        templates.append(compile_template(step.value))
    agent = dict(request).get("agent")
    return ItemPlan(
        list=compile_template(rules.items),
        variable=rules.variable,
        most_open=rules.max_concurrency,
        collects=rules.on_item_error == "collect",
        agent=agent.source if agent is not None and isinstance(agent.source, str) else None,
        reads=frozenset(
            (StepId(read.step), read.field)
            for template in templates
            for read in template.reads
            if read.step is not None and read.field is not None
        ),
        inline=inline,
    )


def _compile_undo(definition: ProcessDefinition, body: Compensation) -> UndoPlan:
    defaults = definition.defaults
    timeout = body.timeout or defaults.timeout
    return UndoPlan(
        type=body.type,
        request=_compile_request(definition, body),
        output_schema=_compile_schema(body),
        retry=_compile_retry(body, body.retry or defaults.retry),
        timeout_seconds=timeout.seconds if timeout is not None else None,
        default_timeout_applies=True,
    )


def _compile_schema(step: Step | Compensation) -> CompiledSchema | None:
    if not isinstance(step, AgentCall) or step.output is None:
        return None
    return CompiledSchema(step.output.json_schema)


def _needed(step: Step, incoming: Sequence[Edge]) -> int:
    """Live edges that start the step. Where all edges are ordering edges there is nothing to count."""
    if all(edge.kind == "ordering" for edge in incoming):
        return 0
    return _JOIN_WORDS[step.join] if isinstance(step.join, str) else step.join


def _untouched(incoming: Sequence[Edge]) -> Tally:
    ordering = sum(1 for edge in incoming if edge.kind == "ordering")
    return Tally(len(incoming) - ordering, ordering)


def _compile_request(
    definition: ProcessDefinition, step: Step | Compensation
) -> tuple[tuple[str, Template], ...]:
    fields = {name: getattr(step, name) for name in type(step).request_fields}
    if "agent" in fields and fields["agent"] is None:
        fields["agent"] = definition.defaults.agent
    if isinstance(step, Notification) and step.subject is None:
        fields["subject"] = step.name if step.name and "{{" not in step.name else step.id
    given = ((name, value) for name, value in fields.items() if value not in (None, ()))
    return tuple((name, compile_template(value)) for name, value in given)


def _constant(request: tuple[tuple[str, Template], ...]) -> tuple[str | None, Value] | None:
    """The request of a step that always asks the same, None where it has to be rendered.

    Only plain texts and numbers: all executions share it, and what can be changed is not to be shared.
    """
    fields = {name: template.source for name, template in request if template.constant}
    plain = all(isinstance(field, (str, int, float)) for field in fields.values())
    if not fields or len(fields) < len(request) or not plain:
        return None
    packed, blobs = pack(fields)
    agent = fields.get("agent")
    return None if blobs else (agent if isinstance(agent, str) else None, packed)


def _compile_retry(step: Step | Compensation, policy: RetryPolicy | None) -> Retry:
    if policy is None:
        # An agent task is tried three times on transient errors; nothing else is repeated unasked.
        return Retry(max_attempts=3) if isinstance(step, AgentCall) else Retry()
    return Retry(
        max_attempts=policy.max_attempts,
        initial_delay=policy.initial_delay.seconds,
        backoff=policy.backoff,
        multiplier=policy.backoff_multiplier,
        max_delay=policy.max_delay.seconds,
        jitter=policy.jitter,
        retry_on=frozenset(policy.retry_on),
        do_not_retry_on=frozenset(policy.do_not_retry_on),
    )


def _compile_on_error(definition: ProcessDefinition, step: Step, graph: DependencyResolver) -> ErrorAction:
    policy = step.on_error
    if policy is None and step.takes_defaults:
        policy = definition.defaults.on_error
    if policy is None:
        return ErrorAction()
    loop = any(loop.source == step.id and loop.kind == "goto" for loop in graph.loops)
    target = StepId(policy.target_step) if policy.target_step is not None else None
    return ErrorAction(policy.action, target, loop, policy.max_visits)
