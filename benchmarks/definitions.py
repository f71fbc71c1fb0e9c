"""The processes that are measured, and the agent that answers at once."""

from __future__ import annotations

from collections.abc import Collection

from process_engine.definition.document import ProcessDefinition
from process_engine.runtime.ports import AgentReply, AgentRequest

RESULT = {"ok": True, "n": 1}
FAN = 20
_AGENT = "noop"

# Of the document whose validation is timed: eight stages of five steps.
_STAGES = 8


class ConstantAgent:
    """An agent in this process that answers the same each time, at once: what remains is the engine."""

    _reply = AgentReply(output=RESULT)

    async def call(self, request: AgentRequest) -> AgentReply:
        return self._reply

    def knows(self, agent: str) -> bool:
        return agent == _AGENT

    def names(self) -> Collection[str]:
        return (_AGENT,)

    async def aclose(self) -> None:
        return


def chain(length: int) -> ProcessDefinition:
    """`length` steps, one after the other."""
    steps = [_step(f"s{number}", [f"s{number - 1}"] if number else []) for number in range(length)]
    return _process(f"chain-{length}", steps)


def fan_out(width: int = FAN) -> ProcessDefinition:
    """One step, then `width` in parallel, then one that waits for all of them."""
    branches = [f"branch{number}" for number in range(width)]
    middle = [_step(branch, ["first"]) for branch in branches]
    return _process(f"fan-{width}", [_step("first", []), *middle, _step("last", branches)])


def _step(name: str, after: list[str]) -> dict[str, object]:
    return {"id": name, "type": "agent_task", "message": "go", "depends_on": after}


def _process(name: str, steps: list[dict[str, object]]) -> ProcessDefinition:
    return ProcessDefinition.model_validate({"name": name, "defaults": {"agent": _AGENT}, "steps": steps})


def forty_steps(serial: int) -> str:
    """YAML of a process with 40 steps of every kind, as people write them.

    Names and expressions hold `serial`: with a new one no cache can know any part of the text.
    """
    stages = "".join(_stage(serial, stage) for stage in range(_STAGES))
    last = f"report{serial}-{_STAGES - 1}"
    return f"""\
name: review-{serial}
version: "1.4"
description: Reviews a document in {_STAGES} rounds.
input:
  topic{serial}: {{type: string, required: true, description: What it is about.}}
  tier{serial}: {{type: string, enum: [gold, silver], default: silver}}
  budget{serial}: {{type: number, minimum: 0, default: 100}}
defaults:
  agent: writer
  timeout: 2m
  retry: {{max_attempts: 4, initial_delay: 500ms, backoff: exponential, max_delay: 1m}}
limits: {{timeout: 2d, max_concurrent_steps: 8}}
steps:
{stages}outputs:
  - name: report
    source: "{{{{ steps.{last}.output | default('none') }}}}"
  - name: cost
    source: "{{{{ steps.{last}.cost }}}}"
"""


def _stage(serial: int, stage: int) -> str:
    """Five steps: a draft, a gateway, two ways out of it, and a join that takes whichever came."""
    name = f"{serial}-{stage}"
    before = f"\n    depends_on: report{serial}-{stage - 1}" if stage else ""
    given = f"steps.report{serial}-{stage - 1}.output" if stage else f"input.topic{serial}"
    return f"""\
  - id: draft{name}
    type: agent_task{before}
    message: |
      Draft part {name} about {{{{ input.topic{serial} | upper }}}} from {{{{ {given} | json }}}}.
    temperature: 0.{stage + 1}
  - id: triage{name}
    type: gateway
    depends_on: draft{name}
    routes:
      - condition: steps.draft{name}.output.score >= {60 + stage} and input.tier{serial} == "gold"
        target: polish{name}
      - condition: input.budget{serial} > {10 * stage} or not (input.tier{serial} in ["gold", "{name}"])
        target: wait{name}
    default_route: wait{name}
  - id: polish{name}
    type: agent_task
    agent: editor
    message: "Polish {{{{ steps.draft{name}.output.text | default('nothing {name}') | truncate(200) }}}}"
    on_error: skip_step
  - id: wait{name}
    type: timer
    delay: {stage + 1}m
  - id: report{name}
    type: agent_task
    depends_on: [polish{name}, wait{name}]
    message:
      polished: "{{{{ steps.polish{name}.output | default('no {name}') }}}}"
      waited: "{{{{ steps.wait{name}.output.waited_seconds | default(0) }}}}"
"""
