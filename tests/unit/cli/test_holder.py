import os

from process_engine.cli.holder import holder_of
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
