"""Deliberate breakages of the engine: a simulation that does not find them proves nothing."""

import sys
from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from process_engine.core import decide, edges, moves, plan
from process_engine.core.backoff import Retry
from process_engine.core.commands import StartExecution
from process_engine.core.edges import EdgeState
from process_engine.core.evolve import evolution
from process_engine.core.state import StepStatus
from process_engine.core.transition import Transition
from process_engine.core.work import WorkKind
from process_engine.errors import CommandRejected
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime import inbox, ownership
from process_engine.runtime.alarms import Alarms
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.loop import Loop
from process_engine.runtime.ports import InboxAnswer
from process_engine.runtime.steps import StepRunner

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(breakage):
    MUTANTS[breakage.__name__] = breakage
    return breakage


def everywhere(patch: Patch, original: object, replacement: object) -> None:
    """Replace a function in every module of the engine that has imported it."""
    name = original.__name__
    for module in list(sys.modules.values()):
        if module.__name__.startswith("process_engine.") and getattr(module, name, None) is original:
            patch.setattr(module, name, replacement)


# ---------------------------------------------------------------- the core


@mutant
def stale_attempt_believed(patch: Patch):
    original = decide._record_result

    def believe(draft, command):
        state = draft.state.step(command.step_id)
        original(draft, replace(command, visit=state.visit, attempt=state.attempt))

    patch.setattr(decide, "_record_result", believe)


@mutant
def stale_visit_believed(patch: Patch):
    original = decide._record_result

    def believe(draft, command):
        state = draft.state.step(command.step_id)
        original(draft, replace(command, visit=state.visit))

    patch.setattr(decide, "_record_result", believe)


@mutant
def join_any_instead_of_all(patch: Patch):
    patch.setattr(plan, "_JOIN_WORDS", {"all": 1, "any": 1})


@mutant
def join_all_instead_of_any(patch: Patch):
    patch.setattr(plan, "_JOIN_WORDS", {"all": 0, "any": 0})


@mutant
def retry_not_counted(patch: Patch):
    original = plan._compile_retry

    def generous(step, policy) -> Retry:
        compiled = original(step, policy)
        kept = {name: getattr(compiled, name) for name in compiled.__slots__}
        return Retry(**{**kept, "max_attempts": compiled.max_attempts + 1})

    patch.setattr(plan, "_compile_retry", generous)


@mutant
def dead_path_run(patch: Patch):
    original = edges.edge_state

    def lively(edge, source):
        state = original(edge, source)
        return EdgeState.LIVE if state is EdgeState.DEAD else state

    patch.setattr(edges, "edge_state", lively)
    patch.setattr(evolution, "edge_state", lively)


@mutant
def skip_on_error_treated_as_failure(patch: Patch):
    original = edges._after_skip

    def strict(edge, source):
        return EdgeState.FAILED if source.reason == "error" else original(edge, source)

    patch.setattr(edges, "_after_skip", strict)


@mutant
def gateway_is_no_guard(patch: Patch):
    patch.setattr(edges, "_guarded", lambda plan, steps: True)


@mutant
def dependants_forgotten_now_and_then(patch: Patch):
    original = moves.look

    def forgetful(draft, step_id):
        if draft.state.sequence % 11:
            original(draft, step_id)

    patch.setattr(moves, "look", forgetful)


@mutant
def timer_does_not_wait(patch: Patch):
    original = decide._wake

    def impatient(draft, command):
        state = draft.state.step(command.step_id)
        if state.due is not None:
            draft.state.steps[command.step_id] = replace(state, due=draft.now)
        original(draft, command)

    patch.setattr(decide, "_wake", impatient)


@mutant
def no_backoff(patch: Patch):
    patch.setattr(moves, "delay_seconds", lambda retry, attempt, **rest: 0.0)


@mutant
def slots_ignored(patch: Patch):
    patch.setattr(moves, "_has_room", lambda draft, step: draft.state.status == "running")


@mutant
def pause_ignored(patch: Patch):
    original = moves._has_room

    def eager(draft, step):
        return original(draft, step) or draft.state.status == "paused"

    patch.setattr(moves, "_has_room", eager)


@mutant
def last_comes_first(patch: Patch):
    original = evolution.Evolution.set_step

    def unfair(self, step_id, new):
        original(self, step_id, new)
        if new.status is StepStatus.READY:
            self.queue = (step_id, *self.queue[:-1])

    patch.setattr(evolution.Evolution, "set_step", unfair)


@mutant
def failure_stops_nothing(patch: Patch):
    patch.setattr(moves, "_after_failure", lambda draft, step_id, failure: draft.settled.append(step_id))


@mutant
def loop_cancels_nothing(patch: Patch):
    original = moves.in_motion

    def lazy(draft, steps):
        return original(draft, steps) if steps == draft.plan.order else []

    patch.setattr(moves, "in_motion", lazy)


@mutant
def visits_unbounded(patch: Patch):
    original = plan._compile_step

    def unbounded(definition, step, graph):
        compiled = original(definition, step, graph)
        object.__setattr__(compiled, "loops", dict.fromkeys(compiled.loops, 10))
        return compiled

    patch.setattr(plan, "_compile_step", unbounded)


@mutant
def cost_of_failures_forgotten(patch: Patch):
    original = moves.fail_for_good

    def cheap(draft, step, failure, usage):
        original(draft, step, failure, moves.NO_USAGE)

    patch.setattr(moves, "fail_for_good", cheap)


@mutant
def cost_cut_to_cents(patch: Patch):
    def cut(self, usage):
        self.cost += usage.cost.quantize(Decimal("0.01"))
        self.tokens += usage.tokens

    patch.setattr(evolution.Evolution, "spend", cut)


@mutant
def interruption_counts_as_an_attempt(patch: Patch):
    original = moves._on_failure

    def strict(draft, step, failed):
        state = draft.state.step(step.id)
        draft.state.steps[step.id] = replace(state, interruptions=0)
        original(draft, step, failed)

    patch.setattr(moves, "_on_failure", strict)


@mutant
def ordering_not_waited_for(patch: Patch):
    original = edges.join_verdict

    def hasty(plan, tally, steps):
        return original(plan, replace(tally, ordering=0), steps)

    patch.setattr(moves, "join_verdict", hasty)


# ---------------------------------------------------------------- the shell and the store


@mutant
def work_item_dropped_before_the_commit(patch: Patch):
    original = MemoryRepository.commit

    async def forgetful(self, transitions, fence):
        kept = [
            replace(made, work=tuple(item for item in made.work if item.kind is not WorkKind.RETRY))
            for made in transitions
        ]
        await original(self, kept, fence)

    patch.setattr(MemoryRepository, "commit", forgetful)


@mutant
def effect_before_commit(patch: Patch):
    original = Loop._decide

    async def hasty(self, batch):
        transitions = await original(self, batch)
        self._on_release(transitions)
        return transitions

    patch.setattr(Loop, "_decide", hasty)


@mutant
def no_fence(patch: Patch):
    original = MemoryRepository.commit

    async def open_to_all(self, transitions, fence):
        await original(self, transitions, self.tables.epoch)

    patch.setattr(MemoryRepository, "commit", open_to_all)


@mutant
def half_a_batch_written(patch: Patch):
    original = MemoryRepository.commit

    async def partial(self, transitions, fence):
        await original(self, transitions[:2], fence)

    patch.setattr(MemoryRepository, "commit", partial)


@mutant
def changed_step_not_written(patch: Patch):
    original = MemoryRepository.commit

    async def forgetful(self, transitions, fence):
        await original(self, [replace(made, changed=made.changed[:3]) for made in transitions], fence)

    patch.setattr(MemoryRepository, "commit", forgetful)


@mutant
def large_value_not_written(patch: Patch):
    original = MemoryRepository.commit

    async def forgetful(self, transitions, fence):
        await original(self, [replace(made, blobs={}) for made in transitions], fence)

    patch.setattr(MemoryRepository, "commit", forgetful)


@mutant
def timers_not_armed_again_after_a_crash(patch: Patch):
    original = ownership.take_over

    async def forgetful(repository, *, adopts, interrupt, arm):
        await original(repository, adopts=adopts, interrupt=interrupt, arm=lambda item: None)

    everywhere(patch, original, forgetful)


@mutant
def attempts_not_taken_up_after_a_crash(patch: Patch):
    original = ownership.take_over

    async def forgetful(repository, *, adopts, interrupt, arm):
        await original(repository, adopts=adopts, interrupt=lambda command: None, arm=arm)

    everywhere(patch, original, forgetful)


@mutant
def start_acknowledged_before_its_commit(patch: Patch):
    original = Loop._decide

    async def hasty(self, batch):
        transitions = await original(self, batch)
        for entry in batch:
            decided = isinstance(entry.outcome, Transition) and isinstance(entry.command, StartExecution)
            if decided and entry.future is not None and not entry.future.done():
                entry.future.set_result(entry.outcome.execution)
        return transitions

    patch.setattr(Loop, "_decide", hasty)


@mutant
def commit_of_unknown_outcome_taken_for_written(patch: Patch):
    async def trusting(self, transitions):
        return True

    patch.setattr(Loop, "_is_written", trusting)


@mutant
def commit_of_unknown_outcome_taken_for_lost(patch: Patch):
    async def gloomy(self, transitions):
        return False

    patch.setattr(Loop, "_is_written", gloomy)


@mutant
def withdrawn_attempt_goes_on(patch: Patch):
    patch.setattr(StepRunner, "cancel", lambda self, execution_id, key: None)


@mutant
def attempt_never_times_out(patch: Patch):
    patch.setattr(sys.modules[StepRunner.__module__], "_timeout_seconds", lambda attempt: None)


@mutant
def early_timer_not_armed_again(patch: Patch):
    patch.setattr(Alarms, "rearm", lambda self, command, execution: None)


@mutant
def inbox_command_answered_and_not_carried_out(patch: Patch):
    async def polite(entry, submit):
        return InboxAnswer(status="running")

    patch.setattr(inbox, "_carry_out", polite)


@mutant
def refusal_of_an_inbox_command_swallowed(patch: Patch):
    original = inbox._carry_out

    async def silent(entry, submit):
        answer = await original(entry, submit)
        return InboxAnswer(status="running") if answer.error_code == CommandRejected.code else answer

    patch.setattr(inbox, "_carry_out", silent)


@mutant
def listeners_hear_of_what_is_not_stored(patch: Patch):
    original = Loop._decide

    async def hasty(self, batch):
        transitions = await original(self, batch)
        owner = self._on_release.__self__
        owner.event_bus.publish([event for done in transitions for event in done.events])
        return transitions

    patch.setattr(Loop, "_decide", hasty)


@mutant
def listeners_miss_events(patch: Patch):
    original = InMemoryEventBus.publish
    patch.setattr(InMemoryEventBus, "publish", lambda self, events: original(self, events[:3]))


@mutant
def waiting_callers_forgotten(patch: Patch):
    original = Engine._tell

    def forgetful(self, execution):
        if execution.head.sequence % 5:
            original(self, execution)

    patch.setattr(Engine, "_tell", forgetful)


@mutant
def key_of_an_effect_names_the_attempt(patch: Patch):
    original = StepRunner._context

    async def chatty(self, attempt, seconds):
        context = await original(self, attempt, seconds)
        return replace(context, effect_key=f"{context.effect_key}/{context.attempt}")

    patch.setattr(StepRunner, "_context", chatty)
