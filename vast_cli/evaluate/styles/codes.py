"""Encodes labelled clips as style codes, with the baselines that a style space has to beat (paper, Fig. 6)."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vast_cli import media, records, speech, style
from vast_cli.core import timebase
from vast_cli.core.arrays import Float64
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.styles.labels import ClipLabel, LabelTable
from vast_cli.pipeline.extract import extract_track
from vast_cli.pipeline.models import Models
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.style.encoder import StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer

Speech = Literal["known", "unknown", "mixed"]
EMBEDDINGS = ("enhanced", "encoder", "untrained", "mean_sd")


@dataclass(frozen=True)
class StyleCode:
    """One clip, or one window of it, in every embedding."""

    path: Path
    label: str
    speaker: str
    source: str
    start_s: float
    # enhanced: s = z^(K); encoder: mean of E^p; untrained: the same of a network with random weights;
    # mean_sd: mean and sd of the expressions in units of E^p's input; style files lack the last two
    vectors: dict[str, Float64]


@dataclass(frozen=True)
class StyleCodes:
    """All codes of a map."""

    items: list[StyleCode]
    speech: Speech  # whether E^p had the speech of the clips
    warnings: list[str]


@dataclass(frozen=True)
class _LabelledClip:
    path: Path
    label: ClipLabel
    track: FaceTrack | None
    ppg: Posteriorgram | None
    style: Style | None  # of a style file, which has no track


def encode_clips(
    clips: Sequence[Path],
    labels: LabelTable,
    models: Models,
    *,
    window_s: float | None = None,
    which: str = "largest",
    seed: int = 0,
    progress: Progress = silent,
) -> StyleCodes:
    """Encode clips (videos, tracks, style files) that have a label.

    The speech is used if every clip has it, otherwise it is masked for all: clips without audio would form a cluster
    of their own. Style files are taken as they are.

    Args:
        clips: files.
        labels: of the clips; clips without a label are left out.
        models: shared networks.
        window_s: cut clips into equal parts no shorter than this.
        which: face of the videos.
        seed: of the untrained encoder.
        progress: called with the number of clips done.

    Raises:
        VastError: those of reading and tracking, `vast_model_mismatch`, `vast_manifest_invalid` if no clip has a label.
    """
    labelled = [(path, label) for path in clips if (label := labels.find(path)) is not None]
    if not labelled:
        raise VastError(
            "vast_manifest_invalid", f"`{labels.path}` has no label for any of {len(clips)} clips",
            hint="name clips by path or by name without its ending",
        )  # fmt: skip
    warnings = []
    if len(labelled) < len(clips):
        warnings.append(f"{len(clips) - len(labelled)} of {len(clips)} clips have no label and are left out")
    loaded = []
    for done, (path, label) in enumerate(labelled, 1):
        loaded.append(_load(path, label, models, which))
        progress("clips", done, len(labelled))
    tracked = [clip for clip in loaded if clip.track is not None]
    use_speech = bool(tracked) and all(clip.ppg is not None for clip in tracked)
    if not use_speech and any(clip.ppg is not None for clip in tracked):
        warnings.append("not every clip has usable audio: the speech of all was masked, so that all are treated alike")
    random = untrained_model(models.style_model, seed=seed)
    items: list[StyleCode] = []
    for clip in loaded:
        items += _encode(clip, models.style_model, random, window_s=window_s, use_speech=use_speech)
    speech_known = {clip.style.speech_known for clip in loaded if clip.style is not None}
    speech_known |= {use_speech} if tracked else set()
    if len(speech_known) > 1:
        warnings.append("some style files were made with audio and others without: that may show in the map")
    if window_s is not None and len(tracked) < len(loaded):
        warnings.append("style files cannot be cut into windows")
    return StyleCodes(
        items, "mixed" if len(speech_known) > 1 else "known" if True in speech_known else "unknown", warnings
    )


def _load(path: Path, label: ClipLabel, models: Models, which: str) -> _LabelledClip:
    if path.suffix == ".style":
        return _LabelledClip(path, label, None, None, records.load(Style, path, model_hash=models.style_model.hash))
    if path.suffix == ".track":
        return _LabelledClip(path, label, records.load(FaceTrack, path, model_hash=models.face_model.hash), None, None)
    track = extract_track(path, models, face_name=which)
    return _LabelledClip(path, label, track, _extract_speech(path, models), None)


def _extract_speech(video: Path, models: Models) -> Posteriorgram | None:
    """Speech of a video from its first frame on; None without usable audio."""
    if not media.probe(video).has_audio:
        return None
    with media.VideoReader(video) as reader:
        start_s = reader.start_s
    try:
        return speech.extract_ppg(media.read_audio(video, start_s=start_s), models.acoustic_model, where=video.name)
    except VastError as error:
        if error.exit != Exit.DATA:
            raise
        return None


def untrained_model(model: style.StyleModel, *, seed: int) -> style.StyleModel:
    """The same networks with random weights; only their input scale comes from the trained ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, enhancer = StyleEncoder(model.config).eval(), StyleEnhancer(model.config).eval()
    for name in ("scale", "centre"):
        encoder.get_buffer(name).copy_(model.encoder.get_buffer(name))
    return dataclasses.replace(model, encoder=encoder, enhancer=enhancer, hash="untrained")


def _encode(
    clip: _LabelledClip, model: style.StyleModel, random: style.StyleModel, *, window_s: float | None, use_speech: bool
) -> list[StyleCode]:
    def code(start_s: float, vectors: dict[str, Float64]) -> StyleCode:
        label = clip.label
        return StyleCode(clip.path, label.label, label.speaker, label.source or clip.path.stem, start_s, vectors)

    if clip.style is not None:
        return [code(0.0, {"enhanced": _double(clip.style.vector), "encoder": _double(clip.style.mean)})]
    assert clip.track is not None
    codes = []
    for start, stop in windows(clip.track.n_frames, window_s):
        track, ppg = cut(clip.track, start, stop), clip.ppg if use_speech else None
        if not track.valid.any():
            continue
        ppg = None if ppg is None else _cut_speech(ppg, start, stop)
        trained, untrained = style.encode_style(track, model, ppg=ppg), style.encode_style(track, random, ppg=ppg)
        vectors = {
            "enhanced": _double(trained.vector),
            "encoder": _double(trained.mean),
            "untrained": _double(untrained.mean),
            "mean_sd": mean_sd(track, model),
        }
        codes.append(code(timebase.seconds(start), vectors))
    return codes


def mean_sd(track: FaceTrack, model: style.StyleModel) -> Float64:
    """Mean and sd over time of every component, [2 x 233], in units of E^p's input: the simplest code of a style."""
    scale, centre = (model.encoder.get_buffer(name).numpy() for name in ("scale", "centre"))
    normalised = (track.expression[track.valid].astype(np.float64) - centre) * scale
    return np.concatenate([normalised.mean(0), normalised.std(0)])


def windows(n_frames: int, window_s: float | None) -> list[tuple[int, int]]:
    """Equal parts of a clip, none shorter than `window_s`; a shorter clip stays whole."""
    n_parts = 1 if window_s is None else max(1, n_frames // max(1, timebase.frame_at(window_s)))
    edges = np.linspace(0, n_frames, n_parts + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def cut(track: FaceTrack, start: int, stop: int) -> FaceTrack:
    """Frames `start .. stop - 1` of a track."""
    return track.at_frames(slice(start, stop))


def _cut_speech(ppg: Posteriorgram, start: int, stop: int) -> Posteriorgram:
    values = ppg.values[timebase.ppg_at(start) : timebase.ppg_at(stop)]
    return dataclasses.replace(ppg, values=values, n_samples=timebase.ppg_samples(len(values)))


def _double(vector: NDArray[np.float32]) -> Float64:
    return vector.astype(np.float64)
