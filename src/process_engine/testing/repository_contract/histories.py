"""Transitions for a store to write: real ones, decided by the core on random processes, and spoilt ones."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random

import msgspec

from process_engine.core import commands as c
from process_engine.core.approvals import Ruling
from process_engine.core.children import ChildOutcome
from process_engine.core.decide import transition
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.plan import Plan, compile_plan
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.state import Execution, ExecutionStatus, StepStatus
from process_engine.core.transition import Needs, Transition
from process_engine.core.values import NULL, Value, pack
from process_engine.core.work import WorkItem, WorkKind
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.children import child_of
from process_engine.runtime.ownership import interruption_of
from process_engine.testing.random_processes import random_process
from process_engine.testing.repository_contract.samples import NOON, owed

# Alive at once: enough for every order in lists and timers, few enough to compare all after each operation.
_MANY_OPEN = 10
# All that ever were are read after each operation, too: from so many on there are fewer new ones.
_FEW_OPEN = 2
MANY_EXECUTIONS = 40
_RANDOM_PROCESSES = 4
# Commands tried until one changes something.
_TRIES = 8
# Ids that sort otherwise than they were made, that begin alike, and that mean something to some databases.
PREFIXES = ("run-", "run-1", "Run-", "x%", "x_", "ü", "日本", "'")
_HALF_A_CHARACTER = "\ud800"
_ODD_OUTPUTS: tuple[object, ...] = (None, "", 2**70, -0.5, [], [["deep"]], "\u0000'\"\\ 日本")

# Timers that are due at the same moment, in one execution and, when two start together, in several.
_TIES: Mapping[str, object] = {
    "name": "ties",
    "limits": {"timeout": "10s"},
    "steps": [
        *({"id": id, "type": "timer", "delay": "10s"} for id in ("z", "b", "m-1")),
        {"id": "ask", "type": "agent_task", "agent": "worker", "message": "{{ input }}"},
        {"id": "tell", "type": "agent_task", "agent": "worker", "message": "x", "depends_on": ["ask", "b"]},
    ],
}


# People who are asked several things at once, who take their time, and who hand decisions on; beside them,
# waits for events.
_ASKING: Mapping[str, object] = {
    "name": "asking",
    "steps": [
        {"id": "z", "type": "human_approval", "assignees": ["ann", "group:legal"], "timeout": "60s"},
        {"id": "b", "type": "human_approval", "required_approvals": 2, "reminders": ["5s", "10s"]},
        {
            "id": "m-1",
            "type": "human_approval",
            "title": "{{ input }}",
            "assignees": "ann",
            "on_reject": "continue",
            "timeout_action": {"escalate_to": "bob", "after": "3s"},
        },
        {"id": "w", "type": "wait_for_event", "event": "go"},
        {"id": "w-2", "type": "wait_for_event", "event": "paid", "timeout": "1h", "timeout_action": "skip"},
        {"id": "shape", "type": "transform", "value": "{{ steps.b.output }}", "depends_on": ["b", "m-1"]},
    ],
}


# Sub-processes that end in every way, whose time is up, and that nobody waits for.
_CALLING: Mapping[str, object] = {
    "name": "calling",
    "steps": [
        {"id": "z", "type": "sub_process", "process": "child", "input": "{{ input }}", "timeout": "10s"},
        {"id": "b", "type": "sub_process", "process": "child", "version": 2, "wait": False},
        {
            "id": "m-1",
            "type": "sub_process",
            "process": "child",
            "output_key": "n",
            "timeout": "60s",
            "retry": {"max_attempts": 3, "retry_on": ["CHILD_FAILED"]},
            "on_error": "skip_step",
        },
    ],
}


# What always fails in the end, and has something to undo.
_UNDOING: Mapping[str, object] = {
    "name": "undoing",
    "steps": [
        {
            "id": id,
            "type": "agent_task",
            "agent": "worker",
            "message": id,
            "compensation": {"agent": "worker", "message": f"{{{{ steps.{id}.output }}}}"},
        }
        for id in ("z", "b")
    ],
    "outputs": {"nothing": "{{ steps.z.output.no.such.thing }}"},
}


# Lists whose items end, fail, wait and begin in every order; a long one is kept apart.
_LISTING: Mapping[str, object] = {
    "name": "listing",
    "steps": [
        {
            "id": "many",
            "type": "agent_task",
            "agent": "worker",
            "message": "{{ item }}",
            "for_each": {"items": [*range(4)], "max_concurrency": 3, "on_item_error": "collect"},
        },
        {
            "id": "long",
            "type": "agent_task",
            "agent": "worker",
            "message": "{{ item }}",
            "retry": {"max_attempts": 2},
            "for_each": {"items": ["x" * 600, "日本" * 300, 3], "max_concurrency": 2},
        },
    ],
}


class Batch:
    """Transitions that belong into one commit, each decided on top of those before it."""

    def __init__(self, committed: Mapping[ExecutionId, Execution], blobs: Mapping[str, bytes]) -> None:
        self.executions: ChainMap[ExecutionId, Execution] = ChainMap({}, dict(committed))
        self.blobs: ChainMap[str, bytes] = ChainMap({}, dict(blobs))
        self.transitions: list[Transition] = []

    def add(self, made: Transition) -> None:
        """Put a transition at the end."""
        self.transitions.append(made)
        self.executions[made.execution.id] = made.execution
        self.blobs.update(made.blobs)

    def __str__(self) -> str:
        return ", ".join(told(made) for made in self.transitions) or "nothing"


def told(made: Transition) -> str:
    """A transition in a few words."""
    first, last = made.events[0], made.events[-1]
    return f"{made.execution.id} {first.sequence}-{last.sequence} to {last.type}"


class Author:
    """Decides what happens to executions. `committed` is what a store is to hold; only `adopt` changes it."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = NOON
        self.definitions = [
            ProcessDefinition.model_validate(_TIES),
            ProcessDefinition.model_validate(_ASKING),
            ProcessDefinition.model_validate(_CALLING),
            ProcessDefinition.model_validate(_LISTING),
            ProcessDefinition.model_validate(_UNDOING),
            *(random_process(rng, f"p{n // 2}") for n in range(_RANDOM_PROCESSES)),
        ]
        self.plans: dict[str, Plan] = {one.content_hash: compile_plan(one) for one in self.definitions}
        self.committed: dict[ExecutionId, Execution] = {}
        self.blobs: dict[str, bytes] = {}
        self.last: Sequence[Transition] = ()
        self.past: dict[ExecutionId, Execution] = {}
        self._made = 0
        self._wish = ""

    # ------------------------------------------------------------ good batches

    def batch(self, size: int, wish: str = "") -> Batch:
        """At most `size` transitions; fewer where nothing more can happen.

        With a wish for something rare ("held", "large values") it is likely to be among them.
        """
        self._wish = wish
        if self.rng.random() < 0.6:
            self.now += timedelta(seconds=self.rng.choice((0.000001, 0.5, 3, 10, 60)))
        batch = Batch(self.committed, self.blobs)
        for _ in range(size):
            made = self._next(batch)
            if made is not None:
                batch.add(made)
        return batch

    def adopt(self, batch: Batch) -> None:
        """The batch was committed."""
        for made in batch.transitions:
            before = self.committed.get(made.execution.id)
            if before is not None:
                self.past[before.id] = before
            self.committed[made.execution.id] = made.execution
        self.blobs.update(batch.blobs.maps[0])
        if batch.transitions:
            self.last = tuple(batch.transitions)

    def _next(self, batch: Batch) -> Transition | None:
        alive = [id for id, one in batch.executions.items() if not one.status.is_final]
        ended = [
            id
            for id, one in batch.executions.items()
            if one.status is ExecutionStatus.FAILED or (one.status.is_final and one.head.recalls)
        ]
        room = len(alive) < (_MANY_OPEN if len(batch.executions) < MANY_EXECUTIONS else _FEW_OPEN)
        if room and (not alive or self.rng.random() < 0.4):
            return self._begin(batch)
        if alive and self.rng.random() < 0.9:
            return self._go_on(batch, batch.executions[self.rng.choice(sorted(alive))])
        return self._go_on(batch, batch.executions[self.rng.choice(sorted(ended))]) if ended else None

    def _begin(self, batch: Batch) -> Transition | None:
        self._made += 1
        id = ExecutionId(f"{self.rng.choice((PREFIXES[0], self.rng.choice(PREFIXES)))}{self._made:03}")
        definition = self.rng.choice((*self.definitions[:5], self.rng.choice(self.definitions)))
        plan = self.plans[definition.content_hash]
        value, blobs = pack(self._input())
        hold = self._wish == "held" or self.rng.random() < 0.1
        start = c.StartExecution(
            execution_id=id, input=value, blobs=blobs, hold=hold, started_by=self.rng.choice((None, "ann"))
        )
        return self._decide(batch, plan, None, start)

    def _input(self) -> dict[str, object]:
        given: dict[str, object] = {"flag": self.rng.random() < 0.5, "n": self.rng.randint(0, 30)}
        if self._wish == "large values" or self.rng.random() < 0.2:
            given["pad"] = self._large()
        return given

    def _go_on(self, batch: Batch, execution: Execution) -> Transition | None:
        plan = self.plans[execution.definition_hash]
        for _ in range(_TRIES):
            made = self._decide(batch, plan, execution, self.command(execution))
            if made is not None and made.events:
                return made
        return None

    def _decide(
        self, batch: Batch, plan: Plan, execution: Execution | None, command: c.AnyCommand
    ) -> Transition | None:
        try:
            made = transition(plan, execution, command, self.now, batch.blobs)
        except CommandRejected:
            return None
        assert not isinstance(made, Needs), "every large value was given"
        return made

    # ------------------------------------------------------------ commands

    def command(self, execution: Execution) -> c.AnyCommand:
        """Something that may be asked of an execution: mostly what it waits for."""
        work = owed(execution)
        asking = [id for id, one in execution.steps.items() if one.status is StepStatus.WAITING_APPROVAL]
        if asking and self.rng.random() < 0.5:
            if self.rng.random() < 0.3 and execution.status is ExecutionStatus.RUNNING:
                return c.PauseExecution(execution_id=execution.id, by="ann")
            return self._decision(execution.id, self.rng.choice(asking))
        if work and self.rng.random() < 0.75:
            item = work[self.rng.choice(sorted(work))]
            if item.kind is WorkKind.RECALL or (item.kind is WorkKind.CHILD and self.rng.random() < 0.7):
                return self._child(execution, item)
            return self._done(item)
        id = execution.id
        kinds: tuple[Callable[[], c.AnyCommand], ...] = (
            lambda: c.PauseExecution(execution_id=id, by="ann"),
            lambda: c.ResumeExecution(execution_id=id, by="bob"),
            lambda: c.RetryStep(execution_id=id, by="ann"),
            lambda: self._retry(id),
            lambda: c.CancelExecution(execution_id=id, reason="genug – 足够", by="ann"),
        )
        (kind,) = self.rng.choices(kinds, (3, 3, 1, 1, 1))
        return kind()

    def _decision(self, id: ExecutionId, step: StepId) -> c.AnyCommand:
        by = self.rng.choice(("ann", "bob", "cid"))
        if self.rng.random() < 0.2:
            return c.DelegateApproval(
                execution_id=id, step_id=step, by=by, groups=("legal",), to=f"dan-{self._made}", comment="é"
            )
        ruling = Ruling.REJECTED if self.rng.random() < 0.3 else Ruling.APPROVED
        return c.DecideApproval(
            execution_id=id, step_id=step, by=by, groups=("legal",), ruling=ruling, comment="nein – 不"
        )

    def _retry(self, id: ExecutionId) -> c.RetryStep:
        value, blobs = pack(self._input())
        return c.RetryStep(execution_id=id, input=value, blobs=blobs)

    def _child(self, execution: Execution, item: WorkItem) -> c.AnyCommand:
        """A child began, or ended in one way or another."""
        id, child = execution.id, child_of(item)
        steps = [recall.step_id for recall in execution.head.recalls if recall.id == child]
        step = steps[0] if steps else StepId(item.key)
        if self.rng.random() < 0.2:
            return c.ChildBegan(execution_id=id, step_id=step, child_id=child)
        outcome = self.rng.choice(list(ChildOutcome))
        outputs = Value({"n": self.rng.choice(_ODD_OUTPUTS)}) if self.rng.random() < 0.8 else Value({})
        return c.ChildFinished(
            execution_id=id,
            step_id=step,
            child_id=child,
            outcome=outcome,
            outputs=outputs if outcome is ChildOutcome.COMPLETED else NULL,
            message=self.rng.choice((None, "nein – 不")),
            usage=Usage(
                Decimal(self.rng.randint(0, 99)) / Decimal(10**6), other_tokens=self.rng.randint(0, 9)
            ),
        )

    def _done(self, item: WorkItem) -> c.AnyCommand:
        id, visit, attempt = item.execution_id, item.visit, item.attempt
        if item.due is not None:
            self.now = max(self.now, item.due)
        match item.kind:
            case WorkKind.DEADLINE | WorkKind.GRACE:
                return c.ReachDeadline(execution_id=id, grace=item.kind is WorkKind.GRACE)
            case WorkKind.EVENT if item.due is None or self.rng.random() < 0.7:
                return self._delivery(item)
            case WorkKind.TIMER | WorkKind.RETRY | WorkKind.APPROVAL | WorkKind.EVENT | WorkKind.CHILD:
                return c.WakeStep(
                    execution_id=id,
                    step_id=item.step_id,
                    visit=visit,
                    attempt=attempt,
                    item=item.item,
                    undo=item.undoes,
                )
            case WorkKind.RECALL:
                raise AssertionError("a child that is recalled ends, nothing else")
            case WorkKind.COLLECT:
                return c.RecordResult(
                    execution_id=id,
                    step_id=item.step_id,
                    visit=visit,
                    attempt=attempt,
                    result=Completed(),
                    value=Value([None, self._made]),
                    errors=Value([{"index": 0, "code": "AGENT_ERROR", "message": "nein"}]),
                )
            case WorkKind.ATTEMPT:
                if self.rng.random() < 0.1:
                    return interruption_of(item)
                return c.RecordResult(
                    execution_id=id,
                    step_id=item.step_id,
                    visit=visit,
                    attempt=attempt,
                    item=item.item,
                    result=self._result(),
                    undo=item.undoes,
                )

    def _delivery(self, item: WorkItem) -> c.DeliverEvents:
        """Events of every name that is waited for; one of them may fit."""
        self._made += 1
        payload = Value({"n": self.rng.randint(0, 9), "m": 1})
        events = tuple(
            PublishedEvent(
                self._made * 100 + number,
                NewEvent(id=f"d{self._made}-{number}", name=name, payload=payload, published_at=NOON),
            )
            for number, name in enumerate(("go", "paid", *(f"paid-{n}" for n in range(31))))
        )
        return c.DeliverEvents(
            execution_id=item.execution_id,
            step_id=StepId(item.key),
            visit=item.visit,
            attempt=item.attempt,
            events=events,
        )

    def _result(self) -> Completed | Failed:
        cost = Decimal(self.rng.randint(0, 99)) / Decimal(10**6)
        usage = Usage(cost, self.rng.randint(0, 9), self.rng.randint(0, 9))
        if self.rng.random() < 0.25:
            transient = self.rng.random() < 0.6
            return Failed("AGENT_ERROR", "nein \u0000 – 不", transient=transient, usage=usage)
        return Completed(self._output(), usage=usage)

    def _output(self) -> object:
        kind = self.rng.random()
        if kind < 0.1:
            return {"n": 1, "text": self._large()}
        if kind < 0.2:
            return self.rng.choice(_ODD_OUTPUTS)
        return {"n": self.rng.randint(0, 9), "ok": self.rng.random() < 0.7, "text": f"t{self._made}"}

    def _large(self) -> str:
        """More than a state keeps in place; now and then more than a store writes by the way."""
        return f"{self.rng.randint(0, 10**6)}ü" * self.rng.choice((12_000, 12_000, 50_000))

    # ------------------------------------------------------------ spoilt batches

    def repeated(self) -> Batch | None:
        """A commit that was made already, with other things around it."""
        return self._around(self.last) if self.last else None

    def twice(self) -> Batch | None:
        """A transition that is in the batch two times."""
        batch = self.batch(self.rng.randint(1, 3))
        if not batch.transitions:
            return None
        again = batch.transitions[self.rng.randrange(len(batch.transitions))]
        batch.transitions.insert(self.rng.randint(0, len(batch.transitions)), again)
        return batch

    def misfit(self) -> Batch | None:
        """A transition that was decided on a state which is no longer the newest."""
        if not self.past:
            return None
        before = self.past[self.rng.choice(sorted(self.past))]
        made = self._go_on(Batch(self.committed, self.blobs), before)
        return None if made is None else self._around([made])

    def unwritable(self) -> Batch | None:
        """A batch in which one record has no JSON form."""
        batch = self.batch(self.rng.randint(1, 3))
        if not batch.transitions:
            return None
        at = self.rng.randrange(len(batch.transitions))
        batch.transitions[at] = self._spoil(batch.transitions[at])
        # What a later transition makes of the same execution would mend it.
        id = batch.transitions[at].execution.id
        later = [made for made in batch.transitions[at + 1 :] if made.execution.id != id]
        batch.transitions[at + 1 :] = later
        return batch

    def _spoil(self, made: Transition) -> Transition:
        execution = made.execution
        bad = Value(self.rng.choice((_HALF_A_CHARACTER, {"x": object()}, 1j)))
        kind = self.rng.choice(("head", "step", "event"))
        if kind == "event":
            event = msgspec.structs.replace(made.events[-1], correlation_id=_HALF_A_CHARACTER)
            return msgspec.structs.replace(made, events=(*made.events[:-1], event))
        if kind == "step" and made.changed:
            step = self.rng.choice(made.changed)
            state = msgspec.structs.replace(execution.steps[step], output=bad)
            changed = msgspec.structs.replace(execution, steps={**execution.steps, step: state})
            return msgspec.structs.replace(made, execution=changed)
        head = msgspec.structs.replace(execution.head, outputs=bad)
        return msgspec.structs.replace(made, execution=msgspec.structs.replace(execution, head=head))

    def _around(self, spoilt: Sequence[Transition]) -> Batch:
        """These transitions somewhere among good ones of other executions."""
        batch = self.batch(self.rng.randint(0, 3))
        ids = {made.execution.id for made in spoilt}
        batch.transitions = [made for made in batch.transitions if made.execution.id not in ids]
        at = self.rng.randint(0, len(batch.transitions))
        batch.transitions[at:at] = spoilt
        return batch


def unwritable_command(id: ExecutionId) -> c.AnyCommand:
    """A command that has no JSON form."""
    return c.StartExecution(execution_id=id, input=NULL, started_by=_HALF_A_CHARACTER)
