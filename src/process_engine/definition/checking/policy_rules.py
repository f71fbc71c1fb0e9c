"""Rules about retries, timeouts and limits."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.context import Context
from process_engine.definition.document import APPROVAL_SECONDS, HumanApproval, RetryPolicy, Step, Timer
from process_engine.definition.durations import Duration
from process_engine.definition.parts import Path
from process_engine.definition.problems import Problem, closest

# The codes that an execution can record; a policy that names another one most likely misspells one of these.
ERROR_CODES = (
    "AGENT_UNAVAILABLE",
    "AGENT_ERROR",
    "AGENT_TIMEOUT",
    "TIMEOUT",
    "INVALID_OUTPUT",
    "OUTPUT_TOO_LARGE",
    "EXPRESSION_ERROR",
    "NO_ROUTE",
    "APPROVAL_REJECTED",
    "APPROVAL_TIMEOUT",
    "CHILD_FAILED",
    "BUDGET_EXCEEDED",
    "VISITS_EXCEEDED",
    "INTERRUPTED",
    "DELIVERY_FAILED",
    "CHANNEL_UNAVAILABLE",
    "HANDLER_ERROR",
)


def retry_policies(context: Context) -> Iterator[Problem]:
    """P502, P503, P504, P507: a policy contradicts itself, misspells a code, or says what has no effect."""
    for policy, path in _policies(context):
        yield from _delays(context, policy, path)
        yield from _codes(context, policy, path)


def _policies(context: Context) -> Iterator[tuple[RetryPolicy, Path]]:
    if context.definition.defaults.retry is not None:
        yield context.definition.defaults.retry, ("defaults", "retry")
    for number, step in enumerate(context.definition.steps):
        if step.retry is not None:
            yield step.retry, ("steps", number, "retry")
        if step.compensation is not None and step.compensation.retry is not None:
            yield step.compensation.retry, ("steps", number, "compensation", "retry")


def _delays(context: Context, policy: RetryPolicy, path: Path) -> Iterator[Problem]:
    if policy.initial_delay > policy.max_delay:
        message = f"The first wait of {policy.initial_delay} is cut to `max_delay`, {policy.max_delay}."
        advice = "Raise `max_delay`, or lower `initial_delay`."
        yield context.problem("P502", "warning", (*path, "initial_delay"), message, advice)
    if "backoff_multiplier" in policy.model_fields_set and policy.backoff != "exponential":
        message = f"`backoff_multiplier` has no effect with `backoff: {policy.backoff}`."
        place: Path = (*path, "backoff_multiplier")
        yield context.problem("P507", "warning", place, message, "Remove it.", at_key=True)


def _codes(context: Context, policy: RetryPolicy, path: Path) -> Iterator[Problem]:
    lists = {"retry_on": policy.retry_on, "do_not_retry_on": policy.do_not_retry_on}
    for key, codes in lists.items():
        for number, code in enumerate(codes):
            near = closest(code, ERROR_CODES)
            if code not in ERROR_CODES:
                message = f"The engine records no error code {code}."
                advice = f"Did you mean `{near}`?" if near else ""
                yield context.problem("P503", "warning", (*path, key, number), message, advice)
    for number, code in enumerate(policy.do_not_retry_on):
        if code in policy.retry_on:
            message = f"{code} is in both `retry_on` and `do_not_retry_on`."
            place: Path = (*path, "do_not_retry_on", number)
            yield context.problem("P504", "error", place, message, "Keep one of them.")


def longer_than_the_limit(context: Context) -> Iterator[Problem]:
    """P501: the attempts of one step, with the waits between them, outlast the whole execution."""
    limit = context.definition.limits.timeout
    if limit is None:
        return
    for number, step in enumerate(context.definition.steps):
        longest, key = _longest(context, step)
        if longest > limit.seconds:
            message = f"Step `{step.id}` may take {_spelled(longest)}, longer than `limits.timeout`, {limit}."
            advice = "Shorten its timeout or retries, or raise the limit."
            path: Path = ("steps", number, *([key] if key else []))
            yield context.problem("P501", "warning", path, message, advice, at_key=bool(key))


def _longest(context: Context, step: Step) -> tuple[float, str]:
    """The seconds that a step may take by what the document says, and the key that says most about it."""
    if isinstance(step, Timer):
        return (step.delay.seconds, "delay") if isinstance(step.delay, Duration) else (0.0, "")
    if isinstance(step, HumanApproval):
        seconds = step.timeout.seconds if step.timeout is not None else APPROVAL_SECONDS
        return seconds, "timeout" if step.timeout is not None else ""
    defaults = context.definition.defaults
    timeout, retry = step.timeout, step.retry
    if step.takes_defaults:
        timeout, retry = timeout or defaults.timeout, retry or defaults.retry
    seconds = timeout.seconds if timeout is not None else 0.0
    attempts = retry.max_attempts if retry is not None else 1
    key = "retry" if step.retry is not None else "timeout" if step.timeout is not None else ""
    return seconds * attempts + (_waits(retry) if retry is not None else 0.0), key


def _waits(policy: RetryPolicy) -> float:
    """The seconds of all waits together, without jitter."""
    total = 0.0
    for attempt in range(2, policy.max_attempts + 1):
        growth = {
            "exponential": policy.backoff_multiplier ** (attempt - 2),
            "linear": attempt - 1,
            "fixed": 1,
        }[policy.backoff]
        total += min(policy.max_delay.seconds, policy.initial_delay.seconds * growth)
    return total


def _spelled(seconds: float) -> str:
    """A length of time by its two largest units."""
    parts: list[str] = []
    left = seconds
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{int(count)}{unit}")
    return "".join(parts[:2]) or f"{seconds:g}s"


def reads_of_compensations(context: Context) -> Iterator[Problem]:
    """P508: what undoes a step reads one that need not have run when the step completes."""
    for step_id, sites in context.sites_of.items():
        settled = {step_id} | {edge.source for edge in context.graph.incoming[step_id]}
        for site in (site for site in sites if site.path[2:3] == ("compensation",)):
            for read in site.reads:
                source = read.step
                if source is None or source not in context.steps or read.has_default or source in settled:
                    continue
                related = context.graph.is_ancestor(source, step_id)
                if not related and not context.graph.is_ancestor(step_id, source):
                    message = f"Step `{source}` need not have run by the time `{step_id}` completes."
                    advice = f"Add `| default(…)`, or let `{step_id}` depend on `{source}`."
                    yield context.problem_in("P508", "error", site, read.offset, message, advice)
