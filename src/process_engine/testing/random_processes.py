"""Random process definitions: every construct of the language, in combinations nobody would think of.

A definition passes the static checks by construction: edges run from earlier to later steps of a hidden
order, loops go back to an ancestor and are bounded. The document lists the steps in another order than that
as often as not, because the order in a document must not matter to what is ready when.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from process_engine.definition.document import ProcessDefinition

# Most are small, so that all of it is run through; a few are as large as people write them.
MAX_STEPS = 40
_SIZES = (*range(1, 13), 16, 24, MAX_STEPS)
_WEIGHTS = (*(8 for _ in range(1, 13)), 2, 1, 1)
# Shorter and longer than the waits of agents; and what most answers fit, and some do not.
_TIMEOUTS = ("1s", "5s", "1m", "10m")
_SCHEMAS: tuple[dict[str, object], ...] = (
    {"type": "object"},
    {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 8}}},
    {"type": ["object", "string", "null"]},
)
# Waits of very different length, so that deadlines, retries and timers meet in every order.
_DELAYS = ("0s", "250ms", "1s", "5s", "30s", "2m", "1h")
_CODES = ("AGENT_ERROR", "INVALID_OUTPUT", "HANDLER_ERROR", "AGENT_UNAVAILABLE", "TIMEOUT")


def random_process(
    rng: Random, name: str, *, calls: Sequence[str] = (), most: int = MAX_STEPS
) -> ProcessDefinition:
    """A definition of 1 to `most` steps, decided by `rng` alone; its sub-processes are among `calls`."""
    return ProcessDefinition.model_validate(_Sketch(rng, calls, most).document(name))


class _Sketch:
    """A document in the making; steps are numbered in the hidden order, all edges go from low to high."""

    def __init__(self, rng: Random, calls: Sequence[str], most: int) -> None:
        self.rng = rng
        self.calls = calls
        self.size = min(rng.choices(_SIZES, _WEIGHTS)[0], most)
        self.ids = [f"s{number}" if rng.random() < 0.8 else f"s-{number}" for number in range(self.size)]
        self.sources: list[set[int]] = [set() for _ in range(self.size)]
        self.handled: list[set[int]] = [set() for _ in range(self.size)]
        self.routed: set[int] = set()
        self.made: list[dict[str, object]] = []
        self.shape = rng.choice(("mixed", "mixed", "fan", "chain"))
        # Swarm testing: each process has its own taste, so that rare constructs meet in numbers now and then.
        self.tastes: dict[str, float] = {}
        self.given: dict[str, object] = {}

    def document(self, name: str) -> dict[str, object]:
        self.given = self.defaults() if self.rng.random() < 0.3 else {}
        for number in range(self.size):
            self.made.append(self.step(number))
        steps = list(self.made)
        if self.rng.random() < 0.5:
            self.rng.shuffle(steps)
        document: dict[str, object] = {"name": name, "steps": steps, "limits": self.limits()}
        if self.given:
            document["defaults"] = self.given
        if self.rng.random() < 0.4:
            document["outputs"] = {"result": {"is": self.template(self.size)}, "n": "{{ input.n }}"}
        return document

    def chance(self, probability: float, feature: str = "") -> bool:
        """True as often as given, times the taste of this process for `feature`."""
        if feature and feature not in self.tastes:
            self.tastes[feature] = self.rng.choice((0.0, 0.5, 1.0, 1.0, 2.5))
        return self.rng.random() < probability * self.tastes.get(feature, 1.0)

    def limits(self) -> dict[str, object]:
        limits: dict[str, object] = {}
        if self.chance(0.2, "deadline"):
            limits["timeout"] = self.rng.choice(("10s", "1m", "10m", "3h"))
        if self.chance(0.4, "slots"):
            limits["max_concurrent_steps"] = self.rng.randint(1, 3)
        return limits

    def defaults(self) -> dict[str, object]:
        defaults: dict[str, object] = {"agent": "fallback"}
        if self.chance(0.5):
            defaults["retry"] = self.retry()
        if self.chance(0.3):
            defaults["on_error"] = "skip_step"
        if self.chance(0.3, "timeout"):
            defaults["timeout"] = self.rng.choice(_TIMEOUTS)
        return defaults

    # ------------------------------------------------------------ steps

    def step(self, number: int) -> dict[str, object]:
        depends = self.depend(number)
        step: dict[str, object] = {"id": self.ids[number]}
        if depends:
            step["depends_on"] = [self.ids[source] for source in depends]
        if self.chance(0.2, "condition"):
            step["condition"] = self.condition(number)
        if self.chance(0.2, "gateway") and number < self.size - 1:
            step |= self.gateway(number)
        elif self.chance(0.2, "timer"):
            step |= self.timer(number)
        elif self.chance(0.12, "approval"):
            step |= self.approval(number)
        elif self.chance(0.1, "event"):
            step |= self.event()
        elif self.calls and self.chance(0.15, "child"):
            step |= self.sub_process(number)
        elif self.chance(0.06, "transform"):
            step |= {"type": "transform", "value": self.template(number)}
            if self.chance(0.5, "for_each"):
                listed = self.for_each(number)
                step |= {"value": listed["message"], "for_each": listed["for_each"]}
        elif self.chance(0.12, "notification"):
            step |= self.notification(number)
        else:
            step |= self.agent_task(number)
        if self.chance(0.3, "compensation"):
            step["compensation"] = self.compensation(number)
        if self.chance(0.35, "on_error"):
            step["on_error"] = self.on_error(number)
        edges = len(self.sources[number] | self.handled[number])
        if edges > 1 and self.chance(0.45, "join"):
            step["join"] = (
                "any" if self.chance(0.5) or self.is_divided(number) else self.rng.randint(1, edges)
            )
        return step

    def depend(self, number: int) -> list[int]:
        wanted = self.rng.choice((0, 1, 1, 1, 2, 2, 3)) if number else 0
        if number in self.routed and self.chance(0.6):
            wanted = 0
        near = [source for source in range(number) if source >= number - 5]
        if self.shape == "fan":
            near = [source for source in range(number) if source < 2]
        elif self.shape == "chain":
            near = near[-1:]
        depends = self.rng.sample(near, min(wanted, len(near)))
        self.sources[number].update(depends)
        return depends

    def agent_task(self, number: int) -> dict[str, object]:
        step: dict[str, object] = {"type": "agent_task", "message": self.template(number)}
        if self.chance(0.9) or "agent" not in self.given:
            step["agent"] = f"agent-{number % 3}"
        if self.chance(0.5, "retry"):
            step["retry"] = self.retry()
        if self.chance(0.3, "on_interrupt"):
            step["on_interrupt"] = self.rng.choice(("ask", "fail", "retry"))
        if self.chance(0.2, "timeout"):
            step["timeout"] = self.rng.choice(_TIMEOUTS)
        if self.chance(0.15, "schema"):
            step["output"] = {"schema": self.rng.choice(_SCHEMAS)}
        if self.chance(0.2):
            step["model"] = "{{ input.model | default('small') }}"
        if self.chance(0.2, "for_each"):
            step |= self.for_each(number)
        return step

    def compensation(self, number: int) -> dict[str, object]:
        """What undoes a step: it reads what the step gave, which need not be what it expects."""
        own = f"steps.{self.ids[number]}"
        body: dict[str, object] = {
            "message": self.rng.choice(
                (
                    "plain",
                    {
                        "undo": f"{{{{ {own}.output | default(null) }}}}",
                        "attempts": f"{{{{ {own}.attempts }}}}",
                    },
                    f"take back {{{{ {own}.output.n | default(0) }}}} of {{{{ input.n }}}}",
                    f"take back {{{{ {own}.output.text }}}}",
                )
            )
        }
        if self.chance(0.9) or "agent" not in self.given:
            body["agent"] = f"undoer-{number % 2}"
        if self.chance(0.5, "retry"):
            body["retry"] = self.retry()
        if self.chance(0.2, "timeout"):
            body["timeout"] = self.rng.choice(_TIMEOUTS)
        if self.chance(0.15, "schema"):
            body["output"] = {"schema": self.rng.choice(_SCHEMAS)}
        return body

    def for_each(self, number: int) -> dict[str, object]:
        """A list, and what each of its items is asked."""
        source = self.readable(number)
        items: list[object] = [list(range(self.rng.choice((0, 1, 2, 3, 3, 5, 8))))]
        if source is not None:
            items += [
                f"{{{{ steps.{source}.output.items | default([1, 2, 3]) }}}}",
                ["{{ input.n }}", f"{{{{ steps.{source}.output.n | default(0) }}}}", 7],
            ]
        if self.chance(0.1, "fragile"):
            items = ["{{ input.n }}"]
        rules: dict[str, object] = {
            "items": self.rng.choice(items),
            "as": "one",
            "max_concurrency": self.rng.randint(1, 4),
            "on_item_error": self.rng.choice(("fail", "collect")),
        }
        message = {"one": "{{ one }}", "at": "{{ index }}", "about": self.template(number)}
        return {"message": message, "for_each": rules}

    def notification(self, number: int) -> dict[str, object]:
        step: dict[str, object] = {"type": "notification", "channel": "log", "message": self.template(number)}
        if self.chance(0.3):
            step["subject"] = self.rng.choice(("{{ input.n }} of them", "plain"))
        if self.chance(0.7, "retry"):
            step["retry"] = self.retry()
        if self.chance(0.2, "on_interrupt"):
            step["on_interrupt"] = self.rng.choice(("ask", "fail", "retry"))
        if self.chance(0.2, "timeout"):
            step["timeout"] = self.rng.choice(_TIMEOUTS)
        return step

    def retry(self) -> dict[str, object]:
        codes = self.rng.sample(_CODES, 3)
        return {
            "max_attempts": self.rng.randint(1, 4),
            "initial_delay": self.rng.choice(_DELAYS),
            "backoff": self.rng.choice(("exponential", "linear", "fixed")),
            "backoff_multiplier": self.rng.choice((1, 1.5, 2, 10)),
            "max_delay": self.rng.choice(("10s", "5m", "2h")),
            "jitter": self.chance(0.5),
            "retry_on": codes[: self.rng.randint(0, 2)],
            "do_not_retry_on": codes[2:] if self.chance(0.1) else [],
        }

    def timer(self, number: int) -> dict[str, object]:
        kind = self.rng.random()
        if kind < 0.6:
            return {"type": "timer", "delay": self.rng.choice(_DELAYS)}
        if kind < 0.8:
            return {"type": "timer", "delay": "{{ input.n }}"}
        if kind < 0.9 or not number:
            return {
                "type": "timer",
                "until": self.rng.choice(("09:30", "2026-01-01T00:05:00Z")),
                "timezone": "Europe/Lisbon",
            }
        return {
            "type": "timer",
            "delay": f"{{{{ steps.{self.ids[number - 1]}.output.n | default('soon') }}}}",
        }

    def approval(self, number: int) -> dict[str, object]:
        named = self.rng.sample(("ann", "bob", "group:board"), self.rng.randint(0, 2))
        step: dict[str, object] = {"type": "human_approval", "title": "May it?", "assignees": named}
        step["timeout"] = self.rng.choice(("5s", "1m", "10m", "2d"))
        step["on_reject"] = self.rng.choice(("fail", "continue"))
        step["timeout_action"] = self.rng.choice(
            ("fail", "approve", "reject", "skip", {"escalate_to": ["group:board"], "after": "3s"})
        )
        if self.chance(0.3):
            step |= {"required_approvals": 2, "rejections_needed": self.rng.randint(1, 2)}
        if self.chance(0.3):
            step["reminders"] = ["2s", "4s"]
        if self.chance(0.2):
            step["form"] = {"type": "object", "required": ["ok"]}
        if self.chance(0.3):
            step["description"] = self.rng.choice(("{{ input.n }} of them", "plain"))
        return step

    def event(self) -> dict[str, object]:
        step: dict[str, object] = {"type": "wait_for_event", "event": self.rng.choice(("go", "paid"))}
        if self.chance(0.2):
            step["event"] = "paid-{{ input.n }}"
        if self.chance(0.6):
            step["match"] = self.rng.choice(("event.n >= 5", "event.n > 1 and event.n < 7", "event.m == 1"))
        if self.chance(0.6):
            step["timeout"] = self.rng.choice(("1s", "5s", "1m", "10m"))
            step["timeout_action"] = self.rng.choice(("fail", "skip", "continue"))
        return step

    def sub_process(self, number: int) -> dict[str, object]:
        step: dict[str, object] = {"type": "sub_process", "process": self.rng.choice(self.calls)}
        step["timeout"] = self.rng.choice(("5s", "1m", "1h", "2d"))
        whole: object = {"flag": "{{ input.flag }}", "n": "{{ input.n }}", "from": self.template(number)}
        step["input"] = self.rng.choice(("{{ input }}", whole, whole))
        if self.chance(0.05):
            step["input"] = self.template(number) if number else "{{ input.n }}"
            step["input"] = step["input"] if isinstance(step["input"], (str, dict)) else {}
        if self.chance(0.2):
            step["wait"] = False
        if self.chance(0.2):
            step["output_key"] = self.rng.choice(("n", "result"))
        if self.chance(0.4, "retry"):
            step["retry"] = self.retry() | {"retry_on": ["CHILD_FAILED"], "do_not_retry_on": []}
        return step

    def gateway(self, number: int) -> dict[str, object]:
        kind = self.rng.choice(("exclusive", "exclusive", "inclusive", "parallel"))
        later = list(range(number + 1, min(number + 6, self.size)))
        targets = self.rng.sample(later, min(self.rng.randint(1, 3), len(later)))
        routes: list[dict[str, object]] = [{"target": self.ids[target]} for target in targets]
        for route in routes:
            if kind != "parallel" and self.chance(0.9):
                route["condition"] = self.condition(number, chosen=True)
        step: dict[str, object] = {"type": "gateway", "gateway_type": kind, "routes": routes}
        if kind != "parallel" and self.chance(0.7):
            default = self.rng.choice(later)
            step["default_route"] = self.ids[default]
            targets.append(default)
        if kind == "exclusive" and self.chance(0.6, "loop"):
            self.add_loop(number, routes)
        for target in targets:
            self.sources[target].add(number)
            self.routed.add(target)
        return step

    def add_loop(self, number: int, routes: list[dict[str, object]]) -> None:
        ancestors = sorted(self.ancestors(number))
        if ancestors:
            target = self.rng.choice(ancestors)
            if "message" in self.made[target] and self.chance(0.5):
                # A read of a descendant on a common loop: what the visit before came to.
                self.made[target]["message"] = (
                    f"again {{{{ steps.{self.ids[number]}.output.route | default('first') }}}}"
                )
            back: dict[str, object] = {
                "target": self.ids[target],
                "max_visits": self.rng.randint(1, 4),
                "condition": self.condition(number, chosen=True),
            }
            routes.insert(self.rng.randint(0, len(routes)), back)

    def on_error(self, number: int) -> object:
        kind = self.rng.random()
        if kind < 0.4:
            return "skip_step"
        if kind < 0.5:
            return {"action": "fail_process"}
        later = list(range(number + 1, self.size))
        if kind < 0.75 and later:
            target = self.rng.choice(later)
            self.handled[target].add(number)
        elif not self.ancestors(number):
            return "skip_step"
        else:
            target = self.rng.choice(sorted(self.ancestors(number)))
        return {"action": "goto_step", "target_step": self.ids[target], "max_visits": self.rng.randint(1, 4)}

    def is_divided(self, number: int) -> bool:
        """Whether an exclusive gateway comes before: then so many edges may never live together."""
        return any(self.made[source].get("gateway_type") == "exclusive" for source in self.ancestors(number))

    def ancestors(self, number: int) -> set[int]:
        """Steps before this one; the way through an error handler does not count, it may be no edge yet."""
        found: set[int] = set()
        stack = list(self.sources[number])
        while stack:
            source = stack.pop()
            if source not in found:
                found.add(source)
                stack.extend(self.sources[source])
        return found

    # ------------------------------------------------------------ expressions

    def readable(self, number: int) -> str | None:
        """A step that step `number` may read: any earlier one; no ancestor means an ordering edge."""
        return self.ids[self.rng.randrange(number)] if number else None

    def condition(self, number: int, *, chosen: bool = False) -> str:
        source = self.readable(number)
        if source is None or self.chance(0.2):
            return self.rng.choice(("input.flag", "not input.flag", "input.n > 10", "true", "false"))
        texts = [
            f"steps.{source}.output.n | default({self.rng.randint(0, 9)}) >= {self.rng.randint(0, 9)}",
            f"steps.{source}.output.n | default(0) % 2 == {self.rng.randint(0, 1)}",
            f'steps.{source}.status == "Completed"',
            f"steps.{source}.output.ok | default(true)",
            f"steps.{source}.attempts > 1 or input.flag",
        ]
        if self.chance(0.08, "fragile"):
            texts = [f"steps.{source}.output.n >= 5"]
        if chosen and self.chance(0.3):
            texts = [f"{{{{ steps.{source}.output.n | default(3) }}}} > {self.rng.randint(0, 6)}"]
        return self.rng.choice(texts)

    def template(self, number: int) -> object:
        source = self.readable(number)
        if source is None or self.chance(0.2):
            return self.rng.choice(
                ("for {{ input.n }}", {"flag": "{{ input.flag }}"}, "plain", "{{ input }}")
            )
        if self.chance(0.08, "fragile"):
            return f"about {{{{ steps.{source}.output.text }}}}"
        kind = self.rng.random()
        if kind < 0.3:
            return f"about {{{{ steps.{source}.output.n | default(0) }}}}"
        if kind < 0.5:
            return {"from": f"{{{{ steps.{source}.output }}}}", "status": f"{{{{ steps.{source}.status }}}}"}
        if kind < 0.7:
            return f"{{{{ steps.{source}.output.text | default('nothing') }}}}"
        if kind < 0.8 and number < self.size - 1:
            return [f"{{{{ steps.{source}.output.items | default([]) | length }}}}", "{{ input.n + 1 }}"]
        return f"{{{{ steps.{source}.output | default(null) }}}}"
