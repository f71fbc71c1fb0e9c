"""Old spellings of the language, rewritten to the canonical ones before anything else looks at them.

Every rewriting is noted as a problem of level info. The values are changed in place; places of what moved are
kept, so that later problems still point to the author's own line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

from process_engine.definition.old_words import DECISIONS, OldWord, old_words, rewritten
from process_engine.definition.positions import Path, Positions
from process_engine.definition.problems import Level, Problem

Mapping = dict[str, object]

# Keys that files of earlier engines carry and that nothing ever read.
WITHOUT_EFFECT = ("owner", "metadata", "data_classification", "output_key")
# Keys of a step that hold no expressions.
_PLAIN = ("id", "type", "name", "form", "output", "depends_on")


def normalise(document: Mapping, positions: Positions) -> list[Problem]:
    """Rewrite the document to the canonical form; the notes about it, in no particular order."""
    rewriter = Rewriter(positions)
    rewriter.document(document)
    return rewriter.problems


def as_mapping(value: object) -> Mapping | None:
    """The value if it is a mapping of the document, else None."""
    return cast("Mapping", value) if isinstance(value, dict) else None


def as_mappings(value: object) -> Iterator[tuple[int, Mapping]]:
    """The mappings of a list, with their indexes; nothing if it is no list."""
    if isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            if isinstance(item, dict):
                yield index, cast("Mapping", item)


class Rewriter:
    """Rewrites a document in place; the hooks say how, for those who keep more of a text than its values."""

    def __init__(self, positions: Positions) -> None:
        self.problems: list[Problem] = []
        self._positions = positions

    def document(self, document: Mapping) -> None:
        self._drop_without_effect(document, ())
        self._retry(as_mapping(document.get("defaults")), ("defaults",))
        self._outputs(document)
        for index, step in as_mappings(document.get("steps")):
            self._step(step, ("steps", index))
        self._words(document)

    def _note(self, code: str, level: Level, path: Path, message: str, suggestion: str) -> None:
        mark = self._positions.of_key(path)
        self.problems.append(Problem(code, level, message, *mark, suggestion, path=path))

    def _drop_without_effect(self, part: Mapping, path: Path) -> None:
        for key in WITHOUT_EFFECT:
            if key in part and not (key == "output_key" and part.get("type") == "sub_process"):
                del part[key]
                suggestion = f"Remove it, or keep it for yourself as `x-{key.replace('_', '-')}`."
                self._note("P111", "warning", (*path, key), f"`{key}` has no effect.", suggestion)

    def _rename(self, part: Mapping, path: Path, old: str, new: str) -> None:
        if old not in part:
            return
        origin = (*path, old)
        if new in part:
            self._drop_second(part, path, old, new)
            return
        self._relabel(part, old, new)
        self._positions.move((*path, new), origin)
        self._note("P901", "info", origin, f"`{old}` is an old spelling.", f"Write `{new}`.")

    def _drop_second(self, part: Mapping, path: Path, old: str, new: str, told: str = "") -> None:
        del part[old]
        message = f"`{told or old}` and `{new}` mean the same, and both are given."
        self._note("P112", "error", (*path, *(told or old).split(".")), message, f"Keep `{new}`.")

    # How a document is changed

    def _relabel(self, part: Mapping, old: str, new: str) -> None:
        part[new] = part.pop(old)

    def _insert(self, part: Mapping, key: str, value: object, after: str) -> None:
        part[key] = value

    def _shorten(self, part: Mapping, key: str, value: object) -> None:
        """Put `value`, which is in the mapping under the key, in its place."""
        part[key] = value

    def _remove_route(self, step: Mapping, routes: list[object], index: int) -> None:
        """Remove what now stands as the step's `default_route`."""
        del routes[index]

    def _respell(self, value: str, words: Collection[OldWord]) -> str:
        return rewritten(value, words)

    def _outputs(self, document: Mapping) -> None:
        named = as_mapping(document.get("outputs"))
        if named is not None:
            document["outputs"] = [{"name": name, "source": source} for name, source in named.items()]
            for index, name in enumerate(named):
                self._positions.move(("outputs", index), ("outputs", name))
            return
        for index, output in as_mappings(document.get("outputs")):
            self._rename(output, ("outputs", index), "value", "source")

    def _step(self, step: Mapping, path: Path) -> None:
        self._drop_without_effect(step, path)
        if "type" not in step and "agent" in step and "message" in step:
            self._insert(step, "type", "agent_task", "id")
            suggestion = "Write `type: agent_task`."
            self._note("P903", "info", path, "A step with agent and message is an agent task.", suggestion)
        self._retry(step, path)
        self._retry(as_mapping(step.get("compensation")), (*path, "compensation"))
        self._error_policy(step, path)
        if step.get("type") == "timer":
            self._timer(step, path)
        if step.get("type") == "gateway":
            self._gateway(step, path)
        if step.get("type") == "human_approval":
            self._rename(step, path, "on_timeout", "timeout_action")
        if step.get("type") == "sub_process":
            self._rename(step, path, "process_name", "process")
            self._rename(step, path, "input_mapping", "input")
            self._rename(step, path, "wait_for_completion", "wait")

    def _retry(self, owner: Mapping | None, path: Path) -> None:
        retry = as_mapping(owner.get("retry")) if owner is not None else None
        if retry is not None:
            self._rename(retry, (*path, "retry"), "delay", "initial_delay")

    def _error_policy(self, step: Mapping, path: Path) -> None:
        policy = as_mapping(step.get("on_error"))
        if (
            policy is not None
            and policy.keys() == {"action"}
            and policy["action"] in ("fail_process", "skip_step")
        ):
            word = str(policy["action"])
            self._shorten(step, "on_error", word)
            suggestion = f"Write `on_error: {word}`."
            self._note("P904", "info", (*path, "on_error"), "A mapping is more than this needs.", suggestion)

    def _timer(self, step: Mapping, path: Path) -> None:
        self._rename(step, path, "duration", "delay")
        settings = as_mapping(step.get("config"))
        if settings is None or settings.keys() != {"delay"}:
            return
        origin = (*path, "config", "delay")
        if "delay" in step:
            self._drop_second(step, path, "config", "delay", "config.delay")
            return
        self._relabel(step, "config", "delay")
        self._shorten(step, "delay", settings["delay"])
        self._positions.move((*path, "delay"), origin)
        self._note(
            "P901", "info", origin, "`config.delay` is an old spelling.", "Write `delay` in the step itself."
        )

    def _gateway(self, step: Mapping, path: Path) -> None:
        given = step.get("conditions")
        if not isinstance(given, list):
            return
        if "routes" in step:
            self._drop_second(step, path, "conditions", "routes")
            return
        self._relabel(step, "conditions", "routes")
        routes = cast("list[object]", given)
        kept = 0
        for index in range(len(routes)):
            origin = (*path, "conditions", index)
            route = as_mapping(routes[kept])
            if route is not None and _is_default(route) and "default_route" not in step:
                self._insert(step, "default_route", route.get("next"), "routes")
                self._positions.move((*path, "default_route"), (*origin, "next"))
                self._remove_route(step, routes, kept)
                continue
            self._positions.move((*path, "routes", kept), origin)
            if route is not None:
                self._old_route(route, (*path, "routes", kept), origin)
            kept += 1
        suggestion = "Write `routes: [{condition, target}]` and `default_route`."
        message = "`conditions` is the old form of routes."
        self._note("P902", "info", (*path, "conditions"), message, suggestion)

    def _old_route(self, route: Mapping, path: Path, origin: Path) -> None:
        if route.get("default") is False:
            del route["default"]
        for old, new in (("expression", "condition"), ("next", "target")):
            if old in route and new in route:
                self._drop_second(route, origin, old, new)
            elif old in route:
                self._relabel(route, old, new)
                self._positions.move((*path, new), (*origin, old))

    # Expressions

    def _words(self, document: Mapping) -> None:
        """Rewrite what reads an approval in old words; what holds no expression is left alone."""
        approvals = approvals_of(document)
        if not approvals:
            return
        for index, step in as_mappings(document.get("steps")):
            for key, value in list(step.items()):
                if key not in _PLAIN and not key.startswith("x-"):
                    step[key] = self._modern(value, ("steps", index, key), approvals, key == "condition")
        for index, output in as_mappings(document.get("outputs")):
            source = output.get("source")
            # Without braces a source is an expression all the same.
            bare = isinstance(source, str) and "{{" not in source
            output["source"] = self._modern(source, ("outputs", index, "source"), approvals, bare)

    def _modern(self, value: object, path: Path, approvals: set[str], condition: bool) -> object:
        """The value in today's words; a text without braces is an expression only as a condition."""
        if isinstance(value, str):
            words = old_words(value, approvals, condition=condition) if condition or "{{" in value else []
            for word in words:
                self._note_word(word, path)
            return self._respell(value, words) if words else value
        if isinstance(value, dict):
            members = cast("Mapping", value)
            is_route = path[2:3] == ("routes",)
            for key, below in list(members.items()):
                condition = is_route and key == "condition"
                members[key] = self._modern(below, (*path, key), approvals, condition)
        elif isinstance(value, list):
            items = cast("list[object]", value)
            for number, item in enumerate(items):
                items[number] = self._modern(item, (*path, number), approvals, False)
        return cast("object", value)

    def _note_word(self, word: OldWord, path: Path) -> None:
        what = "A decision is never" if word.word in DECISIONS else "An approval has no"
        mark = self._positions.within(path, word.offset)
        message = f"{what} `{word.word}` any more; it is read as `{word.new}`."
        self.problems.append(Problem("P905", "info", message, *mark, f"Write `{word.new}`.", path=path))


def approvals_of(document: Mapping) -> set[str]:
    """The ids of the steps that ask people."""
    steps = [step for _, step in as_mappings(document.get("steps"))]
    return {str(step.get("id")) for step in steps if step.get("type") == "human_approval"}


def _is_default(route: Mapping) -> bool:
    return route.get("default") is True and route.keys() <= {"default", "next"}
