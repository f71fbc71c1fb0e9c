"""For each problem code documents that have the problem, and what the checks say about them.

Where a code comes in two levels there is a document for each. Documents are as short as the fault allows: the
reference shows the line that is told, and the words it is told with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from process_engine.definition import load_definition, parse
from process_engine.definition.checking.across import check_across
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import Problem
from process_engine.definition.yaml_text import MAX_TEXT_BYTES

_HEAD = "name: p\ndefaults: {agent: writer}\n"
_INPUT = "input: {topic: {type: string, required: true}, words: {type: integer, required: true}}\n"
_WAIT = "id: wait; type: timer; delay: 1s"
_ASK = "id: ask; type: human_approval"
_TELL = "id: tell; type: notification; message: m"
_REJECTED = "steps.ask.output.decision == 'reject'"
_DRAFT = "id: draft; type: agent_task; message: m"
AGENTS = ("writer", "reviewer")
# Processes that a step may run: each of `level-1` to `level-11` runs the next.
_LEVELS = 11
PROCESSES: Mapping[str, ProcessDefinition] = {
    f"level-{number}": ProcessDefinition.model_validate(
        {
            "name": f"level-{number}",
            "steps": [{"id": "down", "type": "sub_process", "process": f"level-{number + 1}"}]
            if number < _LEVELS
            else [{"id": "wait", "type": "timer", "delay": "1s"}],
        }
    )
    for number in range(1, _LEVELS + 1)
}
CHANNELS = ("slack", "email", "ops")
# More of a line tells no more about its fault.
LONGEST_LINE = 90


def _steps(*written: str, head: str = _HEAD, more: str = "") -> str:
    """A document of these steps; `; ` stands between the keys of one, which get a line each."""
    steps = ("  - " + "\n    ".join(step.split("; ")) + "\n" for step in written)
    return head + more + "steps:\n" + "".join(steps)


def _says(expression: str) -> str:
    """A document with an input, a step `draft`, and one that says the expression."""
    return _steps(
        _DRAFT, f"id: tell; type: agent_task; depends_on: draft; message: '{expression}'", more=_INPUT
    )


def _asks(condition: str) -> str:
    return _steps(f'{_WAIT}; condition: "{condition}"', more=_INPUT)


def _routes(routes: str, rest: str = "", *behind: str) -> str:
    """A document with an input, a step before a gateway and two behind it."""
    gateway = f"id: choose; type: gateway; depends_on: before{rest}; routes: [{routes}]"
    others = (f"id: {name}; type: timer; delay: 1s" for name in ("before", "left", "right"))
    return _steps(gateway, *others, *behind, more=_INPUT)


_BOMB = "name: p\nx-a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"x-{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)
_BY_HAND = "  - {id: by-hand, type: manual}\n"
_LONG = "{condition: input.words > 9, target: left}"
_REST = "{target: right}"

DOCUMENTS: Mapping[str, tuple[str | bytes, ...]] = {
    "P001": (b"name: caf\xe9\n",),
    "P002": ("# " + "x" * MAX_TEXT_BYTES,),
    "P003": ("x-deep: " + "[" * 70 + "]" * 70 + "\n",),
    "P004": ("name: tides: high and low\n",),
    "P005": (_steps(_WAIT, head="name: p\nname: q\n"),),
    "P006": (_steps(_WAIT, head="name: !!str p\n"),),
    "P007": (_BOMB + "steps: []\n",),
    "P008": (_steps(_WAIT, head="name: p\ndescription: a\0b\n"),),
    "P009": (_steps(_WAIT, head="name: p\nlabels: {1: one}\n"),),
    "P010": (_steps("id: wait; type: timer; delay: .inf"),),
    "P011": ("- name: p\n",),
    "P012": (_steps(_WAIT) + "---\nname: q\n",),
    "P013": (_steps(*(f"id: s{n}; type: timer; delay: 1s; depends_on: nobody" for n in range(120))),),
    "P101": (_steps("id: draft; type: agent_task; message: m; retry: {max_atempts: 5}"),),
    "P102": (_steps("id: draft; type: agent_task"),),
    "P103": (_steps(f"{_DRAFT}; retry: 3"),),
    "P104": (_steps(f"{_DRAFT}; retry: {{backoff: linaer}}"),),
    "P105": (_steps(f"{_DRAFT}; retry: {{max_attempts: 1000}}"),),
    "P106": (_steps("id: wait; type: timer; delay: soon"),),
    "P107": (_steps("id: Big One; type: timer; delay: 1s"),),
    "P108": (_steps("id: wait; type: tmier; delay: 1s"),),
    "P110": (
        _steps(
            f"{_DRAFT}; roles: {{informed: [x]}}",
            more="limits: {budget: {usd: 2}, max_concurrent_executions: 5}\n",
        ),
    ),
    "P111": (_steps(_WAIT, more="owner: growth\n"),),
    "P112": (_steps(f"{_WAIT}; duration: 2s"),),
    "P113": (_steps(_WAIT, more="input: {topic: {type: string, pattern: '['}}\n"),),
    "P114": (_steps(_WAIT, more="input: {words: {type: integer, default: many}}\n"),),
    "P201": (_steps(_WAIT, _WAIT),),
    "P202": (_steps(_DRAFT, f"{_WAIT}; depends_on: darft"),),
    "P203": (_steps(f"{_WAIT}; depends_on: wait"),),
    "P204": (
        _steps(
            f"{_DRAFT}; depends_on: review", "id: review; type: agent_task; message: m; depends_on: draft"
        ),
    ),
    "P205": (_steps(f"{_WAIT}; condition: false", f"{_DRAFT}; depends_on: wait"),),
    "P206": (_steps(_WAIT, f"{_DRAFT}; depends_on: wait; join: 2"),),
    "P207": (
        _routes(
            f"{_LONG}, {_REST}", "", "id: end; type: timer; delay: 1s; depends_on: [left, right]; join: 2"
        ),
    ),
    "P208": (_steps(f"{_DRAFT}; on_error: {{action: goto_step, target_step: wiat}}", _WAIT),),
    "P209": (_steps(_WAIT, "id: draft; type: agent_task; message: 'at {{ steps.wait.output.due_at }}'"),),
    "P210": (_steps(f"{_DRAFT}; on_error: {{action: goto_step, target_step: draft}}"),),
    "P211": (_steps(_WAIT, f"{_DRAFT}; depends_on: [wait, wait]"),),
    "P212": (_steps(_WAIT) + "outputs: [{name: x, source: '1'}, {name: x, source: '2'}]\n",),
    "P301": (_says("{{ input.topic ** 2 }}"),),
    "P302": (_says("{{ inptu.topic }}"),),
    "P303": (_says("{{ steps.darft.output }}"),),
    "P304": (_says("{{ input.topci }}"),),
    "P305": (_says("{{ steps.tell.output }}"),),
    "P306": (
        _steps(
            f"{_DRAFT}; condition: input.words > 9",
            _WAIT,
            "id: tell; type: agent_task; depends_on: [draft, wait]; message: '{{ steps.draft.output }}'",
            more=_INPUT,
        ),
    ),
    "P307": (_asks("input.words > 'many'"), _asks("input.words == 'many'")),
    "P308": (_says("{{ secrets.KEY }}"),),
    "P309": (_says("{{ item.name }}"),),
    "P310": (_says("{{ execution.uid }}"),),
    "P311": (_asks("input.words"),),
    "P312": (_asks("1 > 2"),),
    "P313": (_says("{{ event.order }}"),),
    "P314": (_says("{{ steps.draft.errors }}"),),
    "P401": (
        _steps("id: choose; type: gateway"),
        _steps("id: choose; type: gateway; default_route: wait", _WAIT),
    ),
    "P402": (_routes(f"{{condition: input.words > 9, target: lfet}}, {_REST}"),),
    "P403": (_routes(_LONG),),
    "P404": (_routes(f"{_LONG}, {{target: before}}"),),
    "P405": (
        _routes(
            f"{{condition: input.words > 9, target: before, max_visits: 3}}, {_REST}",
            "; gateway_type: inclusive",
        ),
    ),
    "P406": (_routes(f"{_REST}, {_LONG}"),),
    "P407": (_routes(f"{_LONG}, {{target: choose, max_visits: 3}}"),),
    "P408": (_routes(f"{_LONG}, {_REST}", "; gateway_type: parallel"),),
    "P409": (_routes(f"{_LONG}, {{target: right, max_visits: 3}}"),),
    "P501": (_steps("id: wait; type: timer; delay: 2h", more="limits: {timeout: 1h}\n"),),
    "P502": (_steps(f"{_DRAFT}; retry: {{initial_delay: 10m}}"),),
    "P503": (_steps(f"{_DRAFT}; retry: {{retry_on: [AGENT_EROR]}}"),),
    "P504": (_steps(f"{_DRAFT}; retry: {{retry_on: [NO_ROUTE], do_not_retry_on: [NO_ROUTE]}}"),),
    "P505": (_steps(f"{_DRAFT}; on_error: {{action: goto_step}}"),),
    "P506": (_steps(f"{_DRAFT}; on_error: {{action: skip_step, target_step: wait}}", _WAIT),),
    "P507": (_steps(f"{_DRAFT}; retry: {{backoff: fixed, backoff_multiplier: 3}}"),),
    "P508": (_steps(f"{_DRAFT}; compensation: {{message: 'back at {{{{ steps.wait.output }}}}'}}", _WAIT),),
    "P601": (_steps(_DRAFT, head="name: p\n"),),
    "P602": (_steps(f"{_DRAFT}; agent: reveiwer"),),
    "P603": (_steps("id: wait; type: timer"),),
    "P604": (_steps("id: wait; type: timer; until: '09:30'; timezone: Europe/Atlantis"),),
    "P605": (_steps("id: wait; type: timer; until: tomorrow"),),
    "P606": (_steps(f"{_ASK}; timeout: 2h; reminders: [1h, 4h]"),),
    "P607": (_steps(f"{_ASK}; timeout: 2h; timeout_action: {{escalate_to: bob, after: 4h}}"),),
    "P608": (
        _steps(f"{_ASK}; assignees: [ann]; required_approvals: 2"),
        _steps(f"{_ASK}; assignees: [ann]; rejections_needed: 2"),
    ),
    "P609": (_steps(f"{_ASK}; assignees: [ann]; separation_of_duties: true"),),
    "P610": (_steps(f"{_ASK}; on_error: skip_step"),),
    "P611": (_steps(_ASK, f"{_DRAFT}; depends_on: ask; condition: steps.ask.output.decision == 'rejected'"),),
    "P612": (_steps(f"{_ASK}; retry: {{max_attempts: 5}}"),),
    "P616": (_steps(f"{_WAIT}; for_each: {{items: [1, 2]}}"),),
    "P617": (_steps(f"{_DRAFT}; for_each: {{items: [1, 2], as: input}}"),),
    "P618": (_steps(f"{_DRAFT}; for_each: {{items: input.rows}}"),),
    "P621": (
        _steps(_TELL),
        _steps(f"{_TELL}; channels: [log, log]"),
    ),
    "P622": (_steps(f"{_TELL}; channel: opps"),),
    "P623": (_steps(f"{_TELL}; channel: webhook"), _steps(f"{_TELL}; channel: email")),
    "P624": (_steps(f"{_TELL}; channel: log; recipients: ann@example.org"),),
    "P625": (_steps(f"{_TELL}; channel: webhook; url: 'ftp://example.org'"),),
    "P651": (
        _steps("id: down; type: sub_process; process: level-12"),
        _steps("id: down; type: sub_process; process: level-11; version: 2"),
    ),
    "P652": (_steps("id: again; type: sub_process; process: p"),),
    "P653": (_steps("id: down; type: sub_process; process: level-1"),),
    "P701": (_steps(_WAIT, more="triggers:\n  - {id: by-hand, type: manual}\n" + _BY_HAND),),
    "P702": (_steps(_WAIT, head="name: other\n", more="triggers:\n" + _BY_HAND),),
    "P703": (_steps(_WAIT, more="description: not the same\n"),),
    "P613": (_steps("id: paid; type: wait_for_event; event: ' '"),),
    "P614": (_steps("id: paid; type: wait_for_event; event: paid; match: input.words > 9", more=_INPUT),),
    "P615": (_steps("id: paid; type: wait_for_event; event: paid; timeout_action: skip"),),
    "P901": (_steps("id: wait; type: timer; duration: 1s"),),
    "P902": (_steps("id: choose; type: gateway; conditions: [{default: true, next: wait}]", _WAIT),),
    "P903": (_steps("id: draft; agent: writer; message: m"),),
    "P904": (_steps(f"{_DRAFT}; on_error: {{action: skip_step}}"),),
    "P905": (_steps(f"{_ASK}; on_reject: continue", f"{_DRAFT}; condition: {_REJECTED}"),),
}


@cache
def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    """What the checks say about a document, where its agents, channels and sub-processes are known."""
    return tuple(load_definition(text, agents=AGENTS, channels=CHANNELS, processes=PROCESSES)[1])


# What a document is looked at together with, where the fault lies between two.
_BESIDE: Mapping[str, str] = {
    "P702": _steps(_WAIT, more="triggers:\n" + _BY_HAND),
    "P703": _steps(_WAIT),
}


def told(code: str) -> list[tuple[str, Problem]]:
    """For each document of a code the line that is at fault, and the first problem of that code."""
    found: list[tuple[str, Problem]] = []
    for text in DOCUMENTS[code]:
        problem = next(problem for problem in _problems(code, text) if problem.code == code)
        written = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
        found.append((_shown(written.splitlines()[problem.line - 1]), problem))
    return found


def _problems(code: str, text: str | bytes) -> list[Problem]:
    if code not in _BESIDE:
        return list(problems_of(text))
    return check_across([parse(_BESIDE[code], filename="first.yaml"), parse(text)])


def _shown(line: str) -> str:
    """The line without the place it has in a list, what cannot be seen spelled out, a long one cut off."""
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line.removeprefix("  - ").strip()
    )
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"
