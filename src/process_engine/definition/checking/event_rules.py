"""Rules about waits for events: what they are called, and what is asked about them."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.context import Context, Site
from process_engine.definition.document import WaitForEvent
from process_engine.definition.parts import Path as Place
from process_engine.definition.problems import Problem

# As long as the core takes it.
MOST_NAME_CHARACTERS = 200


def outside_match(context: Context) -> Iterator[Problem]:
    """P313: `event` outside the `match` of a wait."""
    for site in context.sites:
        for read in site.reads:
            if read.root == "event" and not _is_match(site):
                message = "`event` exists only inside `match` of a step that waits for one."
                advice = "Read the payload where it has come: `steps.ID.output`."
                yield context.problem_in("P313", "error", site, read.offset, message, advice)


def names(context: Context) -> Iterator[Problem]:
    """P613: nobody can publish an event of this name."""
    for step, path in _waits(context):
        if "{{" in step.event:
            continue
        blank, long = not step.event.strip(), len(step.event) > MOST_NAME_CHARACTERS
        if blank or long or not step.event.isprintable():
            fault = "is longer than" if long else "holds characters that cannot be seen, within"
            message = (
                "The name is blank." if blank else f"The name {fault} {MOST_NAME_CHARACTERS} characters."
            )
            yield context.problem("P613", "error", (*path, "event"), message, "Write for example `paid`.")


def blind_matches(context: Context) -> Iterator[Problem]:
    """P614: `match` comes out the same for every event."""
    for site in context.sites:
        if _is_match(site) and site.error is None and all(read.root != "event" for read in site.reads):
            message = "`match` reads nothing of the event: every one fits, or none does."
            advice = "Compare something of `event`, or use `condition`."
            yield context.problem("P614", "warning", site.path, message, advice)


def actions_without_timeout(context: Context) -> Iterator[Problem]:
    """P615: what happens after a timeout that there is not."""
    for step, path in _waits(context):
        if step.timeout is None and "timeout_action" in step.model_fields_set:
            message = f"`{step.id}` waits for ever, so that `timeout_action` has no effect."
            place = (*path, "timeout_action")
            yield context.problem("P615", "warning", place, message, "Add `timeout`.", at_key=True)


def _is_match(site: Site) -> bool:
    return isinstance(site.step, WaitForEvent) and site.path[2:] == ("match",)


def _waits(context: Context) -> Iterator[tuple[WaitForEvent, Place]]:
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, WaitForEvent):
            yield step, ("steps", number)
