"""Gates: how they are written, and that they find faults in a finished video while a real one passes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.gates.limits import DEFAULT, NAMES, Gate, parse
from vast_cli.gates.measure import Candidate, GateChecker, GateResult

N = 150  # frames of the clips
Spoil = Callable[[int, np.ndarray], np.ndarray]


def refused(*texts: str) -> VastError:
    with pytest.raises(VastError) as caught:
        parse(texts)
    assert caught.value.code == "vast_option_invalid"
    return caught.value


def test_limits_are_read_in_order_and_later_ones_win() -> None:
    assert parse([]) == ()
    assert parse(["sync>=0.8, sharpness >= .9", "frames=exact"]) == (
        Gate("sync", ">=", 0.8), Gate("sharpness", ">=", 0.9), Gate("frames", "=exact"),
    )  # fmt: skip
    assert parse(["sync>=0.8", "sync>=0.5"]) == (Gate("sync", ">=", 0.5),)
    assert len(parse(["sharpness>=.8,sharpness<=1.2"])) == 2
    assert parse(["sync>=0.8", "none"]) == () and parse(["none,sync>=0.8"]) == (Gate("sync", ">=", 0.8),)


def test_default_can_be_sharpened() -> None:
    assert parse(["default"]) == DEFAULT
    found = {(gate.name, gate.sign): gate for gate in parse(["default,sharpness>=0.9"])}
    assert found["sharpness", ">="].limit == 0.9 and len(found) == len(DEFAULT)


@pytest.mark.parametrize("gate", [*DEFAULT, Gate("flicker_ratio", "<=", 1.3)])
def test_what_is_printed_can_be_read_again(gate: Gate) -> None:
    again = parse([str(gate)])[0]
    assert (again.name, again.sign, again.limit) == (gate.name, gate.sign, gate.limit)


def test_misspelt_names_get_the_nearest_one() -> None:
    assert "`sharpness`" in str(refused("sharpnes>=0.9").hint)
    assert "`default`" in str(refused("defaults").hint)
    assert "face_lost" in str(refused("xyzzy>=1").hint)


@pytest.mark.parametrize("text", ["sync", "sync>0.8", "sync=0.8", "sync>=", "frames>=1", "frames", "sync=exact"])
def test_forms_that_are_none_say_how_it_is_written(text: str) -> None:
    name = text.split(">")[0].split("=")[0]
    assert f"{name}{'=exact' if name == 'frames' else '>='}" in str(refused(text).hint)


@pytest.mark.parametrize("text", ["sync>=nan", "sync>=inf", "sync>=high"])
def test_limits_are_numbers(text: str) -> None:
    assert "no number" in refused(text).message


def test_limits_that_let_the_bad_through_are_refused() -> None:
    assert "`sync>=0.8`" in str(refused("sync<=0.8").hint)
    assert "`face_lost<=0.1`" in str(refused("face_lost>=0.1").hint)


def test_every_gate_names_measures_and_parts_that_exist() -> None:
    from vast_cli.evaluate.measures import registry
    from vast_cli.evaluate.observation.frames import PARTS

    for name, gate in NAMES.items():
        assert set(gate.measures) <= set(registry.SPECS) and set(gate.parts) <= PARTS, name


# --- measuring ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checker() -> GateChecker:
    from vast_cli.pipeline.models import Models

    return GateChecker(Models(), threads=1)


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    return shared / "video" / "avatar" / "german_anchor.mp4"


@pytest.fixture(scope="module")
def person(clip: Path, checker: GateChecker, write: Callable[..., Path]) -> Any:
    """Somebody with six seconds of footage, measured; as far as gates look at an avatar."""
    from vast_cli.evaluate.footage import measure as footage

    models = checker._models
    seen = footage.observe_footage(write(None, start=250), models, footage.load_networks())
    document = footage.whole_statistics(seen, models, footage.load_networks()).document()
    return SimpleNamespace(name="somebody", footage_statistics=document)


@pytest.fixture(scope="module")
def write(clip: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Callable[..., Path]:
    """Six seconds of the clip through our encoder, spoilt or not, with the sound moved or not."""
    from vast_cli import media

    folder = tmp_path_factory.mktemp("gates")
    with media.VideoReader(clip) as reader:
        frames = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in reader][: 250 + N]

    @functools.cache
    def make(spoil: Spoil | None, *, start: int = 0, late: float = 0.0) -> Path:
        number = len(list(folder.iterdir()))
        sound, video = folder / f"{number}.wav", folder / f"{number} é.mp4"
        ffmpeg("-ss", str(start / 25 + late), "-i", clip, "-t", str(N / 25), "-vn", sound)
        with media.VideoWriter(video, media.VideoFormat(256, 256, preset="fast"), audio=sound) as writer:
            for k, frame in enumerate(frames[start : start + N]):
                writer.write(frame if spoil is None else np.ascontiguousarray(spoil(k, frame)))
        return video

    return make


def measure(checker: GateChecker, video: Path, person: Any, *texts: str, n_frames: int = N, **more: Any) -> GateResult:
    wanted: Sequence[Gate] = parse(texts)
    return checker.measure(Candidate(video, person, n_frames, **more), wanted)


def test_a_real_video_of_the_person_passes(checker: GateChecker, write: Callable[..., Path], person: Any) -> None:
    result = measure(checker, write(None), person, "default,sync>=0.6,limited_share<=0.2", limited_share=0.1)
    assert result.missed == ()
    assert set(result.values) == {gate.name for gate in DEFAULT} | {"sync", "limited_share"}
    assert result.values["frames"] == 0 and result.values["limited_share"] == 0.1
    assert result.figures["measures"]["sharpness"]["value"] == result.values["sharpness"]
    assert result.figures["gates"] == result.values


def frozen(k: int, frame: np.ndarray) -> np.ndarray:
    frozen.held = frame if k % 50 in (0, *range(12, 50)) else frozen.held  # type: ignore[attr-defined]
    return frozen.held  # type: ignore[attr-defined,no-any-return]


FAULTS: dict[str, tuple[Spoil, str]] = {
    "blur": (lambda k, frame: cv2.GaussianBlur(frame, (0, 0), 1.2), "sharpness"),
    "black": (lambda k, frame: np.zeros_like(frame) if k == 60 else frame, "black_frames"),
    "no face": (lambda k, frame: np.full_like(frame, 90) if k in (60, 61, 62) else frame, "face_lost"),
    "frozen": (frozen, "frozen_run"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_miss_their_gate(checker: GateChecker, write: Callable[..., Path], person: Any, fault: str) -> None:
    spoil, gate = FAULTS[fault]
    result = measure(checker, write(spoil), person, "default")
    assert gate in " ".join(result.missed), result


def test_a_late_picture_has_no_sync_whatever_its_margin(
    checker: GateChecker, write: Callable[..., Path], person: Any
) -> None:
    result = measure(checker, write(None, late=0.2), person, "sync>=0.01")
    assert result.values == {"sync": 0.0} and "frames late" in result.missed[0]


def test_frames_that_are_missing_are_counted(checker: GateChecker, write: Callable[..., Path], person: Any) -> None:
    result = measure(checker, write(None), person, "frames=exact", n_frames=N + 3)
    assert result.values == {"frames": 3.0} and f"{N} frames decode, {N + 3} were planned" in result.missed[0]


def test_a_hole_in_time_is_found(
    checker: GateChecker, write: Callable[..., Path], person: Any, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    holed = tmp_path / "holed.mp4"
    skip = ["-vf", "select=not(eq(n\\,100))", "-fps_mode", "vfr"]
    ffmpeg("-i", write(None), *skip, "-c:v", "libx264", "-preset", "ultrafast", holed)
    result = measure(checker, holed, person, "frames=exact", n_frames=N - 1)
    assert result.values["frames"] == 1.0 and "40 ms" in result.missed[0]


def test_without_a_measured_footage_ratios_never_pass_in_silence(
    checker: GateChecker, write: Callable[..., Path], person: Any
) -> None:
    stranger = SimpleNamespace(name="stranger", footage_statistics=None)
    result = measure(checker, write(None), stranger, "sharpness>=0.1,sync>=0.1,face_lost<=0.1")
    assert result.values["sharpness"] is None and result.values["sync"] is None and result.values["face_lost"] == 0
    assert len(result.missed) == 2 and all("stranger" in text for text in result.missed)


def test_what_a_clip_cannot_tell_is_missed_if_asked_for_and_a_remark_if_only_recommended(
    checker: GateChecker, write: Callable[..., Path], person: Any
) -> None:
    video = write(None)
    assert "6 of 15 s" in measure(checker, video, person, "blink_rate>=1").missed[0]
    lenient = (dataclasses.replace(Gate("blink_rate", ">=", 1.0), lenient=True),)
    result = checker.measure(Candidate(video, person, N), lenient)
    assert result.missed == () and "6 of 15 s" in result.warnings[0]


def test_frames_alone_cost_no_look_at_the_face(
    checker: GateChecker, write: Callable[..., Path], person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vast_cli.evaluate import engine

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(engine, "measure", never)
    assert measure(checker, write(None), person, "frames=exact").missed == ()


@pytest.fixture(scope="module")
def over_footage(shared: Path) -> Any:
    """The shipped avatar with some of its footage put back in."""
    from vast_cli import media, renderer
    from vast_cli.training.renderer.footage import encode_frames

    avatar = renderer.Avatar.load(renderer.find_avatar("obama"))
    with media.VideoReader(shared / "video" / "avatar" / "obama_long.mp4") as reader:
        frames = [frame for _, frame in zip(range(60), reader, strict=False)]
    poses = {name: getattr(avatar, name)[:60] for name in ("rotation", "scale", "translation")}
    return dataclasses.replace(avatar, footage=encode_frames(frames), **poses)


@pytest.mark.parametrize(("brighter", "low", "high"), [(0, 0.95, 1.05), (40, 1.3, 5.0)])
def test_a_border_shows_where_what_was_pasted_is_brighter(
    checker: GateChecker, over_footage: Any, tmp_path: Path, brighter: int, low: float, high: float
) -> None:
    from vast_cli import media
    from vast_cli.gates import seam
    from vast_cli.renderer import template

    where = np.round(template.positions(0, 40, length=60, seed=3))
    size = over_footage.footage.width
    with media.VideoWriter(tmp_path / "a.mp4", media.VideoFormat(size, size, preset="ultrafast")) as writer:
        for index in where:
            frame = over_footage.footage.frame(int(index)).astype(np.float32)
            opacity = seam._border(over_footage, checker._models.face_model, np.array([index]))
            writer.write(np.clip(frame + brighter * opacity[..., None], 0, 255).astype(np.uint8))
    gate = parse(["seam<=1.3"])
    result = checker.measure(Candidate(tmp_path / "a.mp4", over_footage, 40, seed=3), gate)
    assert low < result.values["seam"] < high  # type: ignore[operator]
    assert bool(result.missed) == bool(brighter)


def test_a_portrait_has_no_border_and_is_not_refused_for_it(
    checker: GateChecker, write: Callable[..., Path], over_footage: Any
) -> None:
    portrait = dataclasses.replace(over_footage, footage=None)
    result = measure(checker, write(None), portrait, "seam<=1.3")
    assert result.values == {"seam": None} and result.missed == () and "portrait" in result.warnings[0]


def test_module_is_light() -> None:
    import subprocess
    import sys

    modules = "vast_cli.gates.measure, vast_cli.gates.options"
    code = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'av')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert parse(["default"])
