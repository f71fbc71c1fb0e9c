"""What agents answer in a simulation: sizes and kinds of success, failures of every sort, nonsense."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from process_engine.core.commands import RecordResult
from process_engine.core.results import NO_USAGE, Completed, Failed, Usage
from process_engine.core.values import pack
from process_engine.core.work import place_of
from process_engine.runtime.ports import AgentCallFailed, AgentReply
from process_engine.testing.simulated_ports import AttemptKey

# More than a state keeps in place, so that it becomes a reference; and more than can be recorded at all.
LARGE = "x" * 70_000
_HUGE = "x" * (10 * 1024 * 1024)
_TRANSIENT = ("AGENT_UNAVAILABLE", "AGENT_TIMEOUT", "TIMEOUT")
_HARD = ("AGENT_ERROR", "INVALID_OUTPUT", "HANDLER_ERROR")

Answer = AgentReply | Exception


class Answers:
    """Draws answers; each comes with the result that has to be recorded if it is believed."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._number = 0
        # Some simulations are lucky, some hardly get an answer that is of use.
        self.failure_rate = rng.choice((0.0, 0.1, 0.3, 0.6))
        self.nonsense_rate = rng.choice((0.0, 0.0, 0.02, 0.1))

    def draw(self, key: AttemptKey) -> tuple[Answer, RecordResult]:
        """An answer to this attempt."""
        kind = self._rng.random()
        if kind < self.nonsense_rate:
            answer, result = self._nonsense()
        elif kind < self.nonsense_rate + self.failure_rate:
            answer, result = self._failure()
        else:
            usage = self._usage()
            output = self._output()
            answer, result = AgentReply(output=output, usage=usage), Completed(output, usage=usage)
        return answer, recorded(key, result)

    def _output(self) -> object:
        self._number += 1
        rng, number, kind = self._rng, self._number, self._rng.random()
        if kind < 0.08:
            return {"n": rng.randint(0, 9), "text": LARGE, "number": number}
        if kind < 0.15:
            return {"n": 1, "items": [{"deep": [number, None, {"er": "ä"}]}], "number": number}
        if kind < 0.18:
            return f"just text {number}"
        if kind < 0.20:
            return None
        ok = rng.random() < 0.7
        return {"n": rng.randint(0, 9), "ok": ok, "text": f"answer {number}", "number": number}

    def _failure(self) -> tuple[Answer, Failed]:
        transient = self._rng.random() < 0.7
        code = self._rng.choice(_TRANSIENT if transient else _HARD)
        after = self._rng.choice((None, None, None, 3.0, 7200.0)) if transient else None
        usage = self._usage()
        answer = AgentCallFailed(code, "no", transient=transient, retry_after=after, usage=usage)
        return answer, Failed(code, "no", transient=transient, retry_after=after, usage=usage)

    def _nonsense(self) -> tuple[Answer, Failed]:
        """What no agent should answer: no JSON, far too much, a code that does not exist, a bug."""
        usage = self._usage()
        match self._rng.choices(("no JSON", "huge", "unknown", "bug"), (4, 1, 4, 4))[0]:
            case "no JSON":
                return AgentReply(output={"n": "\ud800"}, usage=usage), Failed(
                    "INVALID_OUTPUT", "", usage=usage
                )
            case "huge":
                return AgentReply(output=_HUGE, usage=usage), Failed("OUTPUT_TOO_LARGE", "", usage=usage)
            case "unknown":
                return AgentCallFailed("NONSENSE", "no", usage=usage), Failed(
                    "HANDLER_ERROR", "", usage=usage
                )
            case _:
                return RuntimeError("a bug of the agent's adapter"), Failed("HANDLER_ERROR", "")

    def _usage(self) -> Usage:
        rng = self._rng
        if rng.random() < 0.5:
            return NO_USAGE
        cost = Decimal(rng.randint(1, 999_999)) / Decimal(1_000_000)
        return Usage(cost=cost, input_tokens=rng.randint(0, 500), output_tokens=rng.randint(0, 500))


def recorded(key: AttemptKey, result: Completed | Failed) -> RecordResult:
    """The command that records a result; a large output is packed."""
    execution_id, key_of_work, visit, attempt = key
    place = place_of(key_of_work)
    value, blobs = None, {}
    if isinstance(result, Completed):
        value, blobs = pack(result.output)
        result = Completed(usage=result.usage)
    return RecordResult(
        execution_id=execution_id,
        step_id=place.step_id,
        visit=visit,
        attempt=attempt,
        item=place.item,
        result=result,
        value=value,
        blobs=blobs,
        undo=place.undo,
    )
