"""Files and order of the report: one page, whole or not at all, the worst clips first, missing values as null."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.evaluate.measures.spec import REASONS as MEASURE_HINTS
from vast_cli.evaluate.report import report, write_report
from vast_cli.evaluate.report.ranking import CAP, rank_clips, worst_first
from vast_cli.evaluate.report.sheets import N_MOMENTS, make_sheet
from vast_cli.evaluate.report.videos import PageVideo, choose_inline
from vast_cli.evaluate.report.words import BETTER, OTHER, REASONS, family_of, hint_text
from vast_cli.media import VideoFormat, VideoWriter

HOSTILE = "a b/日本 é'$(x);"


def clip(name: str, video: Path | None = None, **more: Any) -> dict[str, Any]:
    values = more.pop("values", {})
    measures = {
        key: {"value": value, "reason": None if value is not None else "no_face"} for key, value in values.items()
    }
    return {
        "id": name,
        "output": str(video or "gone.mp4"),
        "duration_s": 2.0,
        "measures": measures,
        "flags": [],
        **more,
    }


def document(clips: list[dict[str, Any]], **measures: dict[str, Any]) -> dict[str, Any]:
    base = {"value": 0.5, "ci95": None, "n": len(clips), "unit": "1", "valid": True, "reason": None}
    return {
        "schema": "vast.evaluate/1",
        "version": "vast 0.0",
        "seed": 0,
        "set": {"clips": len(clips)},
        "measures": {name: base | measure for name, measure in measures.items()},
        "clips": clips,
    }


def fail(text: str = "black") -> dict[str, str]:
    return {"measure": "black_frames", "level": "fail", "text": text}


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds that brighten evenly, left half; the right half stays black."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    with VideoWriter(path, VideoFormat(64, 48)) as writer:
        for index in range(50):
            frame = np.zeros((48, 64, 3), np.uint8)
            frame[:, :32] = 40 + 4 * index
            writer.write(frame)
    return path


# --- order


def order(clips: list[dict[str, Any]], **measures: dict[str, Any]) -> list[str]:
    return [clips[index]["id"] for index in worst_first(rank_clips(document(clips, **measures)))]


def test_unmeasured_then_failed_then_behind() -> None:
    clips = [
        clip(name, values={"ssim": value})
        for name, value in zip("abcdef", (0.9, 0.91, 0.92, 0.93, 0.94, 0.3), strict=True)
    ]
    clips[1]["flags"] = [fail()]
    clips[2]["flags"] = [fail(), fail()]
    clips[3] = clip("d", error={"code": "vast_no_face", "message": "no face"})
    assert order(clips, ssim={"better": "higher"})[:4] == ["d", "c", "b", "f"]


def test_better_than_usual_does_not_count() -> None:
    values = [(0.90, 2.0), (0.91, 1.0), (0.92, 1.1), (0.93, 0.9), (0.99, 2.0)]
    clips = [clip(str(index), values={"ssim": ssim, "lmd": lmd}) for index, (ssim, lmd) in enumerate(values)]
    ranks = rank_clips(document(clips, ssim={"better": "higher"}, lmd={"better": "lower"}))
    assert ranks[4].behind["ssim"] == 0
    assert ranks[4].score == ranks[4].behind["lmd"] > 0


@pytest.mark.parametrize(
    ("better", "worst"), [("higher", "a"), ("lower", "e"), ("nearer_1", "e"), ("nearer_0", "e"), ("nearer_truth", "a")]
)
def test_each_direction_has_its_worst_clip(better: str, worst: str) -> None:
    clips = [clip(name, values={"m": value}) for name, value in zip("abcde", (0.1, 0.8, 1.0, 1.2, 2.5), strict=True)]
    assert order(clips, m={"better": better, "ceiling": 1.5})[0] == worst


def test_the_value_of_the_prompt_is_the_target() -> None:
    clips = [
        clip(name, values={"dvt_x": value}) for name, value in zip("abcde", (0.9, 1.0, 1.1, 1.0, 2.0), strict=True)
    ]
    for measured, prompt in zip(clips, (0.9, 1.0, 1.1, 0.2, 2.0), strict=True):
        measured["measures"]["dvt_x"]["controls"] = {"prompt": prompt, "real": 0.5}
    assert order(clips, dvt_x={"better": "nearer_prompt"})[0] == "d"


@pytest.mark.parametrize("better", ["in_range", "none"])
def test_a_measure_without_direction_does_not_count(better: str) -> None:
    clips = [clip(name, values={"m": value}) for name, value in zip("abcde", (0, 0, 0, 1, 99), strict=True)]
    assert all(rank.score == 0 for rank in rank_clips(document(clips, m={"better": better})))


def test_a_family_counts_once_and_an_unreliable_measure_never() -> None:
    values = [0.9, 0.91, 0.92, 0.93, 0.2]
    names = ("ssim", "ssim_face", "ssim_mouth", "cpbd_ratio")
    clips = [clip(str(index), values=dict.fromkeys((*names, "lmd"), value)) for index, value in enumerate(values)]
    measures = {name: {"better": "higher"} for name in (*names, "lmd")}
    assert {family_of(name) for name in names} == {"Image"}
    assert rank_clips(document(clips, **measures))[4].score == 2 * CAP
    measures["lmd"]["valid"] = False  # type: ignore[assignment]
    assert rank_clips(document(clips, **measures))[4].score == CAP


def test_few_values_and_nulls_give_no_rank() -> None:
    clips = [clip(str(index), values={"m": value}) for index, value in enumerate([1.0, 1.0, 9.0, None, float("nan")])]
    assert all(rank.behind == {} for rank in rank_clips(document(clips, m={"better": "lower"})))


def test_differences_far_below_the_range_do_not_count() -> None:
    clips = [clip(str(index), values={"m": value}) for index, value in enumerate([0.9, 0.9001, 0.9002, 0.9003, 0.8990])]
    ranks = rank_clips(document(clips, m={"better": "higher", "floor": 0.4, "ceiling": 1.0}))
    assert max(rank.score for rank in ranks) < 0.1


# --- contact sheets


def test_cells_show_the_moments_of_their_labels(ramp: Path) -> None:
    sheet = make_sheet(
        clip("ramp", ramp, reference=str(ramp), mouth_box=[0, 0, 32, 24], reference_mouth_box=[36, 0, 64, 16])
    )
    image = cv2.imdecode(np.frombuffer(sheet.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert [row[0] for row in sheet.rows] == ["output", "truth", "output mouth", "truth mouth"]
    assert len(sheet.times) == N_MOMENTS and image.shape[::-1] == sheet.size
    assert sheet.times == pytest.approx([0.08 + 0.2 * column for column in range(N_MOMENTS)], abs=0.021)
    for column, time in enumerate(sheet.times):
        for row, (_, top, height) in enumerate(sheet.rows):
            left = column * (sheet.width + sheet.gap)
            cell = image[top + height // 3 : top + height // 2, left + 20 : left + sheet.width // 2 - 10]
            expected = 0 if row == 3 else 40 + 4 * time * 25  # the mouth box of the truth is in the black half
            assert abs(float(cell.mean()) - expected) < 8, (column, row)


def test_a_clip_of_one_frame_has_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    with VideoWriter(path, VideoFormat(32, 32)) as writer:
        writer.write(np.full((32, 32, 3), 90, np.uint8))
    assert make_sheet(clip("one", path)).times == [0.0]


# --- files


def test_the_page_contains_the_video(ramp: Path, tmp_path: Path) -> None:
    page = write_report(document([clip("a", ramp)]), tmp_path / "out", overwrite=False)
    assert page == tmp_path / "out" / "index.html"
    assert base64.b64encode(ramp.read_bytes()).decode() in page.read_text("utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]


def test_the_same_input_gives_the_same_bytes(ramp: Path, tmp_path: Path) -> None:
    made = [write_report(document([clip("a", ramp)]), tmp_path / name, overwrite=False).read_bytes() for name in "xy"]
    assert made[0] == made[1]


def test_files_beyond_the_budget_lie_beside_the_page(ramp: Path, tmp_path: Path) -> None:
    video = tmp_path / HOSTILE / "o'ne & <two> #%.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(ramp.read_bytes())
    page = write_report(
        document([clip("a", video)]), tmp_path / HOSTILE / "out", overwrite=False, sheets_inline=0, inline_bytes=0
    )
    shown = data_of(page)["clips"][0]
    assert (page.parent / shown["video"]["url"]).read_bytes() == ramp.read_bytes()
    assert re.fullmatch(r"[A-Za-z0-9._/-]+", shown["video"]["url"])
    assert (page.parent / shown["sheet"]["url"]).read_bytes()[:2] == b"\xff\xd8"


def test_videos_of_the_worst_clips_go_into_the_page_first() -> None:
    videos = [PageVideo(Path(name), "video/mp4", None, size) for name, size in (("a", 300), ("b", 900), ("c", 3))]
    assert choose_inline(videos, 1000) == {Path("a")}
    assert choose_inline(videos, 2000) == {Path("a"), Path("b"), Path("c")}


def test_overwriting_leaves_only_the_new_page_and_files_of_others(ramp: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_report(document([clip("a", ramp)]), out, overwrite=False, inline_bytes=0)
    with pytest.raises(VastError) as caught:
        write_report(document([clip("a", ramp)]), out, overwrite=False)
    assert caught.value.code == "vast_output_exists"
    (out / "mine.txt").write_text("keep")
    (out / "files-mine").mkdir()
    page = write_report(document([clip("b", ramp)]), out, overwrite=True, inline_bytes=0)
    beside = data_of(page)["clips"][0]["video"]["url"].split("/")[0]
    assert {path.name for path in out.iterdir()} == {"index.html", "mine.txt", "files-mine", beside}


def test_a_failure_leaves_the_old_page(ramp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        yield "<!doctype html>"
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    page = write_report(document([clip("a", ramp)]), out, overwrite=False, inline_bytes=0)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(report, "page_parts", broken)
    for folder in (out, tmp_path / "new"):
        with pytest.raises(VastError) as caught:
            write_report(document([clip("b", ramp)]), folder, overwrite=True, inline_bytes=0)
        assert caught.value.code == "vast_disk_full"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert page.exists() and not (tmp_path / "new").exists()


def test_a_failure_after_publishing_the_files_removes_them(
    ramp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_report(document([clip("a", ramp)]), out, overwrite=False, inline_bytes=0)
    before = sorted(path.name for path in out.iterdir())
    replace = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if Path(target).name == "index.html":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(VastError):
        write_report(document([clip("b", ramp)]), out, overwrite=True, inline_bytes=0)
    assert sorted(path.name for path in out.iterdir()) == before


def test_names_cannot_become_markup(ramp: Path, tmp_path: Path) -> None:
    video = tmp_path / "<script>alert(1)<!-- .mp4"
    video.write_bytes(ramp.read_bytes())
    name = "</script><script>alert(1)</script>\u2028&amp;"
    page = write_report(document([clip(name, video, avatar=name)]), tmp_path / "out", overwrite=False)
    assert "alert(1)" in page.read_text("utf-8")
    assert "<script>alert" not in page.read_text("utf-8") and "</script><script>" not in page.read_text("utf-8")
    assert data_of(page)["clips"][0]["id"] == name


def test_names_that_do_not_decode(ramp: Path, tmp_path: Path) -> None:
    page = write_report(document([clip("a", Path("gone-\udcff.mp4"))]), tmp_path / "out", overwrite=False)
    assert data_of(page)["clips"][0]["output"].startswith("gone-")


def test_missing_files_and_files_that_are_no_video(ramp: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    clips = [
        clip("gone", tmp_path / "gone.mp4"),
        clip("text", text),
        clip("truth", ramp, reference=str(tmp_path / "no.mp4")),
    ]
    shown = {
        found["id"]: found
        for found in data_of(write_report(document(clips), tmp_path / "out", overwrite=False))["clips"]
    }
    assert shown["gone"]["video"]["note"] == "the file is gone" and "note" in shown["gone"]["sheet"]
    assert "cannot be" in shown["text"]["video"]["note"]
    assert shown["truth"]["truth"]["note"] == "the file is gone" and shown["truth"]["video"]["blob"]
    assert [row["name"] for row in shown["truth"]["sheet"]["rows"]] == ["output"]


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        ("mp4", "mpeg4", "yuv420p"),
        ("avi", "libx264", "yuv420p"),
        ("mp4", "libx265", "yuv420p"),
        ("mp4", "libx264", "yuv444p"),
    ],
)
def test_videos_that_browsers_do_not_play_have_a_note_and_a_contact_sheet(
    suffix: str, codec: str, pixels: str, ramp: Path, tmp_path: Path, ffmpeg: Callable[..., None]
) -> None:
    video = tmp_path / f"x.{suffix}"
    quiet = ["-x265-params", "log-level=none:pools=1"] if codec == "libx265" else []
    ffmpeg("-i", ramp, "-c:v", codec, "-pix_fmt", pixels, *quiet, video)
    shown = data_of(write_report(document([clip("a", video)]), tmp_path / "out", overwrite=False))["clips"][0]
    assert "browsers do not play" in shown["video"]["note"] and shown["sheet"]["blob"]


def test_missing_values_stay_null(tmp_path: Path) -> None:
    clips = [clip("a", values={"m": float("nan"), "n": None}, series={"fps": 25, "lip_gap": [float("nan"), 0.1]})]
    sync = {"value": None, "valid": False, "reason": "no_weights", "hint": "give them", "better": "higher"}
    data = data_of(
        write_report(document(clips, m={"value": float("inf")}, sync_conf=sync), tmp_path / "out", overwrite=False)
    )
    states = {measure["name"]: measure for measure in data["measures"]}
    assert states["m"]["value"] is None and states["m"]["state"] == "missing"
    assert states["sync_conf"]["reason"] == REASONS["no_weights"] and states["sync_conf"]["hint"] == "give them"
    found = data["clips"][0]
    assert found["measures"]["m"]["value"] is None and found["measures"]["n"]["reason"] == REASONS["no_face"]
    assert found["series"]["lip_gap"] == [None, 0.1]


def test_a_measure_without_controls_is_neither_valid_nor_unreliable(tmp_path: Path) -> None:
    measures = {"a": {"valid": True}, "b": {"valid": False, "reason": "control_failed"}, "c": {"valid": None}}
    data = data_of(write_report(document([], **measures), tmp_path / "out", overwrite=False))
    assert {found["name"]: found["state"] for found in data["measures"]} == {
        "a": "ok",
        "b": "unreliable",
        "c": "unchecked",
    }


def test_every_reason_has_words_and_only_useful_hints_are_added() -> None:
    assert set(REASONS) == set(MEASURE_HINTS)
    assert hint_text("no_face", MEASURE_HINTS["no_face"]) is None
    assert hint_text("no_weights", "give them") == "give them"
    assert hint_text("no_transcript", MEASURE_HINTS["no_transcript"]) is not None


def test_every_measure_has_a_family_and_a_direction_in_words() -> None:
    specs = pytest.importorskip("vast_cli.evaluate.measures.registry").SPECS
    assert {name for name in specs if family_of(name) == OTHER} == set()
    assert {spec.better for spec in specs.values()} <= set(BETTER)


def test_a_report_without_clips(tmp_path: Path) -> None:
    assert data_of(write_report(document([]), tmp_path / "out", overwrite=False))["clips"] == []
