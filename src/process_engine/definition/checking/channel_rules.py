"""Rules about notifications: there is a way to tell it, and each way has what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from process_engine.definition.checking.context import Context
from process_engine.definition.document import Notification
from process_engine.definition.parts import Path as Place
from process_engine.definition.problems import Problem, closest, did_you_mean

BUILT_IN = ("slack", "email", "webhook", "log")
"""Channels that a process may name without knowing the configuration."""

# These two can be used without a word of configuration.
_ALWAYS = ("webhook", "log")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*")
# What nothing but the channel of that name uses; a channel of another name may be of any kind.
_ONLY_FOR = {"recipients": ("email", "webhook"), "url": ("webhook",)}


def ways(context: Context) -> Iterator[Problem]:
    """P621: nobody knows how to tell it, or two keys say so."""
    for step, path in _notifications(context):
        if context.is_faulty((*path, "channel")) or context.is_faulty((*path, "channels")):
            continue
        if not step.ways:
            message = f"`{step.id}` does not say how to tell it."
            advice = "Add `channel:` and one of `slack`, `email`, `webhook`, `log`."
            yield context.problem("P621", "error", path, message, advice)
        elif step.channel is not None and step.channels:
            message = f"`{step.id}` has both `channel` and `channels`."
            yield context.problem(
                "P621", "error", (*path, "channels"), message, "Keep `channels`.", at_key=True
            )
        elif len(set(step.channels)) < len(step.channels):
            message = f"`{step.id}` names a channel twice; it is told once."
            yield context.problem("P621", "warning", (*path, "channels"), message, "Remove one of them.")


def known(context: Context) -> Iterator[Problem]:
    """P622: the configuration has no such channel; where it is not known, nothing is told."""
    if context.channels is None:
        return
    there = {*_ALWAYS, *context.channels}
    for step, path in _notifications(context):
        for name, place in _named(step, path):
            if name not in there:
                message = f"There is no channel `{name}`."
                yield context.problem("P622", "error", place, message, _missing(name, sorted(there)))


def _missing(name: str, there: list[str]) -> str:
    if name in BUILT_IN or closest(name, there) is None:
        return f"Add `{name}` to `channels:` of agents.yaml; known are {', '.join(there)}."
    return did_you_mean(name, there, kind="channels")


def needs(context: Context) -> Iterator[Problem]:
    """P623: an e-mail to nobody, a webhook to nowhere."""
    configured = context.channels
    for step, path in _notifications(context):
        if "email" in step.ways and not step.recipients and not context.is_faulty((*path, "recipients")):
            message = f"`{step.id}` names no recipients: it goes to those in the settings of the channel."
            advice = "Add `recipients:` where others are meant; with none in either place it is not started."
            yield context.problem("P623", "info", path, message, advice)
        nowhere = configured is not None and "webhook" not in configured and step.url is None
        if "webhook" in step.ways and nowhere and not context.is_faulty((*path, "url")):
            message = f"`{step.id}` sends a webhook, and neither it nor the settings say where to."
            yield context.problem("P623", "error", path, message, "Add `url:`.")


def unused(context: Context) -> Iterator[Problem]:
    """P624: a field that only other channels use."""
    for step, path in _notifications(context):
        for key, users in _ONLY_FOR.items():
            given = key in step.model_fields_set and getattr(step, key)
            if given and step.ways and all(way in BUILT_IN and way not in users for way in step.ways):
                message = f"`{key}` has no effect on {_listed(step.ways)}."
                yield context.problem("P624", "warning", (*path, key), message, "Remove it.", at_key=True)


def addresses(context: Context) -> Iterator[Problem]:
    """P625: what is written out is no address; what expressions yield is looked at when it is sent."""
    for step, path in _notifications(context):
        if step.url is not None and "{{" not in step.url and not _is_web_address(step.url):
            message = "This is no address that a webhook can be sent to."
            advice = "Write one that begins with https:// or http://."
            yield context.problem("P625", "error", (*path, "url"), message, advice)
        for number, address in enumerate(step.recipients):
            if "email" in step.ways and "{{" not in address and not _is_mail_address(address):
                place = (*path, "recipients", number)
                message = f'"{address}" is no e-mail address.'
                yield context.problem("P625", "error", place, message, "Write for example `ann@example.org`.")


def _is_web_address(text: str) -> bool:
    return text.isprintable() and _WEB_ADDRESS.fullmatch(text) is not None


def _is_mail_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    return bool(name and at and host) and text.isascii() and text.isprintable() and " " not in text


def _notifications(context: Context) -> Iterator[tuple[Notification, Place]]:
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, Notification):
            yield step, ("steps", number)


def _named(step: Notification, path: Place) -> Iterator[tuple[str, Place]]:
    """Each channel with its place."""
    if step.channel is not None:
        yield step.channel, (*path, "channel")
    for number, name in enumerate(step.channels):
        yield name, (*path, "channels", number)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in dict.fromkeys(names))
