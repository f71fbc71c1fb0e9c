"""`process-engine dry-run`: every step told, nothing done."""

import socket

import pytest

PROCESS = """
name: letter
input:
  to: {type: string, required: true}
  length: {type: integer, default: 5}
steps:
  - {id: write, agent: writer, message: "Write to {{ input.to }}.\\nBe brief."}
  - id: gate
    type: gateway
    depends_on: write
    routes:
      - {condition: input.length > 100 and steps.write.output.pages > 1, target: ask}
    default_route: send
  - {id: ask, type: human_approval, title: "Send {{ steps.write.output.pages }} pages?", assignees: [ann]}
  - {id: rest, type: timer, delay: 3d, depends_on: ask}
  - {id: send, type: notification, channel: slack, subject: A letter, message: "To {{ input.to }}",
     depends_on: rest}
outputs: {pages: "{{ steps.write.output.pages }}"}
"""
SAMPLES = """
samples:
  - {name: short, input: {to: Ada}}
  - {name: long, input: {to: Ada, length: 500}, agents: {writer: {pages: 9}}, decide: reject}
"""
FILES = {
    "letter.yaml": PROCESS,
    "samples.yaml": SAMPLES,
    "answers.yaml": "input: {to: Ada, length: 500}\nsteps: {write: {pages: 9}}\n",
    "broken.yaml": "name: x\nsteps: [{id: a, agnt: writer, message: hi}]\n",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"a dry run reaches out to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_path_the_messages_and_what_the_gateway_saw_are_told(terminal):
    ran = terminal("dry-run", "letter.yaml", "--answers", "answers.yaml")

    assert (ran.code, ran.err) == (0, "")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[:11] == [
        "write             asks writer",
        "                  Write to Ada.",
        "                  Be brief.",
        'write             gives {"pages":9}',
        "gate              goes to ask",
        "                  yes input.length > 100 and steps.write.output.pages > 1 → ask",
        "                      input.length is 500",
        "                      steps.write.output.pages is 9",
        "ask               asks ann to decide",
        "                  Send 9 pages?",
        "ask               approved by ann: dry run",
    ]
    assert lines[lines.index("rest              waits 3 d") + 2 :] == [
        "send              tells slack",
        "                  subject: A letter",
        "                  urgency: normal",
        "                  To Ada",
        'send              gives {"deliveries":[{"channel":"slack","status":"sent"}]}',
        "",
        "completed  letter 1  in 3 d of its own time",
        "",
        "Outputs",
        "  pages: 9",
    ]


def test_what_is_skipped_says_why_and_what_is_made_up_is_named(terminal):
    ran = terminal("dry-run", "letter.yaml", "-i", "to=Ada")

    assert ran.code == 0
    assert "ask               skipped: route not taken" in ran.out
    assert "Answers were made up for write; --answers FILE gives others." in ran.out


def test_fields_change_the_input_of_the_answers(terminal):
    ran = terminal("dry-run", "letter.yaml", "--answers", "answers.yaml", "-i", "length=1", "--json")

    assert ran.document["input"] == {"to": "Ada", "length": 1}
    assert [step["status"] for step in ran.document["steps"]] == [
        "completed",
        "completed",
        "skipped",
        "skipped",
        "completed",
    ]


def test_a_rejection_fails_it_with_the_exit_code_of_a_failure(terminal):
    ran = terminal("dry-run", "letter.yaml", "--answers", "answers.yaml", "--decide", "reject")

    assert ran.code == 1
    assert "ask               failed: APPROVAL_REJECTED" in ran.out
    assert "Failed in step ask: APPROVAL_REJECTED" in ran.out


def test_a_program_gets_one_document(terminal):
    document = terminal("dry-run", "letter.yaml", "-i", "to=Ada", "--json").document

    assert document["status"] == "completed"
    assert document["made_up"] == ["write"]
    assert document["remarks"] == []
    assert "id" not in document
    (gate,) = (event for event in document["events"] if event["step_id"] == "gate" and "routes" in event)
    assert gate["output"]["evaluated"][0]["result"] is False


def test_what_no_sample_reaches_is_told(terminal):
    ran = terminal("dry-run", "letter.yaml", "--coverage", "samples.yaml")

    assert ran.code == 0
    assert ran.out.splitlines() == [
        "completed  short: write → gate → send",
        "failed     long: write → gate → ask",
        "",
        "4 of 5 steps were started.",
        "    no sample reaches rest",
        "2 of 2 routes were taken.",
    ]
    assert terminal("dry-run", "letter.yaml", "--coverage", "samples.yaml", "--strict").code == 1
    document = terminal("dry-run", "letter.yaml", "--coverage", "samples.yaml", "--json").document
    assert document["steps"]["unreached"] == ["rest"]
    assert document["routes"] == {
        "all": [{"gateway": "gate", "target": "ask"}, {"gateway": "gate", "target": "send"}],
        "unreached": [],
    }


def test_a_sample_that_is_refused_ends_with_the_code_of_a_refusal(terminal, place):
    (place / "wrong.yaml").write_text("samples: [{input: {length: 3}}]\n", encoding="utf-8")

    ran = terminal("dry-run", "letter.yaml", "--coverage", "wrong.yaml")

    assert ran.code == 2
    assert "refused    sample 1:" in ran.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("broken.yaml",), "agnt"),
        (("letter.yaml",), "input.to"),
        (("letter.yaml", "-i", "to=Ada", "-i", "length=x"), "input.length"),
        (("letter.yaml", "--answers", "none.yaml"), "none.yaml"),
        (("letter.yaml", "--strict"), "--strict belongs to --coverage"),
        (("letter.yaml", "--coverage", "samples.yaml", "-i", "to=Ada"), "--coverage takes everything"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(terminal, arguments, told):
    ran = terminal("dry-run", *arguments)

    assert ran.code == 2
    assert told in ran.err


def test_nothing_is_left_behind(terminal, place):
    before = sorted(place.iterdir())

    terminal("dry-run", "letter.yaml", "-i", "to=Ada")
    terminal("dry-run", "letter.yaml", "--coverage", "samples.yaml")

    assert sorted(place.iterdir()) == before


def test_answers_cannot_steer_the_terminal(terminal, place):
    (place / "evil.yaml").write_text(
        'input: {to: Ada}\nsteps: {write: {pages: "\\e[2Jgone"}}\n', encoding="utf-8"
    )

    ran = terminal("dry-run", "letter.yaml", "--answers", "evil.yaml")

    assert "\x1b" not in ran.out
    assert "gone" in ran.out


def test_sub_processes_beside_it_are_carried_out_too_and_people_in_them_decide(terminal, place):
    (place / "outer.yaml").write_text(
        "name: outer\nsteps: [{id: part, type: sub_process, process: inner, input: {to: Ada}}]\n",
        encoding="utf-8",
    )
    (place / "inner.yaml").write_text(
        "name: inner\ninput: {to: {type: string}}\n"
        "steps: [{id: rest, type: timer, delay: 10m},"
        " {id: ask, type: human_approval, title: 'Send to {{ input.to }}?', depends_on: rest}]\n",
        encoding="utf-8",
    )

    ran = terminal("dry-run", "outer.yaml")

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert "part              runs inner" in lines
    assert "part/rest         waits 10 min" in lines
    assert "                  Send to Ada?" in lines
    assert "part/ask          approved by person 1: dry run" in lines
    assert "completed  outer 1  in 10 min of its own time" in lines

    (place / "inner.yaml").unlink()
    assert "CHILD_FAILED" in terminal("dry-run", "outer.yaml").out


def test_a_wait_for_an_event_ends_by_its_deadline_or_not_at_all(terminal, place):
    (place / "events.yaml").write_text(
        "name: events\nsteps: [{id: a, type: wait_for_event, event: paid, timeout: 3d, on_error: skip_step},"
        " {id: b, type: wait_for_event, event: never, depends_on: a}]\n",
        encoding="utf-8",
    )

    ran = terminal("dry-run", "events.yaml")

    assert ran.code == 4
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "a                 waits for event paid, 3 d at most",
        "a                 skipped: error: TIMEOUT: no event paid that fits was published in time",
        "b                 waits for event never",
        "",
        "running  events 1",
        "Waits: event b",
    ]
