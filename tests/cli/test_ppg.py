"""`vast ppg` on the sounds people have: what it writes, what it draws, what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vast_cli import records
from vast_cli.records import Posteriorgram
from vast_cli.speech.plot import CELL, LEFT, PX, ROWS, TOP, WAVE

Vast = Callable[..., "subprocess.CompletedProcess[str]"]
Ffmpeg = Callable[..., None]


def heard(path: Path) -> np.ndarray:
    return records.load(Posteriorgram, path).values


def test_the_picture_names_and_shows_what_is_heard(vast: Vast, speech: Path, tmp_path: Path) -> None:
    target, picture = tmp_path / "a.ppg", tmp_path / "a.png"
    done = vast("ppg", speech, "-o", target, "--plot", picture, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    values = heard(target)
    assert report["plot"] == str(picture) and report["n_frames"] == len(values) and 0.5 < report["speech_share"] <= 1
    image = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    cells = image[TOP + WAVE :, LEFT:][CELL // 2 : CELL * len(ROWS) : CELL, PX // 2 : PX * len(values) : PX]
    dark = cells.shape == (len(ROWS), len(values)) and np.array(ROWS)[cells.argmin(axis=0)]
    assert (dark == values.argmax(axis=1)).mean() > 0.9  # lines of the grid cover some


def test_a_picture_is_a_png_and_is_not_overwritten(vast: Vast, speech: Path, tmp_path: Path) -> None:
    done = vast("ppg", speech, "--plot", tmp_path / "a.jpg")
    assert done.returncode == 78 and "[vast_option_invalid]" in done.stderr
    picture = tmp_path / "a.png"
    picture.write_bytes(b"mine")
    done = vast("ppg", speech, "--plot", picture)
    assert done.returncode == 73 and "[vast_output_exists]" in done.stderr
    assert picture.read_bytes() == b"mine" and not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    "sound",
    [
        "anullsrc=r=16000:cl=mono:d=3",
        "anoisesrc=r=16000:c=pink:a=0.05:d=3",
        "sine=f=440:d=3",
        "aevalsrc='0.2*(sin(2*PI*262*t)+sin(2*PI*330*t)+sin(2*PI*392*t))*exp(-3*mod(t,0.5))':d=3",
    ],
    ids=["silence", "noise", "tone", "chords"],
)
def test_sound_without_speech_is_reported(vast: Vast, tmp_path: Path, ffmpeg: Ffmpeg, sound: str) -> None:
    audio, target = tmp_path / "a.wav", tmp_path / "a.ppg"
    ffmpeg("-f", "lavfi", "-i", sound, audio)
    done = vast("ppg", audio, "-o", target, "--plot", tmp_path / "a.png")
    assert done.returncode == 65 and "[vast_no_speech]" in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.wav"]
    assert vast("ppg", audio, "-o", target, "--allow-silence").returncode == 0
    assert heard(target).shape == (150, 40)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (("-ar", "8000"), 0.6),  # fricatives have no sound below 4 kHz
        (("-ar", "48000", "-ac", "2"), 0.97),
        (("-af", "volume=0.03"), 0.85),
        (("-af", "volume=20dB,alimiter=limit=1:level=0"), 0.7),
        (("-c:a", "pcm_u8",), 0.75),
    ],
    ids=["8kHz", "48kHz stereo", "quiet", "clipped", "8 bit"],
)  # fmt: skip
def test_the_same_is_heard_from_other_files(
    vast: Vast, speech: Path, tmp_path: Path, ffmpeg: Ffmpeg, options: tuple[str, ...], same: float
) -> None:
    audio = tmp_path / "other.wav"
    ffmpeg("-i", speech, *options, audio)
    for name, path in (("whole", speech), ("other", audio)):
        done = vast("ppg", path, "-o", tmp_path / f"{name}.ppg")
        assert done.returncode == 0, done.stderr
    whole, other = (heard(tmp_path / f"{name}.ppg").argmax(axis=1) for name in ("whole", "other"))
    n = min(len(whole), len(other))
    assert abs(len(whole) - len(other)) <= 1 and (whole[:n] == other[:n]).mean() > same


def test_fifty_milliseconds_are_too_short_to_hold_speech_but_not_to_be_read(
    vast: Vast, speech: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    audio, target = tmp_path / "short.wav", tmp_path / "short.ppg"
    ffmpeg("-ss", "0.7", "-i", speech, "-t", "0.05", audio)
    done = vast("ppg", audio, "-o", target)
    assert done.returncode == 65 and "[vast_no_speech]" in done.stderr
    assert vast("ppg", audio, "-o", target, "--allow-silence").returncode == 0
    assert heard(target).shape == (3, 40)
    ffmpeg("-ss", "0.7", "-i", speech, "-t", "0.03", audio)
    done = vast("ppg", audio, "-o", tmp_path / "none.ppg", "--allow-silence")
    assert done.returncode == 65 and "[vast_audio_too_short]" in done.stderr
