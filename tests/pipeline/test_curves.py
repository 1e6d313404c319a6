"""Curves of blendshapes: sampling at any rate, and the files that rigs and programs read."""

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from vast_cli.cli.schema import schemas
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.core.formats import motion_format
from vast_cli.face.blendshapes import NAMES, ROTATIONS, eye_rotations
from vast_cli.pipeline.curve_files import timecode
from vast_cli.pipeline.curves import Curves, resample

RATES = [1, 12, 23.976, 24, 25, 29.97, 30, 50, 60, 240]


def curves(n_samples: int = 33_000, seed: int = 5) -> Curves:
    """Smooth random weights for 2.06 s of audio, the tongue still."""
    n_frames = timebase.video_frames(n_samples)
    steps = np.random.default_rng(seed).random((n_frames + 4, len(NAMES)))
    weights = np.stack([np.convolve(column, np.ones(5) / 5, "valid") for column in steps.T], 1)
    weights[:, NAMES.index("tongueOut")] = 0
    origin = {"audio": "é.wav", "avatar": "obama", "style": None, "options": {"seed": 0}}
    return Curves(weights.astype(np.float32), n_samples, 0.25, origin)


def sampled(one: Curves, fps: float) -> Float32:
    return np.concatenate(list(one.sample(fps)))


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="ascii", newline="") as file:
        head, *rows = csv.reader(file)
    return head, rows


def seconds(code: str) -> float:
    """A timecode as Unreal's importer reads it: frames are sixtieths of a second, with a fraction."""
    hours, minutes, whole, frames = code.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + float(frames) / 60


# --- sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("n_samples", [640, 700, 33_000, 16_000 * 75])
def test_curves_are_as_long_as_the_audio(fps: float, n_samples: int) -> None:
    rows = sampled(curves(n_samples), fps)
    assert rows.shape == (curves(n_samples).n_frames(fps), 52)
    assert abs(len(rows) / fps - n_samples / 16_000) <= max(0.5 / fps, 1 / fps - n_samples / 16_000) + 1e-9


def test_at_25_frames_a_second_curves_are_the_prediction() -> None:
    one = curves()
    assert np.array_equal(sampled(one, 25), one.weights)
    assert np.array_equal(sampled(one, 50)[::2][: len(one.weights)], one.weights)


@pytest.mark.parametrize("fps", RATES)
def test_sampling_stays_within_the_weights(fps: float) -> None:
    one = curves()
    rows = sampled(one, fps)
    assert (rows >= one.weights.min(0)).all() and (rows <= one.weights.max(0)).all()
    still = resample(np.full((40, 2), 0.3, np.float32), np.linspace(0, 39, 7), step=39 / 6)
    assert np.allclose(still, 0.3)


@pytest.mark.parametrize("fps", [12, 24, 30, 60, 240])
def test_slow_motion_keeps_its_time(fps: float) -> None:
    t = np.arange(250) / 25
    one = Curves(np.tile(0.5 + 0.4 * np.sin(2 * np.pi * 0.5 * t)[:, None], (1, 52)).astype(np.float32), 160_000, 0, {})
    times = np.arange(one.n_frames(fps)) / fps
    inner = (times > 0.2) & (times < 9.8)
    assert np.abs(sampled(one, fps)[inner, 0] - (0.5 + 0.4 * np.sin(np.pi * times[inner]))).max() < 0.02


def test_what_is_too_fast_for_the_rate_does_not_alias() -> None:
    t = np.arange(250) / 25
    flutter = (0.5 + 0.5 * np.sin(2 * np.pi * 11.5 * t)).astype(np.float32)  # at 12 fps it would look like 0.5 Hz
    one = Curves(np.tile(flutter[:, None], (1, 52)), 160_000, 0, {})
    assert sampled(one, 12)[2:-2, 0].std() < 0.15 * flutter.std()


def test_a_blink_does_not_overshoot() -> None:
    blink = np.array([0, 0, 0, 0.9, 1, 0.3, 0, 0, 0], np.float32)[:, None]
    rows = resample(blink, np.linspace(0, 8, 161), step=0.05)[:, 0]
    assert rows.min() == 0 and rows.max() == 1
    assert (np.diff(rows[40:80]) >= 0).all() and (np.diff(rows[80:120]) <= 0).all()


def test_samples_do_not_depend_on_the_runs_they_are_made_in() -> None:
    one = curves(16_000 * 100)
    positions = timebase.video_positions(np.arange(one.n_frames(60)), 60)
    assert np.array_equal(sampled(one, 60), resample(one.weights, positions, step=25 / 60))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES)
def test_csv_is_read_as_a_recording_of_live_link_face(fps: float, tmp_path: Path) -> None:
    one, path = curves(), tmp_path / "a.csv"
    one.save(path, fps=fps)
    head, rows = read_csv(path)
    assert head[:2] == ["Timecode", "BlendShapeCount"] and len(head) == 63
    assert [name[0].lower() + name[1:] for name in head[2:]] == [*NAMES, *ROTATIONS]
    assert all(len(row) == 63 and row[1] == "61" for row in rows)
    times = [seconds(row[0]) for row in rows]
    assert np.allclose(times, np.arange(one.n_frames(fps)) / fps, atol=1e-5)
    values = np.array([row[2:] for row in rows], float)
    expected = sampled(one, fps)
    assert np.allclose(values[:, :52], expected, atol=1e-6)
    assert np.allclose(values[:, 52:], eye_rotations(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (0, "00:00:00:00.000"),
        (0.04, "00:00:00:02.400"),
        (59.999999, "00:01:00:00.000"),
        (3661.5, "01:01:01:30.000"),
        (36_000, "10:00:00:00.000"),
    ],
)
def test_timecode(time: float, code: str) -> None:
    assert timecode(time) == code


@pytest.mark.parametrize("fps", [12, 25, 60])
def test_json_follows_its_schema(fps: float, tmp_path: Path) -> None:
    one, path = curves(), tmp_path / "a.json"
    one.save(path, fps=fps)
    document = json.loads(path.read_text("utf-8"))
    jsonschema.validate(document, schemas()["curves"])
    assert document["names"] == list(NAMES) and document["rotation_names"] == list(ROTATIONS)
    assert (document["fps"], document["n_frames"], document["audio"]) == (fps, one.n_frames(fps), "é.wav")
    assert document["synthetic"] is True and document["limited_share"] == 0.25
    assert np.allclose(document["frames"], sampled(one, fps), atol=1e-6)
    assert np.allclose(document["rotations"], eye_rotations(sampled(one, fps)), atol=1e-6)


def test_npz_loads_without_pickle(tmp_path: Path) -> None:
    one, path = curves(), tmp_path / "a.npz"
    one.save(path, fps=30)
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["weights"], sampled(one, 30))
        assert np.array_equal(arrays["rotations"], eye_rotations(sampled(one, 30)))
        assert arrays["names"].tolist() == list(NAMES) and arrays["rotation_names"].tolist() == list(ROTATIONS)
        assert np.allclose(arrays["times_s"], np.arange(one.n_frames(30)) / 30) and arrays["fps"] == 30
        assert json.loads(str(arrays["about"]))["audio"] == "é.wav"


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
def test_equal_curves_are_equal_bytes(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        curves().save(path, fps=60)
    assert files.sha256(paths[0]) == files.sha256(paths[1])


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("a.motion", {}, "curves are no motion"),
        ("a.txt", {}, "does not end in"),
        ("a", {"format": "csv"}, "does not end in"),
        ("a.json", {"format": "csv"}, "no name of a csv file"),
        ("a.csv", {"fps": 0.5}, "0.5 is not between 1 and 240"),
        ("a.csv", {"fps": 241}, "241 is not between"),
        ("a.csv", {"fps": float("nan")}, "nan is not between"),
    ],
)
def test_names_and_rates_that_do_not_fit_are_refused(
    name: str, options: dict[str, object], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(VastError, match=fault) as error:
        curves().save(tmp_path / name, **options)  # type: ignore[arg-type]
    assert error.value.code == "vast_option_invalid"
    assert list(tmp_path.iterdir()) == []


def test_suffixes_may_be_capital() -> None:
    assert motion_format(Path("a.CSV"), None) == "csv"
    assert motion_format(Path("a.Json"), "json") == "json"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(VastError) as error:
        curves().save(path, overwrite=False)
    assert error.value.code == "vast_output_exists"

    def fail(weights: Float32) -> Float32:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vast_cli.pipeline.curve_files.eye_rotations", fail)
    with pytest.raises(VastError) as error:
        curves().save(path)
    assert error.value.code == "vast_disk_full"
    assert path.read_text("utf-8") == "old" and [one.name for one in tmp_path.iterdir()] == ["a.csv"]
