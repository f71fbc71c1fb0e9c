import asyncio
import re
from decimal import Decimal
from typing import cast

import pytest

from process_engine.core.results import Completed, Failed, Usage
from process_engine.handlers import AgentTaskHandler
from process_engine.handlers.agent_task import MESSAGE_CHARACTERS
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest, Clock, StepContext


class OneAgent:
    """A gateway that answers, or raises, what it was given."""

    def __init__(self, answer: AgentReply | BaseException) -> None:
        self.answer = answer
        self.requests: list[AgentRequest] = []

    async def call(self, request: AgentRequest) -> AgentReply:
        self.requests.append(request)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def knows(self, agent: str) -> bool:
        return True

    def names(self) -> tuple[str, ...]:
        return ()

    async def aclose(self) -> None:
        pass


def context(attempt: int = 2, **request: object) -> StepContext:
    return StepContext(
        execution_id=ExecutionId("e1"),
        process_name="tides",
        version="3",
        correlation_id="root",
        step_id=StepId("write"),
        step_type="agent_task",
        visit=1,
        attempt=attempt,
        effect_key="e1/write/1",
        request={"agent": "writer", "message": "Write.", **request},
        timeout_seconds=None,
        clock=cast("Clock", None),
    )


async def executed(answer: AgentReply | BaseException, **request: object) -> Completed | Failed:
    return await AgentTaskHandler(OneAgent(answer)).execute(context(**request))


async def test_an_answer_completes_the_step_with_its_cost():
    usage = Usage(cost=Decimal("0.3"), input_tokens=1, output_tokens=2)

    assert await executed(AgentReply(output={"a": 1}, usage=usage)) == Completed(output={"a": 1}, usage=usage)


async def test_the_agent_learns_which_attempt_it_works_for():
    agent = OneAgent(AgentReply(output=1))
    await AgentTaskHandler(agent).execute(context(model="large", temperature=0.2, system="Be brief."))

    [request] = agent.requests
    assert (request.agent, request.message) == ("writer", "Write.")
    assert (request.model, request.temperature, request.system) == ("large", 0.2, "Be brief.")
    assert request.idempotency_key == "e1/write/1"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", request.traceparent)
    about = request.context
    assert (about.execution_id, about.process, about.version) == ("e1", "tides", "3")
    assert (about.step_id, about.visit, about.attempt, about.correlation_id) == ("write", 1, 2, "root")


async def test_a_failed_call_keeps_its_facts():
    error = AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True, retry_after=4.0)

    assert await executed(error) == Failed("AGENT_UNAVAILABLE", "busy", transient=True, retry_after=4.0)


async def test_a_code_outside_the_list_is_a_handler_error():
    paid = Usage(cost=Decimal("0.10"))

    failed = await executed(AgentCallFailed("TEAPOT", "short and stout", transient=True, usage=paid))

    told = "the agent failed with the unknown code TEAPOT: short and stout"
    assert failed == Failed("HANDLER_ERROR", told, usage=paid)


async def test_any_other_exception_is_a_handler_error_with_its_type_and_text():
    assert await executed(ValueError("odd")) == Failed("HANDLER_ERROR", "ValueError: odd")


@pytest.mark.parametrize(
    "wrap", [lambda text: ValueError(text), lambda text: AgentCallFailed("AGENT_ERROR", text)]
)
async def test_a_failure_is_recorded_in_a_length_and_a_form_that_can_be_kept(wrap):
    failed = await executed(wrap("\ud800" + "x" * 100_000))

    assert isinstance(failed, Failed)
    assert len(failed.message) == MESSAGE_CHARACTERS
    failed.message.encode()


async def test_cancellation_is_not_swallowed():
    with pytest.raises(asyncio.CancelledError):
        await executed(asyncio.CancelledError())


async def requested(*, attempt: int) -> AgentRequest:
    agent = OneAgent(AgentReply(output=1))
    await AgentTaskHandler(agent).execute(context(attempt))
    return agent.requests[0]


async def test_attempts_of_one_tree_are_spans_of_one_trace():
    [_, trace, span, _] = (await requested(attempt=1)).traceparent.split("-")
    [_, again_trace, again_span, _] = (await requested(attempt=2)).traceparent.split("-")

    assert trace == again_trace
    assert span != again_span
    assert (await requested(attempt=1)).traceparent == f"00-{trace}-{span}-01"
