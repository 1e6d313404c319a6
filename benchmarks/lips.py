"""Do predicted lips follow the audio? HeldOutClip-out clips: own audio, another clip's audio, silence.

    python benchmarks/lips.py --corpus ../shared/data/video --tracks build/tracks [--weights weights] [--json rows.json]

Speakers of `talk` (val) were never seen in training; `grid_s1` (val) is a speaker seen in training, in other sentences.
`lrcar` (val) are Arabic words of 1.2 s by speakers that were never seen: another language than most of the training.
Style: of the other half of the clip (talk) or of another clip of the speaker (others). The audio is corrected for its
constant offset, never by looking at the prediction. Pearson's r of the inner-lip gap over frames, mean over clips.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vast_cli import media, records
from vast_cli.core.arrays import Float32
from vast_cli.expression import ExpressionModel, load_expression_model, predict
from vast_cli.face.model import FaceModel
from vast_cli.records import N_STRONG, FaceTrack, Posteriorgram
from vast_cli.speech import extract_ppg, load_acoustic_model
from vast_cli.style import StyleModel, encode_style, interpolate, load_style_model
from vast_cli.training.corpora import audio_offset_s, read_index
from vast_cli.training.style.audio import correlation
from vast_cli.training.style.corpus import shift_frames

SETS = ("talk", "grid_s1", "lrcar")
EYES = ((159, 145, 33, 133), (386, 374, 362, 263))  # upper lid, lower lid, corners
CORNERS = (61, 291)
BLINK = 0.6  # of the median opening


@dataclass(frozen=True)
class LipModels:
    """The models under test."""

    face: FaceModel
    style: StyleModel
    expression: ExpressionModel


@dataclass(frozen=True)
class HeldOutClip:
    """A held-out clip."""

    path: str
    set: str
    track: FaceTrack
    ppg: Posteriorgram  # moved to fit the video


def main() -> None:
    """Read the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--style", type=Path, help="style model if not the one in --weights")
    parser.add_argument("--json", type=Path, help="write one row a clip")
    parser.add_argument("--raw-sound", action="store_true", help="do not correct constant offsets of the audio")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.style or options.weights / "style.safetensors"
    models = LipModels(
        FaceModel.load(options.weights / "face_model.safetensors"), load_style_model(path), load_expression_model(path)
    )
    clips = load(
        options.corpus, options.tracks, options.weights / "acoustic.safetensors", models, raw=options.raw_sound
    )
    rows = [measure(clip, clips, models) for clip in clips]
    print_table(rows)
    print_halves([clip for clip in clips if clip.set == "talk"], models)
    print_smiles(options.corpus, options.tracks, clips[0], models)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def load(corpus: Path, tracks: Path, acoustic: Path, models: LipModels, *, raw: bool) -> list[HeldOutClip]:
    """HeldOutClip-out clips that are in sync; grid_s1 is, as a whole (pooled lip closures)."""
    network = load_acoustic_model(acoustic)
    clips = []
    for row in read_index(corpus):
        if row.split != "val" or row.set not in SETS or (row.set == "talk" and not row.sync_ok):
            continue
        track = records.load(FaceTrack, tracks / f"{row.key}.track", model_hash=models.face.hash)
        ppg = extract_ppg([media.load_audio(row.path)], network)
        moved = shift_frames(ppg.values, 0 if raw else round(50 * audio_offset_s(row)))
        clips.append(HeldOutClip(row.name, row.set, track, replace(ppg, values=moved)))
    return clips


def ppg_part(ppg: Posteriorgram, part: slice) -> Posteriorgram:
    """Speech of the frames `part`."""
    return replace(ppg, values=ppg.values[2 * part.start : 2 * part.stop], n_samples=640 * (part.stop - part.start))


def run(ppg: Posteriorgram, style: Float32, models: LipModels, n_frames: int) -> Float32:
    """Predicted expression, [n_frames, 233]; shorter speech is repeated, longer speech is cut."""
    length = 2 * n_frames
    values = np.tile(ppg.values, (-(-length // len(ppg.values)), 1))[:length]
    whole = replace(ppg, values=np.ascontiguousarray(values), n_samples=640 * n_frames)
    return np.concatenate(list(predict(whole, style, models.expression, seed=1)))


def measure(clip: HeldOutClip, clips: list[HeldOutClip], models: LipModels) -> dict[str, float | str]:
    """Figures of one clip."""
    peers = [c for c in clips if c.set == clip.set]
    index = peers.index(clip)
    other = peers[(index + 1) % len(peers)]
    n = clip.track.n_frames
    halves = [(slice(0, n // 2), slice(n // 2, n)), (slice(n // 2, n), slice(0, n // 2))]
    if clip.set != "talk":
        whole = slice(0, other.track.n_frames)
        cases = [(other, whole, slice(0, n))]
    else:
        cases = [(clip, prompt, target) for prompt, target in halves]
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for source, prompt, target in cases:
        style = encode_style(source.track.at_frames(prompt), models.style, ppg=ppg_part(source.ppg, prompt)).vector
        truth = clip.track.expression[target]
        use = clip.track.valid[target]
        own = run(clip.ppg, style, models, n)[target]
        stranger = other if other is not source else peers[(index + 2) % len(peers)]
        foreign = run(stranger.ppg, style, models, n)[target]
        identity = clip.track.identity
        gap = models.face.lip_gap(identity, truth)
        own_gap = models.face.lip_gap(identity, own)
        note("r_own", correlation(own_gap[use], gap[use]))
        note("r_other", correlation(models.face.lip_gap(identity, foreign)[use], gap[use]))
        note("gain", own_gap[use].std() / max(gap[use].std(), 1e-6))
        sd = models.face.sd
        for name, columns in (("strong", slice(0, N_STRONG)), ("weak", slice(N_STRONG, None))):
            note(f"spread_{name}", spread(own[:, columns]) / spread(truth[:, columns]))
        note(
            "spread_brows_eyes",
            (own / sd)[:, N_STRONG : N_STRONG + 12].std(0).mean()
            / (truth / sd)[:, N_STRONG : N_STRONG + 12].std(0).mean(),
        )
        note("blinks_true", blinks(models.face, identity, truth))
        note("blinks_own", blinks(models.face, identity, own))
        silence = np.zeros_like(clip.ppg.values[: 2 * 100])
        silence[:, 0] = 1
        quiet = run(replace(clip.ppg, values=silence), style, models, 100)[10:]
        note("silence_gap", float(np.median(models.face.lip_gap(models.face.v_bar, quiet))))
        note("silence_gap_sd", float(models.face.lip_gap(models.face.v_bar, quiet).std()))
        note("speech_gap", float(np.median(models.face.lip_gap(models.face.v_bar, own))))
    return {"path": clip.path, "set": clip.set} | {name: float(np.mean(values)) for name, values in figures.items()}


def print_halves(clips: list[HeldOutClip], models: LipModels) -> None:
    """How often the style of a clip's first half is nearest to that of its own second half: style and person."""
    codes = []
    for clip in clips:
        n = clip.track.n_frames
        parts = slice(0, n // 2), slice(n // 2, n)
        codes.append(
            [encode_style(clip.track.at_frames(p), models.style, ppg=ppg_part(clip.ppg, p)).vector for p in parts]
        )
    first, second = np.stack([c[0] for c in codes]), np.stack([c[1] for c in codes])
    distance = np.linalg.norm(first[:, None] - second[None], axis=-1)
    share = float((distance.argmin(1) == np.arange(len(codes))).mean())
    chance = 1 / len(codes)
    print(f"first half finds its second half among {len(codes)} clips by style: {share:.2f} (chance {chance:.2f})")


def print_smiles(corpus: Path, tracks: Path, clip: HeldOutClip, models: LipModels) -> None:
    """Mouth corners in the styles of unseen actors' emotions, and how far the face goes with the strength."""
    actors: dict[str, dict[str, FaceTrack]] = {}
    for row in read_index(corpus):
        if row.set == "mead" and row.split == "val" and row.n_frames >= 60:
            track = records.load(FaceTrack, tracks / f"{row.key}.track", model_hash=models.face.hash)
            actors.setdefault(row.speaker, {})[row.emotion] = track
    for actor, tracked in sorted(actors.items()):
        if "happy" not in tracked or len(tracked) < 2:
            continue
        styles = {emotion: encode_style(track, models.style).vector for emotion, track in tracked.items()}
        base = "neutral" if "neutral" in tracked else sorted(set(tracked) - {"happy"})[0]
        predicted = {e: run(clip.ppg, s, models, clip.track.n_frames) for e, s in styles.items()}
        cells = []
        for emotion in sorted(set(tracked) - {base}):
            true = corners(models.face, tracked[emotion].expression) - corners(models.face, tracked[base].expression)
            ours = corners(models.face, predicted[emotion]) - corners(models.face, predicted[base])
            cells.append(f"{emotion} {true:+.1f} -> {ours:+.1f}")
        print(f"mouth corners of {actor} over {base}, %IOD, tracked -> predicted: " + ", ".join(cells))
        distances = []
        for strength in (0.5, 1.0, 1.5, 2.0):
            vector = interpolate(styles[base], styles["happy"], strength)
            moved = run(clip.ppg, vector, models, clip.track.n_frames) - predicted[base]
            distances.append(f"{strength}: {np.sqrt((moved[:, :N_STRONG] ** 2).sum(1)).mean():.2f}")
        print(f"  way from {base} to happy at strength " + ", ".join(distances))


def corners(face: FaceModel, expression: Float32) -> float:
    """Height of the mouth corners in the mean expression, percent of eye distance above the neutral face."""
    offset = (expression.mean(0) @ face.basis).reshape(-1, 3)
    return float(100 * offset[list(CORNERS), 1].mean() / face.iod)


def spread(x: Float32) -> float:
    """How far a face moves about its mean: root of the summed variance, canonical units."""
    return float(np.sqrt(x.var(0).sum()))


def blinks(face: FaceModel, identity: Float32, expression: Float32) -> float:
    """Blinks a minute: runs of frames in which the lids are nearer than `BLINK` of their median distance."""
    mesh = face.decode(identity, expression)
    openings = []
    for upper, lower, left, right in EYES:
        width = np.linalg.norm(mesh[:, left] - mesh[:, right], axis=1)
        openings.append(np.linalg.norm(mesh[:, upper] - mesh[:, lower], axis=1) / width)
    opening = np.mean(openings, 0)
    shut = opening < BLINK * np.median(opening)
    return float((shut[1:] & ~shut[:-1]).sum() / len(shut) * 25 * 60)


def print_table(rows: list[dict[str, float | str]]) -> None:
    """Means over clips, with the 95 % interval of a bootstrap over clips for r."""
    random = np.random.default_rng(0)
    names = [name for name in rows[0] if name not in ("path", "set")]
    print(f"{'':20}" + "".join(f"{name:>16}" for name in SETS))
    counts = {s: sum(row["set"] == s for row in rows) for s in SETS}
    print(f"{'clips':20}" + "".join(f"{counts[s]:>16}" for s in SETS))
    for name in names:
        cells = []
        for s in SETS:
            values = np.array([float(row[name]) for row in rows if row["set"] == s])
            if not len(values):
                cells.append("-")
            elif name.startswith("r_"):
                means = values[random.integers(0, len(values), (2000, len(values)))].mean(1)
                cells.append(f"{values.mean():.3f} {np.percentile(means, 2.5):.2f}-{np.percentile(means, 97.5):.2f}")
            else:
                cells.append(f"{values.mean():.3f}")
        print(f"{name:20}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
