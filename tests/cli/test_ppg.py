"""`vast ppg`: the posteriorgram it writes, the plot, and the audio it rejects."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Ffmpeg, Vast
from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.pipeline.extract import extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram
from vast_cli.speech.plot import CELL, LEFT, PX, ROWS, TOP, WAVE


def load_probabilities(path: Path) -> Float32:
    return records.load(Posteriorgram, path).values


def test_the_plot_is_darkest_at_the_most_likely_phones(call_vast: Vast, speech: Path, tmp_path: Path) -> None:
    target, plot = tmp_path / "a.ppg", tmp_path / "a.png"
    result = call_vast("ppg", speech, "-o", target, "--plot", plot, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    values = load_probabilities(target)
    assert report["plot"] == str(plot) and report["n_frames"] == len(values) and 0.5 < report["speech_share"] <= 1
    image = cv2.imread(str(plot), cv2.IMREAD_GRAYSCALE)
    cells = image[TOP + WAVE :, LEFT:][CELL // 2 : CELL * len(ROWS) : CELL, PX // 2 : PX * len(values) : PX]
    assert cells.shape == (len(ROWS), len(values))
    darkest = np.array(ROWS)[cells.argmin(axis=0)]
    assert (darkest == values.argmax(axis=1)).mean() > 0.9  # lines of the grid cover some


def test_a_plot_is_a_png_and_does_not_replace_a_file(call_vast: Vast, speech: Path, tmp_path: Path, work: Path) -> None:
    result = call_vast("ppg", speech, "--plot", tmp_path / "a.jpg")
    assert result.returncode == 78 and "[vast_option_invalid]" in result.stderr
    plot = tmp_path / "a.png"
    plot.write_bytes(b"mine")
    result = call_vast("ppg", speech, "--plot", plot)
    assert result.returncode == 73 and "[vast_output_exists]" in result.stderr
    assert plot.read_bytes() == b"mine" and not list(work.iterdir())


@pytest.mark.parametrize(
    "source",
    [
        "anullsrc=r=16000:cl=mono:d=3",
        "anoisesrc=r=16000:c=pink:a=0.05:d=3",
        "sine=f=440:d=3",
        "aevalsrc='0.2*(sin(2*PI*262*t)+sin(2*PI*330*t)+sin(2*PI*392*t))*exp(-3*mod(t,0.5))':d=3",
    ],
    ids=["silence", "noise", "tone", "chords"],
)
def test_audio_without_speech_is_rejected_unless_silence_is_allowed(
    call_vast: Vast, tmp_path: Path, ffmpeg: Ffmpeg, source: str
) -> None:
    audio, target = tmp_path / "a.wav", tmp_path / "a.ppg"
    ffmpeg("-f", "lavfi", "-i", source, audio)
    result = call_vast("ppg", audio, "-o", target, "--plot", tmp_path / "a.png")
    assert result.returncode == 65 and "[vast_no_speech]" in result.stderr, result.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.wav"]
    assert call_vast("ppg", audio, "-o", target, "--allow-silence").returncode == 0
    assert load_probabilities(target).shape == (150, 40)


@pytest.fixture(scope="module")
def phones(speech: Path) -> NDArray[np.int64]:
    """The most likely phone of each frame of the example."""
    phones: NDArray[np.int64] = extract_speech(speech, Models()).values.argmax(axis=1)
    return phones


@pytest.mark.parametrize(
    ("options", "min_agreement"),
    [
        (("-ar", "8000"), 0.6),  # fricatives have little energy below 4 kHz
        (("-ar", "48000", "-ac", "2"), 0.97),
        (("-af", "volume=0.03"), 0.85),
        (("-af", "volume=20dB,alimiter=limit=1:level=0"), 0.7),
        (("-c:a", "pcm_u8",), 0.75),
    ],
    ids=["8kHz", "48kHz stereo", "quiet", "clipped", "8 bit"],
)  # fmt: skip
def test_other_formats_and_levels_give_the_same_phones(
    call_vast: Vast,
    speech: Path,
    phones: NDArray[np.int64],
    tmp_path: Path,
    ffmpeg: Ffmpeg,
    options: tuple[str, ...],
    min_agreement: float,
) -> None:
    audio, target = tmp_path / "other.wav", tmp_path / "other.ppg"
    ffmpeg("-i", speech, *options, audio)
    result = call_vast("ppg", audio, "-o", target)
    assert result.returncode == 0, result.stderr
    other_phones = load_probabilities(target).argmax(axis=1)
    n = min(len(phones), len(other_phones))
    assert abs(len(phones) - len(other_phones)) <= 1
    assert (phones[:n] == other_phones[:n]).mean() > min_agreement


def test_50_ms_hold_no_speech_and_30_ms_are_too_short(
    call_vast: Vast, speech: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    audio, target = tmp_path / "short.wav", tmp_path / "short.ppg"
    ffmpeg("-ss", "0.7", "-i", speech, "-t", "0.05", audio)
    result = call_vast("ppg", audio, "-o", target)
    assert result.returncode == 65 and "[vast_no_speech]" in result.stderr
    assert call_vast("ppg", audio, "-o", target, "--allow-silence").returncode == 0
    assert load_probabilities(target).shape == (3, 40)
    ffmpeg("-ss", "0.7", "-i", speech, "-t", "0.03", audio)
    result = call_vast("ppg", audio, "-o", tmp_path / "none.ppg", "--allow-silence")
    assert result.returncode == 65 and "[vast_audio_too_short]" in result.stderr
