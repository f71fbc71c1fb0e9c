"""The canonical form keeps meaning and comments, and formatting twice is formatting once."""

import io
import json
from random import Random

import pytest
from ruamel.yaml import YAML

from process_engine.definition.formatting import format_text
from process_engine.definition.parsing import parse
from process_engine.errors import ConfigurationInvalid, DefinitionInvalid
from process_engine.testing.random_processes import random_process
from tests.architecture.places import ROOT

EXAMPLES = sorted(
    path
    for path in (ROOT / "examples").glob("*.yaml")
    if path.name != "agents.yaml" and ".test." not in path.name
)

OLD = """\
# A process of the old kind.
name:    old   # its name
version: "1.2"
owner: team-x

x-note: plain text
   that goes on # remark
defaults:
    # for all
    retry: {delay: 2s}   # two seconds
input:
    n:
        type: integer   # a number
        default: 0x1F
    d: {type: string, default: 2020-01-01, description: 'it''s "here"'}
    e: {type: string, default: ~}
steps:
-   id: first
    # who
    agent: writer
    message: |   # the text
        Write about {{ input.n }}
          # no comment

        End.
    on_error: {action: skip_step}   # go on
-   id: ask
    type: human_approval
    depends_on: [first]
    on_timeout: reject       # nobody
    on_reject: continue
    # more about ask
- id: nap
  type: timer
  depends_on: ask
  config:
    # five minutes
    delay: 5m
- id: long
  type: agent_task
  agent: w
  depends_on: ask
  message: >
    Folded {{ steps.ask.output.approved_by }}
    with {{ steps.ask.output.comments }} and
    more

    paragraphs.
- id: gate
  type: gateway
  depends_on: ask
  conditions:
    # the good one
    - expression: steps.ask.output.decision == "approve"   # yes
      next: done
    - {default: true, next: other}  # else
- {id: done, type: agent_task, agent: w, message: yes}
- {id: other, type: agent_task, agent: w, message: 'off'}
outputs:
  a: steps.ask.output.comments   # said
# the end
"""
CANONICAL = """\
# A process of the old kind.
name: old      # its name
version: "1.2"
owner: team-x

x-note: plain text that goes on # remark
defaults:
  # for all
  retry: {initial_delay: 2s} # two seconds
input:
  n:
    type: integer       # a number
    default: 0x1F
  d: {type: string, default: 2020-01-01, description: 'it''s "here"'}
  e: {type: string, default: null}
steps:
  - id: first
    type: agent_task
    # who
    agent: writer
    message: |   # the text
      Write about {{ input.n }}
        # no comment

      End.
    on_error: skip_step             # go on
  - id: ask
    type: human_approval
    depends_on: [first]
    timeout_action: reject   # nobody
    on_reject: continue
    # more about ask
  - id: nap
    type: timer
    depends_on: ask
    # five minutes
    delay: 5m
  - id: long
    type: agent_task
    agent: w
    depends_on: ask
    message: >
      Folded {{ steps.ask.output.decided_by }}
      with {{ steps.ask.output.comment }} and
      more

      paragraphs.
  - id: gate
    type: gateway
    depends_on: ask
    routes:
      # the good one
      - condition: steps.ask.output.decision == "approved" # yes
        target: done
    # else
    default_route: other
  - {id: done, type: agent_task, agent: w, message: yes}
  - {id: other, type: agent_task, agent: w, message: 'off'}
outputs:
  a: steps.ask.output.comment    # said
# the end
"""


def content(text: str) -> str:
    parsed = parse(text)
    assert parsed.definition is not None, parsed.problems
    return parsed.definition.content_hash


def test_old_spellings_go_and_comments_stay():
    assert format_text(OLD).text == CANONICAL
    assert content(OLD) == content(CANONICAL)


def test_formatting_again_changes_nothing():
    assert format_text(CANONICAL) == (CANONICAL, ())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_in_the_canonical_form(path):
    text = path.read_text(encoding="utf-8")

    assert format_text(text).text == text


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("flow", [None, False, True])
def test_whatever_the_process_and_its_layout_the_meaning_stays(seed: int, flow: bool | None):
    made = random_process(Random(seed), "example")
    text = laid_out(json.loads(made.canonical_json()), seed, flow=flow)
    # A comment inside brackets has no place in the canonical form.
    text = text if flow else with_comments(text, Random(seed))
    assert content(text) == made.content_hash

    formatted = format_text(text).text

    assert content(formatted) == made.content_hash
    assert formatted.count("# remark") == text.count("# remark")
    assert format_text(formatted).text == formatted


def laid_out(document: dict[str, object], seed: int, *, flow: bool | None) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    # Brackets over several lines would have comments inside them.
    writer.width = 10_000
    mapping, sequence, offset = ((2, 2, 0), (4, 4, 2), (3, 5, 3))[seed % 3]
    writer.indent(mapping=mapping, sequence=sequence, offset=offset)
    stream = io.StringIO()
    writer.dump(document, stream)
    return stream.getvalue()


def with_comments(text: str, rng: Random) -> str:
    """Comments before lines that begin a key or an item, where every reader takes them for such."""
    lines: list[str] = []
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        if bare.startswith(("- ", "id:", "name:", "steps:", "type:", "limits:")) and rng.random() < 0.5:
            lines.append(" " * (len(line) - len(bare)) + f"# remark {len(lines)}")
        lines.append(line)
    return "\n".join(lines)


def test_line_ends_of_other_systems_and_a_mark_of_order_go():
    text = "\ufeffname: p\r\nsteps:\r\n- {id: t, type: timer, delay: 1s}\r\n"

    assert format_text(text.encode()).text == "name: p\nsteps:\n  - {id: t, type: timer, delay: 1s}\n"


def test_anchors_stay():
    text = (
        "name: p\ndefaults: {agent: w}\nsteps:\n  - {id: a, type: agent_task, message: &m hi}\n"
        "  - {id: b, type: agent_task, message: *m, depends_on: a}\n"
    )

    assert format_text(text).text == text


def test_what_is_no_process_is_refused_with_its_problems():
    with pytest.raises(DefinitionInvalid, match="P102"):
        format_text("name: p\n")


def test_a_comment_that_would_be_lost_keeps_the_file_as_it_is():
    text = "name: p\nsteps: [{id: t,\n  # or else\n  type: timer, delay: 1s}]\n"

    with pytest.raises(ConfigurationInvalid, match="without losing the comment `or else`") as refusal:
        format_text(text)

    assert "It stays as it is." in refusal.value.remedy


def test_an_alias_that_two_gateways_share_in_old_words_is_refused_rather_than_changed():
    text = (
        "name: p\nsteps:\n"
        "  - {id: g, type: gateway, conditions: &c [{expression: 1 == 1, next: t}, "
        "{default: true, next: u}]}\n"
        "  - {id: h, type: gateway, conditions: *c, depends_on: t}\n"
        "  - {id: t, type: timer, delay: 1s}\n  - {id: u, type: timer, delay: 1s}\n"
    )
    assert parse(text).definition is not None

    with pytest.raises(ConfigurationInvalid, match="would mean something else"):
        format_text(text, filename="shared.yaml")
