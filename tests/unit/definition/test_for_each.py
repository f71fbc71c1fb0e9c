"""What is known to be wrong with a list before anything runs."""

import pytest

from process_engine.definition import load_definition
from process_engine.definition.checking import check
from process_engine.definition.document import ProcessDefinition

HEAD = "name: p\ndefaults: {agent: writer}\nsteps:\n"


def told(*steps: str, outputs: str = ""):
    _, problems = load_definition(HEAD + "".join(f"  - {{{step}}}\n" for step in steps) + outputs)
    return [problem for problem in problems if problem.level != "info"]


def codes(*steps: str, outputs: str = "") -> list[str]:
    return [problem.code for problem in told(*steps, outputs=outputs)]


def each(rules: str, *, message: str = "{{ item }}", more: str = "") -> str:
    return f'id: a, type: agent_task, message: "{message}", for_each: {{{rules}}}{more}'


@pytest.mark.parametrize(
    "step",
    [
        each("items: [1, 2]"),
        each('items: "{{ input.rows }}", as: row, max_concurrency: 1000', message="{{ row.id }} {{ index }}"),
        each("items: [], on_item_error: collect"),
        'id: t, type: transform, value: {twice: "{{ item * 2 }}"}, for_each: {items: [1]}',
    ],
)
def test_lists_that_are_right(step: str):
    assert codes(step) == []


@pytest.mark.parametrize(
    "step",
    [
        "id: t, type: timer, delay: 1s, for_each: {items: [1]}",
        "id: h, type: human_approval, for_each: {items: [1]}",
    ],
)
def test_a_step_that_only_waits_cannot_run_for_items(step: str):
    (problem,) = told(step)

    assert (problem.code, problem.level, problem.path[-1]) == ("P616", "error", "for_each")


@pytest.mark.parametrize("word", ["input", "steps", "index", "secrets", "and", "contains", "in"])
def test_an_item_cannot_be_called_like_something_else(word: str):
    (problem,) = told(each(f"items: [1], as: {word}", message="m"))

    assert (problem.code, problem.path[-1]) == ("P617", "as")


@pytest.mark.parametrize(
    ("items", "kind"),
    [("input.rows", "text"), ("{a: 1}", "an object"), ("7", "a number"), ("true", "true")],
)
def test_what_stands_in_the_document_must_be_a_list(items: str, kind: str):
    (problem,) = told(each(f"items: {items}", message="m"))

    assert problem.code == "P618"
    assert kind in problem.message
    assert "{{ input.rows }}" in problem.suggestion


def test_a_list_in_the_document_may_be_too_long():
    step = {
        "id": "a",
        "agent": "w",
        "message": "m",
        "for_each": {"items": [0] * 100_001},
        "type": "agent_task",
    }
    definition = ProcessDefinition.model_validate({"name": "p", "steps": [step]})

    (problem,) = check(definition)

    assert problem.code == "P618"
    assert "100,001 items, the limit is 100,000" in problem.message


def test_the_name_of_the_item_exists_only_in_what_is_asked_for_each():
    rules = "items: [1], as: row"

    assert codes(each(rules, more=', condition: "row == 1"')) == ["P302"]
    assert codes(each(rules, more=', condition: "item == 1"')) == ["P309"]
    assert codes(each(rules), "id: b, type: agent_task, message: '{{ row }}'") == ["P302"]


def test_errors_are_those_of_lists():
    outputs = 'outputs: {e: "{{ steps.a.errors }}"}\n'

    assert codes(each("items: [1]"), outputs=outputs) == []
    assert codes("id: a, type: agent_task, message: m", outputs=outputs) == ["P314"]


def test_the_output_of_a_list_is_a_list():
    compared = 'id: g, type: gateway, depends_on: a, routes: [{condition: "steps.a.output > 3", target: b}]'
    rest = ("id: b, type: agent_task, message: m", "id: c, type: agent_task, message: m, depends_on: g")
    compared = compared.replace("}]", "}], default_route: c")

    assert "P307" in codes(each("items: [1]"), compared, *rest)


def test_the_schema_of_an_answer_is_that_of_each_item():
    schema = (
        ", output: {schema: {type: object, properties: {n: {type: integer}}, additionalProperties: false}}"
    )
    read = "id: b, type: agent_task, depends_on: a, message: '{{ steps.a.output[0].n + 1 }}'"

    assert codes(each("items: [1]", more=schema), read) == []


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("items: [1], max_concurrency: 0", "P105"),
        ("items: [1], max_concurrency: 1001", "P105"),
        ("items: [1], on_item_error: ignore", "P104"),
        ("items: [1], as: Row", "P107"),
        ("item: [1]", "P101"),
        ("as: row", "P102"),
    ],
)
def test_the_keys_of_for_each(rules: str, code: str):
    assert code in codes(each(rules, message="m"))
