"""Audio is read as mono 16 kHz with the right start and length from any container."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from vast_cli.core.errors import VastError
from vast_cli.media import load_audio, read_audio


def expected_length(n: int, rate: int) -> int:
    return int(Fraction(n * 16_000, rate) + Fraction(1, 2))


def tone_at_16k(n: int) -> np.ndarray:
    time = np.arange(n) / 16_000
    return 0.5 * np.sin(2 * np.pi * (200 + 150 * time) * time)


# format, options, rate, largest error of the samples (lossy codecs change them, none may move them)
FORMATS = [
    ("s16.wav", ("-c:a", "pcm_s16le"), 48_000, 0.002),
    ("s24.wav", ("-c:a", "pcm_s24le"), 44_100, 0.002),
    ("s32.wav", ("-c:a", "pcm_s32le"), 48_000, 0.002),
    ("u8.wav", ("-c:a", "pcm_u8"), 22_050, 0.02),
    ("f32.wav", ("-c:a", "pcm_f32le"), 96_000, 0.002),
    ("f64.wav", ("-c:a", "pcm_f64le"), 48_000, 0.002),
    ("phone.wav", ("-c:a", "pcm_s16le"), 8_000, 0.002),
    ("flac.flac", ("-c:a", "flac"), 44_100, 0.002),
    ("alac.m4a", ("-c:a", "alac"), 48_000, 0.002),
    ("aac.m4a", ("-c:a", "aac", "-b:a", "128k"), 48_000, 0.03),
    ("aac-44.mp4", ("-c:a", "aac", "-b:a", "128k"), 44_100, 0.03),
    ("mp3.mp3", ("-c:a", "libmp3lame", "-b:a", "128k"), 44_100, 0.03),
    ("opus.opus", ("-c:a", "libopus", "-b:a", "96k"), 48_000, 0.05),
    ("opus.webm", ("-c:a", "libopus", "-b:a", "96k"), 48_000, 0.05),
    ("vorbis.ogg", ("-c:a", "libvorbis", "-q:a", "6"), 48_000, 0.05),
    ("aiff.aiff", (), 48_000, 0.002),
]


@pytest.mark.parametrize(("name", "options", "rate", "error"), FORMATS)
def test_formats_keep_start_and_length(tone, name, options, rate, error):
    n = round(1.337 * rate)
    got = load_audio(tone(name, *options, n=n, rate=rate))
    assert len(got) == expected_length(n, rate)
    assert got.dtype == np.float32
    want = tone_at_16k(len(got))
    inner = slice(1000, -400)  # lossy encoders are at their worst at the edges
    shifted = {s: np.abs(got[inner] - np.roll(want, s)[inner]).max() for s in (-1, 0, 1)}
    assert shifted[0] <= error, shifted
    assert min(shifted, key=lambda s: shifted[s]) == 0, "moved by a sample"


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 20_000), rate=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]))
def test_the_length_is_the_duration_at_16_khz_rounded(tmp_path_factory, n, rate):
    path = tmp_path_factory.mktemp("length") / "x.wav"
    wavfile.write(path, rate, np.full(n, 1000, np.int16))
    reader = read_audio(path, block_s=0.1)
    if expected_length(n, rate) == 0:
        with pytest.raises(VastError, match="no sample"):
            list(reader)
    else:
        assert sum(map(len, reader)) == reader.n_samples == expected_length(n, rate)


def test_blocks_concatenate_to_the_whole(tone):
    path = tone("blocks.wav", n=44_100 * 3 + 17, rate=44_100)
    blocks = list(read_audio(path, block_s=0.25))
    assert {len(block) for block in blocks[:-1]} == {4000}
    assert 0 < len(blocks[-1]) <= 4000
    assert np.array_equal(np.concatenate(blocks), load_audio(path))


@pytest.mark.parametrize("channels", [2, 6, 8, 16])
def test_many_channels_keep_the_level(tone, channels):
    got = load_audio(tone(f"many-{channels}.wav", "-c:a", "pcm_s16le", n=16_000, rate=16_000, channels=channels))
    assert np.abs(got - tone_at_16k(16_000)).max() < 0.01


def test_a_single_stereo_channel_counts_half(tmp_path: Path):
    path = tmp_path / "left.wav"
    wavfile.write(path, 16_000, np.stack([np.full(1600, 0.5, np.float32), np.zeros(1600, np.float32)], 1))
    assert np.allclose(load_audio(path), 0.25, atol=1e-4)


def test_values_that_are_not_numbers_become_finite(tmp_path: Path):
    wave = np.zeros(16_000, np.float32)
    wave[100:200], wave[300], wave[400], wave[500] = np.nan, np.inf, -np.inf, 1e30
    path = tmp_path / "nan.wav"
    wavfile.write(path, 48_000, wave)
    got = load_audio(path)
    assert np.isfinite(got).all()
    assert np.abs(got).max() < 1.5


def test_clicks_keep_their_time(tmp_path: Path):
    wave = np.zeros(48_000 * 20, np.float32)
    at = np.array([0.5, 10.0, 19.5])
    for second in at:
        wave[round(second * 48_000) : round(second * 48_000) + 48] = 0.9
    path = tmp_path / "clicks.wav"
    wavfile.write(path, 48_000, wave)
    got = load_audio(path)
    for second in at:
        start = round(second * 16_000)
        assert abs(int(np.argmax(np.abs(got[start - 800 : start + 800]))) - 800) <= 16


def test_audio_of_a_video_is_read(numbered, tone, ff, clips):
    path = clips / "av.mp4"
    ff("-i", numbered("plain.mp4", n=30), "-i", tone("alone48.wav", n=57_600), "-c:v", "copy", "-c:a", "aac", path)
    got = load_audio(path)
    assert len(got) == 19_200
    assert np.abs(got - tone_at_16k(19_200))[200:-400].max() < 0.05


def test_the_start_is_aligned_with_the_frames(numbered, tone, ff, clips):
    # audio half a second after the video, and before it
    video, audio = numbered("plain.mp4", n=30), tone("alone48.wav", n=57_600)
    late, early = clips / "audio-late.mkv", clips / "audio-early.mkv"
    ff("-i", video, "-itsoffset", 0.5, "-i", audio, "-c:v", "copy", "-c:a", "pcm_s16le", late)
    ff("-itsoffset", 0.5, "-i", video, "-i", audio, "-c:v", "copy", "-c:a", "pcm_s16le", early)
    assert len(load_audio(late)) == 19_200
    got = load_audio(late, start_s=0.0)
    assert len(got) == 19_200 + 8000
    assert np.abs(got[:7900]).max() < 1e-4 and np.abs(got[8000:] - tone_at_16k(19_200)).max() < 0.01
    got = load_audio(early, start_s=0.5)
    assert len(got) == 19_200 - 8000
    assert np.abs(got - tone_at_16k(19_200)[8000:])[10:].max() < 0.01


def test_a_gap_in_the_timestamps_becomes_silence(tone, ff, clips):
    path = clips / "gap.mkv"
    cut = r"aselect='not(between(t,0.4,0.7))'"
    ff("-i", tone("alone48.wav", n=57_600), "-af", cut, "-c:a", "pcm_s16le", path)
    got = load_audio(path)
    want = tone_at_16k(19_200)
    assert abs(len(got) - 19_200) < 400
    assert np.abs(got[:6000] - want[:6000]).max() < 0.01
    assert np.abs(got[12_500:18_500] - want[12_500:18_500]).max() < 0.05
    assert np.abs(got[7500:10_500]).max() < 0.01


def test_a_cut_off_file_is_read_to_where_it_ends(tone, clips):
    whole = tone("whole.flac", n=480_000)
    cut = clips / "cut.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reader = read_audio(cut)
    got = np.concatenate(list(reader))
    assert reader.truncated
    assert 40_000 < len(got) < 120_000
    assert np.abs(got - tone_at_16k(len(got)))[:-400].max() < 0.01


def test_a_video_without_audio_is_refused(numbered):
    with pytest.raises(VastError) as caught:
        load_audio(numbered("plain.mp4", n=30))
    assert caught.value.code == "vast_no_audio"


@pytest.mark.parametrize(("data", "code"), [(b"hello\n" * 100, "vast_bad_media"), (None, "vast_input_missing")])
def test_files_that_hold_no_audio_are_refused(tmp_path: Path, data, code):
    path = tmp_path / "x.wav"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VastError) as caught:
        load_audio(path)
    assert caught.value.code == code


def test_audio_without_samples_is_refused(tmp_path: Path):
    path = tmp_path / "none.wav"
    wavfile.write(path, 16_000, np.zeros(0, np.int16))
    with pytest.raises(VastError) as caught:
        load_audio(path)
    assert caught.value.code == "vast_audio_too_short"
