"""People decide on the command line: what is open, what each decision does, and why one is refused."""

import json
import sqlite3
from contextlib import closing

import pytest

from process_engine.cli import asking
from process_engine.clock import SystemClock
from process_engine.repositories.lock import StoreLock
from tests.integration.terminal import engine_process, finish, steps_of, wait_until

PUBLISH = """
name: publish
input:
  headline: {type: string, default: Tides}
steps:
  - {id: write, type: agent_task, agent: echo, message: "{{ input.headline }}"}
  - id: ask
    type: human_approval
    depends_on: write
    title: "Publish {{ steps.write.output }}?"
    description: "It goes to everybody."
    assignees: [ann, "group:legal"]
  - id: print
    type: agent_task
    agent: echo
    message: "printed for {{ steps.ask.output.decided_by }}"
    depends_on: ask
    on_interrupt: fail
outputs: {said: "{{ steps.print.output }}"}
"""
LAST = """
name: last
steps:
  - {id: ask, type: human_approval, assignees: [ann], timeout: 1s}
"""
FORM = """
name: form
steps:
  - id: ask
    type: human_approval
    title: How much?
    required_approvals: 2
    separation_of_duties: true
    form: {type: object, required: [amount], properties: {amount: {type: integer}}}
outputs: {amount: "{{ steps.ask.output.form.amount }}"}
"""
BOTH = """
name: both
steps:
  - {id: one, type: human_approval, title: One?}
  - {id: other, type: human_approval, title: Another?}
"""
BESIDE = """
name: beside
steps:
  - {id: sleep, type: timer, delay: 1h}
  - {id: ask, type: human_approval, title: Shall we?}
  - {id: after, type: agent_task, agent: echo, message: "yes, we shall", depends_on: ask}
"""
SOON = """
name: soon
steps:
  - {id: sleep, type: timer, delay: 400ms}
  - {id: ask, type: human_approval, title: Shall we?}
  - {id: after, type: agent_task, agent: echo, message: slept, depends_on: sleep}
"""
FILES = {
    "agents.yaml": "agents: {echo: {kind: echo}}\n",
    "people.yaml": "users: [ann, bob, carl]\ngroups: {legal: [bob], board: [carl]}\n",
    "publish.yaml": PUBLISH,
    "last.yaml": LAST,
    "form.yaml": FORM,
    "both.yaml": BOTH,
    "beside.yaml": BESIDE,
    "soon.yaml": SOON,
}


def started(terminal, file, *options):
    """The id of an execution that waits for people."""
    ran = terminal("run", file, "--json", *options)
    assert (ran.code, ran.document["status"], ran.document["pause_reason"]) == (4, "paused", "approval")
    return ran.document["id"]


def types(terminal, execution_id):
    return [event["type"] for event in terminal("events", execution_id, "--json", "--all").document]


def refusal(terminal, *arguments):
    """Why a command is refused; it leaves everything as it was."""
    before = types(terminal, arguments[1])
    answer = terminal(*arguments, "--json")
    assert answer.code == 2
    assert types(terminal, arguments[1]) == before
    return answer.document["error"]["message"]


# ---------------------------------------------------------------- what is open


def test_a_run_that_has_to_ask_somebody_ends_and_says_what_to_type(terminal):
    ran = terminal("run", "publish.yaml")
    listed = terminal("list", "--json").document

    assert ran.code == 4
    assert "asks ann, group:legal: Publish Tides?" in ran.out
    assert "Waits: step ask waits for ann, group:legal to decide, until " in ran.out
    assert ran.out.splitlines()[-1] == (
        f"Decide with: process-engine approve {listed[0]['id']} --as USER  (or reject, or delegate)"
    )


def test_show_explain_and_list_name_the_decision_and_the_command(terminal):
    id = started(terminal, "publish.yaml")

    shown, told, listed = terminal("show", id), terminal("explain", id, "--json"), terminal("list")

    assert f"Decide with: process-engine approve {id} --as USER" in shown.out
    assert "left; for ann, group:legal" in shown.out
    blocker = told.document["blocker"]
    assert (blocker["kind"], blocker["step_id"], blocker["by"]) == ("approval", "ask", "ann, group:legal")
    assert told.document["remedy"] == (
        f"`process-engine approve {id} ask --as USER` or "
        f"`process-engine reject {id} ask --as USER` decides it."
    )
    assert "paused" in listed.out
    assert "decision: ask" in listed.out
    assert "process-engine approvals" in listed.out


def test_what_waits_for_people_is_listed_as_paused_and_not_as_running(terminal):
    waiting = started(terminal, "publish.yaml")
    asleep = terminal("run", "soon.yaml", "--no-wait", "--json").document["id"]
    done = started(terminal, "both.yaml")
    terminal("cancel", done)

    paused = terminal("list", "--status", "paused", "--json").document
    newest = terminal("list", "--status", "paused", "--limit", 1, "--json").document

    assert [one["id"] for one in paused] == [asleep, waiting]
    assert [one["id"] for one in newest] == [asleep]
    assert terminal("list", "--status", "running", "--json").document == []
    assert [one["status"] for one in terminal("list", "--json").document] == ["cancelled", "paused", "paused"]


def test_approvals_tell_everything_that_somebody_has_to_know(terminal):
    id = started(terminal, "publish.yaml")

    told, (document,) = terminal("approvals"), terminal("approvals", "--json").document

    for line in ("It goes to everybody.", "Who may decide: ann, group:legal", document["sha256"]):
        assert line in told.out
    assert told.out.splitlines()[0] == f"Publish Tides?  publish  {id}  step ask"
    assert told.out.splitlines()[-1] == f"  process-engine approve {id} ask --as USER"
    assert (document["id"], document["step"], document["visit"]) == (id, "ask", 1)
    assert (document["title"], document["assignees"]) == ("Publish Tides?", ["ann", "group:legal"])
    assert (document["required_approvals"], document["decisions"]) == (1, [])
    assert terminal("show", id, "--json").document["steps"][1]["approval"]["sha256"] == document["sha256"]


def test_with_a_user_only_what_waits_for_them_is_listed(terminal):
    publish = started(terminal, "publish.yaml")
    form = started(terminal, "form.yaml", "--as", "carl")
    terminal("approve", form, "--as", "bob", "--form", '{"amount": 1}')

    def waiting(user, *options):
        return [one["id"] for one in terminal("approvals", "--as", user, "--json", *options).document]

    assert waiting("ann") == [publish, form]
    assert waiting("bob") == [publish]
    assert waiting("bob", "--all") == [publish, form]
    assert waiting("carl") == []
    assert waiting("carl", "--all") == [form]
    assert terminal("approvals", "--as", "carl").out == "Nothing waits for carl.\n"


def test_where_nothing_is_open_that_is_said(terminal):
    terminal("cancel", started(terminal, "last.yaml"))

    assert terminal("approvals").out == "Nobody is asked to decide anything in process-engine.db.\n"
    assert terminal("approvals", "--json").document == []


def test_what_is_shown_cannot_steer_the_terminal(terminal):
    id = started(terminal, "publish.yaml", "-i", "headline=\x1b[2JTides\u202e")
    terminal("delegate", id, "--as", "ann", "--to", "bob", "--comment", "\x1b[31mno")

    told = [terminal(*words).out for words in (("approvals",), ("show", id), ("explain",), ("events", id))]

    assert "\x1b" not in "".join(told)
    assert "\u202e" not in "".join(told)
    assert r"Publish \x1b[2JTides\u202e?" in told[0]
    assert r"\x1b[31mno" in told[3]


# ---------------------------------------------------------------- nobody runs it


def test_between_asking_and_deciding_nothing_has_to_run(terminal):
    id = started(terminal, "publish.yaml")

    approved = terminal("approve", id[:15], "--as", "ann", "--comment", "well said")
    resumed = terminal("resume", id, "--json")

    assert approved.code == 0
    assert "ask: ann approved it." in approved.out
    assert approved.out.splitlines()[-1] == f"Go on with: process-engine resume {id}"
    assert resumed.code == 0
    assert resumed.document["outputs"] == {"said": "printed for ann"}
    # The step after it was not begun by a command that has no agents to ask.
    assert steps_of(resumed.document)["print"] == "completed"
    assert types(terminal, id).count("StepStarted") == 3
    decided = resumed.document["steps"][1]["output"]
    assert (decided["decision"], decided["comment"]) == ("approved", "well said")


def test_a_decision_that_ends_an_execution_needs_nobody_else(terminal):
    id = started(terminal, "both.yaml")

    first = terminal("approve", id, "one", "--as", "ann")
    last = terminal("approve", id, "--as", "ann", "--json")

    assert f"Decide with: process-engine approve {id} --as USER" in first.out
    assert last.document["status"] == "completed"
    assert "ProcessPaused" not in types(terminal, id)


def test_a_rejection_fails_the_execution_and_keeps_why(terminal):
    id = started(terminal, "publish.yaml")

    rejected = terminal("reject", id, "--as", "bob", "--comment", "too long", "--json")

    assert rejected.code == 0
    assert rejected.document["status"] == "failed"
    assert rejected.document["error"] == {"code": "APPROVAL_REJECTED", "message": "rejected by bob: too long"}
    assert terminal("explain", id, "--json").document["blocker"] is None


def test_resume_drives_what_waits_for_people_and_leaves_it_waiting(terminal):
    id = terminal("run", "soon.yaml", "--no-wait", "--json").document["id"]

    resumed = terminal("resume", id)

    assert resumed.code == 4
    assert "slept" in resumed.out
    assert resumed.out.splitlines()[-1].startswith(f"Decide with: process-engine approve {id}")


def test_where_a_timer_is_left_beside_the_decision_the_way_on_is_told_too(terminal):
    ran = terminal("run", "soon.yaml", "--no-wait")

    assert ran.code == 4
    assert "Decide with: " in ran.out
    assert ran.out.splitlines()[-1] == (
        "It is not finished, and nothing is lost. Go on with: process-engine resume"
    )


def test_explain_names_what_nobody_does_before_what_people_may(terminal):
    id = terminal("run", "beside.yaml", "--no-wait", "--json").document["id"]

    blocker = terminal("explain", id, "--json").document["blocker"]

    assert (blocker["kind"], blocker["step_id"]) == ("nobody", "sleep")


def test_forms_and_quorums_are_filled_in_one_after_the_other(terminal, place):
    id = started(terminal, "form.yaml", "--as", "ann")
    (place / "form.json").write_text('{"amount": 7}', encoding="utf-8")

    first = terminal("approve", id, "--as", "bob", "--form", '{"amount": 3}')
    shown = terminal("approvals")
    second = terminal("approve", id, "--as", "carl", "--form", "@form.json", "--json")

    assert "ask: bob approved it. More have to decide." in first.out
    assert "approved by bob" in shown.out
    assert "1 of 2 approvals" in shown.out
    assert second.document["outputs"] == {"amount": 7}


def test_a_decision_is_handed_on(terminal):
    id = started(terminal, "publish.yaml")

    handed = terminal("delegate", id, "--as", "ann", "--to", "group:board", "--comment", "on leave")
    refused = refusal(terminal, "approve", id, "--as", "ann")
    approved = terminal("approve", id, "ask", "--as", "carl")

    assert "ask: ann handed it on to group:board." in handed.out
    assert refused == "ann may not decide about ask: it is for group:legal, group:board."
    assert approved.code == 0
    assert "ann hands it on to group:board: on leave" in terminal("events", id).out


# ---------------------------------------------------------------- beside a running engine


def asks(terminal, process):
    return any(one["process"] == process for one in terminal("approvals", "--json").document)


def test_a_decision_reaches_the_process_that_runs_the_execution(terminal, place):
    with engine_process("run", "beside.yaml", cwd=place) as engine:
        wait_until(lambda: (place / "process-engine.db").exists(), "there is a store")
        wait_until(lambda: terminal("approvals").code == 0 and asks(terminal, "beside"), "somebody is asked")
        (open_one,) = terminal("approvals", "--json").document
        begun = SystemClock().now()
        approved = terminal("approve", open_one["id"], "--as", "carl")
        took = (SystemClock().now() - begun).total_seconds()
        again = terminal("reject", open_one["id"], "ask", "--as", "carl", "--comment", "no", "--json")
        wait_until(
            lambda: steps_of(terminal("show", open_one["id"], "--json").document)["after"] == "completed",
            "the step behind it has run",
        )
        terminal("cancel", open_one["id"])
        code, out, _ = finish(engine)

    assert approved.code == 0
    assert approved.out.splitlines()[-1] == f"Process {engine.pid} goes on with it."
    assert took < 2
    assert (again.code, again.document["error"]["code"]) == (2, "COMMAND_REJECTED")
    assert code == 3
    assert "yes, we shall" in out


def test_whoever_watches_is_told_what_people_have_to_decide(terminal, place):
    with engine_process("run", "beside.yaml", cwd=place):
        wait_until(lambda: (place / "process-engine.db").exists(), "there is a store")
        wait_until(lambda: terminal("approvals").code == 0 and asks(terminal, "beside"), "somebody is asked")
        other = terminal("list", "--json").document[0]["id"]
        watched = terminal("resume", other, "--no-wait")

    assert watched.code == 4
    assert "waits for anybody to decide" in watched.out


def test_a_decision_left_with_a_process_that_goes_is_made_here_once(terminal, place, monkeypatch):
    id = started(terminal, "publish.yaml")
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()

    def nobody(db):
        lock.release()

    with monkeypatch.context() as patch:
        patch.setattr(asking, "holder_of", nobody)
        approved = terminal("approve", id, "--as", "ann", "--json")

    assert approved.code == 0
    with closing(sqlite3.connect("process-engine.db")) as store:
        ((answer,),) = store.execute("SELECT answer FROM inbox").fetchall()
    assert json.loads(answer)["status"] == "paused"
    assert terminal("resume", id).code == 0
    assert types(terminal, id).count("ApprovalDecided") == 1


def test_a_refusal_of_what_was_left_with_a_process_that_goes_is_kept_and_told(terminal, place, monkeypatch):
    id = started(terminal, "publish.yaml")
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(asking, "holder_of", lambda db: lock.release())
        refused = terminal("approve", id, "--as", "carl", "--json")

    assert refused.code == 2
    with closing(sqlite3.connect("process-engine.db")) as store:
        ((answer,),) = store.execute("SELECT answer FROM inbox").fetchall()
    assert json.loads(answer)["error_message"] == refused.document["error"]["message"]
    assert "carl may not decide" in refused.document["error"]["message"]


# ---------------------------------------------------------------- refusals


def test_who_decides_has_to_be_said(terminal):
    id = started(terminal, "publish.yaml")

    for command in (("approve", id), ("reject", id), ("delegate", id, "--to", "bob")):
        answer = terminal(*command, "--json")
        assert (answer.code, answer.document["error"]["code"]) == (2, "USAGE")
        assert "--as USER" in answer.document["error"]["message"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--as", "carl"), "carl may not decide about ask: it is for ann, group:legal."),
        (("--as", "dan"), "people.yaml has no user 'dan'."),
        (("--as", "group:legal"), "'group:legal' is no name of somebody."),
        (("--as", "ann", "--hash", "0" * 64), "what ann decided about is not what ask asks now."),
        (("--as", "ann", "--form", "{}"), "ask has no form."),
        (("--as", "ann", "--form", "[]"), "--form must be a JSON object. Nothing was decided."),
        (("--as", "ann", "--form", "@gone"), "form gone cannot be read: No such file or directory. Nothing"),
        (("write", "--as", "ann"), "step write asks nobody: it is of type agent_task."),
        (("aks", "--as", "ann"), "process publish has no step aks."),
    ],
)
def test_a_decision_that_is_not_theirs_or_about_something_else_is_refused(terminal, words, why):
    id = started(terminal, "publish.yaml")

    assert refusal(terminal, "approve", id, *words).startswith(why)


def test_a_form_too_large_to_be_recorded_is_refused(terminal, place):
    id = started(terminal, "form.yaml")
    (place / "large.json").write_text(json.dumps({"amount": 1, "why": "x" * 70_000}), encoding="utf-8")

    told = refusal(terminal, "approve", id, "--as", "bob", "--form", "@large.json")

    assert told == "--form is over the limit of 65,536 bytes of JSON. Nothing was decided."


def test_the_beginning_of_the_hash_says_what_was_looked_at(terminal):
    id = started(terminal, "publish.yaml")
    sha256 = terminal("approvals", "--json").document[0]["sha256"]

    assert "is not what" in refusal(terminal, "approve", id, "--as", "ann", "--hash", sha256[:7])
    assert terminal("approve", id, "--as", "ann", "--hash", sha256[:8].upper()).code == 0


def test_each_rule_of_a_step_has_its_refusal(terminal):
    id = started(terminal, "form.yaml", "--as", "ann")
    given = ("--form", '{"amount": 1}')

    assert "ann started this execution" in refusal(terminal, "approve", id, "--as", "ann", *given)
    assert "form.amount" in refusal(terminal, "approve", id, "--as", "bob", "--form", '{"amount": "many"}')
    assert "is not filled in" in refusal(terminal, "approve", id, "--as", "bob")
    assert "needs a comment" in refusal(terminal, "reject", id, "--as", "bob")
    assert "nothing to hand on" in refusal(terminal, "delegate", id, "--as", "bob", "--to", "carl")
    assert terminal("approve", id, "--as", "bob", *given).code == 0
    assert "decided about ask already" in refusal(terminal, "approve", id, "--as", "bob", *given)


def test_who_started_it_in_the_background_is_known_as_well(terminal, place):
    with engine_process("run", "form.yaml", "--detach", "--as", "ann", "--json", cwd=place) as command:
        id = json.loads(finish(command)[1])["id"]
    wait_until(lambda: asks(terminal, "form"), "somebody is asked")

    assert "ann started this execution" in refusal(terminal, "approve", id, "--as", "ann", "--form", "{}")


def test_without_a_name_it_is_started_by_the_user_of_the_machine(terminal):
    id = started(terminal, "both.yaml")

    created = terminal("events", id, "--json", "--all").document[0]
    assert created["started_by"] == asking.user()


def test_of_several_open_steps_one_has_to_be_named(terminal):
    id = started(terminal, "both.yaml")

    told = refusal(terminal, "approve", id, "--as", "ann")

    assert told == f"several steps of execution {id} wait for a decision: one, other."


def test_an_execution_that_asks_nothing_any_more_takes_no_decision(terminal):
    id = started(terminal, "publish.yaml")
    terminal("cancel", id)

    assert refusal(terminal, "approve", id, "--as", "ann").endswith("waits for no decision: it is cancelled.")
    assert "it is cancelled" in refusal(terminal, "approve", id, "ask", "--as", "ann")


def test_a_decision_after_the_deadline_is_refused_and_resuming_tells_what_that_means(terminal):
    id = started(terminal, "last.yaml")
    deadline = terminal("show", id, "--json").document["steps"][0]["approval"]["deadline"]
    wait_until(lambda: SystemClock().now().isoformat() > deadline, "the deadline has passed")

    assert refusal(terminal, "approve", id, "--as", "ann").startswith(
        "it is too late: ask was to be decided by"
    )
    assert terminal("approvals", "--as", "ann", "--json").document == []
    assert "which is too late since" in terminal("approvals").out
    assert terminal("explain", id, "--json").document["blocker"]["kind"] == "nobody"
    assert terminal("resume", id, "--json").document["error"]["code"] == "APPROVAL_TIMEOUT"


def test_a_decision_is_handed_on_only_to_those_whom_the_file_knows(terminal):
    id = started(terminal, "publish.yaml")

    assert "has no user 'dan'" in refusal(terminal, "delegate", id, "--as", "ann", "--to", "dan")
    assert "has no group 'bored'" in refusal(terminal, "delegate", id, "--as", "ann", "--to", "group:bored")


def test_without_a_people_file_every_name_is_a_user_without_groups(terminal, place):
    id = started(terminal, "publish.yaml")
    (place / "people.yaml").rename(place / "staff.yaml")

    assert "bob may not decide" in refusal(terminal, "approve", id, "--as", "bob")
    assert terminal("approve", id, "--as", "bob", "--people", "staff.yaml").code == 0


def test_a_people_file_with_faults_is_refused_with_their_places(terminal, place):
    id = started(terminal, "publish.yaml")
    (place / "people.yaml").write_text("group: {legal: [bob]}\n", encoding="utf-8")

    told = refusal(terminal, "approve", id, "--as", "bob")

    assert told == "people.yaml:1:1 unknown key `group`. Did you mean `groups`?"
    assert "there is no file gone.yaml" in refusal(
        terminal, "approve", id, "--as", "bob", "--people", "gone.yaml"
    )
