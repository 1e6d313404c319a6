"""An avatar's own footage in numbers: the same figures as with the footage at hand."""

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
from vast_cli.evaluate.footage.statistics import FootageStatistics, Spread
from vast_cli.evaluate.observation.clip import Pair
from vast_cli.pipeline.models import Models

RATIOS = ("sharpness", "flicker_ratio", "lip_accel_ratio", "bilabial_closure", "identity_dist", "silence_gap")


@pytest.fixture(scope="module")
def footage(shared: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """Eight seconds of somebody."""
    clip = tmp_path_factory.mktemp("yardstick") / "footage é.mp4"
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
    models, judges = Models(), measure.load_networks()
    return measure.footage_statistics(measure.observe_footage(footage, models, judges), models, judges)


def test_figures_are_those_of_the_footage_itself(footage: Path, measured: FootageStatistics) -> None:
    tools = engine.make_tools(engine.Settings(threads=1, controls=False))
    tools = dataclasses.replace(tools, parts=measure.NEEDED_PARTS)
    asked = (*RATIOS, "lagsync_margin")
    kept = engine.measure(Pair("a", footage, footage_statistics=measured), tools, only=asked).readings
    whole = engine.measure(Pair("a", footage, footage=footage), tools, only=asked).readings
    for name in RATIOS:  # few silent frames: their quantiles are coarse
        if whole[name].value is None:
            assert kept[name].value is None, name
            continue
        assert kept[name].value == pytest.approx(whole[name].value, abs=0.1 if name == "silence_gap" else 1e-3), name
        if "real" in whole[name].controls and name != "lagsync_margin":
            assert kept[name].controls["real"] == pytest.approx(whole[name].controls["real"], rel=1e-3), name
    assert kept["sharpness"].value == pytest.approx(1) and kept["flicker_ratio"].value == pytest.approx(1)
    margin = whole["lagsync_margin"]
    assert measured.lagsync_margin == pytest.approx(margin.value) == pytest.approx(margin.controls["real"])


def test_windows_lie_around_the_whole(measured: FootageStatistics) -> None:
    assert measured.windows["sharpness"].n == 3 and measured.seconds == 8
    for name in ("sharpness", "flicker_ratio", "lip_accel_ratio"):
        spread = measured.windows[name]
        assert 0.5 < spread.low <= spread.median <= spread.high < 1.6, name


def test_card_and_back(measured: FootageStatistics) -> None:
    document = json.loads(json.dumps(measured.document(), allow_nan=False))
    again = FootageStatistics.of_document(document)
    assert again.sharpness == pytest.approx(measured.sharpness, rel=1e-4)
    assert len(again.descriptor) == len(measured.descriptor) and set(again.windows) == set(measured.windows)
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
def test_broken_yardsticks_are_refused(change: dict[str, Any], code: str) -> None:
    good = FootageStatistics(brightness=80.0, sharpness=3.0, windows={"sharpness": Spread(3, 1.0, 0.9, 1.1)}).document()
    assert FootageStatistics.of_document(good).sharpness == 3.0
    with pytest.raises(VastError) as caught:
        FootageStatistics.of_document(good | change)
    assert caught.value.code == code


def test_another_scale_of_the_face_is_no_sharpness(footage: Path, measured: FootageStatistics) -> None:
    tools = engine.make_tools(engine.Settings(threads=1, controls=False))
    tools = dataclasses.replace(tools, parts=frozenset({"sharpness"}))
    other = dataclasses.replace(measured, face_px=measured.face_px * 2)
    told = engine.measure(Pair("a", footage, footage_statistics=other), tools, only=("sharpness",)).readings
    assert set(told) == {"sharpness"} and told["sharpness"].reason == "length_mismatch"


def test_a_portrait_is_measured_as_it_is_shown(footage: Path, tmp_path: Path) -> None:
    from vast_cli import media
    from vast_cli.renderer.geometry import Box

    box = Box(50, 30, 150, 192)
    avatar: Any = SimpleNamespace(subject=SimpleNamespace(box=box), footage=None)
    measure.write_as_shown(footage, tmp_path / "shown.mp4", avatar)
    with media.VideoReader(tmp_path / "shown.mp4") as reader:
        assert (reader.width, reader.height) == (192, 192)


def test_shipped_avatar_knows_its_footage() -> None:
    from vast_cli import renderer

    avatar = renderer.Avatar.load(renderer.find_avatar("obama"))
    assert avatar.footage_statistics is not None
    found = FootageStatistics.of_document(avatar.footage_statistics)
    assert found.seconds > 40 and found.windows["sharpness"].n >= 20
    assert 0 < found.windows["sharpness"].low <= 1 <= found.windows["sharpness"].high
