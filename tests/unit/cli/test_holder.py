import fcntl
import os
import threading

import pytest

from process_engine.cli.holder import holder_of
from process_engine.errors import StoreLocked
from process_engine.repositories import lock as locks
from process_engine.repositories.lock import StoreLock


def test_nobody_holds_a_store_that_is_not_there(tmp_path):
    assert holder_of(tmp_path / "x.db") is None
    assert list(tmp_path.iterdir()) == []


def test_who_holds_the_lock_is_seen_and_not_disturbed(tmp_path):
    lock = StoreLock(tmp_path / "x.db")
    lock.acquire()

    found = holder_of(tmp_path / "x.db")

    assert found is not None
    assert found.pid == os.getpid()
    assert str(found) == f"process {os.getpid()}"
    assert holder_of(tmp_path / "x.db") == found
    lock.release()


def test_a_lock_that_was_given_up_is_held_by_nobody(tmp_path):
    lock = StoreLock(tmp_path / "x.db")
    lock.acquire()
    lock.release()

    assert holder_of(tmp_path / "x.db") is None
    again = StoreLock(tmp_path / "x.db")
    again.acquire()
    again.release()


@pytest.fixture
def asking(tmp_path):
    """Somebody in the middle of asking who holds the lock: a descriptor with a shared lock."""
    descriptor = os.open(tmp_path / "x.db.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    yield descriptor
    os.close(descriptor)


def test_whoever_asks_just_then_does_not_keep_others_from_taking_the_lock(tmp_path, asking, monkeypatch):
    class Pause(threading.Event):
        def wait(self, timeout=None):
            fcntl.flock(asking, fcntl.LOCK_UN)
            return super().wait(timeout)

    monkeypatch.setattr(locks.threading, "Event", Pause)
    lock = StoreLock(tmp_path / "x.db")

    lock.acquire()

    assert holder_of(tmp_path / "x.db") is not None
    lock.release()


def test_who_never_stops_asking_is_not_waited_for_without_end(tmp_path, asking, monkeypatch):
    monkeypatch.setattr(locks, "_PAUSE_SECONDS", 0.0)

    with pytest.raises(StoreLocked):
        StoreLock(tmp_path / "x.db").acquire()


def test_a_lock_that_is_held_is_refused_without_waiting(tmp_path, monkeypatch):
    held = StoreLock(tmp_path / "x.db")
    held.acquire()
    monkeypatch.setattr(locks.threading, "Event", None)

    with pytest.raises(StoreLocked, match=f"process {os.getpid()} runs executions"):
        StoreLock(tmp_path / "x.db").acquire()
    held.release()
