"""Bad input, one test each: the right exit status, one clear message with a hint, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

Vast = Callable[..., "subprocess.CompletedProcess[str]"]
Ffmpeg = Callable[..., None]


def refused(done: "subprocess.CompletedProcess[str]", status: int, code: str, *, output: Path) -> None:
    """The failure has the status and code expected, says what to do, shows no traceback and leaves nothing."""
    assert done.returncode == status, done.stderr
    assert f"[{code}]" in done.stderr and "hint: " in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    folder = output.parent
    assert not output.exists()
    assert not folder.is_dir() or not [path for path in folder.iterdir() if ".part" in path.name]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "video.mp4"


@pytest.fixture(scope="session")
def faceless(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    path = tmp_path_factory.mktemp("faceless") / "bars.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=256x256:rate=25:duration=2", "-pix_fmt", "yuv420p", path)
    return path


def test_missing_audio(vast: Vast, output: Path, prompt: Path) -> None:
    done = vast("render", "--audio", "no.wav", "--prompt", prompt, "-o", output)
    refused(done, 66, "vast_input_missing", output=output)


def test_missing_prompt(vast: Vast, output: Path, speech: Path) -> None:
    done = vast("render", "--audio", speech, "--prompt", "no.mp4", "-o", output)
    refused(done, 66, "vast_input_missing", output=output)


def test_a_text_file_as_video(vast: Vast, output: Path, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    done = vast("render", "--audio", speech, "--prompt", text, "-o", output)
    refused(done, 65, "vast_bad_media", output=output)


def test_a_text_file_as_sound(vast: Vast, output: Path, prompt: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not a sound\n" * 100)
    done = vast("render", "--audio", text, "--prompt", prompt, "-o", output)
    refused(done, 65, "vast_bad_media", output=output)


def test_a_video_without_a_face(vast: Vast, output: Path, speech: Path, faceless: Path) -> None:
    done = vast("render", "--audio", speech, "--prompt", faceless, "-o", output)
    refused(done, 65, "vast_no_face", output=output)


def test_a_video_without_sound_as_audio(vast: Vast, output: Path, prompt: Path, faceless: Path) -> None:
    done = vast("render", "--audio", faceless, "--prompt", prompt, "-o", output)
    refused(done, 65, "vast_no_audio", output=output)


def test_silent_audio(vast: Vast, output: Path, prompt: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    silent = tmp_path / "silent.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "2", silent)
    done = vast("render", "--audio", silent, "--prompt", prompt, "-o", output)
    refused(done, 65, "vast_no_speech", output=output)


def test_silent_audio_on_demand(vast: Vast, output: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    silent = tmp_path / "silent.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "1", silent)
    done = vast("render", "--audio", silent, "--allow-silence", "-o", output)
    assert done.returncode == 0 and output.is_file(), done.stderr


def test_empty_audio(vast: Vast, output: Path, prompt: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    empty = tmp_path / "empty.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "0", empty)
    done = vast("render", "--audio", empty, "--prompt", prompt, "-o", output)
    refused(done, 65, "vast_audio_too_short", output=output)


@pytest.mark.parametrize("name", ["acoustic.safetensors", "style.safetensors", "face_mesh_heads.tflite"])
def test_corrupt_weights(vast: Vast, output: Path, speech: Path, prompt: Path, tmp_path: Path, name: str) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "weights", weights)
    content = bytearray((weights / name).read_bytes())
    content[len(content) // 2] ^= 1
    (weights / name).write_bytes(content)
    done = vast("render", "--audio", speech, "--prompt", prompt, "-o", output, VAST_WEIGHTS=str(weights))
    refused(done, 69, "vast_asset_corrupt", output=output)
    assert name in done.stderr


def test_corrupt_weights_are_not_taken_for_a_prompt_without_sound(vast: Vast, prompt: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "weights", weights)
    (weights / "acoustic.safetensors").write_bytes(b"damaged")
    output = tmp_path / "out.style"
    done = vast("encode-style", prompt, "-o", output, VAST_WEIGHTS=str(weights))
    refused(done, 69, "vast_asset_corrupt", output=output)


def test_corrupt_avatar(vast: Vast, output: Path, speech: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "weights", weights)
    path = weights / "avatars" / "obama" / "avatar.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = vast("render", "--audio", speech, "-o", output, VAST_WEIGHTS=str(weights))
    refused(done, 69, "vast_asset_corrupt", output=output)


def test_missing_asset(vast: Vast, output: Path, speech: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "weights", weights)
    (weights / "acoustic.safetensors").unlink()
    done = vast("render", "--audio", speech, "-o", output, VAST_WEIGHTS=str(weights))
    refused(done, 69, "vast_asset_missing", output=output)


def test_unknown_avatar_names_the_known_ones(vast: Vast, output: Path, speech: Path) -> None:
    done = vast("render", "--audio", speech, "--avatar", "obana", "-o", output)
    refused(done, 69, "vast_avatar_unknown", output=output)
    assert "obama" in done.stderr


def test_output_exists(vast: Vast, output: Path, speech: Path) -> None:
    output.parent.mkdir()
    output.write_bytes(b"precious")
    done = vast("render", "--audio", speech, "-o", output)
    assert done.returncode == 73 and "[vast_output_exists]" in done.stderr
    assert output.read_bytes() == b"precious"


def test_unwritable_folder(vast: Vast, speech: Path) -> None:
    output = Path("/proc/vast/video.mp4")  # even root cannot write there
    if not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    refused(vast("render", "--audio", speech, "-o", output), 73, "vast_output_unwritable", output=output)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_full(vast: Vast, speech: Path, small_disk: Path) -> None:
    output = small_disk / "video.mp4"
    refused(vast("render", "--audio", speech, "-o", output), 74, "vast_disk_full", output=output)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_in_the_middle(output: Path, speech: Path, number: signal.Signals, status: int) -> None:
    output.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "vast_cli", "render", "--audio", speech, "-o", output, "--progress", "lines"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:  # until the first frames are written
        said.append(line)
        if line.startswith("render"):
            break
    assert any(path.name.endswith(".mp4") for path in output.parent.iterdir()), said
    asked = time.monotonic()
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == status, rest
    assert time.monotonic() - asked < 10
    assert "Traceback" not in rest
    assert list(output.parent.iterdir()) == []
