"""What is fuzzed: each target takes any bytes, and raises where a promise about them does not hold.

A target knows which errors are answers. Whatever else comes out of the package is a bug, and so is an
accepted text whose canonical form does not mean the same.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec
from pydantic import ValidationError

from process_engine.agents import KINDS
from process_engine.agents.answers import read_answer
from process_engine.cli.inputs import gather_input
from process_engine.config import read_agents_file
from process_engine.definition import accept_input, load_definition, parse_duration
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.durations import MAX_DURATION_SECONDS
from process_engine.definition.expressions import (
    MISSING,
    Expression,
    ExpressionSyntaxError,
    MappingScope,
    compile_template,
    parse_condition,
    parse_expression,
)
from process_engine.errors import (
    ConfigurationInvalid,
    ExpressionError,
    InputRejected,
    StorageIncompatible,
)
from process_engine.repositories.records import ANSWER, COMMAND, CREATED, EVENT, HEAD, STEP, Codec
from process_engine.runtime.ports import AgentCallFailed

Target = Callable[[bytes], bool]
"""Takes a case; True where it was accepted, False where it was refused as it should be."""


class BrokenPromise(AssertionError):
    """A target held what it was given against a promise, and the promise was broken."""


def require(holds: bool, promise: str) -> None:
    """Raises BrokenPromise unless it holds."""
    if not holds:
        raise BrokenPromise(promise)


def definition(content: bytes) -> bool:
    """A process: read and checked, whatever it is; an accepted one is the same after its canonical form."""
    accepted, problems = load_definition(content)
    for problem in problems:
        require(problem.line >= 1 and problem.column >= 1, "a problem has a place")
        require(bool(problem.message), "a problem says what is wrong")
        str(problem).encode()
    if accepted is None:
        require(any(problem.level == "error" for problem in problems), "a refusal has a reason")
        return False
    _same_hash(accepted)
    read, more = load_definition(accepted.canonical_json())
    require(read is not None, f"the canonical form is accepted as a document: {more}")
    require(read == accepted, "the canonical form means the same")
    return True


def _same_hash(accepted: ProcessDefinition) -> None:
    again = ProcessDefinition.from_canonical(accepted.canonical_json())
    require(again.content_hash == accepted.content_hash, "the canonical form has the same hash")


def canonical(content: bytes) -> bool:
    """The canonical form out of a damaged store: refused, or a definition with a canonical form."""
    try:
        accepted = ProcessDefinition.from_canonical(content)
    except ValidationError:
        return False
    _same_hash(accepted)
    return True


def expression(content: bytes) -> bool:
    """An expression, a condition and a template: refused, or worked out on hostile values."""
    source, scope = _text(content), hostile_scope()
    value = _evaluated(parse_expression, source, scope)
    truth = _evaluated(parse_condition, source, scope)
    require(truth is MISSING or isinstance(truth, bool), "a condition is true or false")
    try:
        rendered = compile_template({"deep": [source]}).render(scope)
    except (ExpressionSyntaxError, ExpressionError) as error:
        str(error).encode(errors="surrogatepass")
        return value is not MISSING
    require(isinstance(rendered, dict), "a template keeps its shape")
    return value is not MISSING or "{{" in source


def _evaluated(parsed: Callable[[str], Expression], source: str, scope: MappingScope) -> object:
    """The value; MISSING where there is none."""
    try:
        return parsed(source).evaluate(scope)
    except ExpressionSyntaxError as error:
        require(0 <= error.offset <= len(source), "a fault has a place in the source")
    except ExpressionError as error:
        require(0 <= error.position <= len(source), "a fault has a place in the source")
    return MISSING


def agents_file(content: bytes) -> bool:
    """A file of agents: refused as a whole, or read."""
    path = _directory() / "agents.yaml"
    path.write_bytes(content)
    try:
        found = read_agents_file(path, KINDS, {"KEY": SECRET, "EMPTY": "", "ODD": "a\x00b"})
    except ConfigurationInvalid as error:
        require(SECRET not in str(error), "a fault never shows what came from the environment")
        return False
    for settings in found.agents.values():
        require(SECRET not in repr(settings), "settings never show what came from the environment")
    return True


SECRET = "s3cret-of-nobody"


@functools.cache
def _directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def process_input(content: bytes) -> bool:
    """What a process says about its input, and an input: refused, or accepted, and then once more as it is.

    A case is a JSON object with `input`, the description, `given`, the value, and `fields`, as after `-i`.
    """
    case = _json(content)
    if not isinstance(case, dict):
        return False
    document = {"name": "fuzzed", "input": case.get("input"), "steps": [WAIT]}
    process, _ = load_definition(json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass"))
    if process is None:
        return False
    given, fields = case.get("given"), case.get("fields")
    accepted = _accepted_twice(process, lambda: given)
    if isinstance(fields, list):
        texts = [field for field in fields if isinstance(field, str)]
        accepted |= _accepted_twice(process, lambda: gather_input(process, None, texts))
    return accepted


WAIT: Mapping[str, object] = {"id": "wait", "type": "timer", "delay": "1s"}


def _accepted_twice(process: ProcessDefinition, gather: Callable[[], object]) -> bool:
    try:
        first = accept_input(process, gather())
    except InputRejected as refusal:
        require(bool(refusal.faults), "a refusal has a reason")
        return False
    require(accept_input(process, first) == first, "what was accepted is accepted again, unchanged")
    return True


def duration(content: bytes) -> bool:
    """A length of time: refused, or as long as its own text says."""
    number = _json(content)
    values = (_text(content), number) if isinstance(number, (int, float)) else (_text(content),)
    # Each is looked at, whatever became of the others.
    return sum(_is_duration(value) for value in values) > 0


def _is_duration(value: str | float) -> bool:
    try:
        length = parse_duration(value)
    except ValueError:
        return False
    require(0 <= length.seconds <= MAX_DURATION_SECONDS, "a duration is within its bounds")
    require(parse_duration(length.text) == length, "the text of a duration is as long as itself")
    require(length.timedelta.total_seconds() >= 0, "a duration is a length of time")
    return True


def record(content: bytes) -> bool:
    """A record out of a damaged store: refused, or a record that is the same after being written again."""
    # A store holds text in UTF-8, so no half characters.
    text = content.decode(errors="replace")
    return sum(_is_record(codec, text) for codec in CODECS) > 0


def _is_record(codec: Codec, text: str) -> bool:
    try:
        found = codec.decode(text)
    except StorageIncompatible as error:
        require(bool(error.remedy), "a refusal says what to do")
        return False
    require(codec.decode(codec.encode(found)) == found, "a record is the same after being written again")
    return True


CODECS: tuple[Codec, ...] = (EVENT, COMMAND, HEAD, STEP, CREATED, ANSWER)


def answer(content: bytes) -> bool:
    """What an agent answered: refused, or an output that can be recorded; accepted is what is JSON."""
    ways = ((True, None), (False, None), (False, "latin-1"), (True, "utf-16"), (False, "no-such-charset"))
    accepted = [_is_answer(content, is_json, charset) for is_json, charset in ways]
    return accepted[0]


def _is_answer(content: bytes, is_json: bool, charset: str | None) -> bool:
    try:
        reply = read_answer(content, json=is_json, charset=charset)
    except AgentCallFailed:
        return False
    require(bool(msgspec.json.encode(reply.output)), "an output has a JSON form")
    return True


TARGETS: Mapping[str, Target] = {
    "definition": definition,
    "canonical": canonical,
    "expression": expression,
    "agents_file": agents_file,
    "process_input": process_input,
    "duration": duration,
    "record": record,
    "answer": answer,
}
"""The targets by name; a file of the corpus begins with one."""


# ---------------------------------------------------------------- values


def _text(content: bytes) -> str:
    """The text that the bytes are, half characters too; where they are none, a character for each byte."""
    try:
        return content.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _json(content: bytes) -> object:
    try:
        return json.loads(_text(content))
    except (ValueError, RecursionError):
        return None


@functools.cache
def hostile_scope() -> MappingScope:
    """Values as an agent may answer them: huge, deep, odd, and of every kind."""
    steps = {name: {"output": value, "status": "completed"} for name, value in HOSTILE.items()}
    return MappingScope({"input": HOSTILE, "steps": steps, "execution": {"id": "e"}, "item": 1, "index": 0})


def _deep(levels: int) -> object:
    value: object = "bottom"
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


HOSTILE: Mapping[str, object] = {
    "n": 3,
    "big": 2**4095,
    "tiny": 5e-324,
    "huge": 1.7e308,
    "negative": -0.0,
    "money": Decimal("1E-400"),
    "more": Decimal("9.99E+999"),
    "text": "a,b;ä\u0000\u202e{{ input.n }}%s\\" * 20,
    "long": "x" * 100_000,
    "digits": "9" * 4_000,
    "half": "\ud800",
    "yes": True,
    "none": None,
    "list": [3, 1, 2],
    "mixed": [1, "1", None, True, [1], {"a": 1}, 1.5, Decimal(2)],
    "many": list(range(20_000)),
    "texts": ["b", "a", "\ud800", ""],
    "rows": [{"a": {"b": n % 7}, "n": n} for n in range(200)],
    "object": {"a": 1, "": 2, "odd key": {"b": [1, 2]}, "0": "zero"},
    "deep": _deep(90),
    "deeper": _deep(2_000),
    "json": '{"a": [1, 2.50, {"b": null}]}',
    "brackets": "[" * 50_000,
    "when": "2026-02-29T25:61:00Z",
    "pattern": "(a+)+$",
}
"""Under `input.NAME` and `steps.NAME.output` of every expression that is fuzzed."""
