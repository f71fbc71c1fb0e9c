from collections.abc import Iterator

import jsonschema_rs
import pytest

from process_engine.cli.schema import DIALECT, process_schema
from process_engine.definition.checking import load_definition
from process_engine.definition.document import STEP_TYPES, ProcessDefinition
from process_engine.definition.yaml_text import load
from tests.architecture.places import ROOT
from tests.docs.snippets import blocks_of

SCHEMA = process_schema()
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)

HEAD = "name: p\nsteps:\n"
AGENT_STEP = "  - {id: a, type: agent_task, agent: x, message: hi}\n"


def faults(text):
    return [error.message for error in VALIDATOR.iter_errors(load(text).value)]


def written_processes() -> Iterator[tuple[str, str]]:
    """Every process in the examples and the pages."""
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        if path.name.endswith(".test.yaml"):
            continue
        if path.name != "agents.yaml":
            yield path.name, path.read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for number, block in enumerate(blocks_of(page)):
            if block.is_process:
                yield f"{page.relative_to(ROOT)}#{number}", block.text


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name) for name, text in dict(written_processes()).items()]
)
def test_every_process_in_examples_and_pages_fits(text):
    assert faults(text) == []


def test_it_is_a_schema_of_its_dialect():
    assert SCHEMA["$schema"] == DIALECT
    jsonschema_rs.meta.validate(SCHEMA)


def parts(schema):
    yield "the process", schema
    yield from schema["definitions"].items()


def test_every_key_has_a_description():
    bare = [
        f"{name}.{key}"
        for name, part in parts(SCHEMA)
        for key, described in part["properties"].items()
        if not described.get("description")
    ]

    assert bare == []


def test_every_key_of_the_language_is_there():
    for word, kind in STEP_TYPES.items():
        assert set(kind.key_names()) <= set(SCHEMA["definitions"][kind.__name__]["properties"]), word
    assert set(ProcessDefinition.key_names()) <= set(SCHEMA["properties"])


# What only one of the types understands, or nobody.
@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (HEAD + AGENT_STEP, True),
        (HEAD + AGENT_STEP + "stepz: []\n", False),
        (HEAD + AGENT_STEP + "x-mine: {any: thing}\n", True),
        (HEAD + "  - {id: a, type: agent_task, agent: x, message: hi, mesage: ho}\n", False),
        (HEAD + "  - {id: a, type: agent_task, agent: x, message: hi, x-note: 1}\n", True),
        (HEAD + "  - {id: a, type: agent_task, agent: x}\n", False),
        (HEAD + "  - {id: a, type: timer, delay: 1s, message: hi}\n", False),
        (HEAD + "  - {id: a, type: timr, delay: 1s}\n", False),
        (HEAD + "  - {id: a, type: timer, delay: 1s, retry: {max_atempts: 2}}\n", False),
        (HEAD + "  - {id: a, type: timer, delay: '{{ input.wait }}'}\n", True),
        (HEAD + "  - {id: a, type: timer, delay: 90}\n", True),
        (HEAD + "  - {id: a, type: timer, delay: null}\n", False),
        (HEAD + "  - {type: timer, delay: 1s}\n", False),
        ("name: p\nsteps: []\n", False),
        ("steps:\n" + AGENT_STEP, False),
        ("name: p\nversion: 2\nsteps:\n" + AGENT_STEP, True),
        ("name: p\nversion: 1.10\nsteps:\n" + AGENT_STEP, False),
        ("name: p\ninput: {n: {type: integer, default: 1}}\nsteps:\n" + AGENT_STEP, True),
        ("name: p\ninput: {n: {type: integr}}\nsteps:\n" + AGENT_STEP, False),
        ("name: p\ninput: {n: {type: integer, minimun: 1}}\nsteps:\n" + AGENT_STEP, False),
        ("name: p\ninput: {schema: {type: object}}\nsteps:\n" + AGENT_STEP, True),
        ("name: p\ninput: {schema: {type: string}, b: {type: string}}\nsteps:\n" + AGENT_STEP, True),
        (HEAD + AGENT_STEP + 'outputs: {a: "{{ steps.a.output }}"}\n', True),
        (HEAD + AGENT_STEP + 'outputs: [{name: a, source: "{{ steps.a.output }}"}]\n', True),
        (HEAD + AGENT_STEP + "outputs: [{name: a}]\n", False),
        (HEAD + "  - {id: a, agent: x, message: hi, on_error: skip_step}\n", True),
        (HEAD + "  - {id: a, agent: x, message: hi, on_error: skip}\n", False),
    ],
)
def test_it_agrees_with_the_parser(text, accepted):
    definition, problems = load_definition(text)

    assert (faults(text) == []) is accepted
    assert (definition is not None) is accepted, problems


OLD = [
    ("  - {id: a, type: timer, duration: 1s}\n", ("Timer", "duration")),
    ("  - {id: a, type: timer, config: {delay: 1s}}\n", ("Timer", "config")),
    ("  - {id: a, agent: x, message: hi, retry: {delay: 1s}}\n", ("RetryPolicy", "delay")),
    (AGENT_STEP + 'outputs: [{name: a, value: "{{ steps.a.output }}"}]\n', ("OutputSpec", "value")),
    ("  - {id: a, type: agent_task, agent: x, message: hi, owner: eve}\n", ("AgentTask", "owner")),
    (
        AGENT_STEP
        + "  - {id: g, type: gateway, depends_on: a, conditions: [{expression: 'true', next: t}, "
        + "{default: true, next: u}]}\n"
        + "  - {id: t, type: timer, delay: 1s}\n  - {id: u, type: timer, delay: 1s}\n",
        ("Gateway", "conditions"),
    ),
]


@pytest.mark.parametrize(("steps", "place"), OLD, ids=[".".join(place) for _, place in OLD])
def test_old_spellings_fit_and_are_marked(steps, place):
    part, key = place

    assert faults(HEAD + steps) == []
    assert load_definition(HEAD + steps)[0] is not None
    marked = SCHEMA["definitions"][part]["properties"][key]
    assert marked["deprecated"] is True
    assert marked["deprecationMessage"]


def test_a_fault_is_told_about_the_type_that_is_meant():
    (fault,) = faults(HEAD + "  - {id: a, type: timer, delay: 1s, agent: x}\n")

    assert "agent" in fault
    assert "oneOf" not in str(SCHEMA)
