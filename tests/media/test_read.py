"""Videos are read at 25 frames a second by timestamp, upright, in the right colours, from broken files, too."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.media import VideoReader, probe

RATES = [12, 15, "24000/1001", 24, 25, "30000/1001", 30, 48, 50, "60000/1001", 60, 120]


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_gives_the_nearest_frame(numbered, number_of, rate):
    step = 1 / Fraction(rate)
    path = numbered(f"rate-{str(rate).replace('/', '_')}.mp4", n=60, rate=rate, size="32x32")
    with VideoReader(path) as reader:
        got = [number_of(frame) for frame in reader]
    n_frames = int(60 * step * 25 + Fraction(1, 2))
    assert len(got) == n_frames == reader.n_frames
    assert not reader.truncated
    for k, number in enumerate(got):
        best = min(abs(i * step - Fraction(k, 25)) for i in range(60))
        assert abs(number * step - Fraction(k, 25)) == best, f"frame {k} shows {number}"


@pytest.mark.parametrize("name", ["whole.mp4", "whole.mkv", "whole.avi", "whole.webm", "whole.ts", "whole.mov"])
def test_25_fps_comes_out_frame_for_frame(numbered, number_of, name):
    codec = {"webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime"), "avi": ("-c:v", "mpeg4", "-q:v", "1")}
    path = numbered(name, *codec.get(name[-4:].strip("."), ()), n=73)
    assert [number_of(frame) for frame in VideoReader(path)] == list(range(73))


def test_a_variable_rate_gives_the_nearest_frame(numbered, number_of):
    # 20 frames at 10 a second, then 40 at 50 a second
    slow = numbered(
        "vfr.mkv",
        "-vf",
        r"setpts=round(if(lt(N\,20)\,N/10\,2+(N-20)/50)/TB)",
        "-fps_mode",
        "passthrough",
        n=60,
        rate=50,
    )
    got = [number_of(frame) for frame in VideoReader(slow)]
    times = [i / 10 if i < 20 else 2 + (i - 20) / 50 for i in range(60)]
    assert len(got) == 70
    for k, number in enumerate(got):
        assert abs(times[number] - k / 25) <= min(abs(t - k / 25) for t in times) + 0.002, k


def test_jittering_timestamps_lose_no_frame(numbered, number_of):
    path = numbered(
        "jitter.mkv",
        "-vf",
        r"settb=1/1000,setpts=round((N/25+0.015*mod(N\,2))/TB)",
        "-fps_mode",
        "passthrough",
        n=50,
        rate=25,
    )
    assert [number_of(frame) for frame in VideoReader(path)] == list(range(50))


def test_a_late_first_frame_is_frame_zero(numbered, number_of, ff, clips):
    path = clips / "late.mkv"
    ff("-itsoffset", "1.5", "-i", numbered("plain.mp4", n=30), "-f", "lavfi", "-i", "sine=d=3", "-c:v", "copy", path)
    reader = VideoReader(path)
    assert [number_of(frame) for frame in reader] == list(range(30))
    assert reader.start_s == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_videos_are_turned_upright(ff, clips, angle, turns):
    plain, turned = clips / "turn-base.mp4", clips / f"turn-{angle}.mp4"
    ff("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.2:r=25", "-pix_fmt", "yuv420p", "-crf", 5, plain)
    ff("-display_rotation", angle, "-i", plain, "-c", "copy", turned)
    want = np.rot90(next(iter(VideoReader(plain))), turns)  # -display_rotation is counter-clockwise
    reader = VideoReader(turned)
    got = next(iter(reader))
    assert np.array_equal(got, want)
    assert (reader.height, reader.width) == want.shape[:2]
    info = probe(turned)
    assert (info.width, info.height, info.rotation) == (want.shape[1], want.shape[0], 360 - angle)


def test_mirrored_videos_are_mirrored_back(ff, clips):
    plain, turned = clips / "flip-base.mp4", clips / "flip.mp4"
    ff("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.2:r=25", "-pix_fmt", "yuv420p", "-crf", 5, plain)
    ff("-display_hflip", "-i", plain, "-c", "copy", turned)
    assert np.array_equal(next(iter(VideoReader(turned))), next(iter(VideoReader(plain)))[:, ::-1])


def test_anamorphic_pixels_become_square(numbered):
    path = numbered("sar.mp4", "-vf", "setsar=16/11", n=5, size="44x36")
    reader = VideoReader(path)
    assert (reader.width, reader.height) == (64, 36)
    assert next(iter(reader)).shape == (36, 64, 3)


def test_max_side_never_enlarges(numbered):
    path = numbered("plain.mp4", n=30)
    small, same = VideoReader(path, max_side=32), VideoReader(path, max_side=500)
    assert next(iter(small)).shape == (24, 32, 3)
    assert next(iter(same)).shape == (48, 64, 3)


def test_odd_sizes_are_kept(numbered, number_of):
    path = numbered("odd.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", n=5, size="51x37")
    frames = list(VideoReader(path))
    assert frames[0].shape == (37, 51, 3)
    assert [number_of(frame) for frame in frames] == list(range(5))


COLORS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (224, 172, 140), (60, 90, 30)],
    np.uint8,
)
CHART = np.repeat(np.repeat(COLORS[None], 64, 0), 16, 1)  # [64, 128, 3]


@pytest.mark.parametrize(
    ("matrix", "color_range", "tagged"),
    [
        ("bt709", "tv", True),
        ("bt709", "pc", True),
        ("smpte170m", "tv", True),
        ("smpte170m", "pc", True),
        ("smpte170m", "tv", False),  # what an untagged small frame counts as
    ],
)
def test_colours_follow_matrix_and_range(ff, clips, matrix, color_range, tagged):
    path = clips / f"chart-{matrix}-{color_range}-{tagged}.mkv"
    scale = f"scale=in_range=pc:out_color_matrix={matrix}:out_range={color_range}:flags=accurate_rnd,format=yuv444p"
    scale += (
        f",setparams=colorspace={matrix}:range={color_range}"
        if tagged
        else ",setparams=colorspace=unknown:range=unknown"
    )
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x64", "-r", 25, "-i", "pipe:")
    ff(*raw, "-vf", scale, "-c:v", "ffv1", path, stdin=CHART.tobytes() * 2)
    got = next(iter(VideoReader(path)))[32, 8::16]
    assert np.abs(got.astype(int) - COLORS).max() <= 2


def test_ten_bits_keep_their_colours(ff, clips):
    path = clips / "deep.mp4"
    scale = "scale=in_range=pc:out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv420p10le"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x64", "-r", 25, "-i", "pipe:")
    ff(
        *raw,
        "-vf",
        scale,
        "-c:v",
        "libx264",
        "-qp",
        0,
        "-colorspace",
        "bt709",
        "-color_range",
        "tv",
        path,
        stdin=CHART.tobytes() * 2,
    )
    assert probe(path).pixel_format == "yuv420p10le"
    got = next(iter(VideoReader(path)))[32, 8::16]
    assert np.abs(got.astype(int) - COLORS).max() <= 2


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_tone_mapped(ff, clips, transfer):
    # greys and colours of SDR, coded as HDR with SDR white at 203 nits, must come back below the shoulder
    path = clips / f"hdr-{transfer}.mkv"
    chart = np.zeros((64, 128, 3), np.uint8)
    levels = np.array(
        [
            (20, 20, 20),
            (60, 60, 60),
            (120, 120, 120),
            (180, 180, 180),
            (150, 90, 70),
            (40, 120, 60),
            (60, 70, 150),
            (235, 235, 235),
        ]
    )
    chart[:] = np.repeat(levels, 16, 0)[None]
    nits = (chart / 255.0) ** 2.4 * 203
    wide = (
        nits
        @ np.linalg.inv(
            np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
        ).T
    )
    wide = np.maximum(wide, 0)
    if transfer == "smpte2084":
        power = (wide / 10000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luma = (wide @ np.array([0.2627, 0.6780, 0.0593]))[..., None]
        scene = wide / 1000 / np.maximum(luma / 1000, 1e-9) ** (0.2 / 1.2)
        coded = np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
        )
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "128x64", "-r", 25, "-i", "pipe:")
    scale = "scale=in_range=pc:out_color_matrix=bt2020nc:out_range=tv:flags=accurate_rnd,format=yuv444p10le"
    scale += f",setparams=colorspace=bt2020nc:range=tv:color_trc={transfer}:color_primaries=bt2020"
    ff(*raw, "-vf", scale, "-c:v", "ffv1", path, stdin=np.round(coded * 65535).astype("<u2").tobytes() * 2)
    assert probe(path).is_hdr
    got = next(iter(VideoReader(path)))[32, 8::16].astype(int)
    below = levels.max(axis=1) / 255 < 0.5 ** (1 / 2.4)  # the knee lies at half of SDR white, in linear light
    assert np.abs(got[below] - levels[below]).max() <= 3
    assert 200 < got[-1].mean() < 235, "white is lowered to make room for what is brighter"


def test_a_cut_off_file_is_read_to_where_it_ends(numbered, number_of, clips):
    whole = numbered("tail.mp4", "-movflags", "+faststart", "-g", 10, "-bf", 0, n=90, size="320x240")
    cut = clips / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    reader = VideoReader(cut)
    got = [number_of(frame) for frame in reader]
    assert reader.truncated
    assert 20 < len(got) < 90
    assert got[:20] == list(range(20))
    list(whole_reader := VideoReader(whole))
    assert not whole_reader.truncated


def test_a_broken_middle_keeps_time(numbered, number_of, clips):
    whole = numbered("middle.mp4", "-g", 5, "-bf", 0, "-c:v", "mpeg4", "-q:v", 2, n=90, size="320x240")
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    broken = clips / "broken.mp4"
    broken.write_bytes(data)
    got = [number_of(frame) for frame in VideoReader(broken)]
    assert len(got) == 90
    assert got[:20] == list(range(20)) and got[-5:] == list(range(85, 90))


def test_a_reader_can_be_iterated_again_and_left_early(numbered):
    with VideoReader(numbered("plain.mp4", n=30)) as reader:
        next(iter(reader))
        assert len(list(reader)) == len(list(reader)) == 30


def test_memory_does_not_grow_with_length(numbered):
    def peak(n: int) -> int:
        path = numbered(f"long-{n}.mp4", n=n, size="128x96")
        tracemalloc.start()
        for _ in VideoReader(path):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(400) < 1.1 * peak(40) + 50_000


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("text.mp4", b"this is not a video\n" * 50, "vast_bad_media"),
        ("empty.mp4", b"", "vast_bad_media"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "vast_bad_media"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile plain.mp4\n", "vast_bad_media"),
        ("missing.mp4", None, "vast_input_missing"),
    ],
)
def test_files_that_hold_no_video_are_refused(tmp_path: Path, name, data, code):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    for read in (probe, VideoReader):
        with pytest.raises(VastError) as caught:
            read(path)
        assert caught.value.code == code
        assert name in caught.value.message


def test_audio_alone_is_no_video(tone):
    with pytest.raises(VastError) as caught:
        VideoReader(tone("alone.wav", n=4800))
    assert caught.value.code == "vast_bad_media"


def test_frames_that_are_too_large_are_refused(ff, clips):
    path = clips / "large.mkv"
    ff("-f", "lavfi", "-i", "color=s=8704x16:d=0.04:r=25", "-c:v", "ffv1", path)
    with pytest.raises(VastError) as caught:
        VideoReader(path)
    assert caught.value.code == "vast_media_too_large"


def test_absurd_timestamps_are_refused(numbered, ff, clips):
    path = clips / "days.mkv"
    ff("-i", numbered("plain.mp4", n=30), "-c", "copy", "-bsf:v", "setts=ts=N*40*3600*6000", path)
    with pytest.raises(VastError) as caught:
        for _ in VideoReader(path):
            pass
    assert caught.value.code == "vast_media_too_large"


@pytest.mark.parametrize(
    "name", ["with blank.mp4", "quote'\".mp4", "100%d.mp4", "-dash.mp4", "مرحبا.mp4", "a" * 200 + ".mp4", "a:b.mp4"]
)
def test_names_of_files_do_not_matter(numbered, monkeypatch, tmp_path: Path, name):
    (tmp_path / name).write_bytes(numbered("plain.mp4", n=30).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(list(VideoReader(Path(name)))) == 30


def test_probe_reports_what_a_file_holds(ff, clips):
    path = clips / "both.mp4"
    ff(
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=96x64:d=2:r=30",
        "-f",
        "lavfi",
        "-i",
        "sine=d=2:r=44100",
        "-pix_fmt",
        "yuv420p",
        "-ac",
        2,
        path,
    )
    info = probe(path)
    assert (info.width, info.height, info.rotation, info.fps) == (96, 64, 0, 30)
    assert info.has_video and info.has_audio and not info.is_hdr
    assert (info.video_codec, info.audio_codec, info.sample_rate, info.channels) == ("h264", "aac", 44100, 2)
    assert info.duration_s == pytest.approx(2, abs=0.01)


def test_cover_art_is_no_video(ff, tone, clips):
    path, art = clips / "cover.mp3", clips / "art.png"
    ff("-f", "lavfi", "-i", "color=s=32x32", "-frames:v", 1, art)
    ff("-i", tone("alone.wav", n=4800), "-i", art, "-map", 0, "-map", 1, "-disposition:v", "attached_pic", path)
    info = probe(path)
    assert info.has_audio and not info.has_video
