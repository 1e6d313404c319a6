"""A lock excludes processes and threads, is released when its holder dies, and names its holder."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vast_cli.core import heartbeat, locks
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.heartbeat import Heartbeat

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from vast_cli.core import locks
with locks.hold(Path(sys.argv[1])):
    {before}
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b" / "日本 é'$(x);" / "lock.3-of-16"


@contextmanager
def holder(path: Path, before: str = "pass") -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock until it gets a line or is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(before=before), path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_error_names_the_holder(path: Path) -> None:
    with holder(path) as process:
        with pytest.raises(VastError) as error, locks.hold(path, name="batch `jobs.csv`"):
            pass
        assert error.value.code == "vast_locked" and error.value.exit == Exit.LOCKED
        owner = locks.owner(path)
        assert owner is not None and (owner.pid, owner.host) == (process.pid, socket.gethostname())
        assert error.value.message == f"batch `jobs.csv` is in use by {owner}"
        assert f"process {process.pid} on {socket.gethostname()} since 20" in error.value.message


def test_a_killed_holder_releases_the_lock_at_once(path: Path) -> None:
    with holder(path) as process:
        process.kill()
        process.wait()
        assert path.with_name(path.name + ".owner.json").exists()  # its owner file remains
        assert locks.owner(path) is None
        with locks.hold(path):
            owner = locks.owner(path)
            assert owner is not None and owner.pid == os.getpid()
    assert locks.owner(path) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


CHILDREN = {
    "Popen": "import subprocess; subprocess.Popen(sleep, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)",
    "Popen with open files": "import subprocess; subprocess.Popen(sleep, close_fds=False, stdout=subprocess.DEVNULL)",
    "spawn": "import multiprocessing as m; m.get_context('spawn').Process(target=__import__('time').sleep, "
    "args=(60,), daemon=False).start()",
    "fork": "import os; os.fork() or (__import__('time').sleep(60), os._exit(0))",
}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the child in /proc")
@pytest.mark.parametrize("kind", CHILDREN)
def test_children_do_not_inherit_the_lock(path: Path, kind: str) -> None:
    start = f"sleep = [sys.executable, '-c', 'import time; time.sleep(60)']; {CHILDREN[kind]}"
    with holder(path, start) as process:
        task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = [int(pid) for pid in task.read_text().split()]
        assert children
        try:
            process.kill()
            process.wait()
            assert all(Path(f"/proc/{child}").is_dir() for child in children)
            with locks.hold(path):
                pass
        finally:
            for child in children:
                os.kill(child, 9)


def test_a_waiting_process_gets_the_lock_once_it_is_free(path: Path) -> None:
    with holder(path) as process:
        assert process.stdin is not None
        started = time.monotonic()
        timer = threading.Timer(0.2, process.stdin.close)  # the holder releases it
        timer.start()
        with locks.hold(path, wait_s=30):
            assert 0.2 <= time.monotonic() - started < 10
            owner = locks.owner(path)
            assert owner is not None and owner.pid == os.getpid()
        timer.join()


def test_waiting_ends_after_the_time_limit(path: Path) -> None:
    with holder(path):
        started = time.monotonic()
        with pytest.raises(VastError), locks.hold(path, wait_s=0.3):
            pass
        assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.parametrize("keep", [True, False])
def test_threads_exclude_each_other(path: Path, keep: bool) -> None:
    inside, most, rounds = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, rounds
        for _ in range(50):
            with locks.hold(path, wait_s=None, record_owner=False, keep_file=keep):
                inside += 1
                most = max(most, inside)
                rounds += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    with locks.hold(path, wait_s=None, record_owner=False, keep_file=keep), pytest.raises(VastError):
        with locks.hold(path):  # nor is the lock reentrant
            pass
    for thread in threads:
        thread.join()
    assert (most, rounds) == (1, 200)
    assert path.exists() is keep


COUNT = """
import sys
from pathlib import Path
from vast_cli.core import locks
counter = Path(sys.argv[1]).with_name("counter")
for _ in range(100):
    with locks.hold(Path(sys.argv[1]), wait_s=None, record_owner=False, keep_file=sys.argv[2] == "True"):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.mark.parametrize("keep", [True, False])
def test_processes_exclude_each_other_though_the_file_is_removed_each_time(path: Path, keep: bool) -> None:
    path.parent.mkdir(parents=True)
    path.with_name("counter").write_text("0")
    command = [sys.executable, "-c", COUNT, str(path), str(keep)]
    processes = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert path.with_name("counter").read_text() == "400"


def test_a_file_removed_between_opening_and_locking_is_created_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def lock(descriptor: int) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            path.unlink()
        return kernel_lock(descriptor)

    kernel_lock = locks._lock
    monkeypatch.setattr(locks, "_lock", lock)
    with locks.hold(path):
        assert path.exists() and tries == 2


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VastError) as error, locks.hold(tmp_path / "file" / "lock", wait_s=None):
        pass
    assert error.value.code == "vast_output_unwritable"


def test_a_lock_is_held_though_its_owner_cannot_be_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise VastError("vast_disk_full", "no space left")

    monkeypatch.setattr(locks.files, "atomic_write", full)
    with locks.hold(path):
        assert locks.owner(path) == locks.Owner(0, "", "")
        with pytest.raises(VastError, match="another process"), locks.hold(path):
            pass


def test_a_lock_that_was_never_acquired_has_no_owner(path: Path) -> None:
    assert locks.owner(path) is None
    assert not path.parent.exists()


class TestWithoutKernelLocks:
    """The file system has no locks: the heartbeat stands in."""

    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_descriptor: int) -> bool:
            raise OSError(errno.ENOSYS, "function not implemented")

        monkeypatch.setattr(locks, "_lock", refuse)
        monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
        monkeypatch.setattr(heartbeat, "STALE_S", 1.0)

    def test_acquired_once_and_released(self, path: Path) -> None:
        with locks.hold(path):
            held = path.with_name(path.name + ".held")
            assert held.exists() and Heartbeat.try_acquire(path) is None  # another process
            owner = locks.owner(path)
            assert owner is not None and owner.pid == os.getpid()
        assert not held.exists() and locks.owner(path) is None
        with locks.hold(path, keep_file=False):
            pass
        assert list(path.parent.iterdir()) == []

    def test_a_living_holder_keeps_it_beyond_the_limit(self, path: Path) -> None:
        with locks.hold(path):
            until = time.monotonic() + 2 * heartbeat.STALE_S
            while time.monotonic() < until:
                assert Heartbeat.try_acquire(path) is None
                time.sleep(0.1)

    def test_the_lock_of_a_dead_holder_is_taken_after_the_limit(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        held = path.with_name(path.name + ".held")
        held.write_text("left behind")
        with pytest.raises(VastError), locks.hold(path):
            pass
        os.utime(held, (time.time() - 100, time.time() - 100))
        with locks.hold(path, wait_s=5):
            assert held.read_text() != "left behind"
        assert [file.name for file in path.parent.iterdir()] == [path.name]
