"""Jobs broken in ten ways fail alone, each with its own code; `retry` runs them again and finishes those fixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.workspace import QUICK, Workspace

FIXED_AUDIO = ("nowhere.wav", "text.wav", "short.wav", "silent.wav")


def break_jobs(
    workspace: Workspace, rows: list[dict[str, Any]], ffmpeg: Callable[..., None], prompt: Path
) -> dict[str, str]:
    """Break rows in ten ways, each as often as there are rows; returns id -> code that the job must fail with."""
    folder = workspace.folder
    (folder / "text.wav").write_text("not audio")
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=320x240:d=1", "-an", folder / "mute.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=300:d=0.01", folder / "short.wav")
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "1", folder / "silent.wav")
    (folder / "cut.mp4").write_bytes(prompt.read_bytes()[:3000])
    (folder / "broken.style").write_bytes(b"\0" * 100)
    (folder / "blocked").write_text("a file where a folder should be")
    ways: list[tuple[str, dict[str, Any]]] = [
        ("vast_input_missing", {"audio": "nowhere.wav"}),
        ("vast_bad_media", {"audio": "text.wav"}),
        ("vast_no_audio", {"audio": "mute.mp4"}),
        ("vast_audio_too_short", {"audio": "short.wav"}),
        ("vast_no_speech", {"audio": "silent.wav", "allow_silence": "no"}),
        ("vast_no_face", {"prompt": "mute.mp4"}),
        ("vast_bad_media", {"prompt": "cut.mp4"}),
        ("vast_record_invalid", {"style": "broken.style"}),
        ("vast_avatar_unknown", {"avatar": "obamma"}),
        ("vast_output_unwritable", {"output": "blocked/{id}.mp4"}),
    ]
    expected = {}
    for row, (code, cells) in zip(rows, ways * (len(rows) // len(ways)), strict=True):
        row.update(cells)
        expected[row["id"]] = code
    return expected


def fix_files(workspace: Workspace) -> None:
    """Fix half of what `break_jobs` broke, in the files, not in the table."""
    for name in FIXED_AUDIO:
        shutil.copyfile(workspace.folder / "audio" / "s000.wav", workspace.folder / name)
    (workspace.folder / "blocked").unlink()


def is_fixed(row: dict[str, Any]) -> bool:
    """Whether `fix_files` fixed a broken row."""
    return row["audio"] in FIXED_AUDIO or row["output"].startswith("blocked")


def make_rows(workspace: Workspace, n: int) -> list[dict[str, Any]]:
    return [
        {"id": p.stem, "audio": f"audio/{p.name}", "prompt": "", "style": "", "avatar": "", "output": "out/{id}.mp4"}
        | QUICK
        for p in workspace.audio_clips(n, seconds=0.6)
    ]


@pytest.mark.parametrize(
    ("n", "n_broken"), [(14, 10), pytest.param(200, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_broken_jobs_fail_alone_and_retry_runs_them_again(
    workspace: Workspace, ffmpeg: Callable[..., None], prompt: Path, n: int, n_broken: int
) -> None:
    rows = make_rows(workspace, n)
    expected = break_jobs(workspace, [rows[k * n // n_broken] for k in range(n_broken)], ffmpeg, prompt)
    workspace.write_manifest(rows)
    run = workspace.vast("batch", "jobs.csv", "--workers", "2", "--json")
    assert run.returncode == 3, run.stderr
    document = json.loads(run.stdout)
    assert {failure["id"]: failure["code"] for failure in document["failures"]} == expected
    assert all(failure["message"] and failure["hint"] for failure in document["failures"])
    done = workspace.finished()
    assert set(done) == {f"{row['id']}.mp4" for row in rows if row["id"] not in expected}
    assert len(done) == n - n_broken and not workspace.temporary_files()

    again = workspace.vast("batch", "jobs.csv", "--workers", "1", "--json")
    assert again.returncode == 3 and json.loads(again.stdout)["done"] == 0
    assert workspace.finished() == done

    fix_files(workspace)
    retry = workspace.vast("retry", "jobs.csv", "--json", "--workers", "1", "--code", "vast_input_missing")
    n_missing = sum(code == "vast_input_missing" for code in expected.values())
    assert json.loads(retry.stdout)["done"] == n_missing and retry.returncode == 0, retry.stderr
    rest = workspace.vast("retry", "jobs.csv", "--json", "--workers", "1")
    assert rest.returncode == 3
    still_broken = {row["id"]: expected[row["id"]] for row in rows if row["id"] in expected and not is_fixed(row)}
    assert {failure["id"]: failure["code"] for failure in json.loads(rest.stdout)["failures"]} == still_broken
    now = workspace.finished()
    assert {name: now.get(name) for name in done} == done, "a finished video was touched"
    assert len(now) + len(workspace.finished("blocked")) == n - len(still_broken) and len(still_broken) == n_broken // 2
    assert not workspace.temporary_files()


def test_a_render_fails_with_the_same_code_as_its_job(
    workspace: Workspace, ffmpeg: Callable[..., None], prompt: Path
) -> None:
    rows = make_rows(workspace, 10)
    expected = break_jobs(workspace, rows, ffmpeg, prompt)
    chosen = [row for row in rows if expected[row["id"]] in ("vast_no_audio", "vast_avatar_unknown")]
    assert len(chosen) == 2
    for row in chosen:
        avatar = ["--avatar", row["avatar"]] if row["avatar"] else []
        run = workspace.vast("render", "--audio", row["audio"], *avatar, "-o", "x.mp4", "--json")
        assert json.loads(run.stdout)["error"]["code"] == expected[row["id"]]
