"""`pipeline.render` and its stages: lengths, style, silence, caching, the same bytes from the same seed."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Ffmpeg
from vast_cli import media, records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.pipeline.extract import encode_prompt, extract_speech, extract_track
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import predict_motion
from vast_cli.pipeline.options import MotionOptions
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest
from vast_cli.store.assets import data_folder
from vast_cli.store.cache import Cache


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(scope="module")
def style_file(models: Models, prompt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("style") / "prompt.style"
    record, _ = encode_prompt(prompt, models)
    record.save(path)
    return path


@pytest.fixture(scope="module")
def second(speech: Path, ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the example's speech."""
    path = tmp_path_factory.mktemp("audio") / "second.wav"
    ffmpeg("-i", speech, "-ss", "0.5", "-t", "1", "-ar", "16000", path)
    return path


def count_frames(video: Path) -> int:
    with media.VideoReader(video) as reader:
        return sum(1 for _ in reader)


def draft(audio: Path, output: Path, **options: object) -> RenderRequest:
    fields = {name: options.pop(name) for name in ("prompt", "style", "overwrite", "fingerprint") if name in options}
    values = {"detail": "mesh", "encoder_preset": "ultrafast", "threads": 2} | options
    return RenderRequest.of(audio, "obama", output, values=values, **fields)


def motion(audio: Path, models: Models, **options: object) -> Float32:
    inputs: dict[str, Any] = {
        name: options.pop(name, default) for name, default in (("style", None), ("avatar", "obama"))
    }
    return predict_motion(audio, models, **inputs, options=MotionOptions(**options)).expression  # type: ignore[arg-type]


def lip_gap(expression: Float32, models: Models) -> Float32:
    avatar = models.avatar("obama")
    return models.face_model.lip_gap(avatar.subject.identity, expression)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.61, 1.237, 2.0])
def test_video_and_audio_end_together(
    seconds: float, models: Models, speech: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    audio, output = tmp_path / "cut.wav", tmp_path / "out.mp4"
    ffmpeg("-i", speech, "-ss", "0.8", "-t", seconds, "-ar", "44100", audio)
    result = render(draft(audio, output, allow_silence=True), models=models)
    n_frames = count_frames(output)
    n_samples = len(media.load_audio(output))
    assert n_frames == result.n_frames
    assert abs(n_frames / 25 - n_samples / 16_000) <= 0.0205
    assert abs(n_samples / 16_000 - seconds) < 0.03


def test_the_same_seed_gives_the_same_bytes(models: Models, second: Path, style_file: Path, tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((3, 3, 4)):
        output = tmp_path / f"{number}.mp4"
        render(draft(second, output, style=style_file, seed=seed, detail="full"), models=models)
        contents.append(output.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_strength_0_is_the_avatars_own_style(models: Models, speech: Path, style_file: Path) -> None:
    own = motion(speech, models)
    assert np.array_equal(motion(speech, models, style=style_file, style_strength=0.0), own)
    distances = [
        np.abs(motion(speech, models, style=style_file, style_strength=s, max_exaggeration=9.0) - own).mean()
        for s in (0.5, 1.0, 1.5)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_lips_close_in_silence(models: Models, speech: Path, style_file: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    audio = tmp_path / "pause.wav"
    ffmpeg("-i", speech, "-af", "adelay=1500:all=1,apad=pad_dur=1.5", "-ar", "16000", audio)
    for style in (None, style_file):
        gap = lip_gap(motion(audio, models, style=style), models)
        silence, speaking = gap[8:30], gap[38 : 38 + 100]
        assert silence.max() < np.percentile(speaking, 60)
        assert silence.std() < 0.5 * speaking.std()


def test_a_prompt_without_audio_gives_a_style(
    models: Models, prompt: Path, second: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    mute = tmp_path / "mute.mp4"
    ffmpeg("-i", prompt, "-an", "-c:v", "copy", mute)
    record, _ = encode_prompt(mute, models)
    assert not record.speech_known
    result = render(draft(second, tmp_path / "out.mp4", prompt=mute), models=models)
    render(draft(second, tmp_path / "own.mp4"), models=models)
    assert count_frames(result.output) == result.n_frames == 25
    assert result.output.read_bytes() != (tmp_path / "own.mp4").read_bytes()  # the avatar's own style


def test_the_track_of_a_prompt_gives_a_style_without_its_audio(models: Models, prompt: Path, tmp_path: Path) -> None:
    track = extract_track(prompt, models)
    track.save(tmp_path / "prompt.track")
    record, _ = encode_prompt(tmp_path / "prompt.track", models)
    assert record.n_frames == int(track.valid.sum())
    assert not record.speech_known


def test_the_rendered_mouth_follows_the_prediction(
    models: Models, speech: Path, style_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    render(draft(speech, output, style=style_file, detail="full"), models=models)
    track = extract_track(output, models)
    tracked_gap = models.face_model.lip_gap(track.identity, track.expression)
    predicted_gap = lip_gap(motion(speech, models, style=style_file), models)
    assert np.corrcoef(tracked_gap, predicted_gap)[0, 1] > 0.9


def test_a_record_of_another_model_is_refused(models: Models, speech: Path, style_file: Path, tmp_path: Path) -> None:
    foreign = dataclasses.replace(records.load(records.Style, style_file), model_hash="0123456789abcdef")
    foreign.save(tmp_path / "foreign.style")
    with pytest.raises(VastError) as error:
        render(draft(speech, tmp_path / "out.mp4", style=tmp_path / "foreign.style"), models=models)
    assert error.value.code == "vast_model_mismatch"
    assert not (tmp_path / "out.mp4").exists()


class UnloadableModels(Models):
    """Fails when a network is loaded."""

    def __getattribute__(self, name: str) -> object:
        if name.endswith("_model"):
            raise AssertionError(f"{name} is loaded")
        return super().__getattribute__(name)


def test_cached_tracks_and_styles_load_no_network(models: Models, prompt: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    """A copy of a file gets the cached records and warnings, with its own name in both."""
    first, copy = tmp_path / "first.mp4", tmp_path / "a b" / "日本 é'$(x);.mp4"
    ffmpeg("-i", prompt, "-vf", "drawbox=t=fill:color=black:enable='gt(t,3.4)'", "-c:a", "copy", first)
    copy.parent.mkdir()
    shutil.copy(first, copy)
    uncached, warnings = encode_prompt(first, models)
    assert "first.mp4" in warnings[0] and "no face" in warnings[0]
    cache = Cache(tmp_path / "cache")
    stored, stored_warnings = encode_prompt(first, models, cache=cache)
    cached, cached_warnings = encode_prompt(copy, UnloadableModels(), cache=cache)
    assert stored_warnings == warnings and cached_warnings == [warnings[0].replace("first.mp4", copy.name)]
    assert (stored.source, cached.source) == ("first.mp4", copy.name)
    for name in ("mean", "log_std", "flow_seed", "vector"):
        assert np.array_equal(getattr(uncached, name), getattr(stored, name))
        assert np.array_equal(getattr(uncached, name), getattr(cached, name))
    assert extract_track(copy, UnloadableModels(), cache=cache).source == copy.name
    with pytest.raises(AssertionError, match="loaded"):  # another face of the video is another track
        encode_prompt(copy, UnloadableModels(), face_name="left", cache=cache)


def test_speech_is_cached_by_content(models: Models, speech: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    stored = extract_speech(speech, models, cache=cache)
    copy = Path(shutil.copy(speech, tmp_path / "copy.flac"))
    cached = extract_speech(copy, UnloadableModels(), cache=cache)
    assert np.array_equal(stored.values, cached.values) and stored.n_samples == cached.n_samples
    short = tmp_path / "short.wav"
    ffmpeg("-i", speech, "-t", "0.03", "-ar", "16000", short)
    for name, networks in (("short.wav", models), ("again.wav", UnloadableModels())):
        shutil.copy(short, tmp_path / "other.wav")
        (tmp_path / "other.wav").rename(tmp_path / name)
        with pytest.raises(VastError) as error:
            extract_speech(tmp_path / name, networks, cache=cache)
        assert error.value.code == "vast_audio_too_short" and name in error.value.message


def test_the_cache_does_not_change_the_bytes(models: Models, prompt: Path, second: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(prompt, tmp_path / "renamed.mp4"))
    caches = Cache(None), Cache(tmp_path / "cache"), Cache(tmp_path / "cache")
    for number, (cache, source) in enumerate(zip(caches, (prompt, renamed, prompt), strict=True)):
        render(draft(second, tmp_path / f"{number}.mp4", prompt=source), models=models, cache=cache)
    contents = [(tmp_path / f"{number}.mp4").read_bytes() for number in range(3)]
    assert contents[0] == contents[1] == contents[2]


def test_avatars_stay_loaded_until_they_change_or_others_replace_them(tmp_path: Path) -> None:
    models = Models()
    bundle = Path(shutil.copytree(data_folder("weights") / "avatars" / "obama", tmp_path / "mine"))
    loaded = models.avatar(str(bundle))
    assert models.avatar(str(bundle)) is loaded
    os.utime(bundle / "avatar.json", ns=(0, 0))
    reloaded = models.avatar(str(bundle))
    assert reloaded is not loaded and models.avatar(str(bundle)) is reloaded
    for number in range(4):
        models.avatar(str(shutil.copytree(bundle, tmp_path / f"{number}")))
    assert models.avatar(str(bundle)) is not reloaded, "only those used last stay"


def test_an_avatar_of_another_face_model_is_refused(models: Models, tmp_path: Path) -> None:
    dataclasses.replace(models.avatar("obama"), face_model_hash="0123456789abcdef").save(tmp_path / "old")
    with pytest.raises(VastError) as error:
        models.avatar(str(tmp_path / "old"))
    assert error.value.code == "vast_model_mismatch"


def test_an_unknown_codec_is_rejected_with_the_known_ones(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(VastError) as error:
        render(draft(speech, tmp_path / "o.mp4", codec="vp9"), models=UnloadableModels())
    assert error.value.code == "vast_option_invalid"
    assert error.value.message == "`codec`: `vp9` is none of h264 or h265"
    assert not (tmp_path / "o.mp4").exists()
