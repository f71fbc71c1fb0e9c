"""Every static rule: a document that breaks it, the place that is told, and one that only looks like it."""

import json
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_engine.definition import CATALOGUE, ProcessDefinition, check, load_definition, parse
from process_engine.definition.checking import RULES
from process_engine.definition.graph import DependencyResolver
from process_engine.definition.problems import Problem

HEAD = "name: p\ndefaults: {agent: writer}\n"


def problems(text: str, agents: set[str] | None = None) -> list[Problem]:
    _, found = load_definition(HEAD + textwrap.dedent(text), agents=agents)
    return found


def codes(text: str, agents: set[str] | None = None) -> list[str]:
    return [problem.code for problem in problems(text, agents) if problem.level != "info"]


def only(text: str, agents: set[str] | None = None) -> Problem:
    (problem,) = [problem for problem in problems(text, agents) if problem.level != "info"]
    return problem


def steps(*lines: str, more: str = "") -> str:
    """A document of steps in flow style: `a:` is an agent task, `t:` a timer, `g:` a gateway."""
    kinds = {"a": "type: agent_task", "t": "type: timer, delay: 1s", "g": "type: gateway"}
    body = "\n".join(f"  - {{{kinds[line[0]]}, {line[2:]}}}" for line in lines)
    return f"{more}\nsteps:\n{body}\n"


GOOD = """\
input:
  topic: {type: string, required: true}
  tier: {type: string, enum: [gold, silver], default: silver}
  words: {type: integer, default: 500}
limits: {timeout: 2h}
steps:
  - id: outline
    type: agent_task
    message: "Outline {{ input.topic }} in {{ input.words }} words"
  - {id: facts, type: agent_task, message: "{{ steps.outline.output }}", depends_on: [outline]}
  - {id: images, type: agent_task, message: "{{ steps.outline.output }}", depends_on: [outline]}
  - {id: write, type: agent_task, depends_on: [facts, images], message: {facts: "{{ steps.facts.output }}"}}
  - id: review
    type: agent_task
    depends_on: [write]
    message: "{{ steps.write.output }} {{ steps.judge.output.route | default('first round') }}"
    output: {schema: {type: object, properties: {score: {type: number}}}}
  - id: judge
    type: gateway
    depends_on: [review]
    routes:
      - {condition: steps.review.output.score >= 80, target: pause}
      - {condition: input.tier == "gold", target: write, max_visits: 3}
    default_route: pause
  - {id: pause, type: timer, delay: 1s}
outputs:
  text: steps.write.output
  score: "{{ steps.review.output.score }}"
"""


def test_a_good_process_has_no_problems_but_what_is_missing_on_a_loop():
    assert [str(problem) for problem in problems(GOOD, {"writer"})] == []


# Ids, dependencies, joins, jumps


def test_two_steps_with_one_id():
    problem = only(steps("t:id: a", "t:id: b", "t:id: a"))

    assert (problem.code, problem.line, problem.column) == ("P201", 7, 34)
    assert problem.message == "The id `a` belongs to step 1 already."


def test_two_outputs_with_one_name():
    text = steps("a:id: a, message: m") + 'outputs: [{name: x, source: "1"}, {name: x, source: "2"}]\n'

    assert only(text).code == "P212"


def test_an_unknown_dependency_tells_what_was_meant():
    problem = only(steps("t:id: review", "t:id: b, depends_on: [reviev]"))

    assert (problem.code, problem.line, problem.column) == ("P202", 6, 50)
    assert problem.suggestion == "Did you mean `review`?"


def test_a_step_that_depends_on_itself():
    assert only(steps("t:id: a, depends_on: [a]")).code == "P203"


def test_a_dependency_named_twice_is_a_warning():
    problem = only(steps("t:id: a", "t:id: b, depends_on: [a, a]"))

    assert (problem.code, problem.level) == ("P211", "warning")


def test_a_cycle_is_spelled_out():
    problem = only(steps("t:id: review, depends_on: [publish]", "t:id: publish, depends_on: [review]"))

    assert problem.code == "P204"
    assert problem.message in (
        "Steps wait for each other: review → publish → review.",
        "Steps wait for each other: publish → review → publish.",
    )


def test_every_cycle_is_told():
    text = steps(
        "t:id: a, depends_on: [b]",
        "t:id: b, depends_on: [a]",
        "t:id: c, depends_on: [d]",
        "t:id: d, depends_on: [e]",
        "t:id: e, depends_on: [c]",
    )

    assert codes(text) == ["P204", "P204"]


def test_steps_that_read_each_other_wait_for_each_other():
    text = steps('a:id: a, message: "{{ steps.b.output }}"', 'a:id: b, message: "{{ steps.a.output }}"')

    assert "P204" in codes(text)


def test_a_read_of_a_step_that_is_no_ancestor_is_noted():
    found = problems(steps("a:id: a, message: m", 'a:id: b, message: "see {{ steps.a.output }}"'))

    assert [(p.code, p.level, p.line, p.column) for p in found] == [("P209", "info", 6, 48)]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("{action: goto_step, target_step: cleanup}", None),
        ("{action: goto_step, target_step: claenup}", "P208"),
        ("{action: goto_step, target_step: a}", "P210"),
        ("{action: goto_step}", "P505"),
        ("{action: skip_step, target_step: cleanup}", "P506"),
    ],
)
def test_targets_of_goto(policy: str, code: str | None):
    found = codes(steps(f"a:id: a, message: m, on_error: {policy}", "a:id: cleanup, message: m"))

    assert found == ([code] if code else [])


def test_a_default_goto_needs_its_target_too():
    text = steps("a:id: a, message: m").replace("\nsteps", "\nx-a: 1\nsteps")
    _, found = load_definition("name: p\ndefaults: {agent: w, on_error: {action: goto_step}}\n" + text)

    assert [problem.code for problem in found] == ["P505"]


def test_a_join_of_more_edges_than_there_are():
    text = steps("t:id: a", "t:id: b", "t:id: c, depends_on: [a, b], join: 3")

    assert only(text).code == "P206"
    assert codes(text.replace("join: 3", "join: 2")) == []


def test_ordering_edges_do_not_count_for_a_join():
    text = steps(
        "a:id: a, message: m",
        "a:id: b, message: m",
        'a:id: c, depends_on: [a], join: 2, message: "{{ steps.b.output }}"',
    )

    assert codes(text) == ["P206"]


BRANCHES = (
    "g:id: g, gateway_type: {kind}, default_route: z, "
    "routes: [{{condition: input.x, target: x}}, {{condition: input.y, target: y}}]",
    "t:id: x",
    "t:id: y",
    "t:id: z",
    "t:id: end, depends_on: [x, y, z], join: {join}",
)


@pytest.mark.parametrize(
    ("kind", "join", "code"),
    [
        ("exclusive", "all", None),
        ("exclusive", "any", None),
        ("exclusive", "1", None),
        ("exclusive", "2", "P207"),
        ("inclusive", "2", None),
        ("inclusive", "3", "P207"),
    ],
)
def test_a_join_of_more_branches_than_can_live_together(kind: str, join: str, code: str | None):
    text = steps(*(line.format(kind=kind, join=join) for line in BRANCHES))

    assert codes(text) == ([code] if code else [])


def test_branches_outside_the_gateway_count_besides_its_one():
    lines = [
        line.format(kind="exclusive", join="2").replace("x, y, z]", "x, y, z, free]") for line in BRANCHES
    ]

    assert codes(steps(*lines, "t:id: free")) == []


def test_a_step_behind_one_that_never_runs_is_never_reached():
    found = problems(
        steps("t:id: a, condition: false", "t:id: b, depends_on: [a]", "t:id: c, depends_on: [b]")
    )

    assert [(p.code, p.level) for p in found] == [("P312", "warning"), ("P205", "warning")]
    assert "`b`" in found[1].message


def test_a_step_with_another_live_way_is_reached():
    assert codes(steps("t:id: a, condition: false", "t:id: x", "t:id: b, depends_on: [a, x]")) == ["P312"]


# Expressions


INPUT = "input: {topic: {type: string, required: true}, words: {type: integer}, on: {type: boolean}}"


@pytest.mark.parametrize(
    ("message", "code", "suggestion"),
    [
        ("{{ input.topic }", "P301", ""),
        ("{{ input.topic ** 2 }}", "P301", ""),
        ("{{ inptu.topic }}", "P302", "Did you mean `input`?"),
        ("{{ first.output }}", "P302", "Write `steps.first.output`."),
        ("{{ done }}", "P302", "A text stands in quotes"),
        ("{{ steps.frist.output }}", "P303", "Did you mean `first`?"),
        ("{{ steps.first-1.output }}", "P303", "Did you mean `first`?"),
        ("{{ input.topci }}", "P304", "Did you mean `topic`?"),
        ("{{ input.words-1 }}", "P304", "a subtraction needs spaces"),
        ("{{ steps.later.output }}", "P305", "Read a step that runs before."),
        ("{{ steps.here.output }}", "P305", "Read another step"),
        ("{{ secrets.KEY }}", "P308", "agent's settings"),
        ("{{ item.name }}", "P309", ""),
        ("{{ index }}", "P309", ""),
        ("{{ execution.uid }}", "P310", "Did you mean `id`?"),
        ("{{ process.versoin }}", "P310", "Did you mean `version`?"),
        ("{{ input.words + input.topic }}", "P307", "| number"),
        ("{{ input.topic * 2 }}", "P307", "| number"),
        ("{{ not input.topic }}", "P307", ""),
        ("{{ -input.topic }}", "P307", ""),
    ],
)
def test_faults_of_expressions(message: str, code: str, suggestion: str):
    text = steps(
        "a:id: first, message: m",
        f"a:id: here, depends_on: [first], message: {{deep: ['{message}']}}",
        "t:id: later, depends_on: [here]",
        more=INPUT,
    )

    problem = only(text)

    assert problem.code == code
    assert problem.line == 6
    assert suggestion in problem.suggestion


def test_every_fault_of_every_text_of_a_message_is_told():
    message = '{a: "{{ input.nope }} and {{ steps.nope.output }}", b: ["{{ input. }}"]}'

    assert sorted(codes(steps(f"a:id: a, message: {message}", more=INPUT))) == ["P301", "P303", "P304"]


def test_a_fault_points_to_its_character():
    text = """\
    steps:
      - id: a
        type: agent_task
        message: |
          Hello,
            dear {{ input.name }} and {{ nobody.name }}
    """

    problem = only(text)

    assert (problem.code, problem.line, problem.column) == ("P302", 8, 38)


@pytest.mark.parametrize(
    "message",
    [
        "{{ input.topic }} {{ input.words | default(3) }} {{ input.on }}",
        "{{ execution.id }} {{ process.name }} {{ trigger.payload.any.thing }}",
        "{{ steps.first.status }} {{ steps.first.output.any.thing }} {{ steps.first.cost }}",
        "{{ input.topic + '!' }} {{ input.words + 1 }} {{ input.topic | length > 3 }}",
        "{{ input.words == null }} {{ [input.topic, 1] | json }}",
    ],
)
def test_good_expressions(message: str):
    text = steps("a:id: first, message: m", f'a:id: b, depends_on: [first], message: "{message}"', more=INPUT)

    assert codes(text) == []


def test_an_input_without_declaration_has_any_field():
    assert codes(steps('a:id: a, message: "{{ input.any.thing }}"')) == []


def test_a_json_schema_names_fields_only_where_it_is_closed():
    schema = "input: {schema: {type: object, properties: {a: {type: object, properties: {b: {}}%s}}%s}}"
    closed = "additionalProperties: false"
    text = steps('a:id: a, message: "{{ input.c }} {{ input.a.d }}"', more=schema)

    assert codes(text % ("", "")) == []
    assert codes(text % ("", ", " + closed)) == ["P304"]
    assert codes(text % (", " + closed, ", " + closed)) == ["P304", "P304"]


def test_fields_of_nested_objects_are_known():
    declared = (
        "input: {author: {type: object, properties: {mail: {type: string}}, additionalProperties: false}}"
    )
    problem = only(steps('a:id: a, message: "{{ input.author.mial }}"', more=declared))

    assert problem.code == "P304"
    assert problem.message == "`input.author` has no field `mial`."


def test_outputs_are_checked_like_messages():
    text = (
        steps("a:id: a, message: m") + 'outputs: {x: steps.b.output, y: "{{ input. }}", z: steps.a.output}\n'
    )

    assert codes(text) == ["P303", "P301"]


def test_a_descendant_may_be_read_on_a_common_loop_with_default():
    text = steps(
        'a:id: write, message: "{{ steps.review.output%s }}"',
        "a:id: review, depends_on: [write], message: m",
        "g:id: g, depends_on: [review], default_route: end, "
        "routes: [{condition: steps.review.output.ok == false, target: write, max_visits: 3}]",
        "t:id: end",
    )

    assert codes(text % " | default(1)") == []
    problem = only(text % "")
    assert (problem.code, problem.suggestion) == ("P305", "Add `| default(…)`.")


def test_a_step_after_the_loop_cannot_be_read_inside_it():
    text = steps(
        'a:id: before, message: "{{ steps.write.output | default(1) }}"',
        "a:id: write, depends_on: [before], message: m",
        "g:id: g, depends_on: [write], default_route: end, "
        "routes: [{condition: steps.write.output.ok, target: write, max_visits: 3}]",
        "t:id: end",
    )

    assert codes(text) == ["P305"]


# Outputs that may be missing


def reads_of_skipped(*lines: str) -> list[str]:
    found = problems(steps(*lines))
    assert {problem.code for problem in found} <= {"P306", "P209", "P403"}
    return [problem.message.split("`")[1] for problem in found if problem.code == "P306"]


def test_the_output_of_a_conditional_step_may_be_missing():
    lines = [
        "a:id: root, message: m",
        "a:id: maybe, depends_on: [root], condition: input.x, message: m",
        'a:id: end, depends_on: [root, maybe], message: "{{ steps.maybe.output }}"',
    ]

    assert reads_of_skipped(*lines) == ["maybe"]
    assert reads_of_skipped(*lines[:2], lines[2].replace("output }", "output | default(1) }")) == []
    assert reads_of_skipped(*lines[:2], lines[2].replace("output }", "status }")) == []


def test_a_step_that_only_runs_after_another_one_always_finds_its_output():
    lines = [
        "a:id: maybe, condition: input.x, message: m",
        'a:id: end, depends_on: [maybe], message: "{{ steps.maybe.output }}"',
    ]

    assert reads_of_skipped(*lines) == []


def test_the_same_condition_decides_alike():
    lines = [
        "a:id: root, message: m",
        "a:id: maybe, depends_on: [root], condition: input.x, message: m",
        'a:id: end, depends_on: [root, maybe], condition: input.x, message: "{{ steps.maybe.output }}"',
    ]

    assert reads_of_skipped(*lines) == []


def test_a_condition_that_asks_about_the_step_is_enough():
    lines = [
        "a:id: root, message: m",
        "a:id: maybe, depends_on: [root], condition: input.x, message: m",
        "a:id: end, depends_on: [root, maybe], condition: steps.maybe.status == 'completed', "
        'message: "{{ steps.maybe.output }}"',
    ]

    assert reads_of_skipped(*lines) == []


def test_a_step_that_is_skipped_on_error_leaves_nothing_behind():
    lines = [
        "a:id: a, message: m, on_error: skip_step",
        'a:id: b, depends_on: [a], message: "{{ steps.a.output }}"',
    ]

    assert reads_of_skipped(*lines) == ["a"]


def test_a_branch_of_a_gateway_may_be_missing_behind_the_join_but_the_join_is_not():
    lines = [
        "g:id: g, default_route: y, routes: [{condition: input.x, target: x}]",
        "a:id: x, message: m",
        "a:id: y, message: m",
        'a:id: join, depends_on: [x, y], message: "{{ steps.x.output }}"',
        'a:id: end, depends_on: [join], message: "{{ steps.join.output }}"',
    ]

    assert reads_of_skipped(*lines) == ["x"]


def test_steps_of_one_branch_find_each_other():
    lines = [
        "g:id: g, default_route: y, routes: [{condition: input.x, target: x}]",
        "a:id: x, message: m",
        "a:id: x1, depends_on: [x], message: m",
        "a:id: x2, depends_on: [x], message: m",
        'a:id: x3, depends_on: [x1, x2], message: "{{ steps.x1.output }}"',
        "a:id: y, message: m",
    ]

    assert reads_of_skipped(*lines) == []


def test_all_branches_of_a_parallel_gateway_run():
    lines = [
        "g:id: g, gateway_type: parallel, routes: [{target: x}, {target: y}]",
        "a:id: x, message: m",
        "a:id: y, message: m",
        'a:id: join, depends_on: [x, y], message: "{{ steps.x.output }}"',
    ]

    assert reads_of_skipped(*lines) == []


def test_a_loop_back_is_no_way_around_what_follows():
    lines = [
        "a:id: write, message: m",
        "g:id: g, depends_on: [write], default_route: end, "
        "routes: [{condition: input.again, target: write, max_visits: 3}]",
        "a:id: end, message: m",
        'a:id: after, depends_on: [end, write], message: "{{ steps.end.output }}"',
    ]

    assert reads_of_skipped(*lines) == []


def test_what_cannot_be_worked_out_is_not_guessed():
    lines = ["a:id: root, message: m"]
    lines += [f"a:id: c{n}, depends_on: [root], condition: input.c{n}, message: m" for n in range(40)]
    reads = ", ".join(f"c{n}" for n in range(40))
    lines.append(f'a:id: end, depends_on: [root, {reads}], message: "{{{{ steps.c0.output }}}}"')

    assert reads_of_skipped(*lines) == []


# Types


TYPED = (
    "input: {tier: {type: string, enum: [gold, silver], default: gold}, n: {type: integer, required: true}, "
    "b: {type: boolean, default: true}, l: {type: array, default: []}}"
)


@pytest.mark.parametrize(
    ("condition", "code", "level"),
    [
        ("input.tier > 3", "P307", "error"),
        ("input.n > 'a'", "P307", "error"),
        ("input.b < true", "P307", "error"),
        ("input.l >= 3", "P307", "error"),
        ("input.n == 'a'", "P307", "warning"),
        ("input.b == 'true'", "P307", "warning"),
        ("input.tier == 'glod'", "P307", "warning"),
        ("input.tier in ['gold', 'bronze']", "P307", "warning"),
        ("input.tier and input.b", "P307", "error"),
        ("input.n", "P311", "error"),
        ("'maybe'", "P311", "error"),
        ("input.l | length", "P311", "error"),
        ("steps.a.output.score > 'x'", "P307", "error"),
        ("steps.a.attempts == 'two'", "P307", "warning"),
    ],
)
def test_kinds_that_do_not_go_together(condition: str, code: str, level: str):
    text = steps(
        "a:id: a, message: m, output: {schema: {type: object, properties: {score: {type: number}}}}",
        f't:id: b, depends_on: [a], condition: "{condition}"',
        more=TYPED,
    )

    assert [(p.code, p.level) for p in problems(text)] == [(code, level)]


@pytest.mark.parametrize(
    "condition",
    [
        "input.tier == 'gold'",
        "input.tier != null",
        "input.n > 3 and not input.b",
        "input.n == 3.0",
        "input.l | length > 3",
        "(input.tier | number) > 3",
        "input.b",
        "'true'",
        "steps.a.output.score >= 80",
        "steps.a.output.other == 'x'",
        "steps.a.status == 'Completed'",
    ],
)
def test_kinds_that_go_together(condition: str):
    text = steps(
        "a:id: a, message: m, output: {schema: {type: object, properties: {score: {type: number}}}}",
        f't:id: b, depends_on: [a], condition: "{condition}"',
        more=TYPED,
    )

    assert codes(text) == []


# Gateways


def gateway(routes: str, more: str = "", declared: str = "") -> str:
    return steps(
        f"g:id: g, {more}routes: [{routes}]", "t:id: x", "t:id: y", "t:id: z", "t:id: w", more=declared
    )


def test_a_gateway_without_routes():
    assert only(steps("g:id: g")).code == "P401"
    assert only(steps("g:id: g, default_route: t", "t:id: t")).level == "warning"


def test_a_route_to_an_unknown_step():
    problem = only(gateway("{target: xx}"))

    assert (problem.code, problem.line) == ("P402", 5)
    assert "Did you mean `x`?" in problem.suggestion
    assert only(gateway("{condition: input.a, target: x}", "default_route: nope, ")).code == "P402"


def test_a_route_to_its_own_gateway():
    assert "P407" in codes(gateway("{condition: input.a, target: g, max_visits: 2}", "default_route: x, "))


def test_a_gateway_without_default_may_fail():
    problem = only(gateway("{condition: input.a, target: x}"))

    assert (problem.code, problem.level) == ("P403", "warning")


@pytest.mark.parametrize(
    "routes",
    [
        "{condition: input.a, target: x}, {target: y}",
        "{condition: input.a, target: x}, {condition: true, target: y}",
        "{condition: input.b == true, target: x}, {condition: input.b != true, target: y}",
    ],
)
def test_a_gateway_whose_routes_cover_everything_needs_no_default(routes: str):
    assert codes(gateway(routes)) == []


def test_enumerations_and_booleans_are_covered_by_their_values():
    declared = "input: {t: {type: string, enum: [a, b], required: true}, f: {type: boolean, required: true}}"
    routes = "{condition: input.t == 'a', target: x}, {condition: \"input.t in ['b']\", target: y}"

    assert codes(gateway(routes, declared=declared)) == []
    assert codes(gateway(routes, declared=declared.replace("b], required: true", "b]"))) == ["P403"]


def test_a_loop_needs_a_bound():
    text = steps(
        "a:id: write, message: m",
        "g:id: g, depends_on: [write], default_route: end, routes: [{condition: input.a, target: write%s}]",
        "t:id: end",
    )

    assert only(text % "").code == "P404"
    assert codes(text % ", max_visits: 3") == []


def test_a_default_route_cannot_loop():
    problem = only(
        steps(
            "a:id: write, message: m",
            "g:id: g, depends_on: [write], default_route: write, routes: [{condition: input.a, target: end}]",
            "t:id: end",
        )
    )

    assert problem.code == "P404"
    assert "max_visits: 5" in problem.suggestion


@pytest.mark.parametrize("kind", ["inclusive", "parallel"])
def test_only_exclusive_gateways_loop(kind: str):
    text = steps(
        "a:id: write, message: m",
        f"g:id: g, gateway_type: {kind}, depends_on: [write], "
        "routes: [{target: write, max_visits: 3}, {target: end}]",
        "t:id: end",
    )

    assert codes(text) == ["P405"]


def test_a_bound_on_a_way_forward_has_no_effect():
    assert codes(gateway("{condition: input.a, target: x, max_visits: 3}", "default_route: y, ")) == ["P409"]


def test_conditions_of_a_parallel_gateway_are_not_asked():
    assert codes(gateway("{condition: input.a, target: x}", "gateway_type: parallel, ")) == ["P408"]


@pytest.mark.parametrize(
    ("routes", "dead"),
    [
        ("{condition: false, target: x}", [0]),
        ("{condition: 1 > 2, target: x}", [0]),
        ("{condition: true, target: x}, {condition: input.a, target: y}", [1]),
        ("{condition: input.a, target: x}, {condition: input.a, target: y}", [1]),
        ("{condition: input.f(x) , target: x}", None),
        (
            "{condition: steps.s.output.n >= 80, target: x}, {condition: steps.s.output.n >= 90, target: y}",
            [1],
        ),
        (
            "{condition: steps.s.output.n >= 90, target: x}, {condition: steps.s.output.n >= 80, target: y}",
            [],
        ),
        (
            "{condition: input.n < 5, target: x}, {condition: input.n >= 5, target: y}, "
            "{condition: input.n == 7, target: z}",
            [2],
        ),
        (
            "{condition: input.n < 5, target: x}, {condition: input.n > 5, target: y}, "
            "{condition: input.n == 5, target: z}",
            [],
        ),
        ("{condition: input.n > 5 and input.n < 3, target: x}", [0]),
        ("{condition: input.n > -1 and input.n < 1, target: x}, {condition: input.n == 0, target: y}", [1]),
        ("{condition: input.t == 'a', target: x}, {condition: \"input.t in ['a']\", target: y}", [1]),
        ("{condition: input.t != 'a', target: x}, {condition: input.t == 'a', target: y}", []),
        ("{condition: input.t == 'a', target: x}, {condition: input.u == 'a', target: y}", []),
        (
            "{condition: input.t == 'a' or input.u == 'b', target: x}, "
            "{condition: input.t == 'a' and input.u == 'b', target: y}",
            [1],
        ),
        (
            "{condition: not input.f, target: x}, {condition: input.f, target: y}, "
            "{condition: input.g, target: z}",
            [2],
        ),
        ("{condition: input.n > input.m, target: x}, {condition: input.n > 3, target: y}", []),
        ("{condition: input.t contains 'a', target: x}, {condition: input.t == 'ab', target: y}", []),
    ],
)
def test_routes_that_are_never_taken(routes: str, dead: list[int] | None):
    text = steps(
        "a:id: s, message: m",
        f"g:id: g, depends_on: [s], default_route: w, routes: [{routes}]",
        "t:id: x",
        "t:id: y",
        "t:id: z",
        "t:id: w",
    )
    found = problems(text)

    if dead is None:
        assert [problem.code for problem in found] == ["P301"]
        return
    assert {problem.code for problem in found} <= {"P406", "P307"}
    assert [problem.path[3] for problem in found if problem.code == "P406"] == dead


def test_a_boolean_leaves_nothing_for_a_third_route():
    declared = "input: {f: {type: boolean, required: true}, g: {type: boolean, default: true}}"
    routes = (
        "{condition: input.f == true, target: x}, {condition: input.f == false, target: y}, "
        "{condition: input.f != true, target: z}"
    )

    found = problems(gateway(routes, "default_route: w, ", declared))

    assert [(problem.code, problem.path[3]) for problem in found] == [("P406", 2)]


def test_too_many_values_are_not_tried():
    routes = ", ".join(f"{{condition: input.a{n} == {n} and input.b{n} == 1, target: x}}" for n in range(30))

    assert codes(gateway(routes, "default_route: w, ")) == []


# Policies


@pytest.mark.parametrize(
    ("retry", "code", "level"),
    [
        ("{initial_delay: 10m}", "P502", "warning"),
        ("{retry_on: [AGENT_EROR]}", "P503", "warning"),
        ("{retry_on: [AGENT_ERROR], do_not_retry_on: [AGENT_ERROR]}", "P504", "error"),
        ("{backoff: fixed, backoff_multiplier: 3}", "P507", "warning"),
        ("{max_attempts: 5, initial_delay: 1s, retry_on: [AGENT_ERROR]}", None, None),
    ],
)
def test_retry_policies(retry: str, code: str | None, level: str | None):
    found = problems(steps(f"a:id: a, message: m, retry: {retry}"))

    assert [(p.code, p.level) for p in found] == ([(code, level)] if code else [])


def test_attempts_that_outlast_the_execution():
    text = steps("a:id: a, message: m, timeout: 10m, retry: {max_attempts: 3}", more="limits: {timeout: 20m}")
    problem = only(text)

    assert (problem.code, problem.level) == ("P501", "warning")
    assert "30m3s" in problem.message
    assert codes(text.replace("20m", "40m")) == []
    assert codes(steps("t:id: t", more="limits: {timeout: 500ms}")) == ["P501"]


# Agents and settings


def test_agents_are_looked_up_where_the_configuration_is_known():
    text = steps("a:id: a, agent: resercher, message: m")

    assert codes(text) == []
    problem = only(text, {"researcher", "writer"})
    assert (problem.code, problem.suggestion) == ("P602", "Did you mean `researcher`?")
    assert only(steps("a:id: a, message: m"), {"other"}).path == ("defaults", "agent")


def test_a_step_without_agent():
    _, found = load_definition("name: p\nsteps: [{id: a, type: agent_task, message: m}]")

    assert [problem.code for problem in found] == ["P601"]


def test_an_agent_is_a_name_not_an_expression():
    assert only(steps('a:id: a, message: m, agent: "{{ input.who }}"')).code == "P602"


@pytest.mark.parametrize(
    ("timer", "code"),
    [
        ("delay: 5m", None),
        ("until: '09:30', timezone: Europe/Berlin", None),
        ("until: 2030-01-31T09:30:00Z", None),
        ('until: "{{ input.at }}"', None),
        ("", "P603"),
        ("delay: 5m, until: '09:30'", "P603"),
        ("until: tomorrow", "P605"),
        ("until: '25:00'", "P605"),
        ("delay: 5m, timezone: Europe/Atlantis", "P604"),
        ("delay: 5m, timezone: ../../etc/passwd", "P604"),
    ],
)
def test_timers(timer: str, code: str | None):
    found = codes(f"steps:\n  - {{id: t, type: timer, {timer}}}\n")

    assert found == ([code] if code else [])


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ("{a: {type: string, pattern: '['}}", "P113"),
        ("{a: {type: string, pattern: '(?=a)b'}}", "P113"),
        ("{schema: {type: objekt}}", "P113"),
        ("{schema: {$ref: 'http://127.0.0.1:1/x'}}", "P113"),
        ("{a: {type: integer, default: x}}", "P114"),
        ("{a: {type: string, enum: [x], default: y}}", "P114"),
        ("{a: {type: array, items: {type: string}, default: [x]}}", None),
    ],
)
def test_schemas_of_the_input(declared: str, code: str | None):
    assert codes(steps("t:id: t", more=f"input: {declared}")) == ([code] if code else [])


def test_the_schema_of_an_output_is_checked():
    assert only(steps("a:id: a, message: m, output: {schema: {type: nothing}}")).code == "P113"


@pytest.mark.parametrize(
    "feature",
    [
        "roles: {executor: writer, informed: [boss]}",
    ],
)
def test_features_of_later_versions_are_read_but_refused(feature: str):
    problem = only(steps(f"a:id: a, message: m, {feature}"))

    assert (problem.code, problem.level) == ("P110", "error")
    assert "does not run it yet" in problem.message


@pytest.mark.parametrize("limit", ["budget: {usd: 1}", "max_concurrent_executions: 3"])
def test_limits_of_later_versions_are_read_but_refused(limit: str):
    problem = only(steps("a:id: a, message: m", more=f"limits: {{{limit}}}"))

    assert (problem.code, problem.level) == ("P110", "error")


def test_item_and_index_are_known_inside_for_each():
    text = steps(
        'a:id: a, message: "{{ item.name }} {{ index }} {{ page }}", for_each: {items: [1], as: page}'
    )

    assert codes(text) == []
    outside = text.replace("items: [1]", 'items: "{{ item }}"')
    assert codes(outside) == ["P309"]


# The whole


def test_a_fault_of_the_text_hides_no_fault_of_the_graph():
    text = """\
    colour: red
    steps:
      - {id: a, type: agent_task, mesage: "{{ input. }}", timeout: soon}
      - {id: b, type: timer, delay: 1s, depends_on: [c]}
      - {id: g, type: gateway, routes: [{condition: input.x, traget: nowhere}]}
    """

    assert codes(text) == ["P101", "P101", "P301", "P106", "P202", "P403", "P101", "P402"]


def test_what_could_not_be_read_causes_no_problems_of_its_own():
    text = """\
    steps:
      - {id: Big, type: timer, delay: soon}
      - {id: later, type: lator, title: x}
      - {id: a, type: agent_task, message: "{{ steps.later.output }}", depends_on: [Big, later]}
      - {id: g, type: gateway, routes: nowhere}
    """

    assert codes(text) == ["P107", "P106", "P108", "P103"]


def test_a_definition_made_in_code_is_checked_without_places():
    definition = ProcessDefinition.model_validate(
        {"name": "p", "steps": [{"id": "a", "type": "timer", "delay": "1s", "depends_on": ["b"]}]}
    )

    (problem,) = check(definition)

    assert (problem.code, problem.line, problem.column) == ("P202", 0, 0)
    assert str(problem).startswith("P202 error process.yaml Step `a` depends on `b`")


def test_a_definition_with_errors_is_not_handed_out():
    definition, found = load_definition(
        "name: p\nsteps: [{id: a, type: timer, delay: 1s, depends_on: [b]}]", "f.yaml"
    )

    assert definition is None
    assert str(found[0]).startswith("P202 error f.yaml:2:")


def test_a_definition_with_warnings_is_handed_out():
    definition, found = load_definition(HEAD + gateway("{condition: input.a, target: x}"))

    assert definition is not None
    assert [problem.level for problem in found] == ["warning"]


def test_a_canonical_form_has_the_same_problems_as_its_text():
    definition, _ = load_definition(HEAD + GOOD)
    assert definition is not None

    again, found = load_definition(definition.canonical_json())

    assert again == definition
    assert found == []


def test_a_flood_of_one_fault_is_cut_and_says_so():
    many = steps(*(f"t:id: s{n}, depends_on: [nope{n}]" for n in range(150)))
    found = codes(many)

    assert found.count("P202") == 100
    assert found.count("P013") == 1


def test_every_rule_names_its_codes():
    told = [code for rule in RULES for code in CATALOGUE if code in (rule.__doc__ or "")]

    # What lies between two documents is no rule of one.
    of_one = {code for code in CATALOGUE if "P2" <= code < "P9"} - {"P702", "P703"}
    assert set(told) == of_one | {"P110", "P113", "P114"}


IDS = st.sampled_from(["a", "b", "c", "d", "nope"])
EXPRESSIONS = st.sampled_from(
    [
        "input.x", "steps.a.output", "steps.b.output.y > 3", "steps.c.status == 'completed'", "true", "false",
        "steps.a.output.decision == 'reject'", "steps.b.output.comments", "input.x == 'k'", "not input.x",
        "steps.d.output | default(1) == 1", "item", "{{ input.x }}", "(",
    ]
)  # fmt: skip
STEPS = st.fixed_dictionaries(
    {"id": IDS, "type": st.sampled_from(["agent_task", "gateway", "timer", "human_approval", "transform"])},
    optional={
        "depends_on": st.lists(IDS, max_size=3),
        "condition": EXPRESSIONS,
        "join": st.sampled_from(["all", "any", 1, 2, 3]),
        "message": EXPRESSIONS.map(lambda source: f"{{{{ {source} }}}}"),
        "delay": st.just("1s"),
        "gateway_type": st.sampled_from(["exclusive", "inclusive", "parallel"]),
        "default_route": IDS,
        "value": EXPRESSIONS,
        "assignees": st.sampled_from([["ann"], ["group:legal"], ["{{ input.x }}"]]),
        "required_approvals": st.integers(1, 3),
        "timeout_action": st.sampled_from(["skip", {"escalate_to": "bob", "after": "2h"}]),
        "routes": st.lists(
            st.fixed_dictionaries(
                {"target": IDS}, optional={"condition": EXPRESSIONS, "max_visits": st.just(3)}
            ),
            max_size=3,
        ),
        "on_error": st.sampled_from(["skip_step", {"action": "goto_step", "target_step": "b"}]),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_no_process_makes_a_check_raise(given_steps: list[dict[str, object]]):
    parsed = parse(json.dumps({"name": "p", "steps": given_steps}))

    for problem in check(parsed):
        assert problem.code in CATALOGUE
        assert problem.line == 1
        assert problem.message.endswith(".")


# Compensation


@pytest.mark.parametrize(
    ("read", "code"),
    [
        ("steps.b.output", None),
        ("steps.a.output", None),
        ("steps.c.output", "P508"),
        ("steps.c.output | default('-')", None),
        ("steps.d.output", "P305"),
        ("steps.x.output", "P303"),
        ("item", "P309"),
    ],
)
def test_what_undoes_a_step_reads_its_own_output_and_what_came_before(read: str, code: str | None):
    text = steps(
        "a:id: a, message: m",
        f'a:id: b, message: m, depends_on: a, compensation: {{message: "{{{{ {read} }}}}"}}',
        "a:id: c, message: m",
        "a:id: d, message: m, depends_on: b",
    )

    assert codes(text) == ([code] if code else [])


def test_what_undoes_a_step_waits_for_nobody():
    definition, _ = load_definition(
        HEAD
        + steps(
            "a:id: a, message: m",
            "a:id: b, message: m, compensation: {message: \"{{ steps.a.output | default('-') }}\"}",
        )
    )

    assert definition is not None
    assert DependencyResolver(definition).edges == ()


def test_what_undoes_a_step_is_checked_like_a_step():
    assert only(steps("a:id: a, message: m, compensation: {message: m, agent: x}"), {"writer"}).code == "P602"
    body = "{message: m, output: {schema: {type: nothing}}}"
    assert only(steps(f"a:id: a, message: m, compensation: {body}")).code == "P113"
