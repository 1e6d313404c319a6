"""Footage statistics give the same figures as the footage itself."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vast_cli.core.errors import VastError
from vast_cli.evaluate import engine
from vast_cli.evaluate.footage import measure
from vast_cli.evaluate.footage.statistics import FootageStatistics, WindowSpread
from vast_cli.evaluate.observation.clip import Pair
from vast_cli.pipeline.models import Models

RATIOS = ("sharpness", "flicker_ratio", "lip_accel_ratio", "bilabial_closure", "identity_dist", "silence_gap")


@pytest.fixture(scope="module")
def footage(shared: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """Eight seconds of footage of one person."""
    clip = tmp_path_factory.mktemp("footage") / "footage é.mp4"
    source = shared / "video" / "avatar" / "german_anchor.mp4"
    ffmpeg(
        "-i",
        source,
        "-t",
        "8",
        "-vf",
        "scale=256:256",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "10",
        "-c:a",
        "aac",
        clip,
    )
    return clip


@pytest.fixture(scope="module")
def measured(footage: Path) -> FootageStatistics:
    models, networks = Models(), measure.load_networks()
    return measure.footage_statistics(measure.observe_footage(footage, models, networks), models, networks)


def test_figures_are_those_of_the_footage_itself(footage: Path, measured: FootageStatistics) -> None:
    tools = engine.make_tools(engine.Settings(threads=1, controls=False))
    tools = dataclasses.replace(tools, parts=measure.NEEDED_PARTS)
    only = (*RATIOS, "lagsync_margin")
    by_statistics = engine.measure(Pair("a", footage, footage_statistics=measured), tools, only=only).readings
    by_footage = engine.measure(Pair("a", footage, footage=footage), tools, only=only).readings
    for name in RATIOS:  # few silent frames: their quantiles are coarse
        if by_footage[name].value is None:
            assert by_statistics[name].value is None, name
            continue
        assert by_statistics[name].value == pytest.approx(
            by_footage[name].value, abs=0.1 if name == "silence_gap" else 1e-3
        ), name
        if "real" in by_footage[name].controls and name != "lagsync_margin":
            assert by_statistics[name].controls["real"] == pytest.approx(by_footage[name].controls["real"], rel=1e-3), (
                name
            )
    assert by_statistics["sharpness"].value == pytest.approx(1) and by_statistics[
        "flicker_ratio"
    ].value == pytest.approx(1)
    margin = by_footage["lagsync_margin"]
    assert measured.lagsync_margin == pytest.approx(margin.value) == pytest.approx(margin.controls["real"])


def test_windows_spread_around_the_whole(measured: FootageStatistics) -> None:
    assert measured.windows["sharpness"].n == 3 and measured.seconds == 8
    for name in ("sharpness", "flicker_ratio", "lip_accel_ratio"):
        spread = measured.windows[name]
        assert 0.5 < spread.low <= spread.median <= spread.high < 1.6, name


def test_round_trip_through_the_card(measured: FootageStatistics) -> None:
    document = json.loads(json.dumps(measured.document(), allow_nan=False))
    loaded = FootageStatistics.of_document(document)
    assert loaded.sharpness == pytest.approx(measured.sharpness, rel=1e-4)
    assert len(loaded.descriptor) == len(measured.descriptor) and set(loaded.windows) == set(measured.windows)
    assert len(json.dumps(document)) < 6000


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "vast_record_version"),
        ({"sharpness": "much"}, "vast_record_invalid"),
        ({"windows": {"sharpness": [1, 2]}}, "vast_record_invalid"),
        ({"descriptor": ["x"]}, "vast_record_invalid"),
        ({"surprise": 1}, "vast_record_invalid"),
        ({"brightness": float("nan")}, "vast_record_invalid"),
    ],
)
def test_invalid_statistics_are_refused(change: dict[str, Any], code: str) -> None:
    windows = {"sharpness": WindowSpread(3, 1.0, 0.9, 1.1)}
    good = FootageStatistics(brightness=80.0, sharpness=3.0, windows=windows).document()
    assert FootageStatistics.of_document(good).sharpness == 3.0
    with pytest.raises(VastError) as caught:
        FootageStatistics.of_document(good | change)
    assert caught.value.code == code


def test_sharpness_is_not_compared_at_another_scale_of_the_face(footage: Path, measured: FootageStatistics) -> None:
    tools = engine.make_tools(engine.Settings(threads=1, controls=False))
    tools = dataclasses.replace(tools, parts=frozenset({"sharpness"}))
    other = dataclasses.replace(measured, face_px=measured.face_px * 2)
    readings = engine.measure(Pair("a", footage, footage_statistics=other), tools, only=("sharpness",)).readings
    assert set(readings) == {"sharpness"} and readings["sharpness"].reason == "length_mismatch"


def test_footage_of_a_portrait_is_measured_as_it_is_shown(footage: Path, tmp_path: Path) -> None:
    from vast_cli import media
    from vast_cli.renderer.geometry import Box

    box = Box(50, 30, 150, 192)
    avatar: Any = SimpleNamespace(subject=SimpleNamespace(box=box), footage=None)
    measure.write_as_shown(footage, tmp_path / "shown.mp4", avatar)
    with media.VideoReader(tmp_path / "shown.mp4") as reader:
        assert (reader.width, reader.height) == (192, 192)


def test_the_shipped_avatar_has_footage_statistics() -> None:
    from vast_cli import renderer

    avatar = renderer.Avatar.load(renderer.find_avatar("obama"))
    assert avatar.footage_statistics is not None
    statistics = FootageStatistics.of_document(avatar.footage_statistics)
    assert statistics.seconds > 40 and statistics.windows["sharpness"].n >= 20
    assert 0 < statistics.windows["sharpness"].low <= 1 <= statistics.windows["sharpness"].high
