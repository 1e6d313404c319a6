"""Every rater sees every clip, in balanced order; tables report all faults; all clips are equally loud."""

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vast_cli.core.errors import VastError
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.evaluate.study.design import StudyDesign, TokenGenerator, make_design, williams
from vast_cli.evaluate.study.loudness import PEAK, TARGET_LUFS, equalise_loudness, loudness
from vast_cli.evaluate.study.manifest import read_manifest
from vast_cli.evaluate.study.questions import QUESTIONS, Mode

METHODS = ["truth", "floor", "vast", "mse", "other"]
MODES: list[Mode] = ["rating", "pairwise"]


def design(n_sentences: int, n_methods: int, mode: Mode, *, n_raters: int = 10, seed: int = 0) -> StudyDesign:
    sentences = [f"s{k}" for k in range(n_sentences)]
    tokens = TokenGenerator(Random(seed))
    return make_design(sentences, METHODS[:n_methods], mode=mode, n_raters=n_raters, tokens=tokens, seed=seed)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 10])
def test_the_square_balances_positions_and_neighbours(n: int) -> None:
    rows = williams(n)
    share = len(rows) // n
    assert all(sorted(row) == list(range(n)) for row in rows)
    for column in zip(*rows, strict=True):
        assert set(Counter(column).values()) == {share}
    neighbours = Counter(pair for row in rows for pair in pairwise(row))
    assert len(neighbours) == n * (n - 1) and set(neighbours.values()) == {share}


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 8), st.integers(2, 5), st.sampled_from(MODES), st.integers(0, 1000))
def test_every_rater_sees_every_item_once_and_no_sentence_twice_in_a_row(
    n_sentences: int, n_methods: int, mode: Mode, seed: int
) -> None:
    layout = design(n_sentences, n_methods, mode, seed=seed)
    sentence = {item.token: item.sentence for item in layout.items}
    n_conditions = n_methods if mode == "rating" else n_methods * (n_methods - 1) // 2
    assert sum(item.kind == "main" for item in layout.items) == n_sentences * n_conditions
    for order in layout.orders:
        shown = [showing.item for showing in order]
        assert sorted(shown) == sorted(sentence)
        assert all(sentence[a] != sentence[b] for a, b in pairwise(shown))


def test_over_raters_each_method_is_equally_often_at_every_position() -> None:
    layout = design(4, 4, "rating", n_raters=8)
    method = {clip.token: clip.method for clip in layout.clips}
    main = {item.token: item for item in layout.items if item.kind == "main"}
    positions: Counter[tuple[str, str, int]] = Counter()
    for order in layout.orders:
        seen: Counter[str] = Counter()
        for showing in order:
            if showing.item in main:
                sentence = main[showing.item].sentence
                positions[sentence, method[showing.clips[0]], seen[sentence]] += 1
                seen[sentence] += 1
    assert len(positions) == 4 * 4 * 4 and set(positions.values()) == {2}


@pytest.mark.parametrize("mode", MODES)
def test_a_tenth_are_checks_of_all_three_kinds(mode: Mode) -> None:
    layout = design(10, 5, mode)
    kinds = Counter(item.kind for item in layout.items)
    assert kinds["repeat"] == kinds["other_audio"] == 1
    assert len(layout.items) - kinds["main"] == round(0.1 * kinds["main"])
    assert design(3, 2, "rating").items[-3].kind == "repeat"
    buttons = [clip for clip in layout.clips if clip.kind == "button"]
    assert all(clip.button in (("1", "2") if mode == "rating" else ("A", "B")) for clip in buttons)


@pytest.mark.parametrize("mode", MODES)
def test_the_repetition_comes_far_from_the_first_showing(mode: Mode) -> None:
    layout = design(6, 4, mode)
    repetition = next(item for item in layout.items if item.kind == "repeat")
    for order in layout.orders:
        shown = [showing.item for showing in order]
        assert abs(shown.index(repetition.token) - shown.index(repetition.of or "")) > len(shown) / 4
        if mode == "pairwise":
            sides = {showing.item: showing.clips for showing in order}
            assert sides[repetition.token] == sides[repetition.of or ""][::-1]


def test_sides_are_random_but_a_video_that_asks_for_a_button_keeps_its_side() -> None:
    layout = design(6, 4, "pairwise", n_raters=40)
    swapped: Counter[str] = Counter()
    items = {item.token: item for item in layout.items}
    for order in layout.orders:
        for showing in order:
            swapped[showing.item] += showing.clips != items[showing.item].clips
    for token, item in items.items():
        assert swapped[token] == 0 if item.kind == "button" else 8 <= swapped[token] <= 32


def test_the_seed_decides_the_orders() -> None:
    def orders(seed: int) -> list[list[str]]:
        layout = make_design(
            ["a", "b", "c"], METHODS[:3], mode="rating", n_raters=5, tokens=TokenGenerator(Random(1)), seed=seed
        )
        return [[showing.item for showing in order] for order in layout.orders]

    assert orders(3) == orders(3) != orders(4)


def test_the_questions_are_the_papers() -> None:
    assert [question.title for question in QUESTIONS] == [
        "Speech-Lip Sync", "Expressiveness & Richness", "Overall Naturalness",
    ]  # fmt: skip
    paper = Path(__file__).resolve().parents[3] / "shared" / "paper" / "VAST.md"
    if not paper.exists():
        pytest.skip("the paper is not here")
    text = re.sub(r"\s+", " ", paper.read_text(encoding="utf-8"))
    for number, question in enumerate(QUESTIONS, start=1):
        assert f"**{number}. {question.title}.** {question.text} {question.best} {question.worst}" in text


def table(folder: Path, *rows: str, header: str = "sentence,method,video") -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_all_faults_of_a_table_are_reported_at_once_with_their_rows(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = table(tmp_path, "s1,truth,a.mp4", "s1,vast,none.mp4", "s1,truth,a.mp4", ",vast,a.mp4", "", "s2,truth,")
    with pytest.raises(VastError) as caught:
        read_manifest(path)
    assert caught.value.code == "vast_manifest_invalid"
    message = caught.value.message
    for fault in (
        "row 3: no file",
        "row 4: `truth` on `s1` again, as in row 2",
        "row 5: no sentence",
        "row 7: no video",
    ):
        assert fault in message
    assert "1 sentences, at least 3" in message
    assert message.index("row 3") < message.index("row 4") < message.index("row 5") < message.index("row 7")


def test_a_missing_combination_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    rows = [f"s{k},{method},a.mp4" for k in range(3) for method in ("truth", "vast") if (k, method) != (1, "vast")]
    with pytest.raises(VastError, match="sentence `s1`: no video of `vast`"):
        read_manifest(table(tmp_path, *rows))


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b'sentence,method,video\n"open,x,y\n'])
def test_files_that_are_no_table_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(VastError) as caught:
        read_manifest(path)
    assert caught.value.code == "vast_manifest_invalid"


def voice(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and pauses like speech."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE)
    swell = np.clip(np.sin(np.arange(n) / SAMPLE_RATE * 9), 0, 1)
    return (level * swell * np.convolve(rng.normal(size=n), np.ones(8) / 8, "same")).astype(np.float32)


def test_loudness_is_what_ffmpeg_measures(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    from vast_cli.media import find_ffmpeg

    samples = voice(6, 0.3)
    raw = tmp_path / "voice.f32"
    raw.write_bytes(samples.tobytes())
    command = [find_ffmpeg(), "-hide_banner", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", str(raw)]
    result = subprocess.run([*command, "-af", "ebur128", "-f", "null", "-"], capture_output=True, text=True, timeout=60)
    reference = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", result.stderr)[-1])
    assert loudness(samples) == pytest.approx(reference, abs=0.15)


def test_quiet_and_loud_clips_become_equally_loud() -> None:
    clips, target = equalise_loudness([voice(3, 0.02), voice(3, 0.4, seed=1), np.zeros(SAMPLE_RATE, np.float32)])
    assert target == TARGET_LUFS
    assert [loudness(clip) for clip in clips[:2]] == pytest.approx([target, target], abs=0.01)
    assert not clips[2].any() and loudness(clips[2]) is None


def test_a_sharp_peak_lowers_all_clips_alike() -> None:
    click = voice(3, 0.02)
    click[1000] = 0.9
    clips, target = equalise_loudness([click, voice(3, 0.02, seed=1)])
    assert target < TARGET_LUFS
    assert np.abs(clips[0]).max() == pytest.approx(PEAK, rel=1e-3)
    assert loudness(clips[1]) == pytest.approx(target, abs=0.01)
