"""The processes that are measured with our engine, and the agent that answers at once."""

from __future__ import annotations

from process_engine.agents import ConfiguredAgents, PythonAgent
from process_engine.agents.python import AgentFunction
from process_engine.definition.document import ProcessDefinition
from process_engine.engine import AgentGateway

# What a step of every engine answers.
RESULT = {"ok": True, "n": 1}
_AGENT = "noop"

# Of the document whose validation is timed: eight stages of five steps.
_STAGES = 8


async def _answer(message: object) -> dict[str, object]:
    """The work of a step, the same for every engine."""
    return {"ok": True, "n": message}


def agents(function: AgentFunction = _answer) -> AgentGateway:
    """The one agent of all processes here: a coroutine function in this process."""
    return ConfiguredAgents({_AGENT: PythonAgent(function)})


def process_of(shape: str, size: int) -> ProcessDefinition:
    """The process of a load: `chain` or `fan`."""
    return chain(size) if shape == "chain" else fan_out(size)


def chain(length: int) -> ProcessDefinition:
    """`length` steps, one after the other: `s0`, `s1`, …"""
    steps = [_step(number, f"s{number}", [f"s{number - 1}"] if number else []) for number in range(length)]
    return _process(f"chain-{length}", steps)


def each_of(at_once: int) -> ProcessDefinition:
    """One step that runs for each of the input's `rows`, `at_once` of them at a time."""
    step: dict[str, object] = {
        "id": "each",
        "type": "agent_task",
        "agent": _AGENT,
        "message": "{{ item.id }}",
    }
    step["for_each"] = {"items": "{{ input.rows }}", "max_concurrency": at_once}
    document = {
        "name": "each",
        "steps": [step],
        "outputs": {"count": "{{ steps.each.output | length }}"},
    }
    return ProcessDefinition.model_validate(document)


def fan_out(width: int) -> ProcessDefinition:
    """One step, then `width` in parallel, then one that waits for all of them."""
    branches = [f"branch{number}" for number in range(width)]
    middle = [_step(number + 1, branch, ["first"]) for number, branch in enumerate(branches)]
    return _process(f"fan-{width}", [_step(0, "first", []), *middle, _step(width + 1, "last", branches)])


def wait(delay: str) -> ProcessDefinition:
    """A timer, `wait`, and a step after it."""
    timer: dict[str, object] = {"id": "wait", "type": "timer", "delay": delay}
    return _process(f"wait-{delay}", [timer, _step(0, "after", ["wait"])])


def _step(number: int, name: str, after: list[str]) -> dict[str, object]:
    return {"id": name, "type": "agent_task", "message": number, "depends_on": after}


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
