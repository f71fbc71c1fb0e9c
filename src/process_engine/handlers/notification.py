"""The step type `notification`: every channel is told once, however many attempts that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from process_engine.core.failures import CODES
from process_engine.core.results import Completed, Failed
from process_engine.runtime.ports import (
    AgentContext,
    Channels,
    Delivery,
    DeliveryFailed,
    Notice,
    StepContext,
)

# So many have a place in what is recorded about a failed attempt; more is a mailing list.
MOST_RECIPIENTS = 50
# Part of an attempt's time after which deliveries end, so that what others have taken is recorded in time.
PART_OF_THE_TIME = 0.9
# Characters of a failure that are recorded.
MESSAGE_CHARACTERS = 2_000


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a channel stands: `sent` is confirmed by the other side, `partial` for `recipients` only."""

    channel: str
    status: Literal["sent", "partial"]
    recipients: tuple[str, ...] = ()
    message_id: str | None = None
    http_status: int | None = None


class _Progress(msgspec.Struct, frozen=True):
    """What attempts of a visit have delivered, for the one after them."""

    deliveries: tuple[_Told, ...] = ()


class _Unusable(Exception):
    """The request holds what cannot be sent; the text says what."""


_Outcome: TypeAlias = _Told | DeliveryFailed


class _Failure(NamedTuple):
    channel: str
    error: DeliveryFailed


class NotificationHandler:
    """Hands a notice to every channel of the step, all at once, and completes when all have taken it.

    The output is `{deliveries: [{channel, status: "sent", …}]}` in the order of the channels. What was taken
    by some where others failed is told as the attempt's progress; the next attempt leaves those out. The
    effect key goes along: all attempts of a visit carry the same.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def execute(self, context: StepContext) -> Completed | Failed:
        try:
            notices = _notices(context)
        except _Unusable as error:
            return Failed("DELIVERY_FAILED", str(error))
        before = _before(context.progress)
        seconds = None if context.timeout_seconds is None else context.timeout_seconds * PART_OF_THE_TIME
        outcomes = await asyncio.gather(*(self._told(notice, before, seconds) for notice in notices))
        failures = [
            _Failure(notice.channel, outcome)
            for notice, outcome in zip(notices, outcomes, strict=True)
            if isinstance(outcome, DeliveryFailed)
        ]
        if failures:
            return _failed(failures, _progress(notices, outcomes, before))
        return Completed(output=_plain({"deliveries": outcomes}))

    async def _told(self, notice: Notice, before: dict[str, _Told], seconds: float | None) -> _Outcome:
        """What became of one channel; one that was told by an attempt before is left alone."""
        known = before.get(notice.channel)
        if known is not None and known.status == "sent":
            return known
        reached = known.recipients if known is not None else ()
        try:
            async with asyncio.timeout(seconds):
                delivery = await self._channels.deliver(msgspec.structs.replace(notice, reached=reached))
        except DeliveryFailed as error:
            return error
        except TimeoutError:
            return DeliveryFailed("TIMEOUT", f"no answer within {seconds:g} s", transient=True)
        except Exception as error:
            # Only a DeliveryFailed has promised to hold no secret.
            return DeliveryFailed("HANDLER_ERROR", f"the channel raised {type(error).__name__}")
        return _sent(notice.channel, delivery)


def _sent(channel: str, delivery: Delivery) -> _Told:
    return _Told(channel, "sent", delivery.recipients, delivery.message_id, delivery.http_status)


def _plain(value: object) -> object:
    """The JSON form of a record."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _before(progress: object) -> dict[str, _Told]:
    """How each channel stood after the attempts before."""
    if progress is None:
        return {}
    return {told.channel: told for told in msgspec.convert(progress, _Progress).deliveries}


def _progress(notices: Sequence[Notice], outcomes: Sequence[_Outcome], before: dict[str, _Told]) -> object:
    """What is to be recorded of an attempt that failed; None where nobody has been told anything."""
    told: list[_Told] = []
    for notice, outcome in zip(notices, outcomes, strict=True):
        if isinstance(outcome, _Told):
            told.append(outcome)
        elif outcome.reached:
            told.append(_Told(notice.channel, "partial", outcome.reached))
        elif notice.channel in before:
            told.append(before[notice.channel])
    return _plain(_Progress(tuple(told))) if told else None


def _failed(failures: Sequence[_Failure], progress: object) -> Failed:
    """One failure for all: worth another attempt while one of them is."""
    decisive = next((one.error for one in failures if one.error.transient), failures[0].error)
    told = "; ".join(f"{one.channel}: {one.error.message}" for one in failures)
    waits = [one.error.retry_after for one in failures if one.error.retry_after is not None]
    return Failed(
        decisive.code if decisive.code in CODES else "HANDLER_ERROR",
        _recordable(told),
        transient=decisive.transient,
        retry_after=max(waits, default=None),
        progress=progress,
    )


# ---------------------------------------------------------------- what is to be told


def _notices(context: StepContext) -> list[Notice]:
    """One notice for each channel, each once.

    Raises:
        _Unusable: the step asks for what cannot be sent.
    """
    request = context.request
    named = cast("list[str]", request.get("channels", []))
    one = cast("str | None", request.get("channel"))
    channels = dict.fromkeys(named if one is None else [one, *named])
    recipients = _recipients(request.get("recipients"))
    return [
        Notice(
            channel=channel,
            message=request.get("message"),
            subject=_text(request, "subject") or f"{context.process_name}: {context.step_id}",
            recipients=recipients,
            url=_text(request, "url"),
            urgency=cast("str", request.get("urgency", "normal")),
            context=_attempt(context),
            key=context.effect_key,
            at=context.clock.now(),
        )
        for channel in channels
    ]


def _attempt(context: StepContext) -> AgentContext:
    return AgentContext(
        execution_id=context.execution_id,
        process=context.process_name,
        version=context.version,
        step_id=context.step_id,
        visit=context.visit,
        attempt=context.attempt,
        correlation_id=context.correlation_id,
    )


def _text(request: dict[str, object], field: str) -> str | None:
    value = request.get(field)
    if value is None or isinstance(value, str):
        return value
    raise _Unusable(f"{field}: an expression yielded no text")


def _recipients(given: object) -> tuple[str, ...]:
    """The addresses; an expression may yield one or a list of them."""
    named: list[str] = []
    for entry in cast("list[object]", given or []):
        for address in cast("list[object]", entry) if isinstance(entry, list) else (entry,):
            if not isinstance(address, str) or not address:
                raise _Unusable("recipients: an expression yielded something that is no address")
            named.append(address)
    if len(named) > MOST_RECIPIENTS:
        raise _Unusable(f"recipients: {len(named):,} are named, the most are {MOST_RECIPIENTS}")
    return tuple(dict.fromkeys(named))


def _recordable(text: str) -> str:
    """`text` cut to what is recorded, without lone surrogates, which no store takes."""
    shown = text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"
    return shown.encode("utf-8", "replace").decode()
