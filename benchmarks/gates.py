"""What limits can gates have? Real windows must pass (> 99 %), windows with a fault must fail (> 95 %).

    python benchmarks/gates.py [--corpus ../shared/data/video] [--seconds 4] [--threads 2]

Footage statistics are of the first half of each clip, windows of the second: real, and with a fault each. All go
through the encoder of `vast render`. Clips are those of `talk/` and the footage of `avatar/` that are long enough and
have audio, put in sync. `sync_new` is `sync` of val speakers only: LagSync was trained on the others.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from synced import put_in_sync

from vast_cli import media
from vast_cli.core.arrays import Image
from vast_cli.evaluate.footage import measure
from vast_cli.evaluate.footage.measure import (
    cut_audio,
    cut_window,
    observe_footage,
    read_measures,
    whole_statistics,
    window_starts,
)
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.measures import integrity, landmarks
from vast_cli.evaluate.observation.audio import SpeechAudio, load_speech
from vast_cli.evaluate.observation.clip import ObservedVideo
from vast_cli.evaluate.observation.observe import CRF, PRESET, load_networks
from vast_cli.gates.limits import DEFAULT, MAX_LAG
from vast_cli.pipeline.models import Models
from vast_cli.training.corpora import CorpusClip, read_index

Values = dict[str, float]
Fault = Callable[[int, Image], Image]  # of frame k
MIN_FRAMES = 300
N_TALK = 40  # val first: a third of an hour on one core
DUPLICATES = {"obama"}  # `avatar/obama.mp4` is the same recording as obama_long
READ = (*measure.MEASURES, "black_frames", "face_lost")

# gate -> the fault it must find
FAULTS = {
    "black_frames": "black",
    "frozen_run": "freeze",
    "face_lost": "covered",
    "sharpness": "blur 1",
    "flicker_ratio": "gain 2 %",
    "lip_accel_ratio": "jitter .5",
    "identity_dist": "other person",
    "sync": "delay 5",
    "sync_new": "delay 5",
    "silence_gap": "delay 5",
    "silence_motion": "delay 5",
    "bilabial_closure": "delay 5",
}
# limits that are no default
CANDIDATES = (
    ("frozen_run", "<=", 4.0),
    ("sharpness", ">=", 0.75),
    ("sharpness", "<=", 1.15),
    ("flicker_ratio", "<=", 1.3),
    ("lip_accel_ratio", "<=", 1.5),
    ("lip_accel_ratio", "<=", 2.0),
    ("identity_dist", "<=", 0.42),
    ("sync", ">=", 0.001),
    ("sync", ">=", 0.3),
    ("sync", ">=", 0.6),
    ("sync_new", ">=", 0.001),
    ("sync_new", ">=", 0.3),
    ("sync_new", ">=", 0.6),
    ("silence_gap", "<=", 0.95),
    ("silence_motion", "<=", 0.5),
    ("bilabial_closure", ">=", 0.6),
)
OTHER_FAULTS = {("sharpness", "<="): "noise 5"}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/video"))
    parser.add_argument("--seconds", type=float, default=4.0, help="of a window")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    windows: dict[str, list[Values]] = {}
    people: list[str] = []
    bench = Bench(options.seconds)
    for clip in chosen(options.corpus, options.seconds):
        cases = bench.measure(clip)
        people.append(clip.speaker)
        for case, values in cases.items():
            if clip.split == "val":
                values = [window | {"sync_new": window.get("sync", np.nan)} for window in values]
            windows.setdefault(case, []).extend(values)
        print(f"{clip.key}: {len(cases['real'])} windows", flush=True)
    n_windows = len(windows["real"])
    print(f"\n{len(people)} clips, {len(set(people))} people, {n_windows} windows of {options.seconds:g} s\n")
    print(table(windows))


def chosen(corpus: Path, seconds: float) -> list[CorpusClip]:
    """Clips whose audio is in sync, long enough for footage statistics and two windows."""
    least = max(MIN_FRAMES, round(2 * 25 * (seconds + 2)))
    rows = [row for row in read_index(corpus) if row.has_audio and row.n_frames >= least]
    talk = [row for row in rows if row.set == "talk" and row.sync_ok is not False]
    avatars = [row for row in rows if row.set == "avatar" and row.path.stem not in DUPLICATES]
    return sorted(talk, key=lambda row: row.split, reverse=True)[:N_TALK] + avatars


class Bench:
    """Measures clips; the clip before is the other person of the next.

    Args:
        seconds: of a window.
    """

    def __init__(self, seconds: float) -> None:
        self.models, self.networks = Models(), load_networks()
        self.seconds = seconds
        self.other_person: tuple[str, FootageStatistics] | None = None

    def measure(self, clip: CorpusClip) -> dict[str, list[Values]]:
        """Values of all gates in all windows, real and with each fault."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = put_in_sync(clip, folder)
            observed = self.observe(source, folder / "real.mp4", lambda k, frame: frame)
            half = observed.video.n_frames // 2
            first, rest = cut(observed, 0, half), cut(observed, half, None)
            statistics = whole_statistics(first, self.models, self.networks)
            cases = {"real": self.windows(rest, statistics)}
            for case, fault in self.faults(observed, half).items():
                faulty = cut(self.observe(source, folder / "faulty.mp4", fault), half, None)
                cases[case] = self.windows(faulty, statistics)
            cases["jitter .5"] = self.windows(jittered(rest), statistics)
            cases["delay 5"] = self.windows(delayed(observed, rest, half, 5), statistics)
            other, self.other_person = self.other_person, (clip.speaker, statistics)
            if other is not None and other[0] != clip.speaker:
                cases["other person"] = self.windows(rest, other[1])
            return cases

    def observe(self, source: Path, target: Path, fault: Fault) -> ObservedVideo:
        """Encode as `vast render` does, then observe, with the audio of the source."""
        with media.VideoReader(source) as reader:
            video_format = media.VideoFormat(reader.width, reader.height, crf=CRF, preset=PRESET)
            with media.VideoWriter(target, video_format, overwrite=True) as writer:
                for k, frame in enumerate(islice(reader, measure.MAX_S * 25)):
                    writer.write(fault(k, frame))
            audio = load_speech(source, self.models, start_s=reader.start_s)
        observed = observe_footage(target, self.models, self.networks)
        return dataclasses.replace(observed, audio=cut_audio(audio, 0, observed.video.n_frames))

    def windows(self, observed: ObservedVideo, statistics: FootageStatistics) -> list[Values]:
        """Gates of every window."""
        return [
            gates(
                read_measures(
                    cut_window(observed, start, seconds=self.seconds), statistics, self.models, self.networks, only=READ
                ),
                statistics,
            )
            for start in window_starts(observed.video.n_frames, seconds=self.seconds)
        ]

    def faults(self, observed: ObservedVideo, half: int) -> Mapping[str, Fault]:
        """Faults of frames by name; those of single frames come at least once a window."""
        sigma = integrity.crop_pixel(observed.video)
        noise = np.random.default_rng(0)
        every = round(25 * self.seconds / 2)
        box = observed.video.crop_box()
        assert box is not None

        def clipped(image: NDArray[np.float64]) -> Image:
            return np.clip(np.rint(image), 0, 255).astype(np.uint8)

        def covered(k: int, frame: Image) -> Image:
            if k < half or k % every >= 3:
                return frame
            result = frame.copy()
            rows = slice(max(box.top, 0), box.top + box.side)
            result[rows, max(box.left, 0) : box.left + box.side] = 120
            return result

        return {
            "blur 1": lambda k, frame: np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8),
            "noise 5": lambda k, frame: clipped(frame + noise.normal(0, 5, frame.shape)),
            "gain 2 %": lambda k, frame: clipped(frame * (1 + 0.02 * (-1.0) ** k)),
            "black": lambda k, frame: np.zeros_like(frame) if k >= half and k % every == 0 else frame,
            "freeze": Freeze(freeze_starts(observed, half, every=every)),
            "covered": covered,
        }


class Freeze:
    """Repeats a frame for eight frames, from given frames on."""

    def __init__(self, starts: Sequence[int]) -> None:
        self.starts, self.frozen = list(starts), np.zeros(0, np.uint8)

    def __call__(self, k: int, frame: Image) -> Image:
        if k in self.starts:
            self.frozen = frame
        return self.frozen if any(0 < k - start < 8 for start in self.starts) else frame


def freeze_starts(observed: ObservedVideo, half: int, *, every: int) -> list[int]:
    """A frame in each stretch of `every` where eight frames of speech begin."""
    assert observed.audio is not None
    speech = observed.audio.speech(observed.video.n_frames)
    starts = []
    for first in range(half, observed.video.n_frames - every, every):
        spoken = [k for k in range(first, first + every - 8) if speech[k : k + 8].all()]
        starts += spoken[:1]
    return starts


def cut(observed: ObservedVideo, start: int, stop: int | None) -> ObservedVideo:
    """Frames start ... stop - 1."""
    stop = observed.video.n_frames if stop is None else stop
    return cut_window(observed, start, seconds=(stop - start) / 25)


def delayed(observed: ObservedVideo, rest: ObservedVideo, start: int, frames: int) -> ObservedVideo:
    """`rest`, which begins at `start`, with the audio that comes `frames` later: the video is late."""
    assert observed.audio is not None
    audio: SpeechAudio = cut_audio(observed.audio, start + frames, observed.video.n_frames)
    return dataclasses.replace(rest, audio=audio)


def jittered(observed: ObservedVideo) -> ObservedVideo:
    """With points that jitter by half a pixel of the crop."""
    video = observed.video
    noise = np.random.default_rng(0).normal(0, landmarks.JITTER_PX * integrity.crop_pixel(video), video.mesh.shape)
    return dataclasses.replace(observed, video=dataclasses.replace(video, mesh=video.mesh + noise.astype(np.float32)))


def gates(values: Values, statistics: FootageStatistics) -> Values:
    """Values of gates from measures: ratios to the footage where the measure itself is none."""
    result = dict(values)
    if "lagsync_margin" in values and statistics.lagsync_margin:
        off = abs(values["lagsync_lag"]) > MAX_LAG
        result["sync"] = 0.0 if off else values["lagsync_margin"] / statistics.lagsync_margin
    if statistics.bilabial_closure:
        result["bilabial_closure"] = values.get("bilabial_closure", np.nan) / statistics.bilabial_closure
    return result


def limits() -> Iterator[tuple[str, str, float, str]]:
    """Gate, sign, limit and fault of the default gates that a fault is made for, then of the candidates."""
    defaults = [(gate.name, gate.sign, gate.limit) for gate in DEFAULT if gate.name in FAULTS]
    for name, sign, limit in (*defaults, *CANDIDATES):
        yield name, sign, limit, OTHER_FAULTS.get((name, sign), FAULTS[name])


def table(windows: Mapping[str, Sequence[Values]]) -> str:
    """Shares of real and faulty windows that fail each limit, and the strictest limit that real footage allows."""
    return "\n".join(_rows(windows))


def _rows(windows: Mapping[str, Sequence[Values]]) -> Iterator[str]:
    yield "| gate | control | real windows | fail | of control | fail | 1 % of real beyond | then control fails |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, sign, limit, fault in limits():
        real, faulty = (known(windows.get(case, ()), name) for case in ("real", fault))
        if not len(real) or not len(faulty):
            yield f"| `{name}{sign}{limit:g}` | {fault} | {len(real)} | - | {len(faulty)} | - | - | - |"
            continue
        edge = float(np.quantile(real, 0.01 if sign == ">=" else 0.99))
        shares = [failing(values, sign, limit) for values in (real, faulty)]
        yield (
            f"| `{name}{sign}{limit:g}` | {fault} | {len(real)} | {100 * shares[0]:.1f} % | {len(faulty)} | "
            f"{100 * shares[1]:.1f} % | {edge:.3g} | {100 * failing(faulty, sign, edge):.1f} % |"
        )


def known(windows: Sequence[Values], name: str) -> NDArray[np.float64]:
    """Values of a gate where it has one."""
    values = np.array([values.get(name, np.nan) for values in windows])
    return values[np.isfinite(values)]


def failing(values: NDArray[np.float64], sign: str, limit: float) -> float:
    """Share of values on the wrong side."""
    return float((values < limit).mean() if sign == ">=" else (values > limit).mean())


if __name__ == "__main__":
    main()
