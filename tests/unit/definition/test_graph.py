import pytest

from process_engine.definition.graph import DependencyResolver, Edge, LoopBack
from process_engine.testing.drawing import gateway, process


def graph(drawing: str, **keys: object) -> DependencyResolver:
    return DependencyResolver(process(drawing, **keys))


def kinds(resolver: DependencyResolver) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.target, edge.kind) for edge in resolver.edges}


def reads(step: str, **more: object) -> dict[str, object]:
    return {"message": f"{{{{ steps.{step}.output | default('') }}}}", **more}


def goto(target: str, max_visits: int = 10) -> dict[str, object]:
    return {"on_error": {"action": "goto_step", "target_step": target, "max_visits": max_visits}}


# ---------------------------------------------------------------- edges


def test_the_order_is_that_of_the_document():
    assert graph("c -> a, b").order == ("c", "a", "b")


def test_depends_on_makes_an_edge_on_both_ends():
    resolver = graph("a -> b, a -> c, b & c -> d")

    assert [edge.source for edge in resolver.incoming["d"]] == ["b", "c"]
    assert resolver.outgoing["a"] == (Edge("a", "b", "depends"), Edge("a", "c", "depends"))
    assert resolver.cycle is None


def test_outgoing_edges_come_in_definition_order_whatever_order_they_were_written_in():
    resolver = graph("z, y, x, g", g=gateway((None, "x"), (None, "z"), (None, "y"), kind="parallel"))

    assert [edge.target for edge in resolver.outgoing["g"]] == ["z", "y", "x"]


def test_a_route_target_depends_on_its_gateway_without_saying_so():
    resolver = graph("g, x, y", g=gateway(("true", "x"), default="y"))

    assert kinds(resolver) == {("g", "x", "route"), ("g", "y", "route")}


def test_where_several_kinds_meet_the_route_counts_first_and_the_ordering_last():
    assert kinds(graph("g -> x", g=gateway((None, "x")))) == {("g", "x", "route")}
    assert kinds(graph("a -> b", a=goto("b"))) == {("a", "b", "depends")}
    assert kinds(graph("a -> b", b=reads("a"))) == {("a", "b", "depends")}
    assert kinds(graph("a, b", a=goto("b"), b=reads("a"))) == {("a", "b", "goto")}


def test_an_error_handler_gets_an_edge_from_the_step_that_goes_to_it():
    assert kinds(graph("a, h", a=goto("h"))) == {("a", "h", "goto")}


def test_a_read_of_a_step_that_is_no_ancestor_makes_an_ordering_edge():
    resolver = graph("a -> b -> c, x", x=reads("b"), c=reads("a"))

    assert kinds(resolver) == {("a", "b", "depends"), ("b", "c", "depends"), ("b", "x", "ordering")}


def test_reads_in_conditions_and_routes_count_too():
    routed = gateway(('steps.a.output == "x"', "y"))
    resolver = graph("a, b, g, y", b={"condition": "steps.a.output.ok"}, g=routed)

    assert {("a", "b", "ordering"), ("a", "g", "ordering")} <= kinds(resolver)


def test_a_read_of_itself_or_of_nobody_makes_no_edge():
    assert graph("a", a=reads("a")).edges == ()
    assert graph("a", a=reads("nobody")).edges == ()


def test_a_read_of_a_descendant_makes_no_edge():
    resolver = graph("a -> b -> g", a=reads("b"), g=gateway(("true", "a", 3)))

    assert kinds(resolver) == {("a", "b", "depends"), ("b", "g", "depends")}


def test_an_expression_that_does_not_parse_is_ignored():
    assert graph("a, b", b={"message": "{{ steps.a. }}"}).edges == ()


def test_unknown_steps_are_ignored():
    resolver = graph("a", a={"depends_on": ["nobody"], **goto("no-one")})

    assert (resolver.edges, resolver.loops) == ((), ())


# ---------------------------------------------------------------- loops


def test_a_route_to_an_ancestor_is_a_loop_back_and_no_edge():
    resolver = graph("a -> b -> g, end", g=gateway(("true", "a", 3), default="end"))

    assert resolver.loops == (LoopBack("g", "a", "route", 3),)
    assert ("g", "a", "route") not in kinds(resolver)
    assert resolver.cycle is None


def test_a_default_route_to_an_ancestor_is_a_loop_without_a_bound():
    resolver = graph("a -> g, end", g=gateway(("true", "end"), default="a"))

    assert resolver.loops == (LoopBack("g", "a", "route", None),)


def test_a_goto_to_an_ancestor_or_itself_is_a_loop_back():
    resolver = graph("a -> b", a=goto("a", 2), b=goto("a", 4))

    assert set(resolver.loops) == {LoopBack("a", "a", "goto", 2), LoopBack("b", "a", "goto", 4)}


def test_a_bounded_route_that_leads_forward_is_an_ordinary_route():
    resolver = graph("g, x", g=gateway(("true", "x", 3)))

    assert kinds(resolver) == {("g", "x", "route")}
    assert resolver.loops == ()


def test_a_loop_over_other_gateways_is_found():
    resolver = graph(
        "a -> g, b -> h, end", g=gateway((None, "b")), h=gateway(("true", "a", 2), default="end")
    )

    assert resolver.loops == (LoopBack("h", "a", "route", 2),)
    assert resolver.ancestors("h") == {"a", "g", "b"}


# ---------------------------------------------------------------- cycles


@pytest.mark.parametrize(
    ("drawing", "cycle"),
    [("a -> b, b -> a", {"a", "b"}), ("a -> b -> c, c -> a, x -> a", {"a", "b", "c"})],
)
def test_a_cycle_is_spelled_out_with_its_first_step_repeated(drawing, cycle):
    found = graph(drawing).cycle

    assert found is not None
    assert found[0] == found[-1]
    assert set(found) == cycle
    assert len(found) == len(cycle) + 1


def test_a_step_that_depends_on_itself_is_a_cycle():
    assert graph("a", a={"depends_on": ["a"]}).cycle == ("a", "a")


def test_steps_that_read_each_other_are_a_cycle():
    found = graph("a, b", a=reads("b"), b=reads("a")).cycle

    assert found is not None
    assert set(found) == {"a", "b"}


def test_the_edges_that_close_a_cycle_are_left_out_so_that_all_else_can_be_asked():
    resolver = graph("a -> b -> c, c -> a")

    assert len(resolver.edges) == 2
    assert sum(len(group) for group in resolver.parallel_groups()) == 3


# ---------------------------------------------------------------- questions


def test_ancestors_and_descendants_follow_every_edge_but_ordering_ones():
    resolver = graph("a -> b, g, x, h, o", b=goto("h"), g=gateway((None, "x")), o=reads("b"))

    assert resolver.descendants("a") == {"b", "h"}
    assert resolver.ancestors("x") == {"g"}
    assert resolver.ancestors("o") == set()
    assert resolver.is_ancestor("a", "h")
    assert not resolver.is_ancestor("h", "a")
    assert not resolver.is_ancestor("a", "a")


def test_levels_put_each_step_one_after_the_last_of_its_sources():
    resolver = graph("a -> b -> d, a -> c, c -> d, e")

    assert resolver.parallel_groups() == [["a", "e"], ["b", "c"], ["d"]]


def test_an_ordering_edge_counts_for_the_levels():
    assert graph("a, b", b=reads("a")).parallel_groups() == [["a"], ["b"]]


def test_a_chain_of_two_thousand_steps_is_no_problem():
    resolver = graph(" -> ".join(f"s{number}" for number in range(2000)))

    assert resolver.is_ancestor("s0", "s1999")
    assert len(resolver.parallel_groups()) == 2000
