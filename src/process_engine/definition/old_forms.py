"""Old spellings of the language, rewritten to the canonical ones before anything else looks at them.

Every rewriting is noted as a problem of level info. The values are changed in place; places of what moved are
kept, so that later problems still point to the author's own line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from process_engine.definition.positions import Path, Positions
from process_engine.definition.problems import Level, Problem

Mapping = dict[str, object]

# Keys that files of earlier engines carry and that nothing ever read.
WITHOUT_EFFECT = ("owner", "metadata", "data_classification", "output_key")


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
