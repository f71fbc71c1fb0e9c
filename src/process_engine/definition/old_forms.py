"""Old spellings of the language, rewritten to the canonical ones before anything else looks at them.

Every rewriting is noted as a problem of level info. The values are changed in place; places of what moved are
kept, so that later problems still point to the author's own line.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    rewriter = _Rewriter(positions)
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


class _Rewriter:
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
        value = part.pop(old)
        if new in part:
            message = f"`{old}` and `{new}` mean the same, and both are given."
            self._note("P112", "error", origin, message, f"Keep `{new}`.")
            return
        part[new] = value
        self._positions.move((*path, new), origin)
        self._note("P901", "info", origin, f"`{old}` is an old spelling.", f"Write `{new}`.")

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
            step["type"] = "agent_task"
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
            step["on_error"] = word
            suggestion = f"Write `on_error: {word}`."
            self._note("P904", "info", (*path, "on_error"), "A mapping is more than this needs.", suggestion)

    def _timer(self, step: Mapping, path: Path) -> None:
        self._rename(step, path, "duration", "delay")
        settings = as_mapping(step.get("config"))
        if settings is None or settings.keys() != {"delay"}:
            return
        origin = (*path, "config", "delay")
        del step["config"]
        if "delay" in step:
            message = "`config.delay` and `delay` mean the same, and both are given."
            self._note("P112", "error", origin, message, "Keep `delay`.")
            return
        step["delay"] = settings["delay"]
        self._positions.move((*path, "delay"), origin)
        self._note(
            "P901", "info", origin, "`config.delay` is an old spelling.", "Write `delay` in the step itself."
        )

    def _gateway(self, step: Mapping, path: Path) -> None:
        given = step.get("conditions")
        if not isinstance(given, list):
            return
        origin = (*path, "conditions")
        del step["conditions"]
        if "routes" in step:
            message = "`conditions` and `routes` mean the same, and both are given."
            self._note("P112", "error", origin, message, "Keep `routes`.")
            return
        routes: list[object] = []
        for index, entry in enumerate(cast("list[object]", given)):
            self._old_route(step, path, entry, index, routes)
        step["routes"] = routes
        suggestion = "Write `routes: [{condition, target}]` and `default_route`."
        self._note("P902", "info", origin, "`conditions` is the old form of routes.", suggestion)

    def _old_route(self, step: Mapping, path: Path, entry: object, index: int, routes: list[object]) -> None:
        origin = (*path, "conditions", index)
        route = as_mapping(entry)
        is_default = route is not None and route.get("default") is True and "expression" not in route
        if (
            route is not None
            and is_default
            and "default_route" not in step
            and route.keys() <= {"default", "next"}
        ):
            step["default_route"] = route.get("next")
            self._positions.move((*path, "default_route"), (*origin, "next"))
            return
        position = len(routes)
        self._positions.move((*path, "routes", position), origin)
        routes.append(entry if route is None else self._renamed(route, (*path, "routes", position), origin))

    def _renamed(self, route: Mapping, path: Path, origin: Path) -> Mapping:
        words = {"expression": "condition", "next": "target"}
        renamed: Mapping = {}
        for key, value in route.items():
            if key == "default" and value is False:
                continue
            renamed[words.get(key, key)] = value
            if key in words:
                self._positions.move((*path, words[key]), (*origin, key))
        return renamed

    # Expressions

    def _words(self, document: Mapping) -> None:
        """Rewrite what reads an approval in old words; what holds no expression is left alone."""
        steps = [step for _, step in as_mappings(document.get("steps"))]
        approvals = {str(step.get("id")) for step in steps if step.get("type") == "human_approval"}
        if not approvals:
            return
        for index, step in as_mappings(document.get("steps")):
            for key, value in step.items():
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
            return rewritten(value, words)
        if isinstance(value, dict):
            members = cast("Mapping", value)
            is_route = path[2:3] == ("routes",)
            return {
                key: self._modern(below, (*path, key), approvals, is_route and key == "condition")
                for key, below in members.items()
            }
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [self._modern(item, (*path, n), approvals, False) for n, item in enumerate(items)]
        return value

    def _note_word(self, word: OldWord, path: Path) -> None:
        what = "A decision is never" if word.word in DECISIONS else "An approval has no"
        mark = self._positions.within(path, word.offset)
        message = f"{what} `{word.word}` any more; it is read as `{word.new}`."
        self.problems.append(Problem("P905", "info", message, *mark, f"Write `{word.new}`.", path=path))
