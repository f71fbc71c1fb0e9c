"""The expression language at work: parse once, list what is read, evaluate often.

Sources become a tree (`syntax.py`), the tree becomes closures (`compiling.py`), and a closure asks a `Scope`
for the values it reads, nothing else: text that came from an agent or an input is data and is never parsed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from process_engine.definition.compiling import CACHED_SOURCES, Compiler, Run, Scope
from process_engine.definition.nodes import Node, walk
from process_engine.definition.paths import hint_for_hyphen
from process_engine.definition.reads import Read, reads_of
from process_engine.definition.syntax import ExpressionSyntaxError, parse
from process_engine.definition.templates import Template, compile_template
from process_engine.definition.values import MISSING, is_object

__all__ = [
    "MISSING",
    "Expression",
    "ExpressionEvaluator",
    "ExpressionSyntaxError",
    "MappingScope",
    "Read",
    "Scope",
    "Template",
    "compile_template",
    "hint_for_hyphen",
    "parse_condition",
    "parse_expression",
    "walk",
]


class MappingScope:
    """A scope over plain values: `{"input": {…}, "steps": {"a": {"output": …, "status": …}}, …}`."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        steps = values.get("steps")
        self._steps: Mapping[str, object] = steps if is_object(steps) else {}

    def root(self, name: str) -> object:
        """The mapping's value of that name."""
        return self._values.get(name, MISSING)

    def step(self, step_id: str, field: str) -> object:
        """The field in the mapping of that step."""
        fields = self._steps.get(step_id)
        return fields.get(field, MISSING) if is_object(fields) else MISSING


class Expression:
    """One parsed expression; safe to share, evaluating changes nothing."""

    __slots__ = ("_run", "node", "reads", "source")

    def __init__(self, source: str, node: Node, run: Run) -> None:
        self.source = source
        self.node = node
        self.reads = tuple(reads_of(node))
        self._run = run

    def evaluate(self, scope: Scope) -> object:
        """The value; for a condition True or False.

        Raises:
            ExpressionError: a value is missing or does not fit; `position` is an offset into `expression`.
        """
        return self._run(scope)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"


@functools.lru_cache(maxsize=CACHED_SOURCES)
def parse_expression(source: str) -> Expression:
    """The expression; braces around it or inside it count as parentheses.

    Raises:
        ExpressionSyntaxError: it is not one.
    """
    node = parse(source)
    return Expression(source, node, Compiler(source).value(node))


@functools.lru_cache(maxsize=CACHED_SOURCES)
def parse_condition(source: str) -> Expression:
    """The condition: an expression that yields True or False, where the texts "true" and "false" count.

    Raises:
        ExpressionSyntaxError: it is not one.
    """
    node = parse(source, condition=True)
    return Expression(source, node, Compiler(source).truth(node))


class ExpressionEvaluator:
    """The expression language behind three methods; each takes a scope, or a mapping of values as one."""

    def evaluate(self, source: str, scope: Scope | Mapping[str, object]) -> object:
        """The value of an expression.

        Raises:
            ExpressionSyntaxError: the source is not one.
            ExpressionError: it has no value in this scope.
        """
        return parse_expression(source).evaluate(_scope(scope))

    def condition(self, source: str, scope: Scope | Mapping[str, object]) -> bool:
        """Whether a condition holds; raises as `evaluate`, also where the answer is no boolean."""
        return parse_condition(source).evaluate(_scope(scope)) is True

    def substitute(self, value: object, scope: Scope | Mapping[str, object]) -> object:
        """The value with its `{{ … }}` replaced, types kept; raises as `evaluate`."""
        return compile_template(value).render(_scope(scope))


def _scope(scope: Scope | Mapping[str, object]) -> Scope:
    return MappingScope(scope) if isinstance(scope, Mapping) else scope
