"""Times each stage of a render alone, on the shipped example."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vast_cli.batch.manifest import BUILT_IN
from vast_cli.core import devices

if TYPE_CHECKING:
    from vast_cli import renderer
    from vast_cli.core.arrays import Float32, Image

MIN_TIMED_S = 0.5  # of work, over which a stage is timed


def measure(
    examples: tuple[Path, Path, Path], *, avatar: str, device: str, dtype: str, scratch: Path
) -> tuple[dict[str, float], float]:
    """Time each stage with one thread.

    Args:
        examples: an audio file, another one, a prompt.
        avatar: name of an avatar, or the path of a bundle.
        device: the option `--device`.
        dtype: the option `--dtype`.
        scratch: folder for the encoded video.

    Returns:
        Frames a second of each stage, and the seconds that a prompt takes.
    """
    from vast_cli import style
    from vast_cli.pipeline.extract import extract_speech, extract_track

    audio, _, prompt = examples
    stages = _Stages(audio, prompt, avatar=avatar, device=device, dtype=dtype)
    models, track, n = stages.models, stages.track, stages.ppg.n_frames
    track_s, _ = _fastest(lambda: extract_track(prompt, models))
    listen_s, _ = _fastest(lambda: extract_speech(audio, models))
    style_s, _ = _fastest(lambda: style.encode_style(track, models.style_model))
    predict_s, runs = _fastest(stages.predict)
    mesh_s, scenes = _fastest(lambda: stages.prepare_scenes(runs))
    network_s, frames = _fastest(lambda: stages.render(scenes))
    encode_s, _ = _fastest(lambda: stages.encode(frames, scratch / "encoded.mp4"))
    rates = {
        "track": track.n_frames / track_s, "listen": n / listen_s, "style": track.n_frames / style_s,
        "predict": n / predict_s, "mesh": n / mesh_s, "network": n / network_s, "encode": n / encode_s,
    }  # fmt: skip
    return {name: round(rate, 1) for name, rate in rates.items()}, track_s + style_s


class _Stages:
    """The stages after speech and style, with everything loaded that they need."""

    def __init__(self, audio: Path, prompt: Path, *, avatar: str, device: str, dtype: str) -> None:
        from vast_cli import style
        from vast_cli.pipeline.extract import extract_speech, extract_track
        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.motion import style_vector

        self.compute = devices.choose(device, dtype=dtype, threads=1)
        self.models = Models()
        self.avatar = self.models.avatar(avatar)
        self.ppg = extract_speech(audio, self.models)
        self.track = extract_track(prompt, self.models)
        prompt_style = style.encode_style(self.track, self.models.style_model)
        self.vector = style_vector(prompt_style, self.avatar, self.models, strength=1.0)

    def predict(self) -> "list[Float32]":
        from vast_cli.pipeline.motion import expressions

        runs = expressions(self.ppg, self.vector, self.avatar, self.models, max_exaggeration=1.0, seed=0)
        return [run for run, _ in runs]

    def _renderer(self) -> "renderer.Renderer":
        from vast_cli.renderer import Renderer

        models = self.models
        return Renderer(self.avatar, face=models.face_model, rasteriser=models.rasteriser, compute=self.compute)

    def prepare_scenes(self, runs: "list[Float32]") -> "list[renderer.Scene]":
        scenes: list[renderer.Scene] = []
        scene_renderer, start = self._renderer(), 0
        for run in runs:
            scenes += scene_renderer.prepare(run, start)
            start += len(run)
        return scenes

    def render(self, scenes: "list[renderer.Scene]") -> "list[Image]":
        from vast_cli.renderer import speech_windows

        frames: list[Image] = []
        scene_renderer = self._renderer()
        for scene in scenes:
            frames += scene_renderer.render(scene, speech_windows(self.ppg, len(frames), len(scene)))
        return frames

    def encode(self, frames: "list[Image]", target: Path) -> None:
        from vast_cli import media

        height, width, _ = frames[0].shape
        video_format = media.VideoFormat(width, height, crf=BUILT_IN["crf"], preset=BUILT_IN["encoder_preset"])
        with media.VideoWriter(target, video_format, n_frames=len(frames), overwrite=True) as writer:
            for frame in frames:
                writer.write(frame)


def _fastest(work: Callable[[], Any]) -> tuple[float, Any]:
    """Call `work` several times; returns the seconds of the fastest call, and the last result."""
    times: list[float] = []
    while not times or sum(times) < MIN_TIMED_S:
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result
