"""The process that is killed, cut off and starved: 12 steps, a fan-out, a gateway, a timer and a retry."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from process_engine.definition import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.testing.agent_server import Behaviour

TEXT = """
name: pipeline
input:
  topic: {type: string, default: tides}
defaults:
  timeout: 30s
  retry: {max_attempts: 4, initial_delay: 20ms, backoff: fixed, jitter: false}
limits:
  timeout: 1h
steps:
  - {id: plan, type: agent_task, agent: planner, message: "Plan {{ input.topic }}"}
  - {id: facts, type: agent_task, agent: researcher, depends_on: plan, message: "{{ steps.plan.output }}"}
  - {id: sources, type: agent_task, agent: librarian, depends_on: plan, message: "{{ steps.plan.output }}"}
  - {id: pictures, type: agent_task, agent: illustrator, depends_on: plan, message: "Draw."}
  - id: write
    type: agent_task
    agent: writer
    depends_on: [facts, sources, pictures]
    message: {sources: "{{ steps.sources.output }}", length: "{{ steps.facts.output | length }}"}
  - {id: review, type: agent_task, agent: editor, depends_on: write, message: "{{ steps.write.output }}"}
  - id: verdict
    type: gateway
    depends_on: review
    routes: [{condition: "steps.review.output.score >= 80", target: embargo}]
    default_route: rework
  - {id: embargo, type: timer, delay: 50ms}
  - {id: rework, type: agent_task, agent: writer, message: "Once more."}
  - id: publish
    type: agent_task
    agent: publisher
    depends_on: [embargo, rework]
    message: "{{ steps.write.output }}"
  - {id: announce, type: agent_task, agent: herald, depends_on: publish, message: "Look!"}
  - {id: archive, type: agent_task, agent: keeper, depends_on: publish, message: "{{ steps.publish.output }}"}
outputs:
  text: "{{ steps.write.output }}"
  facts: "{{ steps.facts.output | length }}"
  address: "{{ steps.archive.output }}"
"""

# Over 64 KiB: an output that is kept apart from the state, and has to be loaded for the step that reads it.
LARGE = 70_000

BEHAVIOURS: Mapping[str, Behaviour] = {
    "planner": Behaviour(reply="A plan."),
    "researcher": Behaviour(reply="f" * LARGE),
    "librarian": Behaviour(reply="A source.", fail_first=2),
    "illustrator": Behaviour(reply="A picture."),
    "writer": Behaviour(reply="An article."),
    "editor": Behaviour(reply={"score": 90}),
    "publisher": Behaviour(reply="https://example.com/tides"),
    "herald": Behaviour(reply="Told."),
    "keeper": Behaviour(reply="shelf 7"),
}

OUTPUTS = {"text": "An article.", "facts": LARGE, "address": "shelf 7"}

STEPS = 12
NOT_TAKEN = frozenset({"rework"})
ASKED = frozenset(
    {"plan", "facts", "sources", "pictures", "write", "review", "publish", "announce", "archive"}
)
"""The steps that ask an agent, each once if nothing goes wrong; `sources` is refused twice before that."""


@cache
def pipeline() -> ProcessDefinition:
    """The definition, read as a user's would be."""
    definition, problems = load_definition(TEXT, "pipeline.yaml")
    assert definition is not None, problems
    assert len(definition.steps) == STEPS
    return definition
