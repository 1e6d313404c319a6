"""How well weights of blendshapes say what a face does, judged by MediaPipe's network, which was trained by others.

    python benchmarks/blendshapes.py --corpus ../shared/data/video --tracks build/tracks

Reads tracks of speakers of split val, and predicts the avatar's motion for their audio. Prints for both: how far the
rig's mesh is from the mesh, region by region; whether it opens mouth and eyes as far; for each blendshape the
correlation of its weight with the network's score of the mesh, and of the network's scores of the rig and of the mesh.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face.blendshapes import LIDS, LIPS, NAMES, BlendshapeFit
from vast_cli.face.networks import Network
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import predict_motion
from vast_cli.pipeline.options import MotionOptions
from vast_cli.records import FaceTrack
from vast_cli.training.corpora import CorpusClip, read_index

SETS = ("talk", "style", "mead", "grid")
FRAMES = 150  # of a clip at most
N_PREDICTED = 20  # clips whose audio is predicted
REGIONS = {
    "mouth": ("lips_outer", "lips_inner"),
    "jaw": ("jaw",),
    "eyes": ("image_left_eye", "image_right_eye"),
    "brows": ("image_left_brow", "image_right_brow"),
    "nose": ("nose",),
}
MIN_SPREAD = 0.01  # standard deviation of the network's score below which there is nothing to compare


@dataclass(frozen=True)
class Faces:
    """Frames of many clips."""

    clip: np.ndarray  # [n], number of the clip
    mesh: Float32  # [n, 478, 3]
    neutral: Float32  # [n, 478, 3]
    rig: Float32  # [n, 478, 3], made of the weights
    weights: Float32  # [n, 52]


class Judge:
    """MediaPipe's blendshape scores of meshes without pose."""

    def __init__(self, weights: Path) -> None:
        self._network = Network(weights / "face_blendshapes.tflite", ["StatefulPartitionedCall:0"])
        sets = json.loads((weights / "index_sets.json").read_text("utf-8"))
        self._points = np.array(sets["blendshape_net_input"])
        names = sets["blendshape_net_output"]
        self._order = [names.index(name) if name in names else 0 for name in NAMES]  # it knows no tongue

    def __call__(self, meshes: Float32) -> Float32:
        """[n, 478, 3] -> [n, 52] in the order of `NAMES`."""
        pixels = (meshes[:, self._points, :2] * np.float32([14, -14]) + 128).astype(np.float32)
        return np.stack([self._network(np.ascontiguousarray(frame[None]))[0] for frame in pixels])[:, self._order]


def tracked_faces(clips: list[CorpusClip], tracks: Path, models: Models) -> Faces:
    """Faces of the clips' tracks, each with the identity of its clip."""
    parts = []
    for number, clip in enumerate(clips):
        path = tracks / f"{clip.key}.track"
        if path.exists():
            track = records.load(FaceTrack, path, model_hash=models.face_model.hash)
            track = track.at_frames(np.flatnonzero(track.valid)[:FRAMES])
            parts.append(fit_faces(number, track.identity, track.expression, models))
    return join(parts)


def predicted_faces(clips: list[CorpusClip], avatar: str, models: Models) -> Faces:
    """Faces that the avatar is predicted to make for the clips' audio, in its own style."""
    identity = models.avatar(avatar).subject.identity
    parts = []
    for number, clip in enumerate(clips):
        try:
            motion = predict_motion(clip.path, models, style=None, avatar=avatar, options=MotionOptions())
        except VastError as error:
            print(f"{clip.name}: {error.message}")
            continue
        parts.append(fit_faces(number, identity, motion.expression[:FRAMES], models))
    return join(parts)


def fit_faces(number: int, identity: Float32, expression: Float32, models: Models) -> Faces:
    """Weights of a clip, and what a rig makes of them."""
    fit = BlendshapeFit(models.face_model, models.blendshapes, identity, models.topology)
    weights = fit.fit(expression)
    mesh = models.face_model.decode(identity, expression)
    return Faces(np.full(len(mesh), number), mesh, np.broadcast_to(identity, mesh.shape), fit.decode(weights), weights)


def join(parts: list[Faces]) -> Faces:
    """One set of all frames."""
    names = ("clip", "mesh", "neutral", "rig", "weights")
    return Faces(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def region_rows(faces: Faces, models: Models) -> list[str]:
    """Mean distance of a vertex in the image plane, and what is left of its motion."""
    rows = []
    regions = {name: np.concatenate([models.topology.sets[one] for one in sets]) for name, sets in REGIONS.items()}
    for name, vertices in (regions | {"all but irises": np.arange(468)}).items():
        moved, left = (faces.mesh - other for other in (faces.neutral, faces.rig))
        moved, left = (difference[:, vertices, :2] for difference in (moved, left))
        mean = [100 * np.linalg.norm(one, axis=2).mean() / models.face_model.iod for one in (moved, left)]
        rows.append(f"| {name} | {mean[0]:.2f} | {mean[1]:.2f} | {1 - (left**2).sum() / (moved**2).sum():.2f} |")
    return rows


def height_rows(faces: Faces) -> list[str]:
    """Correlation and slope of heights of the rig on those of the mesh."""
    rows = []
    left, right = (LIDS[side] for side in ("Left", "Right"))
    for name, upper, lower in (("lips", LIPS[:1], LIPS[1:]), ("left eye", *left), ("right eye", *right)):
        mesh, rig = (one[:, list(upper), 1].mean(1) - one[:, list(lower), 1].mean(1) for one in (faces.mesh, faces.rig))
        rows.append(f"| {name} | {np.corrcoef(mesh, rig)[0, 1]:.3f} | {np.polyfit(mesh, rig, 1)[0]:.2f} |")
    return rows


def judged_rows(faces: Faces, judge: Judge) -> list[str]:
    """For each name: spread of the network's score, correlations with the weight, and of its scores of rig and mesh."""
    scores, of_rig = judge(faces.mesh), judge(faces.rig)
    rows = []
    for k, name in enumerate(NAMES):
        score = scores[:, k]
        if name == "tongueOut" or score.std() < MIN_SPREAD:
            continue
        within = correlation(centred(faces.weights[:, k], faces.clip), centred(score, faces.clip))
        figures = correlation(faces.weights[:, k], score), within, correlation(of_rig[:, k], score)
        low, high = np.quantile(faces.weights[:, k], [0.05, 0.99])
        rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures) + f" | {low:.2f} - {high:.2f} |")
    return rows


def centred(values: Float32, clip: np.ndarray) -> np.ndarray:
    """Values minus the mean of their clip."""
    totals, counts = np.bincount(clip, values), np.bincount(clip)
    return values - (totals / np.maximum(counts, 1))[clip]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r; 0 where one does not move."""
    return float(np.corrcoef(one, other)[0, 1]) if min(one.std(), other.std()) > 1e-6 else 0.0


def speed(models: Models) -> float:
    """Frames a second of CPU time."""
    fit = BlendshapeFit(models.face_model, models.blendshapes, models.face_model.v_bar, models.topology)
    noise = np.random.default_rng(0).standard_normal((10_000, len(models.face_model.sd)))
    expression = (noise * models.face_model.sd).astype(np.float32)
    start = time.process_time()
    fit.fit(expression)
    return len(expression) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, default=Path("build/tracks"))
    parser.add_argument("--avatar", default="obama")
    arguments = parser.parse_args()
    models = Models()
    judge = Judge(Path(__file__).resolve().parents[1] / "weights")
    clips = [clip for clip in read_index(arguments.corpus) if clip.split == "val" and clip.set in SETS]
    spoken = [clip for clip in clips if clip.set == "talk" and clip.has_audio][:N_PREDICTED]
    print(f"{speed(models):.0f} frames/s of CPU time")
    for title, faces in (
        ("tracked", tracked_faces(clips, arguments.tracks, models)),
        ("predicted", predicted_faces(spoken, arguments.avatar, models)),
    ):
        print(f"\n## {title}: {len(np.unique(faces.clip))} clips, {len(faces.clip)} frames")
        print("| region | motion, %IOD | left, %IOD | share explained |\n| --- | ---: | ---: | ---: |")
        print("\n".join(region_rows(faces, models)))
        print("| height | r | slope |\n| --- | ---: | ---: |")
        print("\n".join(height_rows(faces)))
        print("| blendshape | r | r within clips | r of rig and mesh | weights, 5 - 99 % |")
        print("| --- | ---: | ---: | ---: | ---: |")
        print("\n".join(judged_rows(faces, judge)))


if __name__ == "__main__":
    main()
