"""LangGraph: a graph of asynchronous nodes, checkpoints in SQLite, `durability="sync"`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks.served import KILLED_CHAIN, Answer, Handler, Request, load_of, main, without_end
from benchmarks.throughput import closed_loop, throughput, warm_up

_FILE = "langgraph.db"

Begins = Callable[[int, int], None]


class State(TypedDict):
    """What steps have answered, in order; `execution` tells the nodes whose they are."""

    execution: int
    results: Annotated[list[dict[str, Any]], operator.add]


def _ignore(execution: int, step: int) -> None:
    """Nobody wants to know that a step begins."""


def _node(number: int, begins: Begins) -> Callable[[State], Any]:
    async def step(state: State) -> dict[str, Any]:
        begins(state["execution"], number)
        return {"results": [{"ok": True, "n": number}]}

    return step


def _chain(length: int, begins: Begins = _ignore) -> StateGraph:
    graph = StateGraph(State)
    names = [f"s{number}" for number in range(length)]
    for number, name in enumerate(names):
        graph.add_node(name, _node(number, begins))
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


def _fan(width: int) -> StateGraph:
    graph = StateGraph(State)
    branches = [f"branch{number}" for number in range(width)]
    for number, name in enumerate(["first", *branches, "last"]):
        graph.add_node(name, _node(number, _ignore))
    graph.add_edge(START, "first")
    for branch in branches:
        graph.add_edge("first", branch)
    graph.add_edge(branches, "last")
    graph.add_edge("last", END)
    return graph


def _config(execution: int, steps: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(execution)}, "recursion_limit": steps + 10}


class LangGraph:
    """A graph is compiled for each measurement, outside of what is timed."""

    def __init__(self, _: str) -> None:
        pass

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": _about, "throughput": _throughput}

    async def work(self, directory: Path, begins: Begins) -> None:
        async with AsyncSqliteSaver.from_conn_string(str(directory / _FILE)) as saver:
            app = _chain(KILLED_CHAIN, begins).compile(checkpointer=saver)

            async def one(number: int) -> None:
                given = {"execution": number, "results": []}
                await app.ainvoke(given, _config(number, KILLED_CHAIN), durability="sync")
                begins(number, KILLED_CHAIN)

            await without_end(one)

    async def recorded(self, directory: Path) -> dict[int, int]:
        found: dict[int, int] = {}
        async with AsyncSqliteSaver.from_conn_string(str(directory / _FILE)) as saver:
            app = _chain(KILLED_CHAIN).compile(checkpointer=saver)
            async with saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints") as cursor:
                threads = [int(thread) for (thread,) in await cursor.fetchall()]
            for thread in threads:
                state = await app.aget_state(_config(thread, KILLED_CHAIN))
                found[thread] = len(state.values.get("results", ()))
        return found


async def _about(_: Request, directory: Path) -> Answer:
    async with AsyncSqliteSaver.from_conn_string(str(directory / _FILE)) as saver:
        await saver.setup()
        async with saver.conn.execute("PRAGMA journal_mode") as cursor:
            ((journal,),) = await cursor.fetchall()
        async with saver.conn.execute("PRAGMA synchronous") as cursor:
            ((synchronous,),) = await cursor.fetchall()
    if (journal, synchronous) != ("wal", 2):
        raise RuntimeError(f"the file is {journal}, synchronous={synchronous}")
    guarantee = "SQLite WAL, synchronous=FULL, durability=sync: a checkpoint before the next step starts"
    return {"version": version("langgraph"), "guarantee": guarantee}


async def _throughput(request: Request, directory: Path) -> Answer:
    load = load_of(request)
    graph = _chain(load.size) if load.shape == "chain" else _fan(load.size)
    numbers = count()
    async with AsyncSqliteSaver.from_conn_string(str(directory / _FILE)) as saver:
        app = graph.compile(checkpointer=saver)

        async def one() -> None:
            number = next(numbers)
            config = _config(number, load.steps)
            state = await app.ainvoke({"execution": number, "results": []}, config, durability="sync")
            if len(state["results"]) != load.steps:
                raise RuntimeError(f"{len(state['results'])} steps of {load.steps}")

        await warm_up(one, load.concurrency)
        timing = await closed_loop(one, load.concurrency, load.limits)
    return {"figures": throughput(timing, load.steps), "latencies": timing.latencies}


if __name__ == "__main__":
    main(LangGraph)
