"""Written videos hold every frame, the right colours, audio unchanged and in sync, or there is no file at all."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.media import (
    VideoFormat,
    VideoReader,
    VideoWriter,
    contact_sheet,
    load_audio,
    probe,
    read_audio,
    write_png,
)
from vast_cli.media.ffmpeg import failure, find_ffmpeg

GREY = np.full((48, 64, 3), 120, np.uint8)


def numbered_frame(number: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    bits = number >> (np.arange(width) * 8 // width) & 1
    return np.ascontiguousarray(
        np.broadcast_to(np.where(bits, 200, 40).astype(np.uint8)[None, :, None], (height, width, 3))
    )


def render(
    path: Path, audio: Path | None = None, *, n_frames: int | None = None, crf: int = 18, metadata=None
) -> VideoWriter:
    n_samples = len(load_audio(audio)) if audio else None
    count = n_frames if n_frames is not None else timebase.video_frames(n_samples or 0)
    video_format = VideoFormat(64, 48, crf=crf, preset="ultrafast")
    with VideoWriter(path, video_format, audio=audio, n_frames=count, n_samples=n_samples, metadata=metadata) as writer:
        for k in range(count):
            writer.write(numbered_frame(k % 256))
    return writer


def packets_of(path: Path) -> str:
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size:
                digest.update(bytes(packet))
    return digest.hexdigest()


def ends(path: Path) -> tuple[float, float]:
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        starts = [float((s.start_time or 0) * s.time_base) for s in (video, audio)]
        assert starts == [0, 0]
        return float(video.duration * video.time_base), float(audio.duration * audio.time_base)


def test_every_frame_is_written_in_order(tmp_path: Path, number_of):
    out = tmp_path / "out.mp4"
    render(out, n_frames=130, crf=10)
    assert [number_of(frame) for frame in VideoReader(out)] == list(range(130))
    assert probe(out).duration_s == pytest.approx(130 / 25)
    assert list(tmp_path.iterdir()) == [out]


COLORS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (224, 172, 140), (60, 90, 30)],
    np.uint8,
)
CHART = np.repeat(np.repeat(COLORS[None], 64, 0), 16, 1)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_colours_are_bt709_and_tagged_so(tmp_path: Path, ff, codec):
    out = tmp_path / "chart.mp4"
    with VideoWriter(out, VideoFormat(128, 64, crf=1, preset="fast", codec=codec)) as writer:
        for _ in range(3):
            writer.write(CHART)
    info = probe(out)
    assert (info.color_primaries, info.color_transfer, info.color_matrix, info.color_range) == (1, 1, 1, 1)
    assert info.pixel_format == "yuv420p"
    assert np.abs(next(iter(VideoReader(out)))[32, 8::16].astype(int) - COLORS).max() <= 3
    # the bytes themselves, by the definition of bt709: Y of pure green is 16 + 219 * 0.7152
    with av.open(str(out)) as container:
        luma = next(container.decode(video=0)).to_ndarray(format="yuv420p")[:64]
    want = 16 + 219 * (COLORS / 255.0) @ [0.2126, 0.7152, 0.0722]
    assert np.abs(luma[32, 8::16] - want).max() <= 2
    # and by another reader
    raw = tmp_path / "chart.rgb"
    ff(
        "-i",
        out,
        "-vf",
        "scale=in_color_matrix=bt709:in_range=tv:out_range=pc",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        raw,
    )
    decoded = np.frombuffer(raw.read_bytes(), np.uint8).reshape(-1, 64, 128, 3)[0, 32, 8::16]
    assert np.abs(decoded.astype(int) - COLORS).max() <= 4


@pytest.mark.parametrize(("width", "height"), [(63, 47), (64, 47), (63, 48), (1, 1)])
def test_odd_sizes_keep_every_pixel(tmp_path: Path, width, height):
    out = tmp_path / "odd.mp4"
    frame = np.full((height, width, 3), 200, np.uint8)
    with VideoWriter(out, VideoFormat(width, height, crf=5)) as writer:
        for _ in range(3):
            writer.write(frame)
    got = next(iter(VideoReader(out)))
    assert got.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(got.astype(int) - 200).max() <= 2, "the added row and column are copies"


COPIED = [
    ("m4a", ("-c:a", "aac")),
    ("mp3", ("-c:a", "libmp3lame")),
    ("alac.m4a", ("-c:a", "alac")),
    ("ac3", ("-c:a", "ac3")),
]
ENCODED = [
    ("wav", ()),
    ("flac", ()),
    ("opus", ("-c:a", "libopus")),
    ("s24.wav", ("-c:a", "pcm_s24le")),
    ("f32.wav", ("-c:a", "pcm_f32le")),
]


@pytest.mark.parametrize(("name", "options"), COPIED)
def test_audio_is_copied_bit_for_bit(tmp_path: Path, tone, name, options):
    source = tone(f"source.{name}", *options, n=70_013, channels=2)
    writer = render(tmp_path / "out.mp4", source)
    assert writer.soundtrack is not None and writer.soundtrack.copied
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)
    assert np.array_equal(load_audio(tmp_path / "out.mp4"), load_audio(source))


@pytest.mark.parametrize(("name", "options"), ENCODED)
def test_other_audio_becomes_aac_in_sync(tmp_path: Path, tone, name, options):
    source = tone(f"other.{name}", *options, n=70_013, channels=2)
    out = tmp_path / "out.mp4"
    writer = render(out, source)
    assert writer.soundtrack is not None and not writer.soundtrack.copied
    info = probe(out)
    assert (info.audio_codec, info.sample_rate, info.channels) == ("aac", 48_000, 2)
    before, after = load_audio(source), load_audio(out)
    assert len(before) == len(after)
    assert np.corrcoef(before[500:-500], after[500:-500])[0, 1] > 0.999


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_the_sample_rate_of_the_source_is_kept(tmp_path: Path, tone, rate):
    out = tmp_path / "out.mp4"
    render(out, tone(f"rate-{rate}.wav", n=round(0.777 * rate), rate=rate))
    assert probe(out).sample_rate == rate
    video, audio = ends(out)
    assert abs(video - audio) <= 0.0201


def test_high_rates_and_many_channels_become_48_khz_stereo(tmp_path: Path, tone):
    out = tmp_path / "out.mp4"
    render(out, tone("surround.wav", "-c:a", "pcm_s16le", n=192_000, rate=192_000, channels=6))
    info = probe(out)
    assert (info.sample_rate, info.channels) == (48_000, 2)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    duration=st.floats(0.2, 20),
    rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    kind=st.sampled_from(["wav", "m4a", "mp3"]),
)
def test_video_and_audio_end_together(tmp_path_factory, ff, duration, rate, kind):
    folder = tmp_path_factory.mktemp("ends")
    n = round(duration * rate)
    wavfile.write(folder / "a.wav", rate, (np.arange(n) % 100 * 50).astype(np.int16))
    source = folder / f"a.{kind}"
    if kind != "wav":
        ff("-i", folder / "a.wav", source)
    out = folder / "o.mp4"
    writer = render(out, source)
    video, audio = ends(out)
    assert abs(video - audio) <= 0.0205
    assert audio == pytest.approx(n / rate, abs=0.005), "the audio is not cut"
    assert len(list(VideoReader(out))) == writer.frames_written == timebase.video_frames(read_length(source))


def read_length(path: Path) -> int:
    reader = read_audio(path)
    return sum(len(block) for block in reader)


def test_late_audio_of_a_video_starts_with_the_first_frame(tmp_path: Path, numbered, tone, ff, clips):
    source = clips / "late-audio.mp4"
    audio = tone("late48.wav", n=57_600)
    ff("-i", numbered("plain50.mp4", n=50), "-itsoffset", 0.4, "-i", audio, "-c:v", "copy", "-c:a", "aac", source)
    out = tmp_path / "out.mp4"
    writer = render(out, source)
    assert writer.soundtrack is not None and writer.soundtrack.copied
    before, after = load_audio(source), load_audio(out)
    assert len(before) == len(after)
    assert np.abs(before - after).max() < 1e-6


def test_metadata_passes_through(tmp_path: Path):
    tags = {
        "comment": "made by 'vast' = synthetic; \"x\" %d \\ ü",
        "synthetic": "true",
        "vast_seed": "7",
        "title": "-y",
    }
    render(tmp_path / "out.mp4", n_frames=5, metadata=tags)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert {key: container.metadata.get(key) for key in tags} == tags


def test_the_index_comes_first(tmp_path: Path):
    render(tmp_path / "out.mp4", n_frames=50)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, tone, codec):
    source = tone("bytes.wav", n=70_013)
    noise = np.random.default_rng(1).integers(0, 255, (4, 48, 64, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(
            tmp_path / name, VideoFormat(64, 48, codec=codec), audio=source, metadata={"k": "v"}
        ) as writer:
            for k in range(timebase.video_frames(len(load_audio(source)))):
                writer.write(noise[k % 4])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), OSError(28, "not the disk of the output"), KeyboardInterrupt()]
)
def test_an_exception_leaves_no_file_and_is_not_replaced(tmp_path: Path, tone, error):
    source = tone("bytes.wav", n=70_013)
    with (
        pytest.raises(type(error)) as caught,
        VideoWriter(tmp_path / "o.mp4", VideoFormat(64, 48), audio=source) as writer,
    ):
        writer.write(GREY)
        process = writer._process
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []
    assert process is not None and not process.is_running


def test_an_existing_output_is_kept(tmp_path: Path):
    out = tmp_path / "o.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(VastError) as caught, VideoWriter(out, VideoFormat(64, 48)):
        pass
    assert caught.value.code == "vast_output_exists"
    with pytest.raises(RuntimeError), VideoWriter(out, VideoFormat(64, 48), overwrite=True) as writer:
        writer.write(GREY)
        raise RuntimeError
    assert out.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [out]


def test_a_killed_encoder_is_reported(tmp_path: Path):
    with pytest.raises(VastError) as caught, VideoWriter(tmp_path / "o.mp4", VideoFormat(640, 480)) as writer:
        os.kill(writer._process.pid, signal.SIGKILL)
        for _ in range(200):
            writer.write(np.zeros((480, 640, 3), np.uint8))
    assert caught.value.code == "vast_encode_failed"
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_is_reported_in_ffmpegs_words(tmp_path: Path):
    with (
        pytest.raises(VastError) as caught,
        VideoWriter(tmp_path / "o.mp4", VideoFormat(64, 48, preset="nonsense")) as writer,
    ):
        for _ in range(50):
            writer.write(GREY)
    assert caught.value.code == "vast_encode_failed"
    assert "status" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def fake_ffmpeg(folder: Path, body: str) -> Path:
    """A program that answers questions like ffmpeg, and encodes as `body` says."""
    path = folder / "fake ffmpeg"
    answers = "if '-encoders' in sys.argv: print(' libx264 aac '); sys.exit()\n"
    answers += "if '-h' in sys.argv: print('movie_timescale'); sys.exit()\n"
    path.write_text(f"#!{sys.executable}\nimport sys\n{answers}{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name == "nt", reason="the fake is a script")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            "sys.stdin.buffer.read(1000); sys.exit('av_interleaved_write_frame(): No space left on device')",
            "vast_disk_full",
        ),
        ("sys.stdin.buffer.read(); sys.exit('Error writing trailer: No space left on device')", "vast_disk_full"),
        ("sys.stdin.buffer.read(1000); sys.exit('Conversion failed!')", "vast_encode_failed"),
        ("sys.stdin.buffer.read(); open(sys.argv[-1], 'wb')", "vast_encode_failed"),
        ("sys.stdin.buffer.read(); open(sys.argv[-1], 'wb').write(b'rubbish' * 999)", "vast_encode_failed"),
        ("sys.stdin.buffer.read()", "vast_encode_failed"),
    ],
)
def test_faults_of_the_encoder_are_reported(tmp_path: Path, monkeypatch, body, code):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setenv("FFMPEG_PATH", str(fake_ffmpeg(tmp_path, body)))
    with pytest.raises(VastError) as caught, VideoWriter(out / "o.mp4", VideoFormat(64, 48)) as writer:
        for _ in range(100):
            writer.write(GREY)
    assert caught.value.code == code
    assert list(out.iterdir()) == []


def test_an_encoder_that_loses_frames_is_noticed(tmp_path: Path, monkeypatch):
    real = find_ffmpeg()
    body = "import subprocess\ndata = sys.stdin.buffer.read()\n"
    body += f"subprocess.run([{real!r}, *sys.argv[1:]], input=data[: len(data) // 2], check=True)"
    monkeypatch.setenv("FFMPEG_PATH", str(fake_ffmpeg(tmp_path, body)))
    with pytest.raises(VastError) as caught, VideoWriter(tmp_path / "o.mp4", VideoFormat(64, 48)) as writer:
        for _ in range(50):
            writer.write(GREY)
    assert caught.value.code == "vast_encode_failed"
    assert "25 frames" in caught.value.message
    assert not (tmp_path / "o.mp4").exists()


def test_too_few_frames_are_refused(tmp_path: Path, tone):
    with pytest.raises(VastError) as caught, VideoWriter(tmp_path / "o.mp4", VideoFormat(64, 48), n_frames=9) as writer:
        writer.write(GREY)
    assert caught.value.code == "vast_encode_failed"
    source = tone("bytes.wav", n=70_013)
    with (
        pytest.raises(VastError, match="apart"),
        VideoWriter(tmp_path / "o.mp4", VideoFormat(64, 48), audio=source) as writer,
    ):
        writer.write(GREY)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_ffmpeg_is_reported(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("FFMPEG_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(VastError) as caught:
        find_ffmpeg()
    assert caught.value.code == "vast_no_ffmpeg"


def test_the_last_line_of_ffmpeg_is_in_the_message():
    error = failure(["first", "Unknown encoder 'libx264'"], 8, target=Path("o.mp4"))
    assert error.code == "vast_encode_failed"
    assert "Unknown encoder" in error.message and "o.mp4" in error.message


@pytest.mark.parametrize(
    "name", ["with blank.mp4", "quote'\".mp4", "100%d.mp4", "-dash.mp4", "مرحبا.mp4", "a" * 200 + ".mp4", "a:b.mp4"]
)
def test_names_of_files_do_not_matter(tmp_path: Path, monkeypatch, tone, name):
    monkeypatch.chdir(tmp_path)
    audio = Path(name.replace(".mp4", ".mp3"))
    audio.write_bytes(tone("names.mp3", n=48_000).read_bytes())
    render(Path(name), audio)
    assert len(list(VideoReader(Path(name)))) == 25


def test_the_output_must_be_an_mp4(tmp_path: Path):
    with pytest.raises(VastError) as caught:
        VideoWriter(tmp_path / "o.avi", VideoFormat(64, 48))
    assert caught.value.code == "vast_option_invalid"


@pytest.mark.skipif(os.name == "nt", reason="signals to process groups")
def test_ctrl_c_reaches_the_parent_which_cleans_up(tmp_path: Path):
    code = f"""
import sys, time, numpy as np
from pathlib import Path
from vast_cli.media import VideoFormat, VideoWriter
with VideoWriter(Path({str(tmp_path / "o.mp4")!r}), VideoFormat(64, 48)) as writer:
    print("ready", flush=True)
    while True:
        writer.write(np.zeros((48, 64, 3), np.uint8)); time.sleep(0.01)
"""
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the whole group
    child.communicate(timeout=20)
    assert child.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_png_and_contact_sheet(tmp_path: Path):
    import cv2

    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    write_png(tmp_path / "ü.png", red)
    decoded = cv2.imdecode(np.fromfile(tmp_path / "ü.png", np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[..., ::-1], red)
    sheet = contact_sheet([red] * 5, 3)
    assert sheet.shape == (24, 68, 3) and sheet.dtype == np.uint8
    assert np.array_equal(sheet[14:24, 24:44], red)
    assert sheet[20, 60].tolist() == [255, 255, 255]
