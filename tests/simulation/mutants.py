"""Deliberate breakages of the engine: a simulation that does not find them proves nothing."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from process_engine.core import decide, edges, evolve, moves, plan
from process_engine.core.backoff import Retry
from process_engine.core.edges import EdgeState
from process_engine.core.state import StepStatus
from process_engine.core.work import WorkKind
from process_engine.repositories.memory import MemoryRepository
from process_engine.testing.simulated_engine import SimulatedEngine

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(breakage):
    MUTANTS[breakage.__name__] = breakage
    return breakage


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
    patch.setattr(evolve, "edge_state", lively)


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
    original = evolve.Evolution.set_step

    def unfair(self, step_id, new):
        original(self, step_id, new)
        if new.status is StepStatus.READY:
            self.queue = (step_id, *self.queue[:-1])

    patch.setattr(evolve.Evolution, "set_step", unfair)


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

    patch.setattr(evolve.Evolution, "spend", cut)


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
    original = SimulatedEngine.commit

    def hasty(self, transitions):
        self.release(transitions)
        original(self, transitions)

    patch.setattr(SimulatedEngine, "commit", hasty)


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
    original = SimulatedEngine.recover

    def forgetful(self):
        original(self)
        self.timers.clear()

    patch.setattr(SimulatedEngine, "recover", forgetful)


@mutant
def attempts_not_taken_up_after_a_crash(patch: Patch):
    original = SimulatedEngine.recover

    def forgetful(self):
        original(self)
        self.waiting.clear()

    patch.setattr(SimulatedEngine, "recover", forgetful)


@mutant
def start_acknowledged_before_its_commit(patch: Patch):
    original = SimulatedEngine.turn

    def hasty(self, size):
        for pending in self.waiting[:size]:
            if pending.answer is not None:
                self.outside.acknowledged[pending.command.execution_id] = True
        original(self, size)

    patch.setattr(SimulatedEngine, "turn", hasty)
