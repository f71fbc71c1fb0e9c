"""The stores as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from process_engine.runtime.ports import ExecutionRepository
from tests.contract.stores import STORES, StillClock


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock
) -> AsyncIterator[ExecutionRepository]:
    """An open, empty store of each kind."""
    made = STORES[request.param](tmp_path)
    await made.open(clock=clock)
    yield made
    await made.close()
