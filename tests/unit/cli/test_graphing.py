import re

from process_engine.cli.graphing import MOST_CHARACTERS, graph_document, mermaid
from process_engine.definition.checking import load_definition
from process_engine.definition.graph import DependencyResolver

REVIEW = """
name: review
steps:
  - {id: draft, type: agent_task, agent: writer, message: write}
  - {id: check, type: agent_task, agent: critic, message: "{{ steps.draft.output }}", depends_on: draft,
     on_error: {action: goto_step, target_step: call-for-help}}
  - id: end
    type: gateway
    depends_on: check
    routes:
      - {condition: 'steps.check.output.score >= 80 && steps.check.output.tone == "calm"', target: publish}
      - {condition: 'steps.check.output.score > 10', target: draft, max_visits: 3}
    default_route: wait
  - {id: publish, type: agent_task, agent: writer, message: publish}
  - {id: wait, type: timer, delay: 1s}
  - {id: call-for-help, type: agent_task, agent: writer, message: help}
  - {id: log, type: agent_task, agent: writer, message: "{{ steps.draft.output }}"}
"""


def drawn(text, statuses=None):
    definition, problems = load_definition(text)
    assert definition is not None, problems
    return mermaid(definition, DependencyResolver(definition), statuses)


def test_steps_have_shapes_and_edges_say_why():
    lines = [line.strip() for line in drawn(REVIEW).splitlines()]

    assert lines == [
        "flowchart TD",
        's0["draft"]',
        's1["check"]',
        's2{"end"}',
        's3["publish"]',
        's4(["wait"])',
        's5["call-for-help"]',
        's6["log"]',
        "s0 --> s1",
        's0 -->|"reads"| s6',
        "s1 --> s2",
        's1 -->|"on error"| s5',
        's2 -->|"steps.check.output.score #62;= 80 #38;#38; steps.check.output.tone =#8230;"| s3',
        's2 -->|"default"| s4',
        's2 -.->|"steps.check.output.score #62; 10, at most 3 visits"| s0',
    ]


def test_statuses_are_classes_and_only_those_that_occur_are_defined():
    statuses = dict.fromkeys(["draft", "check", "end"], "completed") | {
        "publish": "running",
        "wait": "skipped",
        "call-for-help": "skipped",
        "log": "completed",
    }

    picture = drawn(REVIEW, statuses)

    assert 's3["publish"]:::running' in picture
    assert re.findall(r"classDef (\w+) ", picture) == ["running", "completed", "skipped"]


def test_names_cannot_break_the_picture():
    name = 'Ask "them" <b>now</b>; #1 `x` | {y} [z] %% ]] end -->'
    text = f"name: p\nsteps: [{{id: end, type: timer, delay: 1s, name: '{name}'}}]\n"

    node = drawn(text).splitlines()[1]

    inside = re.fullmatch(r'    s0\(\["(.*)"\]\)', node)
    assert inside is not None
    assert not re.search(r'["<>\[\]{}|`%&\\\\]', inside[1])
    shown = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), inside[1])
    assert shown == f"end: {name}"


def test_a_long_name_is_cut_and_stays_on_one_line():
    text = f'name: p\nsteps: [{{id: a, type: timer, delay: 1s, name: "{"long " * 40}\\nname"}}]\n'

    node = drawn(text).splitlines()[1]

    shown = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), node.split('"')[1])
    assert len(shown) == MOST_CHARACTERS
    assert shown.endswith("…")


def test_the_document_has_nodes_edges_loops_and_levels():
    definition, _ = load_definition(REVIEW)
    assert definition is not None

    document = graph_document(definition, DependencyResolver(definition), None)

    assert list(document) == ["process", "version", "nodes", "edges", "loops", "levels"]
    assert document["nodes"][2] == {"id": "end", "type": "gateway", "name": "end"}
    assert document["edges"][0] == {
        "source": "draft",
        "target": "check",
        "kind": "depends",
        "condition": None,
    }
    assert {"source": "end", "target": "wait", "kind": "route", "condition": "default"} in document["edges"]
    assert document["loops"] == [
        {
            "source": "end",
            "target": "draft",
            "kind": "route",
            "max_visits": 3,
            "condition": "steps.check.output.score > 10",
        }
    ]
    assert document["levels"][0] == ["draft"]
    assert sorted(step for level in document["levels"] for step in level) == sorted(
        step.id for step in definition.steps
    )
