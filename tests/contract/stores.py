"""The stores under contract, each as a way to open it at a place."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.testing.repository_contract import StillClock, StoreAt

__all__ = ["StillClock", "in_file", "in_memory", "memory"]


def memory(kind: type[MemoryRepository] = MemoryRepository) -> StoreAt:
    """Memory stores; those at the same place share their tables, like processes over one file."""
    places: defaultdict[Path, Tables] = defaultdict(Tables)
    return lambda place: kind(places[place])


def in_memory(place: Path) -> SqliteRepository:
    """An SQLite store without a file."""
    return SqliteRepository()


def in_file(place: Path) -> SqliteRepository:
    """An SQLite store in a file."""
    return SqliteRepository(place / "store.db")
