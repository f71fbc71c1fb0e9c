"""Tests of processes as people write them: YAML files of what is given, what happens, and what follows.

A file names a process and any number of tests of it::

    process: expense.yaml
    tests:
      - name: a large amount is paid once somebody has said yes
        given: {input: {amount: 1200, purpose: a telescope}, started_by: ann}
        when:
          - {after: 1d}
          - {approve: ask, by: bob, form: {account: travel}}
        then: {status: completed, path: [size, ask, answer], output: {decision: approved}}

Everything about one test is in these classes; `testing/trial.py` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, cast

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, ValidationError, model_validator

from process_engine.core.failures import CODES
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition, SubProcess
from process_engine.definition.durations import Duration
from process_engine.definition.faults import Fault, explain
from process_engine.definition.parts import Document, Names
from process_engine.definition.problems import Problem, has_errors, in_reading_order
from process_engine.definition.yaml_text import MAX_TEXT_BYTES, LoadedText, load
from process_engine.errors import DefinitionInvalid, NotFound

# More in one file is no file that anybody reads.
MAX_TESTS = 1_000
MAX_ACTIONS = 1_000
# Processes that one runs, together with those that they run.
MAX_PARTS = 100

Part = TypeVar("Part", bound=Document)

VERBS = (
    "after",
    "approve",
    "reject",
    "delegate",
    "publish",
    "cancel",
    "pause",
    "resume",
    "retry",
)
"""What can happen in a test: an action has one of these keys."""


def _one_or_many(value: object) -> object:
    return cast("list[object]", value) if isinstance(value, (list, tuple)) else [value]


class Turn(Document, frozen=True):
    """How an agent answers one call: with a value, or by failing with a code."""

    answer: object = Field(default=None, description="What it answers: any value.")
    fails: str | None = Field(default=None, description="The code of the failure instead, see failure codes.")
    message: str = Field(default="scripted by the test", description="What the failure says.")
    transient: StrictBool | None = Field(
        default=None, description="Whether another attempt may succeed; as usual for the code if left out."
    )
    takes: Duration | None = Field(default=None, description="How long the call takes.")
    cost: Decimal = Field(default=Decimal(0), ge=0, description="What it costs.")
    tokens: Annotated[StrictInt, Field(ge=0)] = Field(default=0, description="The tokens that it takes.")

    @model_validator(mode="after")
    def _known_code(self) -> Self:
        if self.fails is not None and self.fails not in CODES:
            raise ValueError(f"{self.fails} is no failure code")
        return self


def _as_turn(value: object) -> object:
    if isinstance(value, Turn):
        return value
    given: dict[str, object] = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return given if "answer" in given or "fails" in given else {"answer": cast("object", value)}


Answers = Annotated[
    tuple[Annotated[Turn, BeforeValidator(_as_turn)], ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
]
"""One turn for each call, the last for all further ones. What has no key `answer` or `fails` is an answer:
`writer: a draft`."""


class Given(Document, frozen=True):
    """How the world is before the process starts."""

    input: Mapping[str, object] = Field(
        default_factory=dict[str, object], description="What the execution is started with."
    )
    started_by: str | None = Field(default=None, description="Who starts it.")
    agents: Mapping[str, Answers] = Field(
        default_factory=dict[str, "tuple[Turn, ...]"],
        description="What each agent answers, by its name: one answer for every call, or a list.",
    )
    steps: Mapping[str, Answers] = Field(
        default_factory=dict[str, "tuple[Turn, ...]"],
        description="What is answered to a step, by its id, whichever agent it asks.",
    )


class Action(Document, frozen=True):
    """One thing that happens, by its verb; before it and after it everything that is due is carried out."""

    after: Duration | None = Field(default=None, description="Time passes.")
    approve: str | None = Field(default=None, description="Somebody approves what this step asks.")
    reject: str | None = Field(default=None, description="Somebody rejects what this step asks.")
    delegate: str | None = Field(default=None, description="Somebody hands this step's question on.")
    publish: str | None = Field(default=None, description="An event of this name is published.")
    payload: object = Field(default=None, description="What the event says.")
    cancel: str | None = Field(default=None, description="The execution is cancelled, for this reason.")
    pause: str | None = Field(default=None, description="The execution is paused, for this reason.")
    resume: Literal[True] | None = Field(default=None, description="The execution goes on.")
    retry: Literal[True] | str | None = Field(
        default=None, description="A failed execution goes on, `true` where it failed, or from a step."
    )
    by: str | None = Field(default=None, description="Who does it.")
    to: str | None = Field(default=None, description="Whom a question is handed on to.")
    groups: Names = Field(default=(), description="The groups that they belong to.")
    comment: str | None = Field(default=None, description="What they say.")
    form: Mapping[str, object] | None = Field(default=None, description="What they fill in.")
    input: Mapping[str, object] | None = Field(default=None, description="The changed input of a retry.")
    refused: str | None = Field(
        default=None, description="The action is refused, and this is part of what is said."
    )

    @property
    def verb(self) -> str:
        """What happens."""
        return next(verb for verb in VERBS if getattr(self, verb) is not None)

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        named = [verb for verb in VERBS if getattr(self, verb) is not None]
        if len(named) != 1:
            raise ValueError(f"an action has one of the keys {', '.join(VERBS)}; this has {len(named)}")
        if named[0] in ("approve", "reject", "delegate") and self.by is None:
            raise ValueError(f"`{named[0]}` needs `by`: who does it")
        if named[0] == "delegate" and self.to is None:
            raise ValueError("`delegate` needs `to`: who decides instead")
        return self


class ExpectedCall(Document, frozen=True):
    """One call of an agent, in the order in which calls began."""

    agent: str | None = Field(default=None, description="The agent.")
    step: str | None = Field(default=None, description="The step that calls it.")
    message: object = Field(default=None, description="Exactly what it is asked.")
    contains: str | None = Field(default=None, description="Part of what it is asked.")


class ExpectedNotice(Document, frozen=True):
    """One notification over one channel, in the order in which they went out."""

    channel: str | None = Field(default=None, description="The channel.")
    step: str | None = Field(default=None, description="The step that sends it.")
    contains: str | None = Field(default=None, description="Part of what it says.")


class ExpectedStep(Document, frozen=True):
    """How one step stands at the end; what is left out may be anything."""

    status: str | None = Field(default=None, description="Its status.")
    output: object = Field(default=None, description="Its output.")
    error: str | None = Field(default=None, description="The code of its error.")
    attempts: int | None = Field(default=None, description="The attempts of its last visit.")
    visits: int | None = Field(default=None, description="How often it was visited.")


class Then(Document, frozen=True):
    """What follows; what is left out may be anything."""

    status: str | None = Field(default=None, description="How the execution stands at the end.")
    path: tuple[str, ...] | None = Field(default=None, description="The steps that started, in order.")
    skipped: tuple[str, ...] | None = Field(default=None, description="The steps that were skipped.")
    waits_for: tuple[str, ...] | None = Field(
        default=None, description="The steps that the execution still waits for."
    )
    calls: tuple[ExpectedCall, ...] | Mapping[str, int] | None = Field(
        default=None, description="Every call in order, or how many calls each agent gets."
    )
    notices: tuple[ExpectedNotice, ...] | None = Field(
        default=None, description="Every notification in order; nobody gets it."
    )
    output: Mapping[str, object] | None = Field(
        default=None, description="What the process gives: the outputs named here."
    )
    steps: Mapping[str, ExpectedStep] = Field(
        default_factory=dict[str, ExpectedStep], description="How steps stand, by their ids."
    )
    error: str | None = Field(default=None, description="The code with which the execution failed.")
    took: Duration | None = Field(default=None, description="The time from start to end.")
    cost: Decimal | None = Field(default=None, description="What all calls cost together.")


class ProcessTest(Document, frozen=True):
    """One test."""

    name: Annotated[str, Field(min_length=1)] = Field(description="What it shows, as a sentence.")
    given: Given = Field(default_factory=lambda: Given(), description="How the world is.")
    when: Annotated[tuple[Action, ...], Field(max_length=MAX_ACTIONS)] = Field(
        default=(), description="What happens, in order; time goes on to the end by itself."
    )
    then: Then = Field(description="What follows.")


class ProcessTests(Document, frozen=True):
    """A file of tests of one process."""

    process: str = Field(description="The process, as a path beside this file.")
    given: Given = Field(
        default_factory=lambda: Given(), description="What holds for every test that does not say otherwise."
    )
    tests: Annotated[tuple[ProcessTest, ...], Field(min_length=1, max_length=MAX_TESTS)] = Field(
        description="The tests, each from the beginning."
    )


class ReadTests:
    """A file of tests, read and checked, with the process that it is about."""

    def __init__(
        self, path: Path, tests: ProcessTests, definition: ProcessDefinition, text: LoadedText
    ) -> None:
        self.path = path
        self.tests = tests
        self.definition = definition
        self.parts = parts_beside(path.parent / tests.process, definition)
        self._text = text

    def line_of(self, number: int) -> int:
        """The line of the test of this number, counted from 0."""
        return self._text.positions.of_value(("tests", number)).line


def read_process_tests(path: Path) -> ReadTests:
    """The tests in a file.

    Raises:
        NotFound: there is no such file, or no such process.
        DefinitionInvalid: with every problem of the file, or of its process, and its place.
    """
    tests, text = read_part(path, ProcessTests, "tests")
    return ReadTests(path, tests, read_process(path.parent / tests.process), text)


def parts_beside(path: Path, definition: ProcessDefinition) -> tuple[ProcessDefinition, ...]:
    """The processes that this one runs, and those that they run: in files of their names beside its own.

    Those without such a file are left out. Each comes once, in the order in which they are found.

    Raises:
        NotFound: a file cannot be read.
        DefinitionInvalid: one of them has errors.
    """
    found: dict[str, ProcessDefinition] = {definition.name: definition}
    pending = [definition]
    while pending and len(found) <= MAX_PARTS:
        for step in pending.pop(0).steps:
            if isinstance(step, SubProcess) and step.process not in found:
                files = [path.with_name(f"{step.process}{suffix}") for suffix in (".yaml", ".yml")]
                for file in filter(Path.is_file, files):
                    found.setdefault(step.process, read_process(file))
                    pending.append(found[step.process])
    return tuple(found.values())[1:]


def read_part(path: Path, kind: type[Part], what: str) -> tuple[Part, LoadedText]:
    """What a file holds as one of our classes, and the text; `what` says what it should be.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: with every problem and its place.
    """
    text = load(_content(path, what))
    problems = [problem.in_file(str(path)) for problem in text.problems]
    if has_errors(problems):
        raise DefinitionInvalid(problems)
    try:
        return kind.model_validate(text.value), text
    except ValidationError as error:
        faults = explain(error.errors(include_url=False), text.value, kind, "")
        told = [_placed(fault, text).in_file(str(path)) for fault in faults]
        raise DefinitionInvalid(in_reading_order(told)) from None


def read_process(path: Path) -> ProcessDefinition:
    """The process in a file.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: with every problem.
    """
    definition, problems = load_definition(_content(path, "process"), str(path))
    if definition is None:
        raise DefinitionInvalid(problems)
    return definition


def _content(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"{path}: the {what} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None


def _placed(fault: Fault, text: LoadedText) -> Problem:
    places = text.positions
    mark = places.of_key(fault.path) if fault.at_key else places.of_value(fault.path)
    return Problem(fault.code, "error", fault.message, *mark, fault.suggestion)
