"""The files for raters reveal no method: one format for all videos, no names, no metadata, and no key."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vast_cli.cli.study import app
from vast_cli.core.errors import VastError
from vast_cli.evaluate.study import make_study
from vast_cli.evaluate.study.loudness import loudness
from vast_cli.evaluate.study.make import KEEP, KEY, PAGE, SEND, Study, StudySettings
from vast_cli.media import VideoReader, load_audio, probe

Ffmpeg = Callable[..., None]
SECONDS = 1.0
FORMS = {"truth": ("128x96", "0.5"), "newmethod": ("160x160", "0.02")}  # size, volume


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """Three sentences by two methods that differ in everything that raters must not notice."""
    folder = tmp_path_factory.mktemp("videos")
    rows = ["sentence,method,video"]
    for number in range(3):
        for method, (size, volume) in FORMS.items():
            name = f"{method}-{number}.mp4"
            video = f"testsrc2=s={size}:r=25:d={SECONDS + 0.04 * (method == 'truth')}"
            audio = f"sine=f={300 * (number + 1)}:r=44100:d={SECONDS},volume={volume}"
            ffmpeg(
                "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, "-metadata", f"title=made by {method}",
                "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", folder / name,
            )  # fmt: skip
            rows.append(f"spoken {number},{method},{name}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def study(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with its videos beside the page."""
    folder = tmp_path_factory.mktemp("made") / "study"
    make_study(table, folder, StudySettings(n_raters=6, inline=False))
    return folder


@pytest.fixture(scope="module")
def key(study: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((study / KEEP / KEY).read_text())
    return data


@pytest.fixture(scope="module")
def inlined(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the same table with its videos inside the page."""
    return make_study(table, tmp_path_factory.mktemp("made") / "study", StudySettings(n_raters=6))


def clip_of(study: Path, key: dict[str, Any], **fields: str) -> Path:
    token = next(c["token"] for c in key["clips"] if all(c[name] == value for name, value in fields.items()))
    return study / SEND / "clips" / f"{token}.mp4"


def test_all_clips_have_one_format(study: Path, key: dict[str, Any]) -> None:
    clips = sorted((study / SEND / "clips").iterdir())
    assert len(clips) == len(key["clips"]) == 3 * 3 + 2  # truth, floor, newmethod; one button, one with other audio
    infos = [probe(clip) for clip in clips]
    assert {(i.width, i.height, i.video_codec, i.pixel_format) for i in infos} == {(128, 96, "h264", "yuv420p")}
    assert {(i.audio_codec, i.sample_rate, i.channels) for i in infos} == {("aac", 16000, 1)}
    assert {sum(1 for _ in VideoReader(clip)) for clip in clips} == {25}
    levels = [loudness(load_audio(clip)) for clip in clips]
    assert None not in levels
    assert max(levels) - min(levels) < 0.3  # type: ignore[type-var, operator]


def test_the_files_for_raters_contain_no_names(study: Path, key: dict[str, Any]) -> None:
    for path in (study / SEND).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (b"newmethod", b"truth-", b"spoken", b"floor", b"made by", b"other_audio", b"pairs.csv"):
                assert secret not in content, (path.name, secret)
            assert path.name == PAGE or re.fullmatch(r"[0-9a-f]{12}\.mp4", path.name)
    assert len({path.stat().st_mtime for path in (study / SEND / "clips").iterdir()}) == 1
    assert not list((study / SEND).rglob(KEY))
    assert {clip["method"] for clip in key["clips"]} == {"truth", "floor", "newmethod"}


def test_tokens_are_new_every_time_but_the_order_depends_on_the_seed(inlined: Study, key: dict[str, Any]) -> None:
    other = json.loads(inlined.key.read_text())
    assert not {clip["token"] for clip in key["clips"]} & {clip["token"] for clip in other["clips"]}
    assert key["study"] != other["study"]

    def order(data: dict[str, Any]) -> list[int]:
        place = {item["token"]: number for number, item in enumerate(data["items"])}
        return [place[token] for token in data["orders"][4]]

    assert order(key) == order(other)


def test_the_page_is_one_file_that_needs_no_network(inlined: Study) -> None:
    assert [path.name for path in inlined.page.parent.iterdir()] == [PAGE]
    text = inlined.page.read_text(encoding="utf-8")
    program = re.sub(r'<script type="text/plain".*?</script>', "", text)
    assert "http:" not in program and "https:" not in program and "%%" not in program
    assert "default-src 'none'" in program
    videos = re.findall(r'<script type="text/plain" id="clip-([0-9a-f]{12})">([^<]+)<', text)
    assert sorted(token for token, _ in videos) == sorted(
        clip["token"] for clip in json.loads(inlined.key.read_text())["clips"]
    )
    assert all(base64.b64decode(content)[4:8] == b"ftyp" for _, content in videos)


def test_the_floor_is_the_truth_five_frames_late(study: Path, key: dict[str, Any]) -> None:
    truth = np.stack(list(VideoReader(clip_of(study, key, sentence="spoken 1", method="truth", kind="main"))))
    floor = np.stack(list(VideoReader(clip_of(study, key, sentence="spoken 1", method="floor", kind="main"))))
    for k in range(25):
        near = np.abs(truth.astype(int) - floor[k]).mean(axis=(1, 2, 3))
        assert near.argmin() == max(k - 5, 0)


def pitch(path: Path) -> float:
    audio = load_audio(path)
    return float(np.abs(np.fft.rfft(audio * np.hanning(len(audio)))).argmax() * 16000 / len(audio))


def test_checks_are_what_they_claim(study: Path, key: dict[str, Any]) -> None:
    mismatched = next(clip for clip in key["clips"] if clip["kind"] == "other_audio")
    spoken = int(mismatched["sound_of"][-1])
    assert mismatched["sound_of"] != mismatched["sentence"]
    assert pitch(clip_of(study, key, kind="other_audio")) == pytest.approx(300 * (spoken + 1), abs=3)
    button = next(clip for clip in key["clips"] if clip["kind"] == "button")
    frames = list(VideoReader(clip_of(study, key, kind="button")))
    plain = list(VideoReader(clip_of(study, key, sentence=button["sentence"], method="truth", kind="main")))
    assert np.abs(frames[0].astype(int) - plain[0]).mean() < 3
    band = frames[-1][-30:]
    assert (band.min(axis=2) > 200).mean() > 0.5 and (band.max(axis=2) < 80).mean() > 0.02  # dark on light


def test_changes_to_the_videos_are_reported(inlined: Study) -> None:
    warnings = " ".join(inlined.warnings)
    assert "one was made of the truth" in warnings
    assert "128 x 96" in warnings and "rows 3, 5, 7" in warnings  # square videos
    assert "shortest" in warnings and "rows 2, 4, 6" in warnings


def test_all_faulty_videos_are_named_and_nothing_is_left(table: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    good = table.parent / "truth-0.mp4"
    ffmpeg("-i", good, "-an", "-c", "copy", tmp_path / "silent.mp4")
    ffmpeg("-i", good, "-t", "0.4", tmp_path / "short.mp4")
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 100)
    rows = ["sentence,method,video"]
    for sentence, bad in zip("abc", ("silent.mp4", "short.mp4", "noise.mp4"), strict=True):
        rows += [f"{sentence},truth,{good}", f"{sentence},y,{good}", f"{sentence},z,{tmp_path / bad}"]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(VastError) as caught:
        make_study(path, tmp_path / "out")
    message = caught.value.message
    assert "3 faults" in message
    assert all(text in message for text in ("row 4", "has no audio", "row 7: 0.40 s", "row 10", "cannot be decoded"))
    assert not (tmp_path / "out").exists()


def test_a_failure_midway_leaves_nothing(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vast_cli.evaluate.study.clips.write_clip", fail)
    with pytest.raises(VastError) as caught:
        make_study(table, tmp_path / "out", StudySettings(n_raters=1))
    assert caught.value.code == "vast_disk_full"
    assert list(tmp_path.iterdir()) == []


def test_the_commands_make_and_read(table: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    folder = tmp_path / "study"
    arguments = ["make", str(table), "-o", str(folder), "--pairwise", "--raters", "4", "--json", "--quiet"]
    made = runner.invoke(app, arguments)
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert report["mode"] == "pairwise" and report["items"] == 3 * 3 + 3
    again = runner.invoke(app, arguments)
    assert again.exit_code == 73 and "vast_output_exists" in again.stdout
    plain = runner.invoke(app, ["read", str(folder)])
    assert plain.exit_code == 0 and "no raters" in plain.stderr
    read = json.loads(runner.invoke(app, ["read", str(folder), "--json", "--quiet"]).stdout)
    assert read["judges"]["kept"] == 0 and read["methods"]["truth"]["mos_sync"]["value"] is None


def test_the_old_name_of_raters_still_works_and_says_so(table: Path, tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["make", str(table), "-o", str(tmp_path / "study"), "--pairwise", "--judges", "5"])
    assert made.exit_code == 0 and "`--judges` is now `--raters`" in made.stderr
    assert "from 1 to 5" in made.stderr
