"""LagSync on clips that nothing was trained on, with the controls it must order.

    python benchmarks/lagsync.py --corpus ../shared/data/video --work build --clips
    python benchmarks/lagsync.py --videos out1.mp4 out2.mp4

The first prints a table a set, the second the figures of any videos. The audio of the clips is put in sync by
`training.corpora.audio_offset_s` first.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vast_cli import media
from vast_cli.core.arrays import Float32
from vast_cli.face import FaceModel, track_landmarks
from vast_cli.sync import LagScore, LagSync, load_lagsync, mouth_crop, score
from vast_cli.training import corpora
from vast_cli.training.lagsync.corpus import LagSyncClip, load_clips, valid_windows
from vast_cli.training.lagsync.figures import Embedded, embed

SETS = ("talk", "grid", "lrcar", "grid_s1", "mead")
CONTROLS = ("truth", "delay_2", "delay_5", "other_audio", "reversed", "mouth_1s")
LATE = 25  # frames, mouth_1s
LONG = 100  # frames, 4 s


def controls(model: LagSync, embedded: Embedded, others: Sequence[Embedded]) -> dict[str, LagScore | None]:
    """The clip against its own audio, and controls that must do worse."""
    clip, mouth, audio, valid = embedded
    scores = {"truth": score(mouth, audio, valid=valid)}
    for late in (2, 5):
        scores[f"delay_{late}"] = score(mouth[:-late], audio[late:], valid=valid[:-late])
    other = other_audio(clip, len(audio), others)
    scores["other_audio"] = None if other is None else score(mouth, other, valid=valid)
    reverse = model.embed_mouth(np.ascontiguousarray(clip.crops[::-1, 16:112, 16:112]))
    scores["reversed"] = score(reverse, audio, valid=valid[::-1])
    scores["mouth_1s"] = score(mouth[LATE:], audio[:-LATE], valid=valid[LATE:]) if len(mouth) > 2 * LATE else None
    return scores


def other_audio(clip: LagSyncClip, length: int, others: Sequence[Embedded]) -> Float32 | None:
    """Audio of another clip of the set, as long: the same speaker's if there is one, else the next that fits."""
    fitting = [o for o in others if o[0].name != clip.name and len(o[2]) >= length]
    same = [o for o in fitting if o[0].speaker == clip.speaker]
    after = [o for o in fitting if o[0].name > clip.name]
    chosen = (same or after or fitting or [None])[0]
    if chosen is None:
        shorter = max((o for o in others if o[0].name != clip.name), key=lambda o: len(o[2]), default=None)
        return None if shorter is None else shorter[2]
    return chosen[2][:length]


def print_set(name: str, clips: Sequence[Embedded], model: LagSync) -> None:
    """A line for each control, means over the clips of a set."""
    rows = [controls(model, clip, clips) for clip in clips]
    scored = [k for k, row in enumerate(rows) if row["truth"] is not None]
    print(f"\n{name}: {len(scored)} clips, {sum(clips[k][0].n_frames for k in scored) / 1500:.1f} min")
    print(f"{'':14}{'n':>4}{'lag right':>11}{'within 1':>10}{'margin':>9}{'at0':>9}{'acc':>7}{'pooled lag':>12}")
    for control in CONTROLS:
        scores = [s for k in scored if (s := rows[k][control]) is not None]
        if not scores:
            continue
        target = int(control.split("_")[1]) if control.startswith("delay") else 0
        right = np.mean([s.lag == target for s in scores])
        near = np.mean([abs(s.lag - target) <= 1 for s in scores])
        acc = [s.acc for s in scores if s.acc is not None]
        pooled = int(np.mean([s.curve - np.median(s.curve) for s in scores], axis=0).argmax()) - 15
        print(
            f"{control:14}{len(scores):4}{right:11.2f}{near:10.2f}{np.mean([s.margin for s in scores]):9.3f}"
            f"{np.mean([s.at0 for s in scores]):9.3f}{np.mean(acc) if acc else np.nan:7.2f}{pooled:12}"
        )
    against = [(rows[k]["truth"].margin, o.margin) for k in scored if (o := rows[k]["other_audio"]) is not None]
    print(f"other_audio lower in {np.mean([a > b for a, b in against]):.2f}")
    moves = [
        row[f"delay_{late}"].lag == row["truth"].lag + late
        for row in (rows[k] for k in scored)
        for late in (2, 5)
        if row[f"delay_{late}"] is not None and abs(row["truth"].lag) <= 10
    ]
    print(f"lag moves by exactly the delay in {np.mean(moves):.2f} of {len(moves)}")


def print_clips(clips: Sequence[Embedded], index: dict[str, corpora.CorpusClip], model: LagSync) -> None:
    """A line for each clip."""
    print(f"\n{'clip':28}{'s':>6}{'offset, ms':>12} {'by':10}{'lag':>4}{'margin':>8}{'other':>8}{'acc':>6}")
    for embedded in clips:
        clip = embedded[0]
        row = controls(model, embedded, clips)
        truth, other = row["truth"], row["other_audio"]
        if truth is None:
            continue
        offset = 1000 * corpora.audio_offset_s(index[clip.name])
        basis = corpora.audio_offset_basis(index[clip.name]) or "-"
        acc = "" if truth.acc is None else f"{truth.acc:6.2f}"
        other_margin = f"{other.margin:8.3f}" if other else f"{'-':>8}"
        line = f"{clip.name:28}{clip.n_frames / 25:6.1f}{offset:12.0f} {basis:10}"
        print(f"{line}{truth.lag:4}{truth.margin:8.3f}{other_margin}{acc}")


def score_video(video: Path, model: LagSync, face: FaceModel) -> LagScore | None:
    """Score of any video with its own audio."""
    with media.VideoReader(video) as reader:
        track = track_landmarks(reader, face, source=video.name)
        frames = zip(reader, track.points, track.present, strict=False)
        empty = np.zeros((96, 96), np.uint8)
        crops = np.stack([mouth_crop(frame, points) if present else empty for frame, points, present in frames])
        samples = media.load_audio(video, start_s=reader.start_s)
    audio = model.embed_audio(samples, len(crops))
    return score(model.embed_mouth(crops), audio, valid=valid_windows(track.present, track.cut))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/video"))
    parser.add_argument("--work", type=Path, default=Path("build"))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", action="store_true", help="a line for every talk clip")
    parser.add_argument("--videos", type=Path, nargs="+", help="measure these instead")
    options = parser.parse_args()
    model = load_lagsync(options.weights)
    print(model.name)
    if options.videos:
        face = FaceModel.load()
        for video in options.videos:
            print(video.name, score_video(video, model, face))
        return
    index = {clip.name: clip for clip in corpora.read_index(options.corpus)}
    chosen = [c for c in index.values() if c.split == "val" and c.has_audio and c.set in SETS]
    loaded = load_clips(chosen, options.work / "lagsync" / "crops", landmarks=options.work / "landmarks")
    clips = [(clip, *embed(model, clip), clip.windows) for clip in loaded]
    for name in SETS:
        of_set = [c for c in clips if c[0].set == name]
        if name == "talk":
            print_set("talk, 4 s or more", [c for c in of_set if c[0].n_frames >= LONG], model)
        elif of_set:
            print_set(name, of_set, model)
    if options.clips:
        print_clips([c for c in clips if c[0].set == "talk"], index, model)


if __name__ == "__main__":
    main()
