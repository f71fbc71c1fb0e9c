"""Sub-processes in a document: old spellings, and what can be known to be wrong before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from process_engine.definition import load_definition
from process_engine.definition.document import ProcessDefinition, SubProcess
from process_engine.definition.problems import Problem

CALL = "id: call, type: sub_process, process"


def problems(*steps: str, others: Mapping[str, ProcessDefinition] | None = None) -> tuple[Problem, ...]:
    text = "name: p\nsteps:\n" + "".join(f"  - {{{step}}}\n" for step in steps)
    return tuple(load_definition(text, processes=others)[1])


def codes(*steps: str, others: Mapping[str, ProcessDefinition] | None = None) -> list[str]:
    return [problem.code for problem in problems(*steps, others=others)]


def known(**calls: str) -> dict[str, ProcessDefinition]:
    """Processes by name, each of which runs the one it is said to."""
    return {
        name: ProcessDefinition.model_validate(
            {"name": name, "steps": [{"id": "down", "type": "sub_process", "process": called}]}
        )
        for name, called in calls.items()
    }


def leaf(name: str, version: str = "1") -> dict[str, ProcessDefinition]:
    steps = [{"id": "wait", "type": "timer", "delay": "1s"}]
    made = ProcessDefinition.model_validate({"name": name, "version": version, "steps": steps})
    return {name: made}


def test_what_a_call_leaves_out_is_what_the_language_says():
    definition, found = load_definition(f"name: p\nsteps:\n  - {{{CALL}: child}}\n")

    assert found == []
    assert definition is not None
    (step,) = definition.steps
    assert isinstance(step, SubProcess)
    assert (step.version, step.input, step.wait, step.output_key, step.timeout) == (
        None,
        {},
        True,
        None,
        None,
    )


def test_old_spellings_become_the_canonical_ones():
    text = dedent(
        """\
        name: p
        steps:
          - id: call
            type: sub_process
            process_name: child
            version: latest
            input_mapping: {n: 1}
            wait_for_completion: false
            output_key: n
        """
    )

    definition, found = load_definition(text)

    assert [(problem.code, problem.level) for problem in found] == [("P901", "info")] * 3
    assert definition is not None
    (step,) = definition.steps
    assert isinstance(step, SubProcess)
    assert (step.process, step.version, step.input, step.wait) == ("child", None, {"n": 1}, False)
    assert ProcessDefinition.from_canonical(definition.canonical_json()) == definition


def test_a_new_and_an_old_spelling_together_are_one_too_many():
    assert codes(f"{CALL}: a, process_name: b") == ["P112"]


def test_output_key_belongs_to_sub_processes_alone():
    assert codes(f"{CALL}: child, output_key: n") == []
    assert codes("id: wait, type: timer, delay: 1s, output_key: n") == ["P111"]


def test_a_process_has_a_name():
    assert codes("id: call, type: sub_process") == ["P102"]
    assert codes(f"{CALL}: No Name") == ["P107"]


def test_processes_are_looked_for_only_where_they_are_known():
    assert codes(f"{CALL}: child") == []
    assert codes(f"{CALL}: child", others={}) == ["P651"]
    assert codes(f"{CALL}: child", others=leaf("child")) == []
    (problem,) = problems(f"{CALL}: chidl", others=leaf("child"))
    assert (problem.code, problem.suggestion) == ("P651", "Did you mean `child`?")


def test_a_version_that_is_not_there_is_told():
    assert codes(f"{CALL}: child, version: 2", others=leaf("child", "2")) == []
    assert codes(f"{CALL}: child, version: 1", others=leaf("child", "2")) == ["P651"]


def test_a_process_that_calls_itself_without_end_is_told_with_the_way():
    (straight,) = problems(f"{CALL}: p")
    assert (straight.code, straight.message) == ("P652", "The process calls itself without end: p → p.")

    (around,) = problems(f"{CALL}: a", others=known(a="b", b="p"))
    assert around.message.endswith("p → a → b → p.")


def test_a_step_that_decides_ends_the_chain():
    ask = "id: ask, type: human_approval"
    assert "P652" not in codes(f"{CALL}: p, condition: input.n > 0")
    assert "P652" not in codes(ask, f"{CALL}: p, depends_on: ask")
    choose = "id: g, type: gateway, routes: [{condition: input.n > 0, target: call}], default_route: end"
    end = "id: end, type: timer, delay: 1s"
    assert "P652" not in codes(choose, f"{CALL}: p", end)


def test_calls_over_ten_levels_are_run_and_over_eleven_are_not():
    chain = known(**{f"l{number}": f"l{number + 1}" for number in range(1, 11)})

    assert codes(f"{CALL}: l2", others=chain | leaf("l11")) == []
    assert codes(f"{CALL}: l1", others=chain | leaf("l11")) == ["P653"]


def test_a_chain_that_comes_back_is_not_called_too_deep():
    assert "P653" not in codes(f"{CALL}: a", others=known(a="b", b="a"))


def test_the_id_of_a_child_can_be_read():
    told = 'id: tell, type: transform, depends_on: call, value: "{{ steps.call.execution_id }}"'
    assert codes(f"{CALL}: child", told) == []


def test_what_has_no_effect_is_told():
    assert codes(f"{CALL}: child, on_interrupt: ask") == ["P612"]
