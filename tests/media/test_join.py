"""Joined segments are one video: frames and audio in their places, packets unchanged, or no file at all."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.media import VideoFormat, VideoJoiner, VideoReader, VideoWriter, load_audio
from vast_cli.media.staged import _check

Make = Callable[..., Path]


def numbered_frame(number: int, *, size: int = 64) -> NDArray[np.uint8]:
    bits = (number % 256) >> (np.arange(size) * 8 // size) & 1
    row = np.where(bits, 200, 40).astype(np.uint8)[None, :, None]
    return np.ascontiguousarray(np.broadcast_to(row, (48, size, 3)))


def encode(folder: Path, lengths: Sequence[int], *, size: int = 64, **options: Any) -> list[Path]:
    """Segments of these lengths; frame k of all shows k."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{k:05d}.mp4" for k in range(len(lengths))]
    number = 0
    for path, n in zip(paths, lengths, strict=True):
        video_format = VideoFormat(size, 48, **{"preset": "ultrafast", "crf": 10, **options})
        with VideoWriter(path, video_format, n_frames=n, overwrite=True) as writer:
            for _ in range(n):
                writer.write(numbered_frame(number, size=size))
                number += 1
    return paths


def join(path: Path, segments: list[Path], n_frames: int, audio: Path | None = None, **options: Any) -> VideoJoiner:
    n_samples = len(load_audio(audio)) if audio else None
    with VideoJoiner(path, audio=audio, n_frames=n_frames, n_samples=n_samples, **options) as joiner:
        joiner.join(segments)
    return joiner


def packets(path: Path, kind: str = "video") -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(packet.pts, bytes(packet)) for packet in container.demux(stream) if packet.size]


def headers(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        result: dict[str, Any] = {"tags": dict(container.metadata), "format": container.format.name}
        for stream in container.streams:
            context = stream.codec_context
            row = [stream.metadata, stream.time_base, stream.start_time, stream.duration, context.name]
            row += [context.codec_tag, context.extradata, stream.disposition]
            if stream.type == "video":
                row += [context.color_primaries, context.color_trc, context.colorspace, context.color_range]
                row += [context.width, context.height, stream.average_rate, context.pix_fmt]
            result[stream.type] = row
    return result


# without B-frames, with two, with many; segments shorter than the encoder's delay
@pytest.mark.parametrize("preset", ["ultrafast", "fast", "veryslow"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_frame_k_is_at_k_over_25_s(tmp_path: Path, number_of: Any, codec: str, preset: str) -> None:
    for lengths in ((60, 60, 31), (40, 1), (1, 2, 3, 1)):
        out, n = tmp_path / f"{lengths}.mp4", sum(lengths)
        segments = encode(tmp_path / "segments", lengths, codec=codec, preset=preset)
        join(out, segments, n)
        with av.open(str(out)) as container:
            frames = [
                (frame.pts * frame.time_base * 25, number_of(frame.to_ndarray(format="rgb24")))
                for frame in container.decode(video=0)
            ]
            assert container.streams.video[0].duration * container.streams.video[0].time_base * 25 == n
        assert frames == [(k, k) for k in range(n)]


def test_packets_are_copied(tmp_path: Path) -> None:
    segments = encode(tmp_path / "s", (50, 50, 7), preset="fast")
    join(tmp_path / "o.mp4", segments, 107)
    assert [data for _, data in packets(tmp_path / "o.mp4")] == [d for path in segments for _, d in packets(path)]


@pytest.mark.parametrize("kind", ["wav", "m4a", "mp3"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_headers_equal_those_of_a_video_written_at_once(tmp_path: Path, tone: Make, codec: Any, kind: str) -> None:
    source = tone(f"join.{kind}", n=140_013)
    n_samples = len(load_audio(source))
    n = timebase.video_frames(n_samples)
    tags = {"comment": "by 'vast' = \"x\" ü", "synthetic": "true", "fingerprint": "0f"}
    whole = tmp_path / "whole.mp4"
    with VideoWriter(
        whole, VideoFormat(64, 48, crf=10, preset="fast", codec=codec), audio=source, metadata=tags, n_samples=n_samples
    ) as writer:
        for k in range(n):
            writer.write(numbered_frame(k))
    joined = tmp_path / "joined.mp4"
    joiner = join(joined, encode(tmp_path / "s", (30, n - 30), preset="fast", codec=codec), n, source, metadata=tags)
    assert headers(joined) == headers(whole)
    assert packets(joined, "audio") == packets(whole, "audio")
    assert joiner.soundtrack is not None and joiner.soundtrack.copied == (kind != "wav")
    data = joined.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_same_segments_give_the_same_bytes(tmp_path: Path, tone: Make, codec: str) -> None:
    source = tone("bytes.wav", n=70_013)
    for name in "ab":
        segments = encode(tmp_path / name, (20, 16), codec=codec, preset="fast")
        join(tmp_path / f"{name}.mp4", segments, 36, source, metadata={"k": "v"})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("name", ["a b/日本 é'$(x);", "a#b?c=d", "100%d", "-dash", "a" * 200, "http:", "it''s\\"])
def test_names_of_folders_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    segments = encode(Path(name), (5, 5))
    for path in segments:  # where a name that is read as a URL would lead
        (tmp_path / path.name).write_bytes(b"another file")
    join(Path(name) / "o.mp4", segments, 10)
    assert len(list(VideoReader(Path(name) / "o.mp4"))) == 10
    assert sorted(p.name for p in Path(name).iterdir()) == ["00000.mp4", "00001.mp4", "o.mp4"]


def test_a_list_in_place_of_a_segment_is_refused(tmp_path: Path) -> None:
    first, second = encode(tmp_path / "s", (5, 5))
    secret = tmp_path / "s" / "secret.mp4"
    second.rename(secret)
    second.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(VastError) as caught:
        join(tmp_path / "o.mp4", [first, second], 10)
    assert caught.value.code in ("vast_bad_media", "vast_encode_failed")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_segments_that_differ_are_refused(tmp_path: Path) -> None:
    segments = [encode(tmp_path / "a", (5,))[0], encode(tmp_path / "b", (5,), size=80)[0]]
    with pytest.raises(VastError, match="alike"):
        join(tmp_path / "o.mp4", segments, 10)
    segments[1] = encode(tmp_path / "c", (5,), codec="h265")[0]
    with pytest.raises(VastError, match="alike"):
        join(tmp_path / "o.mp4", segments, 10)
    assert not (tmp_path / "o.mp4").exists()


def test_a_missing_frame_is_noticed(tmp_path: Path) -> None:
    segments = encode(tmp_path / "s", (5, 4))
    with pytest.raises(VastError, match="9 frames"):
        join(tmp_path / "o.mp4", segments, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_frame_at_the_wrong_time_is_noticed(tmp_path: Path, ff: Callable[..., None]) -> None:
    frames = b"".join(numbered_frame(k).tobytes() for k in range(10))
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", 25, "-i", "pipe:")
    for name, stamp in (("right", "N/25/TB"), ("wrong", "(N+0.5*eq(N,3))/25/TB")):
        out = ("-vf", f"settb=1/12800,setpts='{stamp}'", "-fps_mode", "passthrough", "-video_track_timescale", 12800)
        ff(*raw, *out, "-pix_fmt", "yuv420p", "-bf", 0, tmp_path / f"{name}.mp4", stdin=frames)
    _check(tmp_path / "right.mp4", 10, target=Path("o.mp4"), soundtrack=None)
    with pytest.raises(VastError, match=r"no frame at 0\.12 s"):
        _check(tmp_path / "wrong.mp4", 10, target=Path("o.mp4"), soundtrack=None)


def test_audio_of_another_length_is_refused_before_any_work(tmp_path: Path, tone: Make) -> None:
    with (
        pytest.raises(VastError, match="apart"),
        VideoJoiner(tmp_path / "o.mp4", audio=tone("bytes.wav", n=70_013), n_frames=99),
    ):
        raise AssertionError("too late")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("mine"), OSError(28, "of another file"), KeyboardInterrupt()])
def test_an_exception_leaves_no_file_and_is_not_replaced(tmp_path: Path, tone: Make, error: BaseException) -> None:
    source = tone("bytes.wav", n=70_013)
    out = tmp_path / "o.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(VastError) as refused, VideoJoiner(out, audio=source, n_frames=36):
        pass
    assert refused.value.code == "vast_output_exists"
    with (
        pytest.raises(type(error)) as caught,
        VideoJoiner(out, audio=source, n_frames=36, overwrite=True),
    ):
        assert len(list(tmp_path.iterdir())) == 3  # the old one, the hidden one, the audio
        raise error
    assert caught.value is error
    assert out.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [out]
