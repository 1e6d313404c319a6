"""Comparisons: every frame in its place and time, nothing cut off, audio in step; sets compared clip by clip."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vast_cli import media
from vast_cli.cli import app
from vast_cli.core.errors import VastError
from vast_cli.core.text import timestamp
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.evaluate.compare import ComparisonSettings, compare_sets, compare_videos, layout, read_scores, waveform
from vast_cli.evaluate.compare.scores import read_evaluation

Run = Callable[..., None]
RED, GREEN, BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Run) -> Path:
    """red: 2 s with a tone from 1.0 to 1.2 s; green: 1.2 s at 30 fps, portrait, silent; blue: 2 s, audio from 0.5 s."""
    folder = tmp_path_factory.mktemp("clips")
    encode = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    tone = "aevalsrc='0.5*sin(2000*t)*between(t,1.0,1.2)':s=44100:d=2"
    ffmpeg("-f", "lavfi", "-i", "color=0xE61414:s=160x120:r=25:d=2", "-f", "lavfi", "-i", tone, *encode, "-c:a", "aac",
           folder / "red.mp4")  # fmt: skip
    ffmpeg("-f", "lavfi", "-i", "color=0x14C814:s=90x160:r=30:d=1.2", *encode, folder / "green.mp4")
    ffmpeg("-f", "lavfi", "-i", "color=0x1414E6:s=320x90:r=12.5:d=2", "-itsoffset", "0.5", "-f", "lavfi", "-i",
           "aevalsrc='0.5*sin(2000*t)':s=48000:d=0.5", "-map", "0", "-map", "1", *encode, "-c:a", "pcm_s16le",
           folder / "blue.mov")  # fmt: skip
    return folder


def frames_of(path: Path) -> list[np.ndarray]:
    with media.VideoReader(path) as reader:
        return list(reader)


def centre_colour(frame: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    y, x = top + height // 2, left + width // 2
    return frame[y - 5 : y + 5, x - 5 : x + 5].reshape(-1, 3).mean(0)


def test_videos_stand_side_by_side_and_the_shorter_one_is_dimmed(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.mp4"
    events: list[tuple[str, int, int | None]] = []
    comparison = compare_videos(
        [clips / "red.mp4", clips / "green.mp4"],
        out,
        ComparisonSettings(height=128),
        progress=lambda *event: events.append(event),
    )
    frames = frames_of(out)
    assert len(frames) == comparison.n_frames == 50 and frames[0].shape == (comparison.height, comparison.width, 3)
    widths = layout.column_widths([160 / 120, 90 / 160], height=128, columns=None)
    grid = layout.make_grid(2, widths, height=128, n_lines=0, strip=False)
    red = [centre_colour(frame, *grid.cell_corner(0), 128, widths[0]) for frame in frames]
    green = [centre_colour(frame, *grid.cell_corner(1), 128, widths[1]) for frame in frames]
    assert np.abs(np.array(red) - RED).max() < 12
    assert np.abs(np.array(green[:30]) - GREEN).max() < 12  # 1.2 s
    assert np.abs(np.array(green[31:]) - np.array(GREEN) * 0.4).max() < 12
    assert [note for note in comparison.notes if "green" in note and "0.80 s" in note and "dimmed" in note]
    assert not [note for note in comparison.notes if "red" in note]
    assert events[-1] == ("compare", 50, 50)


def test_audio_is_in_step_and_as_long_as_the_video(clips: Path, tmp_path: Path) -> None:
    pair = [clips / "green.mp4", clips / "red.mp4"]
    compare_videos(pair, tmp_path / "auto.mp4", ComparisonSettings(height=64))  # the first with audio
    audio = media.load_audio(tmp_path / "auto.mp4")
    loud = np.flatnonzero(np.abs(audio) > 0.25) / SAMPLE_RATE
    assert abs(len(audio) - 2 * SAMPLE_RATE) <= 16
    assert loud[0] == pytest.approx(1.0, abs=0.005) and loud[-1] == pytest.approx(1.2, abs=0.005)
    compare_videos(pair, tmp_path / "none.mp4", ComparisonSettings(height=64, audio="none"))
    assert not media.probe(tmp_path / "none.mp4").has_audio


def test_late_and_short_audio_is_padded_on_both_sides(clips: Path, tmp_path: Path) -> None:
    settings = ComparisonSettings(height=64, audio="1", show_waveform=True)
    comparison = compare_videos([clips / "red.mp4", clips / "blue.mov"], tmp_path / "c.mp4", settings)
    audio = media.load_audio(tmp_path / "c.mp4")
    loud = np.flatnonzero(np.abs(audio) > 0.25) / SAMPLE_RATE
    assert loud[0] == pytest.approx(0.5, abs=0.01) and loud[-1] == pytest.approx(1.0, abs=0.01)
    assert abs(len(audio) - 2 * SAMPLE_RATE) <= 16
    assert [note for note in comparison.notes if note.startswith("the audio ends 1.00 s")]


def test_longer_audio_makes_the_comparison_longer(clips: Path, tmp_path: Path, ffmpeg: Run) -> None:
    ffmpeg("-f", "lavfi", "-i", "aevalsrc='0.3*sin(2000*t)':s=22050:d=2.6", tmp_path / "a.wav")
    settings = ComparisonSettings(height=64, audio=str(tmp_path / "a.wav"))
    comparison = compare_videos([clips / "red.mp4"] * 2, tmp_path / "c.mp4", settings)
    assert comparison.n_frames == 65 and len(comparison.notes) == 2
    assert len(media.load_audio(tmp_path / "c.mp4")) == pytest.approx(2.6 * SAMPLE_RATE, abs=16)


def test_playhead_moves_over_the_waveform(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.mp4"
    compare_videos([clips / "red.mp4"] * 2, out, ComparisonSettings(height=96, show_waveform=True))
    frames = frames_of(out)
    strip = frames[0].shape[0] - 72
    colour = np.array(waveform.PLAYHEAD_COLOUR)

    def playhead(frame: np.ndarray) -> float:
        row = np.abs(frame[strip + 40 : strip + 48].astype(int) - colour).max(-1).mean(0)
        return float(row.argmin())

    positions = np.array([playhead(frame) for frame in frames])
    expected = waveform.MARGIN + np.arange(50) / 50 * (frames[0].shape[1] - 2 * waveform.MARGIN)
    assert np.abs(positions - expected).max() <= 4


def test_an_interrupted_comparison_leaves_nothing_and_overwrites_nothing(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.mp4"
    monkeypatch.chdir(tmp_path)

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if stage == "compare" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videos, settings = [clips / "red.mp4", clips / "blue.mov"], ComparisonSettings(height=64, audio="1")
        compare_videos(videos, out, settings, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"mine")
    with pytest.raises(VastError) as caught:
        compare_videos([clips / "red.mp4"] * 2, out, ComparisonSettings(height=64))
    assert caught.value.code == "vast_output_exists" and out.read_bytes() == b"mine"
    with pytest.raises(VastError):
        compare_videos([out, clips / "red.mp4"], out, ComparisonSettings(height=64), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"labels": ["one"]}, "vast_option_invalid"),
        ({"audio": "2"}, "vast_option_invalid"),
        ({"audio": "0"}, "vast_no_audio"),
        ({"audio": "nothing.wav"}, "vast_input_missing"),
        ({"height": 8000}, "vast_option_invalid"),
        ({"columns": 0}, "vast_option_invalid"),
    ],
)
def test_bad_options_are_refused(clips: Path, tmp_path: Path, change: dict[str, Any], code: str) -> None:
    settings = ComparisonSettings(**({"height": 64} | change))
    with pytest.raises(VastError) as caught:
        compare_videos([clips / "green.mp4", clips / "red.mp4"], tmp_path / "c.mp4", settings)
    assert caught.value.code == code and list(tmp_path.iterdir()) == []


def test_grid_keeps_cells_apart_and_labels_inside() -> None:
    widths = layout.column_widths([1, 16 / 9, 9 / 16, 4, 1], height=200, columns=None)
    assert len(widths) == 3 and max(widths) == round(200 * 16 / 9) and min(widths) == 150
    grid = layout.make_grid(5, widths, height=200, n_lines=2, strip=True)
    corners = [(*grid.cell_corner(k), grid.cell_width(k)) for k in range(5)]
    for k, (left, top, width) in enumerate(corners):
        assert left + width <= grid.width and top + 200 + grid.caption_height <= grid.height - grid.strip_height
        for other_left, other_top, other_width in corners[:k]:
            apart = left >= other_left + other_width or other_left >= left + width
            assert apart or abs(top - other_top) >= 200 + grid.caption_height
    caption = layout.draw_caption(grid, 2, "a very long label " * 9, ["ssim_mouth 0.9"])
    assert caption.shape == (grid.caption_height, 150, 3)
    assert (caption[:, :3] == layout.BACKGROUND).all() and (caption[:, -3:] == layout.BACKGROUND).all()
    lines = layout.score_lines({"ssim_mouth": 0.91234, "lmd": None, "lag": -2.0}, width=4000, size=14)
    assert lines == ["ssim_mouth 0.912  ·  lmd –  ·  lag -2"]
    assert len(layout.score_lines({"ssim_mouth": 0.9, "lmd_mouth": 1.0}, width=150, size=14)) == 2


def test_envelope_does_not_depend_on_the_blocks() -> None:
    audio = np.random.default_rng(0).normal(size=10_001).astype(np.float32)
    whole = waveform.envelope([audio], n_samples=10_001, columns=97)
    blocks = waveform.envelope(np.array_split(audio, 23), n_samples=10_001, columns=97)
    assert (whole == blocks).all() and whole.min() == audio.min() and whole.max() == audio.max()
    assert timestamp(3.2) == "0:03.2" and timestamp(59.96) == "1:00.0" and timestamp(3723) == "1:02:03"


# --- scores and sets ------------------------------------------------------------------------------------------------


def write_evaluation(path: Path, clips: list[dict[str, object]], better: dict[str, str] | None = None) -> Path:
    measures = {name: {"better": direction} for name, direction in (better or {}).items()}
    path.write_text(json.dumps({"schema": "vast.evaluate/1", "measures": measures, "clips": clips}))
    return path


def clip(output: str, **values: float | None) -> dict[str, object]:
    measures = {
        name: {"value": value, "reason": "no_face" if value is None else None} for name, value in values.items()
    }
    return {"output": output, "measures": measures}


def test_scores_are_matched_by_path_then_by_stem(tmp_path: Path) -> None:
    document = write_evaluation(
        tmp_path / "e.json",
        [clip("a/x.mp4", lmd=1.0, odd=5.0), clip("b/x.mp4", lmd=2.0), clip("far/y.mp4", lmd=None, ssim_mouth=0.5)],
    )
    scores = read_scores([document], [Path("b/x.mp4"), Path("y.mov")])
    assert scores == [{"ssim_mouth": None}, {"ssim_mouth": 0.5}]  # the default measures that any video has
    assert read_scores([document], [Path("a/x.mp4"), Path("y.mov")], shown=["lmd"]) == [{"lmd": 1.0}, {"lmd": None}]
    # scores of one folder's clip never stand under another's of the same name
    assert read_scores([document], [Path("b/x.mp4"), Path("truth/x.mp4")], shown=["lmd"]) == [{"lmd": 2.0}, {}]
    assert read_scores([document], [Path("1/y.mp4"), Path("b/x.mp4"), Path("2/y.mp4")], shown=["lmd"])[::2] == [{}, {}]
    for videos, shown in (([Path("x.mp4")], None), ([Path("z.mp4")], None), ([Path("y.mp4")], ["wer"])):
        with pytest.raises(VastError) as caught:
            read_scores([document], videos, shown=shown)
        assert caught.value.code == "vast_option_invalid"


def test_values_that_are_no_number_are_null(tmp_path: Path) -> None:
    document = read_evaluation(
        write_evaluation(tmp_path / "e.json", [clip("x.mp4", a=float("nan"), b=float("inf"), c=True, d=0.0)])
    )
    assert document.clips[0].values == {"a": None, "b": None, "c": None, "d": 0.0}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"clips": 3}', '{"clips": [{"output": "x"}]}', '{"clips": [7]}', "[" * 9000]
)
def test_files_that_are_no_evaluation_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(VastError) as caught:
        read_evaluation(tmp_path / "e.json")
    assert caught.value.code == "vast_record_invalid"


def two_sets(folder: Path, *, n: int = 12, shift: float = 0.5) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    base, noise = random.normal(3, 1, n), random.normal(0, 0.1, (2, n))
    gain = 1 + random.normal(0, 0.02, n)
    a = [clip(f"a/{k}.mp4", lmd=base[k] + noise[0, k], same=base[k], lip_gain=gain[k], lost=None) for k in range(n)] + [
        clip("a/only.mp4", lmd=99.0)
    ]
    worse: list[float | None] = [None, *(base + shift + noise[1])[1:]]
    b = [clip(f"b/{k}.mp4", lmd=worse[k], same=base[k], lip_gain=gain[k] - 0.4, lost=1.0) for k in range(n)]
    return write_evaluation(folder / "a.json", a, {"same": "higher"}), write_evaluation(folder / "b.json", b)


def test_sets_are_compared_clip_by_clip(tmp_path: Path) -> None:
    comparison = compare_sets(*two_sets(tmp_path), measures=["all"])
    measures = {one.name: one for one in comparison.measures}
    assert len(comparison.common) == 12 and comparison.only_a == ["only"] and comparison.only_b == []
    lmd = measures["lmd"]
    assert lmd.n == 11 and lmd.better == "a" and lmd.difference == pytest.approx(-0.5, abs=0.1)  # a null never counts
    assert lmd.ci95 is not None and lmd.ci95[1] < 0 and lmd.p is not None and lmd.p_holm is not None
    assert lmd.p_holm >= lmd.p
    assert lmd.a is not None and lmd.b is not None and lmd.b - lmd.a == pytest.approx(-lmd.difference)
    gain = measures["lip_gain"]  # 1 is best, more is not
    assert gain.better == "a" and gain.difference is not None and gain.difference < 0
    assert measures["same"].difference == 0 and measures["same"].better is None
    assert (measures["lost"].difference, measures["lost"].n, measures["lost"].better) == (None, 0, None)
    json.dumps(comparison.document(), allow_nan=False)


def test_default_measures_are_compared_unless_others_are_named(tmp_path: Path) -> None:
    assert [one.name for one in compare_sets(*two_sets(tmp_path)).measures] == ["lip_gain"]
    with pytest.raises(VastError) as caught:
        compare_sets(*two_sets(tmp_path), measures=["wer"])
    assert caught.value.code == "vast_option_invalid"


def test_distance_to_the_truth_is_taken_from_each_clips_own_truth(tmp_path: Path) -> None:
    def cpbd(value: float, truth: float | None) -> dict[str, object]:
        return {"value": value, "controls": {"truth": truth, "reencoded": 9.0}}

    def document(name: str, off: float, truth: float | None) -> Path:
        clips = [
            {
                "id": str(k),
                "output": f"{k}.mp4",
                "measures": {"cpbd": cpbd(0.3 + 0.01 * k + off, truth and truth + 0.01 * k)},
            }
            for k in range(8)
        ]
        return write_evaluation(tmp_path / f"{name}.json", clips)

    one = compare_sets(document("a", 0.01, 0.3), document("b", 0.1, 0.3), measures=["cpbd"]).measures[0]
    assert one.better == "a" and one.difference == pytest.approx(-0.09)  # sharper is not better
    blind = compare_sets(document("a", 0.01, 0.3), document("c", 0.1, None), measures=["cpbd"]).measures[0]
    assert blind.better == "b" and blind.n == 8  # one truth is missing: both are compared with the re-encoded one


def test_few_clips_and_undecided_differences_name_no_winner(tmp_path: Path) -> None:
    few = compare_sets(*two_sets(tmp_path, n=4), measures=["lmd"]).measures[0]
    assert few.n == 3 and few.ci95 is None and few.better is None and few.reason == "too_few_clips"
    undecided = compare_sets(*two_sets(tmp_path, shift=0.0), measures=["lmd"]).measures[0]
    assert undecided.better is None


def test_swapping_the_sets_swaps_the_winner(tmp_path: Path) -> None:
    a, b = two_sets(tmp_path)
    one, other = (
        {m.name: m for m in compare_sets(*pair, measures=["lmd", "lip_gain"]).measures} for pair in ((a, b), (b, a))
    )
    for name in one:
        assert {one[name].better, other[name].better} == {"a", "b"}
        assert one[name].difference == pytest.approx(-(other[name].difference or 0))


@pytest.fixture
def vast_compare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setitem(app.COMMANDS, "compare", "vast_cli.cli.compare:compare")
    command = app.build(["compare", "doctor"])

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        result = CliRunner().invoke(command, ["compare", *map(str, arguments)])
        return result.exit_code, result.stdout, result.stderr

    return call


def test_command_prints_a_table_or_the_document(
    tmp_path: Path, vast_compare: Callable[..., tuple[int, str, str]]
) -> None:
    a, b = two_sets(tmp_path)
    status, out, _ = vast_compare(a, b, "--show", "all")
    row = next(line for line in out.splitlines() if line.strip().startswith("lmd"))
    assert status == 0 and row.split()[-1] == "a" and row.split()[-2] == "11"
    status, out, _ = vast_compare(a, b, "--json", "--show", "lmd")
    assert status == 0 and list(json.loads(out)["measures"]) == ["lmd"]
    status, out, _ = vast_compare(a, "x.mp4", "--json")
    assert status == 66
    status, out, _ = vast_compare(tmp_path, tmp_path, "--json")
    assert status == 78 and "vast evaluate" in json.loads(out)["error"]["hint"]


def test_command_writes_the_video(
    clips: Path, tmp_path: Path, vast_compare: Callable[..., tuple[int, str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    document = write_evaluation(tmp_path / "e.json", [clip("red.mp4", lmd=1.0), clip("green.mp4", lmd=None)])
    out = tmp_path / "c.mp4"
    videos = (clips / "red.mp4", clips / "green.mp4")
    status, out_text, err_text = vast_compare(
        *videos,
        "--labels",
        "ours é,日本",
        "--metrics-json",
        document,
        "--show",
        "lmd",
        "--height",
        "64",
        "-o",
        out,
        "-q",
    )
    assert (status, out_text.strip(), err_text) == (0, str(out), "")
    assert "".join(capfd.readouterr()) == ""  # moviepy prints nothing of its own
    assert media.probe(out).has_audio
    status, _, _ = vast_compare(*videos, "--labels", "one,two,three", "-o", tmp_path / "d.mp4")
    assert status == 78 and sorted(path.name for path in tmp_path.iterdir()) == ["c.mp4", "e.json"]


def test_measure_scores_evaluates_the_videos(prompt: Path, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    from vast_cli.evaluate.compare import measure_scores

    clip, blurred = tmp_path / "clip.mp4", tmp_path / "blurred.mp4"
    ffmpeg("-i", prompt, "-t", "1.2", "-c:v", "libx264", "-crf", "5", "-c:a", "aac", clip)
    ffmpeg("-i", clip, "-vf", "gblur=sigma=2", "-c:v", "libx264", "-crf", "5", "-c:a", "copy", blurred)
    of_clip, of_blurred = measure_scores([clip, blurred], reference=clip, shown=["ssim_mouth", "sync_conf"])
    assert of_clip["ssim_mouth"] == pytest.approx(1)
    assert of_clip["sync_conf"] is None
    assert of_blurred["ssim_mouth"] is not None and of_blurred["ssim_mouth"] < 0.97
