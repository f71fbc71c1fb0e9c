"""Rules about gateways: where they lead, whether they always lead somewhere, and how loops are bounded."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.constants import constant_of
from process_engine.definition.checking.context import Context
from process_engine.definition.checking.routes import RouteTable
from process_engine.definition.document import Gateway
from process_engine.definition.parts import Path
from process_engine.definition.problems import Problem, did_you_mean


def _gateways(context: Context) -> Iterator[tuple[Gateway, Path]]:
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, Gateway) and context.steps[step.id] is step:
            yield step, ("steps", number)


def without_routes(context: Context) -> Iterator[Problem]:
    """P401: a gateway that leads nowhere, or always to its default."""
    for gateway, path in _gateways(context):
        if gateway.routes or context.is_faulty((*path, "routes")):
            continue
        level = "warning" if gateway.default_route is not None else "error"
        message = f"The gateway `{gateway.id}` has no routes."
        yield context.problem("P401", level, path, message, "Add `routes: [{condition: …, target: …}]`.")


def targets(context: Context) -> Iterator[Problem]:
    """P402, P407: a route leads to an unknown step, or to its own gateway."""
    for gateway, path in _gateways(context):
        places: list[tuple[str, Path]] = [
            (route.target, (*path, "routes", n, "target")) for n, route in enumerate(gateway.routes)
        ]
        if gateway.default_route is not None:
            places.append((gateway.default_route, (*path, "default_route")))
        for target, place in places:
            if target == gateway.id:
                message = f"The gateway `{gateway.id}` leads to itself."
                advice = "Lead back to the step that should be repeated."
                yield context.problem("P407", "error", place, message, advice)
            elif target not in context.steps:
                others = [name for name in context.steps if name != gateway.id]
                advice = did_you_mean(target, others, kind="steps")
                message = f"The route leads to `{target}`, which does not exist."
                yield context.problem("P402", "error", place, message, advice)


def without_default(context: Context) -> Iterator[Problem]:
    """P403: where no route holds, the gateway fails."""
    for gateway, path in _gateways(context):
        if gateway.gateway_type == "parallel" or gateway.default_route is not None or not gateway.routes:
            continue
        if any(constant_of(route.condition) for route in gateway.routes):
            continue
        if RouteTable(context, gateway).always_matches() or context.is_faulty((*path, "default_route")):
            continue
        message = f"The gateway `{gateway.id}` fails with NO_ROUTE where no route holds."
        yield context.problem("P403", "warning", path, message, "Add `default_route`.")


def loops(context: Context) -> Iterator[Problem]:
    """P404, P405: a way back without a bound, or from a gateway that is not exclusive."""
    for loop in context.graph.loops:
        gateway = context.steps[loop.source]
        if loop.kind != "route" or not isinstance(gateway, Gateway) or loop.target == loop.source:
            continue
        path = _route_path(context, gateway, loop.target)
        if gateway.gateway_type != "exclusive":
            message = f"The {gateway.gateway_type} gateway `{gateway.id}` leads back to `{loop.target}`."
            yield context.problem("P405", "error", path, message, "Only an exclusive gateway may lead back.")
        elif loop.max_visits is None:
            message = f"`{gateway.id}` leads back to `{loop.target}` without a bound."
            advice = "Add `max_visits: 5` to the route."
            if path[-1] == "default_route":
                advice = f"Write it as the last route: `{{target: {loop.target}, max_visits: 5}}`."
            yield context.problem("P404", "error", path, message, advice)


def _route_path(context: Context, gateway: Gateway, target: str) -> Path:
    for number, route in enumerate(gateway.routes):
        if route.target == target:
            return context.path_of(gateway.id, "routes", number)
    return context.path_of(gateway.id, "default_route")


def bounds_without_loop(context: Context) -> Iterator[Problem]:
    """P409: `max_visits` on a route that leads forward."""
    back = {(loop.source, loop.target) for loop in context.graph.loops}
    for gateway, path in _gateways(context):
        for number, route in enumerate(gateway.routes):
            forward = route.target in context.steps and (gateway.id, route.target) not in back
            if route.max_visits is not None and forward and route.target != gateway.id:
                message = (
                    f"`{route.target}` does not come before `{gateway.id}`, so `max_visits` has no effect."
                )
                place: Path = (*path, "routes", number, "max_visits")
                yield context.problem("P409", "warning", place, message, "Remove it.", at_key=True)


def unreachable_routes(context: Context) -> Iterator[Problem]:
    """P406: a route that is never taken: always false, said before, or behind routes that take everything."""
    for gateway, path in _gateways(context):
        if gateway.gateway_type == "parallel":
            continue
        for number, reason in RouteTable(context, gateway).never_taken().items():
            route = gateway.routes[number]
            message = f"The route to `{route.target}` is never taken: {reason}."
            yield context.problem(
                "P406", "warning", (*path, "routes", number), message, "Change or remove it."
            )


def parallel_conditions(context: Context) -> Iterator[Problem]:
    """P408: a parallel gateway takes all its routes, whatever their conditions say."""
    for gateway, path in _gateways(context):
        if gateway.gateway_type != "parallel":
            continue
        for number, route in enumerate(gateway.routes):
            if route.condition is not None:
                message = "A parallel gateway takes every route; the condition is not asked."
                place: Path = (*path, "routes", number, "condition")
                yield context.problem("P408", "warning", place, message, "Write `gateway_type: inclusive`.")
