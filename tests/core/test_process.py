"""Programs run to their end, within their time, and leave no child behind."""

import os
import sys
import time
from pathlib import Path

import pytest

from vast_cli.core import process

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a shell and process groups")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_for_end(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_output_and_status_come_back() -> None:
    code = "import sys; print('out é'); print('err', file=sys.stderr); sys.exit(3)"
    result = process.run([sys.executable, "-X", "utf8", "-c", code], timeout_s=60)
    assert (result.status, result.stdout.strip(), result.stderr.strip()) == (3, "out é", "err")


def test_input_is_closed() -> None:
    assert process.run(python("import sys; print(len(sys.stdin.read()))"), timeout_s=60).stdout.strip() == "0"


def test_bytes_that_are_no_text_do_no_harm() -> None:
    result = process.run(python("import sys; sys.stdout.buffer.write(b'a\\xffb')"), timeout_s=60)
    assert result.stdout == "a\ufffdb"


def test_a_program_that_does_not_exist_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process.run([str(tmp_path / "nowhere")], timeout_s=1)
    with pytest.raises(FileNotFoundError):
        process.FedProcess([str(tmp_path / "nowhere")])


@posix_only
def test_out_of_time_a_program_ends_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"sleep 300 & echo $! > {pids}; echo $$ >> {pids}; wait"
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        process.run(["/bin/sh", "-c", code], timeout_s=1)
    assert time.monotonic() - begun < 30
    assert all(wait_for_end(int(pid)) for pid in pids.read_text().split())


@posix_only
def test_a_child_that_keeps_the_pipe_open_is_ended_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        process.run(["/bin/sh", "-c", f"sleep 300 & echo $! > {pid}"], timeout_s=1)
    assert wait_for_end(int(pid.read_text()))


def test_a_fed_program_gets_every_byte(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    fed = process.FedProcess(python(f"import sys; open({str(copy)!r}, 'wb').write(sys.stdin.buffer.read())"))
    data = bytes(range(256)) * 4000
    for start in range(0, len(data), 100_000):
        fed.write(data[start : start + 100_000])
    fed.close_input()
    assert fed.wait(timeout_s=60) == 0
    assert copy.read_bytes() == data and not fed.is_running


def test_the_last_lines_of_standard_error_are_kept() -> None:
    fed = process.FedProcess(python("import sys; [print('x' * 999, i, file=sys.stderr) for i in range(99)]"))
    fed.close_input()
    assert fed.wait(timeout_s=60) == 0
    assert len(fed.stderr_lines) == process.MAX_LINES
    assert all(len(line) == process.MAX_LINE for line in fed.stderr_lines)


def test_writing_to_a_program_that_ended_is_an_os_error() -> None:
    fed = process.FedProcess(python("import sys; sys.exit('no more')"))
    with pytest.raises(OSError):  # a broken pipe; on Windows EINVAL
        for _ in range(1000):
            fed.write(bytes(100_000))
    assert fed.wait(timeout_s=60) == 1
    assert list(fed.stderr_lines) == ["no more"]


def test_a_fed_program_out_of_time_is_killed() -> None:
    fed = process.FedProcess(python("import time; time.sleep(300)"))
    with pytest.raises(TimeoutError):
        fed.wait(timeout_s=0.2)
    assert not fed.is_running
    assert fed.kill() != 0  # again does no harm


@posix_only
def test_a_killed_program_takes_its_children_along(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    fed = process.FedProcess(["/bin/sh", "-c", f"sleep 300 & echo $! > {pid}; wait"])
    while not pid.exists() or not pid.read_text():
        time.sleep(0.01)
    fed.kill()
    assert wait_for_end(int(pid.read_text()))
