"""ARKit's blendshapes: expression to the weights that drive rigs in game engines, and back.

Weights come from bounded least squares between the mesh and the shapes of ICT-FaceKit, frame by frame: no frame depends
on its neighbours. Gaze is read off the irises first, because lids follow it; heights of lids and lips count more than
other vertices, because viewers see at once whether an eye or a mouth is shut.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.arrays import Float32, Float64
from vast_cli.core.errors import VastError
from vast_cli.face.model import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.store import assets

FORMAT, VERSION = "vast.blendshapes", 1

# Apple's names in the order of Live Link Face recordings, in which importers read the columns by position
NAMES: tuple[str, ...] = (
    *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft"),
    *("eyeSquintLeft", "eyeWideLeft"),
    *("eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight"),
    *("eyeSquintRight", "eyeWideRight"),
    *("jawForward", "jawRight", "jawLeft", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight"),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",  # the mesh has no tongue: always 0
)
N_BLENDSHAPES = len(NAMES)  # 52
JAW_OPEN, MOUTH_CLOSE = NAMES.index("jawOpen"), NAMES.index("mouthClose")
BLINKS = NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")
GAZE = tuple(k for k, name in enumerate(NAMES) if name.startswith("eyeLook"))
# rotations of head and eyes that follow the blendshapes in such recordings, radians
ROTATIONS: tuple[str, ...] = (
    *("headYaw", "headPitch", "headRoll"),
    *("leftEyeYaw", "leftEyePitch", "leftEyeRoll"),
    *("rightEyeYaw", "rightEyePitch", "rightEyeRoll"),
)
SIDES = ("Left", "Right")  # the person's; `Left` is the right half of the image

# gaze: radians at weight 1, from the rows of six public Live Link Face recordings (r of weight and angle > .995)
FULL_YAW, FULL_PITCH = 0.6, 0.5
IRISES = {"Left": (473, 362, 263), "Right": (468, 133, 33)}  # centre of the iris, inner and outer corner of the eye
LIDS = {"Left": ((385, 386, 387), (380, 374, 373)), "Right": ((158, 159, 160), (153, 145, 144))}  # upper, lower
LIPS = (13, 14)

# the fit: squared weights of a coordinate of a vertex, of a height, and the pull towards 0 (see blendshapes.card.md)
DEPTH = 0.1  # the tracker guesses depth
MOUTH = 5.0
OVAL = 0.25  # slides over the cheeks as the head turns
LID_HEIGHT, LIP_HEIGHT = 300.0, 100.0
RIDGE = 0.1
JAW_RIDGE = 0.2  # of the others': the jaw opens a mouth before the lips do
CLOSED_LIDS = 0.15  # height of a shut eye in landmarks, share of the open eye's
SEEN_IRIS = 0.5  # share of the open eye's height below which the iris is guessed: it sinks with the lid of a blink
SWEEPS = 100
BLOCK = 256  # frames solved at once, always as many: a weight's last bits do not depend on the length


@dataclass(frozen=True)
class Blendshapes:
    """What each blendshape does to the mesh at weight 1."""

    offsets: Float32  # [52, 478, 3], canonical units and axes, in the order of `NAMES`
    hash: str

    @classmethod
    def load(cls, path: Path | None = None) -> "Blendshapes":
        """Read the shapes that ship with vast, or others.

        Raises:
            VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
        """
        path = assets.find("blendshapes") if path is None else path
        tensors, header = records.load_tensors(path, kind=FORMAT, version=VERSION)
        offsets = tensors.get("offsets")
        expected = (N_BLENDSHAPES, records.N_VERTICES, 3)
        if offsets is None or offsets.shape != expected or not np.isfinite(offsets).all():
            raise VastError(
                "vast_record_invalid", f"`{path}`: `offsets` is missing, damaged or not of shape {list(expected)}"
            )
        if header.get("names") != list(NAMES):
            raise VastError("vast_record_invalid", f"`{path}` does not hold the 52 blendshapes of ARKit in their order")
        return cls(offsets.astype(np.float32), files.sha256(path)[:16])


class BlendshapeFit:
    """Expressions of one person to weights of blendshapes, and back to meshes.

    Args:
        model: the face model of the expressions.
        shapes: the blendshapes.
        identity: [478, 3], the person's neutral mesh: how far open the eyes are that a blink shuts.
        topology: vertices of mouth and outline.
    """

    def __init__(self, model: FaceModel, shapes: Blendshapes, identity: Float32, topology: Topology) -> None:
        self._identity = identity
        offsets = shapes.offsets.reshape(N_BLENDSHAPES, -1).astype(np.float64)
        heights = np.stack([_lid_height(side) for side in SIDES], 1)
        open_heights = identity.reshape(-1) @ heights
        for height, open_height, blink in zip(heights.T, open_heights, BLINKS, strict=True):
            offsets[blink] *= -(1 - CLOSED_LIDS) * open_height / (height @ offsets[blink])
        self._offsets = offsets
        self._gaze = np.array(GAZE)
        self._solved = np.array([k for k in range(N_BLENDSHAPES) if k not in self._gaze and offsets[k].any()])

        basis = model.basis.astype(np.float64)
        self._gaze_weights = basis @ np.stack([_gaze_direction(k, offsets[k]) for k in self._gaze], 1)  # [233, 8]
        self._down = [k for k, shape in enumerate(GAZE) if "Down" in NAMES[shape]]  # left, right
        self._lid_heights = basis @ heights / open_heights  # [233, 2]
        columns = offsets.copy()
        columns[MOUTH_CLOSE] += columns[JAW_OPEN]  # see `_fit_block`
        metric = _Metric(topology)
        solved, gaze = metric(columns[self._solved]), metric(columns[self._gaze])
        self._linear = metric(basis) @ solved.T  # [233, k]
        self._from_gaze = gaze @ solved.T  # [8, k]
        energy = columns[self._solved] ** 2 @ metric.vertices
        ridge = RIDGE * np.where(self._solved == JAW_OPEN, JAW_RIDGE, 1) * np.sqrt(energy * energy.mean())
        self._gram = solved @ solved.T + np.diag(ridge)

    def fit(self, expression: Float32) -> Float32:
        """Weights of expressions: [n, 233] -> [n, 52] in [0, 1]."""
        weights = np.zeros((len(expression), N_BLENDSHAPES), np.float32)
        block = np.zeros((BLOCK, expression.shape[1]))
        for start in range(0, len(expression), BLOCK):
            run = expression[start : start + BLOCK]
            block[: len(run)], block[len(run) :] = run, 0
            weights[start : start + BLOCK] = self._fit_block(block)[: len(run)]
        return weights

    def _fit_block(self, expression: Float64) -> Float64:
        """[BLOCK, 233] -> [BLOCK, 52]."""
        weights = np.zeros((len(expression), N_BLENDSHAPES))
        gaze = np.clip(expression @ self._gaze_weights, 0, 1)
        gaze[:, self._down] *= np.clip((self._opening(expression) - CLOSED_LIDS) / (SEEN_IRIS - CLOSED_LIDS), 0, 1)
        weights[:, self._gaze] = gaze
        target = expression @ self._linear - gaze @ self._from_gaze
        weights[:, self._solved] = solve_bounded(self._gram, np.ascontiguousarray(target.T)).T
        # solved as "jaw open, lips together", which is both: a mouth cannot close further than its jaw is open
        weights[:, JAW_OPEN] = np.minimum(weights[:, JAW_OPEN] + weights[:, MOUTH_CLOSE], 1)
        return weights

    def _opening(self, expression: Float64) -> Float64:
        """Heights of the left and the right eye as shares of the neutral's: [n, 233] -> [n, 2]."""
        return 1 + expression @ self._lid_heights

    def decode(self, weights: Float32) -> Float32:
        """Meshes of the person with these weights, as a rig makes them: [n, 52] -> [n, 478, 3]."""
        offsets = weights @ self._offsets.astype(np.float32)
        return self._identity + offsets.reshape(-1, records.N_VERTICES, 3)


def solve_bounded(gram: Float64, target: Float64, sweeps: int = SWEEPS) -> Float64:
    """Minimise x'Gx / 2 - b'x over 0 <= x <= 1 for many b, one coordinate of all x after the other.

    100 sweeps leave 0.002 at most on tracked faces, less elsewhere (`test_sweeps_suffice`).

    Args:
        gram: [k, k], positive definite.
        target: [k, n], a column is one b.
        sweeps: over all coordinates.

    Returns:
        [k, n].
    """
    x = np.zeros_like(target)
    inverse = 1 / np.diag(gram)
    for _ in range(sweeps):
        for k, row in enumerate(gram):
            x[k] = np.clip(x[k] + (target[k] - row @ x) * inverse[k], 0, 1)
    return x


def eye_rotations(weights: Float32) -> Float32:
    """Rotations that belong to the gaze of weights [n, 52]: [n, 9] in the order of `ROTATIONS`, radians.

    Positive yaw looks to the person's right, positive pitch down, as in Live Link Face. The head does not turn: motion
    holds no pose.
    """
    rotations = np.zeros((len(weights), len(ROTATIONS)), np.float32)
    for side in SIDES:
        look = {way: weights[:, NAMES.index(f"eyeLook{way}{side}")] for way in ("In", "Out", "Up", "Down")}
        to_the_right = look["In"] - look["Out"] if side == "Left" else look["Out"] - look["In"]
        eye = side.lower()
        rotations[:, ROTATIONS.index(f"{eye}EyeYaw")] = FULL_YAW * to_the_right
        rotations[:, ROTATIONS.index(f"{eye}EyePitch")] = FULL_PITCH * (look["Down"] - look["Up"])
    return rotations


# --- directions of the mesh -----------------------------------------------------------------------------------------


def _direction(plus: tuple[int, ...], minus: tuple[int, ...], axis: int) -> Float64:
    """[1434], mean coordinate of the vertices `plus` minus that of `minus`."""
    direction = np.zeros((records.N_VERTICES, 3))
    direction[list(plus), axis] += 1 / len(plus)
    direction[list(minus), axis] -= 1 / len(minus)
    return direction.reshape(-1)


def _lid_height(side: str) -> Float64:
    return _direction(*LIDS[side], axis=1)


def _gaze_direction(shape: int, offset: Float64) -> Float64:
    """[1434], weight of an eyeLook shape by how far the iris moves between the corners of the eye."""
    name = NAMES[shape]
    iris, *corners = IRISES[next(side for side in SIDES if name.endswith(side))]
    direction = _direction((iris,), tuple(corners), axis=1 if "Up" in name or "Down" in name else 0)
    return direction / (direction @ offset)


# --- metric ---------------------------------------------------------------------------------------------------------


class _Metric:
    """Coordinates in which least squares weigh what counts: vertices, and heights of lids and lips."""

    def __init__(self, topology: Topology) -> None:
        weights = np.ones((records.N_VERTICES, 3))
        weights[:, 2] = DEPTH
        weights[np.concatenate([topology.sets["lips_outer"], topology.sets["lips_inner"]])] *= MOUTH
        weights[topology.sets["oval"]] *= OVAL
        weights[len(topology.canonical) :] = 0  # irises: gaze is read off them
        self.vertices = weights.reshape(-1)  # [1434], squared weights
        lids = [np.sqrt(LID_HEIGHT) * _lid_height(side) for side in SIDES]
        self._heights = np.stack([*lids, np.sqrt(LIP_HEIGHT) * _direction(LIPS[:1], LIPS[1:], axis=1)], 1)

    def __call__(self, offsets: Float64) -> Float64:
        """[m, 1434] -> [m, 1437]."""
        return np.concatenate([offsets * np.sqrt(self.vertices), offsets @ self._heights], 1)
