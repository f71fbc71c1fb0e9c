"""The steps as a Restate service, in the process that Restate's server calls: `PORT` is its only argument."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate

_WITHOUT_LIMIT = 2**31 - 1

bench = restate.Service("Bench")


async def step(number: int) -> dict[str, Any]:
    return {"ok": True, "n": number}


async def told_step(execution: int, number: int) -> dict[str, Any]:
    """A step that says on standard output that it begins: what the check with the kill reads."""
    print(execution, number, flush=True)
    return {"ok": True, "n": number}


@bench.handler()
async def chain(context: restate.Context, length: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number in range(length):
        result = await context.run_typed(f"s{number}", step, number=number)
    return result


@bench.handler()
async def told_chain(context: restate.Context, request: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number in range(request["length"]):
        result = await context.run_typed(
            f"s{number}", told_step, execution=request["execution"], number=number
        )
    return result


@bench.handler()
async def fan(context: restate.Context, width: int) -> dict[str, Any]:
    await context.run_typed("first", step, number=0)
    branches = [context.run_typed(f"branch{number}", step, number=number + 1) for number in range(width)]
    await restate.gather(*branches)
    return await context.run_typed("last", step, number=width + 1)


def main() -> None:
    """Serve until ended."""
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.h2_max_concurrent_streams = _WITHOUT_LIMIT
    config.keep_alive_max_requests = _WITHOUT_LIMIT
    config.keep_alive_timeout = _WITHOUT_LIMIT
    asyncio.run(hypercorn.asyncio.serve(restate.app([bench]), config))


if __name__ == "__main__":
    main()
