"""The progress of a batch: its counts, a table that fits any terminal, lines where there is none."""

import io
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vast_cli.cli import batch_display, console
from vast_cli.cli.batch_progress import BatchProgress
from vast_cli.cli.options import ProgressMode
from vast_cli.core.errors import VastError
from vast_cli.core.text import clock_in, duration

NO_FACE = VastError("vast_no_face", "no face found in `a[b].mp4`", where="row 12").as_dict()


class Clock:
    """A clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _start(progress: Callable[..., None], jobs: int, n_workers: int = 2) -> None:
    fields = {"jobs": jobs + 3, "to_run": jobs, "skipped": 3, "executor": "local", "slots": n_workers}
    progress("run_started", fields | {"state": "x.vast"})


def _begin(progress: Callable[..., None], job: str, worker: int, attempt: int = 1) -> None:
    fields = {"id": job, "index": 1, "worker": worker, "pid": 1, "attempt": attempt, "output": "o.mp4", "sound_s": 1.0}
    progress("job_started", fields)


def _move(
    progress: Callable[..., None], job: str, worker: int, done: int, total: int | None, fps: float = 20.0
) -> None:
    fields = {"frames_done": done, "frames_total": total, "fps": fps, "eta_s": None}
    progress("progress", {"id": job, "worker": worker, "stage": "render"} | fields)


def _done(progress: Callable[..., None], job: str, worker: int, frames: int = 50) -> None:
    fields: dict[str, Any] = {"id": job, "worker": worker, "attempt": 1, "output": f"out/{job}.mp4", "seconds": 2.0}
    progress("job_done", fields | {"frames": frames, "duration_s": 2.0, "gates": {}, "action": "run"})


def _fail(progress: Callable[..., None], job: str) -> None:
    progress("job_failed", {"id": job, "worker": None, "attempt": 1, "seconds": 1.0} | NO_FACE)


def test_done_failed_and_left_jobs_are_counted() -> None:
    progress = BatchProgress()
    _start(progress, 4)
    for job, worker in (("a", 0), ("b", 1)):
        _begin(progress, job, worker)
    _done(progress, "a", 0)
    _fail(progress, "b")
    _begin(progress, "c", 0)
    progress("job_retried", {"id": "c", "attempt": 2, "wait_s": 2.0, "code": "vast_worker_died"})
    assert (progress.done, progress.failed, progress.left, progress.skipped) == (1, 1, 2, 3)
    assert progress.rows == {} and progress.codes == {"vast_no_face": 1}


def test_speed_is_that_of_all_workers_together() -> None:
    clock = Clock()
    progress = BatchProgress(clock=clock)
    _start(progress, 4)
    for second in range(1, 11):
        clock.now += 1.0
        _move(progress, "a", 0, 20 * second, 1000)
        _move(progress, "b", 1, 30 * second, 1000)
    assert progress.fps == pytest.approx(50, rel=0.1)
    _done(progress, "a", 0, 200)  # frames counted during the render do not count again
    clock.now += 1.0
    _move(progress, "b", 1, 330, 1000)
    assert progress.fps == pytest.approx(50, rel=0.15)


def test_a_second_attempt_gives_no_negative_speed() -> None:
    clock = Clock()
    progress = BatchProgress(clock=clock)
    _start(progress, 1)
    for done in (10, 20, 5, 8):
        clock.now += 2.0
        _move(progress, "a", 0, done, 100)
    assert progress.fps is not None and progress.fps > 0


def test_measured_times_correct_the_estimate() -> None:
    clock = Clock()
    weights = {str(n): 10.0 for n in range(100)}
    progress = BatchProgress(weights, 500.0, clock=clock)
    _start(progress, 100, n_workers=2)
    assert progress.eta_s == pytest.approx(500)
    for n in range(40):  # each takes 20 s on each of two workers
        clock.now += 10.0
        _begin(progress, str(n), n % 2)
        _done(progress, str(n), n % 2)
    assert progress.eta_s == pytest.approx(600, rel=0.1)
    assert progress.share == pytest.approx(0.4)


def test_without_an_estimate_every_job_counts_the_same() -> None:
    clock = Clock()
    progress = BatchProgress(clock=clock)
    _start(progress, 10)
    assert progress.eta_s is None
    for n in range(5):
        clock.now += 4.0
        _done(progress, str(n), 0)
    assert progress.eta_s == pytest.approx(20)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["begin", "move", "done", "fail", "died"]), st.integers(0, 5), st.integers(0, 3)),
    max_size=40,
)


@given(EVENTS, st.integers(20, 200), st.integers(6, 60), st.booleans())
def test_the_table_never_outgrows_the_terminal(
    moves: list[tuple[str, int, int]], width: int, height: int, weighted: bool
) -> None:
    clock = Clock()
    progress = BatchProgress(
        {str(n): 1.0 + n for n in range(6)} if weighted else None, 30.0 if weighted else None, clock=clock
    )
    _start(progress, 6, n_workers=4)
    for event, job, worker in moves:
        clock.now += 0.7
        name = f"{job}" * (30 * job or 1)
        if event == "begin":
            _begin(progress, name, worker)
        elif event == "move":
            _move(progress, name, worker, job, 9 if worker else None)
        elif event == "done":
            _done(progress, name, worker)
        elif event == "fail":
            _fail(progress, name)
        else:
            progress("worker_died", {"worker": worker, "id": None, "reason": "killed"})
    _fits(progress, width, height)


@pytest.mark.parametrize("height", [8, 24, 40])
@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_a_table_of_many_workers_fits_the_terminal(width: int, height: int) -> None:
    progress = BatchProgress()
    _start(progress, 200, n_workers=64)
    for worker in range(64):
        _begin(progress, f"lesson-{worker}-" + "x" * 100, worker)
        _move(progress, f"lesson-{worker}-" + "x" * 100, worker, worker, 64)
    text = _fits(progress, width, height)
    assert "more running" in text and "lesson-0" in text


def _fits(progress: BatchProgress, width: int, height: int) -> str:
    screen = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    lines = screen.render_lines(batch_display.render_table(progress, width, height), screen.options, pad=False)
    assert len(lines) < height  # the cursor needs a row of its own
    text = ["".join(segment.text for segment in line) for line in lines]
    assert max(map(len, text)) <= width
    return "\n".join(text)


def test_names_with_brackets_are_not_markup() -> None:
    progress = BatchProgress()
    _start(progress, 1)
    _begin(progress, "a[red]b", 0)
    assert "a[red]b" in _fits(progress, 100, 24)


def _lines(capsys: pytest.CaptureFixture[str], mode: ProgressMode, *, quiet: bool = False) -> list[str]:
    ui = console.Ui(json=False, mode=mode, quiet=quiet, verbose=False, debug=False)
    with batch_display.watch(ui) as view:
        _start(view, 2)
        _begin(view, "a", 0)
        _move(view, "a", 0, 5, 9)
        _done(view, "a", 0)
        _begin(view, "b", 0, attempt=2)
        view("worker_died", {"worker": 0, "id": "b", "reason": "was killed by signal 9"})
        _fail(view, "b")
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    batch, start, done, again, died, failed = _lines(capsys, ProgressMode.lines)
    assert batch == "batch: 2 of 5 jobs to do, 3 done before; 2 workers"
    assert start.startswith("start: a (worker 0") and "out/a.mp4" in done and "50 frames" in done
    assert "attempt 2" in again and "signal 9" in died
    assert failed == "failed: b: no face found in `a[b].mp4` (row 12) [vast_no_face]"


def test_totals_every_half_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_display, "LINE_EVERY_S", 0.0)
    lines = _lines(capsys, ProgressMode.lines)
    assert any(line.startswith("1 of 2 done, 1 left") for line in lines)


@pytest.mark.parametrize("quiet", [True, False])
def test_failures_are_printed_even_if_quiet(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, ProgressMode.none, quiet=quiet)
    assert len(lines) == 1 and "[vast_no_face]" in lines[0]


def test_durations_and_times_of_day() -> None:
    lengths = (0.4, 59, 61, 3599, 8040, 90000)
    assert [duration(s) for s in lengths] == ["0 s", "59 s", "1 min", "1 h 00 min", "2 h 14 min", "1 d 1 h"]
    now = datetime(2026, 3, 4, 23, 0)
    assert [clock_in(s, now=now) for s in (60, 7200)] == ["23:01", "Thu 01:00"]
