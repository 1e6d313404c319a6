"""Bad input ends with its exit status, code and hint, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Ffmpeg, Vast
from vast_cli import media

MESH = ("--detail", "mesh", "--encoder-preset", "ultrafast")


def assert_fails(result: "subprocess.CompletedProcess[str]", status: int, code: str, *, output: Path) -> None:
    """The command failed with this status and code, gave a hint, showed no traceback and left nothing."""
    assert result.returncode == status, result.stderr
    assert f"[{code}]" in result.stderr and "hint: " in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""
    folder = output.parent
    assert not output.exists()
    assert not folder.is_dir() or not [path for path in folder.iterdir() if ".part" in path.name]


def count_frames(video: Path) -> int:
    with media.VideoReader(video) as reader:
        return sum(1 for _ in reader)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "video.mp4"


@pytest.fixture(scope="session")
def faceless(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    path = tmp_path_factory.mktemp("faceless") / "bars.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=256x256:rate=25:duration=2", "-pix_fmt", "yuv420p", path)
    return path


def test_missing_audio(call_vast: Vast, output: Path, prompt: Path) -> None:
    result = call_vast("render", "--audio", "no.wav", "--prompt", prompt, "-o", output)
    assert_fails(result, 66, "vast_input_missing", output=output)


def test_missing_prompt(call_vast: Vast, output: Path, speech: Path) -> None:
    result = call_vast("render", "--audio", speech, "--prompt", "no.mp4", "-o", output)
    assert_fails(result, 66, "vast_input_missing", output=output)


def test_a_text_file_as_video(call_vast: Vast, output: Path, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    result = call_vast("render", "--audio", speech, "--prompt", text, "-o", output)
    assert_fails(result, 65, "vast_bad_media", output=output)


def test_a_text_file_as_audio(call_vast: Vast, output: Path, prompt: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio\n" * 100)
    result = call_vast("render", "--audio", text, "--prompt", prompt, "-o", output)
    assert_fails(result, 65, "vast_bad_media", output=output)


def test_a_video_without_a_face(call_vast: Vast, output: Path, speech: Path, faceless: Path) -> None:
    result = call_vast("render", "--audio", speech, "--prompt", faceless, "-o", output)
    assert_fails(result, 65, "vast_no_face", output=output)


def test_a_video_without_audio_as_audio(call_vast: Vast, output: Path, prompt: Path, faceless: Path) -> None:
    result = call_vast("render", "--audio", faceless, "--prompt", prompt, "-o", output)
    assert_fails(result, 65, "vast_no_audio", output=output)


def test_silent_audio(call_vast: Vast, output: Path, prompt: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    silent = tmp_path / "silent.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "2", silent)
    result = call_vast("render", "--audio", silent, "--prompt", prompt, "-o", output)
    assert_fails(result, 65, "vast_no_speech", output=output)


def test_silent_audio_with_allow_silence(call_vast: Vast, output: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    silent = tmp_path / "silent.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "1", silent)
    result = call_vast("render", "--audio", silent, "--allow-silence", *MESH, "-o", output)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{output}\n"
    assert count_frames(output) == 25


def test_empty_audio(call_vast: Vast, output: Path, prompt: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    empty = tmp_path / "empty.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "0", empty)
    result = call_vast("render", "--audio", empty, "--prompt", prompt, "-o", output)
    assert_fails(result, 65, "vast_audio_too_short", output=output)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of weights whose files may be replaced: links to those that ship."""
    return Path(shutil.copytree(ROOT / "weights", tmp_path / "weights", copy_function=os.symlink))


def replace(path: Path, content: bytes) -> None:
    """Replace a link by a file."""
    path.unlink()
    path.write_bytes(content)


def flip_bit(path: Path) -> None:
    """Replace a link by a file that differs in one bit."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


@pytest.mark.parametrize("name", ["acoustic.safetensors", "style.safetensors", "face_mesh_heads.tflite"])
def test_corrupt_weights(call_vast: Vast, output: Path, speech: Path, prompt: Path, weights: Path, name: str) -> None:
    flip_bit(weights / name)
    result = call_vast("render", "--audio", speech, "--prompt", prompt, "-o", output, VAST_WEIGHTS=str(weights))
    assert_fails(result, 69, "vast_asset_corrupt", output=output)
    assert name in result.stderr


def test_corrupt_weights_do_not_count_as_a_prompt_without_audio(
    call_vast: Vast, prompt: Path, weights: Path, tmp_path: Path
) -> None:
    replace(weights / "acoustic.safetensors", b"damaged")
    output = tmp_path / "out.style"
    result = call_vast("encode-style", prompt, "-o", output, VAST_WEIGHTS=str(weights))
    assert_fails(result, 69, "vast_asset_corrupt", output=output)


def test_corrupt_avatar(call_vast: Vast, output: Path, speech: Path, weights: Path) -> None:
    flip_bit(weights / "avatars" / "obama" / "avatar.safetensors")
    result = call_vast("render", "--audio", speech, "-o", output, VAST_WEIGHTS=str(weights))
    assert_fails(result, 69, "vast_asset_corrupt", output=output)


def test_missing_asset(call_vast: Vast, output: Path, speech: Path, weights: Path) -> None:
    (weights / "acoustic.safetensors").unlink()
    result = call_vast("render", "--audio", speech, "-o", output, VAST_WEIGHTS=str(weights))
    assert_fails(result, 69, "vast_asset_missing", output=output)


def test_unknown_avatar_names_the_known_ones(call_vast: Vast, output: Path, speech: Path) -> None:
    result = call_vast("render", "--audio", speech, "--avatar", "obana", "-o", output)
    assert_fails(result, 69, "vast_avatar_unknown", output=output)
    assert "obama" in result.stderr


def test_output_exists(call_vast: Vast, output: Path, speech: Path) -> None:
    output.parent.mkdir()
    output.write_bytes(b"old video")
    result = call_vast("render", "--audio", speech, "-o", output)
    assert result.returncode == 73 and "[vast_output_exists]" in result.stderr
    assert output.read_bytes() == b"old video"


def test_unwritable_folder(call_vast: Vast, speech: Path) -> None:
    output = Path("/proc/vast/video.mp4")  # even root cannot write there
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    assert_fails(call_vast("render", "--audio", speech, "-o", output), 73, "vast_output_unwritable", output=output)


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


def test_disk_full(call_vast: Vast, speech: Path, small_disk: Path) -> None:
    output = small_disk / "video.mp4"
    assert_fails(
        call_vast("render", "--audio", speech, "--detail", "mesh", "-o", output), 74, "vast_disk_full", output=output
    )
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_render_leaves_nothing(output: Path, speech: Path, number: signal.Signals, status: int) -> None:
    output.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "vast_cli", "render", "--audio", speech, "-o", output, "--progress", "lines"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log = []
    for line in process.stderr:  # until the first frames are written
        log.append(line)
        if line.startswith("render"):
            break
    assert any(path.name.endswith(".mp4") for path in output.parent.iterdir()), log
    signalled = time.monotonic()
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == status, rest
    assert time.monotonic() - signalled < 10
    assert "Traceback" not in rest
    assert list(output.parent.iterdir()) == []
