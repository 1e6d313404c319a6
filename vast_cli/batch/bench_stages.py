"""Each stage of a render by itself, timed on the shipped example."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vast_cli.batch.manifest import BUILT_IN
from vast_cli.core import devices

if TYPE_CHECKING:
    from vast_cli.core.arrays import Float32

AT_LEAST_S = 0.5  # of work a stage is timed over


def measure(
    examples: tuple[Path, Path, Path], *, avatar: str, device: str, dtype: str, scratch: Path
) -> tuple[dict[str, float], float]:
    """Frames a second of each stage alone with one thread, and the seconds that a prompt takes.

    Args:
        examples: a sound, another one, a prompt.
        avatar: name of an avatar, or the path of a bundle.
        device: the option `--device`.
        dtype: the option `--dtype`.
        scratch: folder for what is encoded.
    """
    from vast_cli import media, renderer, style
    from vast_cli.pipeline.extract import extract_speech, extract_track
    from vast_cli.pipeline.models import Models
    from vast_cli.pipeline.render import expressions, load_avatar, style_vector

    audio, _, prompt = examples
    compute = devices.choose(device, dtype=dtype, threads=1)
    models = Models()
    bundle = load_avatar(avatar, models)
    ppg = extract_speech(audio, models)
    track = extract_track(prompt, models)
    n = ppg.n_frames
    manner = style.encode_style(track, models.style_model)
    vector = style_vector(manner, bundle, models, strength=1.0)

    def predict() -> "list[Float32]":
        runs = expressions(ppg, vector, bundle, models, max_exaggeration=1.0, seed=0)
        return [run for run, _ in runs]

    def painter() -> renderer.Renderer:
        return renderer.Renderer(bundle, face=models.face_model, rasteriser=models.rasteriser, compute=compute)

    def prepare() -> list[renderer.Scene]:
        scenes: list[renderer.Scene] = []
        artist, start = painter(), 0
        for run in runs:
            scenes += artist.prepare(run, start)
            start += len(run)
        return scenes

    def paint() -> list[Any]:
        frames: list[Any] = []
        artist = painter()
        for scene in scenes:
            frames += artist.render(scene, renderer.speech_windows(ppg, len(frames), len(scene)))
        return frames

    def encode() -> None:
        height, width, _ = frames[0].shape
        target = scratch / "encoded.mp4"
        with media.VideoWriter(
            target, width=width, height=height, n_frames=len(frames), overwrite=True,
            crf=BUILT_IN["crf"], preset=BUILT_IN["encoder_preset"],
        ) as writer:  # fmt: skip
            for frame in frames:
                writer.write(frame)

    track_s, _ = _best(lambda: extract_track(prompt, models))
    listen_s, _ = _best(lambda: extract_speech(audio, models))
    style_s, _ = _best(lambda: style.encode_style(track, models.style_model))
    predict_s, runs = _best(predict)
    mesh_s, scenes = _best(prepare)
    network_s, frames = _best(paint)
    encode_s, _ = _best(encode)
    rates = {
        "track": track.n_frames / track_s, "listen": n / listen_s, "style": track.n_frames / style_s,
        "predict": n / predict_s, "mesh": n / mesh_s, "network": n / network_s, "encode": n / encode_s,
    }  # fmt: skip
    return {name: round(rate, 1) for name, rate in rates.items()}, track_s + style_s


def _best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest of several calls, and what the last one gave."""
    times: list[float] = []
    while not times or sum(times) < AT_LEAST_S:
        began = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - began)
    return min(times), result
