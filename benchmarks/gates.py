"""What limits can gates have? Real windows must pass (> 99 %), what is spoilt must fail (> 95 %).

    python benchmarks/gates.py [--corpus ../shared/data/video] [--seconds 4] [--threads 2]

The first half of each clip is the yardstick, windows are of the second half: real, and with a fault each. All go
through the encoder of `vast render`. Clips are those of `talk/` and the footage of `avatar/` that are long enough, with
sound, put in step. `sync_new` is `sync` of val speakers only: LagSync was trained with the others.
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
    ObservedFootage,
    cut_audio,
    cut_window,
    observe_footage,
    read_measures,
    whole_statistics,
    window_starts,
)
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.measures import integrity, landmarks
from vast_cli.evaluate.observation.clip import CRF, PRESET, load_networks
from vast_cli.evaluate.observation.tracking import hear
from vast_cli.pipeline.models import Models
from vast_cli.training.corpora import CorpusClip, read_index

Values = dict[str, float]
MIN_FRAMES = 300
N_TALK = 40  # val first: a third of an hour on one core
TWICE = {"obama"}  # `avatar/obama.mp4` is the same recording as obama_long
READ = (*measure.MEASURES, "black_frames", "face_lost")

# gate, its sign and limit, the fault it is there for
GATES = (
    ("black_frames", "<=", 0.0, "black"),
    ("frozen_run", "<=", 4.0, "freeze"),
    ("face_lost", "<=", 0.01, "covered"),
    ("sharpness", ">=", 0.75, "blur 1"),
    ("sharpness", ">=", 0.8, "blur 1"),
    ("sharpness", "<=", 1.15, "noise 5"),
    ("flicker_ratio", "<=", 1.3, "gain 2 %"),
    ("lip_accel_ratio", "<=", 1.5, "jitter .5"),
    ("lip_accel_ratio", "<=", 2.0, "jitter .5"),
    ("identity_dist", "<=", 0.48, "somebody else"),
    ("identity_dist", "<=", 0.42, "somebody else"),
    ("sync", ">=", 0.001, "delay 5"),
    ("sync", ">=", 0.3, "delay 5"),
    ("sync", ">=", 0.6, "delay 5"),
    ("sync_new", ">=", 0.001, "delay 5"),
    ("sync_new", ">=", 0.3, "delay 5"),
    ("sync_new", ">=", 0.6, "delay 5"),
    ("silence_gap", "<=", 0.95, "delay 5"),
    ("silence_motion", "<=", 0.5, "delay 5"),
    ("bilabial_closure", ">=", 0.6, "delay 5"),
)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/video"))
    parser.add_argument("--seconds", type=float, default=4.0, help="of a window")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[Values]] = {}
    people: list[str] = []
    keeper = Bench(options.seconds)
    for clip in chosen(options.corpus, options.seconds):
        told = keeper.clip(clip)
        people.append(clip.speaker)
        for case, windows in told.items():
            if clip.split == "val":
                windows = [values | {"sync_new": values.get("sync", np.nan)} for values in windows]
            found.setdefault(case, []).extend(windows)
        print(f"{clip.key}: {len(told['real'])} windows", flush=True)
    print(f"\n{len(people)} clips, {len(set(people))} people, {len(found['real'])} windows of {options.seconds:g} s\n")
    print(table(found))


def chosen(corpus: Path, seconds: float) -> list[CorpusClip]:
    """Clips with sound that is in step, long enough for a yardstick and two windows."""
    least = max(MIN_FRAMES, round(2 * 25 * (seconds + 2)))
    rows = [row for row in read_index(corpus) if row.has_audio and row.n_frames >= least]
    talk = [row for row in rows if row.set == "talk" and row.sync_ok is not False]
    avatars = [row for row in rows if row.set == "avatar" and row.path.stem not in TWICE]
    return sorted(talk, key=lambda row: row.split, reverse=True)[:N_TALK] + avatars


class Bench:
    """Measures clips; remembers the one before as somebody else.

    Args:
        seconds: of a window.
    """

    def __init__(self, seconds: float) -> None:
        self.models, self.judges = Models(), load_networks()
        self.seconds = seconds
        self.somebody_else: tuple[str, FootageStatistics] | None = None

    def clip(self, clip: CorpusClip) -> dict[str, list[Values]]:
        """Values of all gates in all windows, real and spoilt."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = put_in_sync(clip, folder)
            seen = self.observe(source, folder / "real.mp4", lambda k, frame: frame)
            half = seen.sight.n_frames // 2
            first, rest = cut(seen, 0, half), cut(seen, half, seen.sight.n_frames)
            real = whole_statistics(first, self.models, self.judges)
            found = {"real": self.windows(rest, real)}
            for case, spoil in self.faults(seen, half).items():
                found[case] = self.windows(cut(self.observe(source, folder / "spoilt.mp4", spoil), half, None), real)
            found["jitter .5"] = self.windows(jittered(rest), real)
            found["delay 5"] = self.windows(dataclasses.replace(rest, sound=late(seen, half, 5)), real)
            other, self.somebody_else = self.somebody_else, (clip.speaker, real)
            if other is not None and other[0] != clip.speaker:
                found["somebody else"] = self.windows(rest, other[1])
            return found

    def observe(self, source: Path, target: Path, spoil: Callable[[int, Image], Image]) -> ObservedFootage:
        """Encode as `vast render` does, look, and listen to the source."""
        with media.VideoReader(source) as reader:
            size = {"width": reader.width, "height": reader.height}
            with media.VideoWriter(target, **size, crf=CRF, preset=PRESET, overwrite=True) as writer:
                for k, frame in enumerate(islice(reader, measure.MAX_S * 25)):
                    writer.write(spoil(k, frame))
            sound = hear(source, self.models, start_s=reader.start_s)
        seen = observe_footage(target, self.models, self.judges)
        return dataclasses.replace(seen, sound=cut_audio(sound, 0, seen.sight.n_frames))

    def windows(self, seen: ObservedFootage, against: FootageStatistics) -> list[Values]:
        """Gates of every window."""
        return [
            gates(
                read_measures(
                    cut_window(seen, start, seconds=self.seconds), against, self.models, self.judges, only=READ
                ),
                against,
            )
            for start in window_starts(seen.sight.n_frames, seconds=self.seconds)
        ]

    def faults(self, seen: ObservedFootage, half: int) -> Mapping[str, Callable[[int, Image], Image]]:
        """What is done to pictures, by name; faults that are no state come at least once a window."""
        scale = integrity.crop_pixel(seen.sight)
        noise = np.random.default_rng(0)
        frozen = Freeze(spoken(seen, half, every=round(25 * self.seconds / 2)))
        every = round(25 * self.seconds / 2)

        def clipped(picture: NDArray[np.float64]) -> Image:
            return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

        def covered(k: int, frame: Image) -> Image:
            if k < half or k % every >= 3:
                return frame
            result = frame.copy()
            box = seen.sight.box()
            assert box is not None
            rows = slice(max(box.top, 0), box.top + box.side)
            result[rows, max(box.left, 0) : box.left + box.side] = 120
            return result

        return {
            "blur 1": lambda k, frame: np.asarray(cv2.GaussianBlur(frame, (0, 0), scale), np.uint8),
            "noise 5": lambda k, frame: clipped(frame + noise.normal(0, 5, frame.shape)),
            "gain 2 %": lambda k, frame: clipped(frame * (1 + 0.02 * (-1.0) ** k)),
            "black": lambda k, frame: np.zeros_like(frame) if k >= half and k % every == 0 else frame,
            "freeze": frozen,
            "covered": covered,
        }


class Freeze:
    """Shows a picture for eight frames, from given frames on."""

    def __init__(self, begins: Sequence[int]) -> None:
        self.begins, self.held = list(begins), np.zeros(0, np.uint8)

    def __call__(self, k: int, frame: Image) -> Image:
        if k in self.begins:
            self.held = frame
        return self.held if any(0 < k - begin < 8 for begin in self.begins) else frame


def spoken(seen: ObservedFootage, half: int, *, every: int) -> list[int]:
    """A frame in each stretch of `every` where eight frames of speech begin."""
    assert seen.sound is not None
    speech = seen.sound.speech(seen.sight.n_frames)
    found = []
    for start in range(half, seen.sight.n_frames - every, every):
        fits = [k for k in range(start, start + every - 8) if speech[k : k + 8].all()]
        found += fits[:1]
    return found


def cut(seen: ObservedFootage, start: int, stop: int | None) -> ObservedFootage:
    """A part of what was seen."""
    stop = seen.sight.n_frames if stop is None else stop
    return cut_window(seen, start, seconds=(stop - start) / 25)


def late(seen: ObservedFootage, start: int, frames: int) -> "measure.Sound":
    """The sound from `start` on, as if the picture came later."""
    assert seen.sound is not None
    return cut_audio(seen.sound, start + frames, seen.sight.n_frames)


def jittered(seen: ObservedFootage) -> ObservedFootage:
    """Lips that tremble by half a pixel of the crop."""
    size = landmarks.JITTER_PX * integrity.crop_pixel(seen.sight)
    noise = np.random.default_rng(0).normal(0, size, seen.sight.mesh.shape).astype(np.float32)
    return dataclasses.replace(seen, sight=dataclasses.replace(seen.sight, mesh=seen.sight.mesh + noise))


def gates(values: Values, against: FootageStatistics) -> Values:
    """Gates of what was measured: ratios where the measure itself is none."""
    found = dict(values)
    if "lagsync_margin" in values and against.lagsync_margin:
        off = abs(values["lagsync_lag"]) > 1
        found["sync"] = 0.0 if off else values["lagsync_margin"] / against.lagsync_margin
    if against.bilabial_closure:
        found["bilabial_closure"] = values.get("bilabial_closure", np.nan) / against.bilabial_closure
    return found


def table(found: Mapping[str, Sequence[Values]]) -> str:
    """What each limit does, and the strictest limit that real footage allows."""
    return "\n".join(_rows(found))


def _rows(found: Mapping[str, Sequence[Values]]) -> Iterator[str]:
    yield "| gate | control | real windows | fail | of control | fail | 1 % of real beyond | then control fails |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, sign, limit, fault in GATES:
        real, spoilt = (known(found.get(case, ()), name) for case in ("real", fault))
        if not len(real) or not len(spoilt):
            yield f"| `{name}{sign}{limit:g}` | {fault} | {len(real)} | - | {len(spoilt)} | - | - | - |"
            continue
        edge = float(np.quantile(real, 0.01 if sign == ">=" else 0.99))
        shares = [failing(values, sign, limit) for values in (real, spoilt)]
        yield (
            f"| `{name}{sign}{limit:g}` | {fault} | {len(real)} | {100 * shares[0]:.1f} % | {len(spoilt)} | "
            f"{100 * shares[1]:.1f} % | {edge:.3g} | {100 * failing(spoilt, sign, edge):.1f} % |"
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
