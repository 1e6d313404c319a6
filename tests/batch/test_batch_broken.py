"""Two hundred jobs, twenty of them broken in ten ways: the others come out right, and `retry` runs those twenty."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.batches import QUICK, World

MENDED = ("nowhere.wav", "text.wav", "short.wav", "silent.wav")


def break_jobs(world: World, rows: list[dict[str, Any]], ffmpeg: Callable[..., None], prompt: Path) -> dict[str, str]:
    """Break rows in ten ways, as often each as there are rows; id -> code that it must fail with."""
    folder = world.folder
    (folder / "text.wav").write_text("not a sound")
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
    wanted = {}
    for row, (code, cells) in zip(rows, ways * (len(rows) // len(ways)), strict=True):
        row.update(cells)
        wanted[row["id"]] = code
    return wanted


def mend(world: World, rows: list[dict[str, Any]]) -> None:
    """Put right what `break_jobs` broke, in the files, not in the table."""
    folder = world.folder
    good = folder / "sound" / "s000.wav"
    for name in MENDED:
        shutil.copyfile(good, folder / name)
    (folder / "blocked").unlink()


def is_mended(row: dict[str, Any]) -> bool:
    """Whether `mend` put a broken row right."""
    return row["audio"] in MENDED or row["output"].startswith("blocked")


def make_rows(world: World, n: int) -> list[dict[str, Any]]:
    return [
        {"id": p.stem, "audio": f"sound/{p.name}", "prompt": "", "style": "", "avatar": "", "output": "out/{id}.mp4"}
        | QUICK
        for p in world.sounds(n, seconds=0.6)
    ]


@pytest.mark.parametrize(
    ("n", "n_broken"), [(24, 10), pytest.param(200, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_broken_jobs_cost_only_themselves(
    world: World, ffmpeg: Callable[..., None], prompt: Path, n: int, n_broken: int
) -> None:
    rows = make_rows(world, n)
    wanted = break_jobs(world, rows[:: n // n_broken][:n_broken], ffmpeg, prompt)
    world.manifest(rows)
    run = world.vast("batch", "jobs.csv", "--workers", "2", "--json")
    assert run.returncode == 3, run.stderr
    document = json.loads(run.stdout)
    assert {failure["id"]: failure["code"] for failure in document["failures"]} == wanted
    assert all(failure["message"] and failure["hint"] for failure in document["failures"])
    done = world.finished()
    assert len(done) == n - n_broken and set(done) == {f"{row['id']}.mp4" for row in rows if row["id"] not in wanted}
    assert not world.temporary()

    again = world.vast("batch", "jobs.csv", "--workers", "1", "--json")
    assert again.returncode == 3 and json.loads(again.stdout)["done"] == 0
    assert world.finished() == done

    mend(world, rows)
    retried = world.vast("retry", "jobs.csv", "--json", "--workers", "2", "--code", "vast_input_missing")
    count = sum(code == "vast_input_missing" for code in wanted.values())
    assert json.loads(retried.stdout)["done"] == count and retried.returncode == 0, retried.stderr
    rest = world.vast("retry", "jobs.csv", "--json", "--workers", "2")
    assert rest.returncode == 3
    unmended = {row["id"]: wanted[row["id"]] for row in rows if row["id"] in wanted and not is_mended(row)}
    assert {failure["id"]: failure["code"] for failure in json.loads(rest.stdout)["failures"]} == unmended
    now = world.finished()
    assert {name: now.get(name) for name in done} == done, "a finished video was touched"
    assert len(now) + len(world.finished("blocked")) == n - len(unmended) and len(unmended) == n_broken // 2
    assert not world.temporary()


def test_the_same_faults_one_by_one(world: World, ffmpeg: Callable[..., None], prompt: Path) -> None:
    """What a job fails with in a batch is what `vast render` says of it."""
    rows = make_rows(world, 10)
    wanted = break_jobs(world, rows, ffmpeg, prompt)
    chosen = [row for row in rows if wanted[row["id"]] in ("vast_no_audio", "vast_avatar_unknown")]
    for row in chosen:
        avatar = ["--avatar", row["avatar"]] if row["avatar"] else []
        run = world.vast("render", "--audio", row["audio"], *avatar, "-o", "x.mp4", "--json")
        assert json.loads(run.stdout)["error"]["code"] == wanted[row["id"]]
