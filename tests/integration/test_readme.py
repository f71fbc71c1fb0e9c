"""What the README shows works: its program, its process with its agents; and the code of the how-to pages."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from process_engine.agents import KINDS, AgentSettings, ConfiguredAgents, connect
from process_engine.app import built_in_handlers
from process_engine.config import read_agents_file
from process_engine.core.results import Completed, Failed
from process_engine.definition import load_definition
from process_engine.definition.document import Step, Text
from process_engine.definition.parts import TemplateText
from process_engine.engine import ExecutionEngine, MemoryRepository, StepContext
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest
from process_engine.testing.agent_server import AgentServer, Behaviour
from process_engine.testing.clock import VirtualClock

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name: str) -> str:
    """The fenced block between the README's markers of that name."""
    found = re.search(rf"<!-- begin {name} -->\n```\w+\n(.*?)```\n<!-- end {name} -->", README, re.DOTALL)
    assert found is not None, f"the README has no block {name}"
    return found[1]


def python_block(page: str, beginning: str) -> str:
    """The Python block of a page that begins so."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```python\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return next(textwrap.dedent(body) for _, body in blocks if body.strip().startswith(beginning))


def test_the_program_in_the_readme_prints_what_the_readme_says(tmp_path):
    promised = re.search(r"^prints `(.+)`\.", README, re.MULTILINE)
    program = tmp_path / "headline.py"
    program.write_text(marked("embedding"), encoding="utf-8")

    answer = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )

    assert answer.stderr == ""
    assert promised is not None
    assert answer.stdout.strip() == promised[1]
    assert (tmp_path / "headlines.db").exists()


@pytest.mark.parametrize(("score", "status_of"), [
    (93, {"publish": "completed", "rework": "skipped"}),
    (40, {"publish": "skipped", "rework": "completed"}),
])  # fmt: skip
async def test_the_process_in_the_readme_runs_on_the_agents_of_the_readme(tmp_path, score, status_of):
    definition, problems = load_definition(marked("process"), "brief.yaml")
    assert definition is not None, problems
    behaviours = {
        "researcher": Behaviour(reply="Tides follow the moon.", fail_first=2),
        "fact-checker": Behaviour(reply={"score": score}),
        "stylist": Behaviour(reply="Shorter sentences."),
        "publisher": Behaviour(reply="https://example.com/tides"),
    }
    async with AgentServer(behaviours) as server:
        address = server.url_of("researcher").partition("/agents/")[0]
        agents = connect(_agents_of_the_readme(tmp_path, address))
        clock = VirtualClock()
        began = clock.now()
        async with ExecutionEngine(MemoryRepository(), agents, clock=clock) as engine:
            execution = await engine.start(definition, {"topic": "tides"})
            execution = await engine.run_until_settled(execution.id)
        await agents.aclose()

    assert execution.status == "completed"
    steps = execution.step_executions
    assert {step: steps[step].status for step in status_of} == status_of
    assert steps["research"].retry_count == 2
    waited = (clock.now() - began).total_seconds()
    assert waited >= (1800 if score >= 80 else 3)
    text = "https://example.com/tides" if score >= 80 else "Shorter sentences."
    assert execution.outputs == {"text": text}


def _agents_of_the_readme(folder: Path, address: str) -> dict[str, AgentSettings]:
    path = folder / "agents.yaml"
    path.write_text(marked("agents").replace("http://127.0.0.1:8700", address), encoding="utf-8")
    return dict(read_agents_file(path, KINDS, {}).agents)


async def test_the_agent_kind_of_the_how_to_answers_through_the_engine():
    names = {
        "Literal": Literal, "Field": Field, "AgentSettings": AgentSettings,
        "AgentRequest": AgentRequest, "AgentReply": AgentReply, "AgentCallFailed": AgentCallFailed,
    }  # fmt: skip
    exec(python_block("add-an-agent-kind.md", "class ReverseAgent"), names)
    settings = names["ReverseSettings"].model_validate({"kind": "reverse", "shout": True})
    definition, _ = load_definition(
        "name: mirror\nsteps: [{id: turn, type: agent_task, agent: mirror, message: tide}]"
    )

    async with ExecutionEngine(":memory:", ConfiguredAgents({"mirror": settings.connect()})) as engine:
        execution = await engine.run_until_settled((await engine.start(definition)).id)

    assert execution.outputs == {"turn": "EDIT"}


async def test_the_step_type_of_the_how_to_is_read_and_handled():
    names = {
        "Annotated": Annotated, "Literal": Literal, "Field": Field, "Step": Step, "Text": Text,
        "TemplateText": TemplateText, "StepContext": StepContext, "Completed": Completed, "Failed": Failed,
    }  # fmt: skip
    exec(python_block("add-a-step-type.md", "class Shout(Step"), names)
    exec(python_block("add-a-step-type.md", "class ShoutHandler"), names)
    step = names["Shout"].model_validate({"id": "loud", "type": "shout", "text": "{{ input.word }}"})
    registry = built_in_handlers(ConfiguredAgents({}))
    registry.register("shout", names["ShoutHandler"]())
    context = StepContext(
        execution_id="e", process_name="p", version="1", correlation_id="e", step_id="loud",
        step_type="shout", visit=1, attempt=1, effect_key="e/loud/1", request={"text": "tide"},
        timeout_seconds=None, clock=VirtualClock(),
    )  # fmt: skip

    result = await registry.outside("shout").execute(context)

    assert [site.path for site in step.expressions()] == [("text",)]
    assert step.request_fields == ("text",)
    assert result == Completed("TIDE")
