from __future__ import annotations

import os
import signal

import pytest

from process_engine.errors import StorageUnavailable, StoreLocked
from process_engine.repositories.lock import StoreLock
from tests.unit.repositories.processes import line_of, process

HOLD = """
import os
from pathlib import Path
from process_engine.repositories.lock import StoreLock
lock = StoreLock(Path(sys.argv[1]))
lock.acquire()
print(os.getpid(), flush=True)
"""


@pytest.fixture
def lock(tmp_path):
    held = StoreLock(tmp_path / "store.db")
    yield held
    held.release()


def test_a_second_lock_is_refused_and_names_the_holder_and_what_to_do(lock):
    lock.acquire()

    with pytest.raises(StoreLocked) as refusal:
        StoreLock(lock.path.with_name("store.db")).acquire()

    assert refusal.value.holder == os.getpid()
    assert str(os.getpid()) in refusal.value.message
    assert refusal.value.remedy


def test_a_released_lock_can_be_taken_again_and_released_twice(lock):
    lock.acquire()
    lock.release()
    lock.release()

    lock.acquire()


def test_a_refusal_where_the_holder_wrote_no_process_id_still_says_what_to_do(lock):
    lock.acquire()
    lock.path.write_text("not a number")

    with pytest.raises(StoreLocked, match="another process") as refusal:
        StoreLock(lock.path.with_name("store.db")).acquire()

    assert refusal.value.holder is None


def test_a_symbolic_link_to_a_store_leads_to_the_same_lock(lock, tmp_path):
    (tmp_path / "store.db").touch()
    (tmp_path / "link.db").symlink_to("store.db")
    lock.acquire()

    with pytest.raises(StoreLocked):
        StoreLock(tmp_path / "link.db").acquire()


def test_a_lock_in_a_directory_that_does_not_exist_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(StorageUnavailable) as refusal:
        StoreLock(tmp_path / "nowhere" / "store.db").acquire()

    assert refusal.value.nothing_written is True
    assert refusal.value.remedy


def test_kill_9_of_the_holder_frees_the_lock_without_any_cleaning_up(lock, tmp_path):
    with process(HOLD, tmp_path / "store.db") as holder:
        assert line_of(holder) == str(holder.pid)
        with pytest.raises(StoreLocked) as refusal:
            lock.acquire()
        assert refusal.value.holder == holder.pid

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert lock.path.exists()
    lock.acquire()


def test_a_program_started_by_the_holder_does_not_keep_the_lock(lock, tmp_path):
    start_child = HOLD + (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "print(child.pid, flush=True)\n"
    )
    with process(start_child, tmp_path / "store.db") as holder:
        line_of(holder)
        child = int(line_of(holder))
        try:
            holder.send_signal(signal.SIGKILL)
            holder.wait()

            lock.acquire()
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_fork_of_the_holder_does_not_keep_the_lock(lock, tmp_path):
    fork = HOLD + (
        "import signal\n"
        "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n"  # by now the child has closed what it got
        "signal.pause()\n"
    )
    with process(fork, tmp_path / "store.db") as holder:
        line_of(holder)
        child = int(line_of(holder))
        try:
            holder.send_signal(signal.SIGKILL)
            holder.wait()

            lock.acquire()
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_fork_that_ends_does_not_take_the_lock_from_its_parent(lock, tmp_path):
    fork = HOLD + (
        "child = os.fork()\n"
        "if child == 0:\n    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print('forked', flush=True)\n"
    )
    with process(fork, tmp_path / "store.db") as holder:
        line_of(holder)
        assert line_of(holder) == "forked"

        with pytest.raises(StoreLocked):
            lock.acquire()
