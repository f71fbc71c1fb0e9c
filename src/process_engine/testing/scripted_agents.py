"""Agents that answer what a script says, and keep every call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from process_engine.core.failures import TRANSIENT
from process_engine.core.results import Usage
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest, Clock
from process_engine.testing.process_tests import Turn


@dataclass(frozen=True)
class Call:
    """One call of an agent, as it began."""

    step: str
    agent: str
    message: object
    visit: int
    attempt: int


class _Unscripted(Protocol):
    def __call__(self, request: AgentRequest) -> object: ...


class ScriptedAgents:
    """An `AgentGateway` whose agents answer by the step that asks, else by their name; turn after turn.

    Repeated attempts take the next turn, and the last turn stays. A call that nothing is written for is kept
    in `unscripted` and fails for good with `AGENT_ERROR`, unless `otherwise` gives an answer.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        agents: Mapping[str, Sequence[Turn]] | None = None,
        steps: Mapping[str, Sequence[Turn]] | None = None,
        otherwise: _Unscripted | None = None,
    ) -> None:
        self._clock = clock
        self._agents = dict(agents or {})
        self._steps = dict(steps or {})
        self._otherwise = otherwise
        self._taken: dict[tuple[str, str], int] = {}
        self.calls: list[Call] = []
        self.unscripted: list[Call] = []

    async def call(self, request: AgentRequest) -> AgentReply:
        """Answer as the script says."""
        about = request.context
        call = Call(about.step_id, request.agent, request.message, about.visit, about.attempt)
        self.calls.append(call)
        turn = self._turn(call)
        if turn is None and self._otherwise is not None:
            return AgentReply(output=self._otherwise(request))
        if turn is None:
            self.unscripted.append(call)
            raise AgentCallFailed("AGENT_ERROR", f"no answer is written for {call.agent} at {call.step}")
        if turn.takes is not None:
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=turn.takes.seconds))
        usage = Usage(cost=turn.cost, output_tokens=turn.tokens)
        if turn.fails is not None:
            transient = turn.fails in TRANSIENT if turn.transient is None else turn.transient
            raise AgentCallFailed(turn.fails, turn.message, transient=transient, usage=usage)
        return AgentReply(output=turn.answer, usage=usage)

    def _turn(self, call: Call) -> Turn | None:
        for key, turns in ((("step", call.step), self._steps), (("agent", call.agent), self._agents)):
            if key[1] in turns:
                taken = self._taken.get(key, 0)
                self._taken[key] = taken + 1
                return turns[key[1]][min(taken, len(turns[key[1]]) - 1)]
        return None

    def knows(self, agent: str) -> bool:
        """Every agent is known: what is missing is told when it is called."""
        return True

    def names(self) -> Collection[str]:
        """The agents that the script names."""
        return tuple(self._agents)

    async def aclose(self) -> None:
        """Nothing is held."""
