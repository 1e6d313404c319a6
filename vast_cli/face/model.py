"""Face model: identity, 233 expression components and pose, both ways (Phi and Phi' of paper 3).

The mesh of frame t in the image is `flip(scale * R (identity + expression B)) + translation` (weak perspective), in
pixels with x right, y down and z away from the camera (nearer is smaller, as in the landmark network). Identity is a
free neutral mesh of the person; B is a split basis: rows 0..84 move the lower face (speech-strongly-related), rows
85..232 the upper face. Each group has its own PCA, because with a common PCA every large component moves the mouth and
the weak set would hold 1.6 % of the motion of eyes and brows.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face import geometry
from vast_cli.store import assets

FORMAT, VERSION = "vast.face_model", 1
OUTER_EYES = (33, 263)
INNER_LIPS = (13, 14)
RIDGE_IOD = 0.0005  # noise of a vertex in outer-eye distances, for the fit of expression
ANCHOR_SHARE = 0.15  # frames with the smallest lip gap that make a clip's anchor
NEUTRAL_ROUNDS = 3
SHAPES = {
    "v_bar": (478, 3),
    "basis": (233, 1434),
    "sd": (233,),
    "identity_basis": (80, 1434),
    "identity_sd": (80,),
    "mean_expression_left": (1434, 96),
    "mean_expression_right": (96, 1434),
    "w_rigid": (478,),
    "w_mouth": (478,),
}


@dataclass(frozen=True)
class Pose:
    """Where meshes are in the image: rotation vectors, pixels a canonical unit, pixels (x right, y down, z away)."""

    rotation: Float32  # [n, 3]
    scale: Float32  # [n]
    translation: Float32  # [n, 3]


@dataclass(frozen=True)
class FaceModel:
    """The face model in canonical units (outer eye corners of the mean face are `iod` apart), canonical axes."""

    v_bar: Float32  # [478, 3], mean neutral face
    basis: Float32  # [233, 1434], rows are vertex offsets (x, y, z of vertex 0, 1, ...)
    sd: Float32  # [233], standard deviation of each component over the training clips
    n_strong: int  # the first components, speech-strongly-related
    identity_basis: Float32  # [80, 1434], describes an identity; never used to decode
    identity_sd: Float32  # [80]
    mean_expression_left: Float32  # [1434, 96], with `right`: a clip's anchor - v_bar to its mean expression
    mean_expression_right: Float32  # [96, 1434]
    w_rigid: Float32  # [478], sum 1, how far a vertex is bone; 0 on the irises
    w_mouth: Float32  # [478], 0..1, how far a vertex belongs to the lower face
    iod: float
    hash: str

    @classmethod
    def load(cls, path: Path | None = None) -> "FaceModel":
        """Read the model that ships with vast, or another one.

        Raises:
            VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
        """
        path = assets.find("face_model") if path is None else path
        tensors, header = records.load_tensors(path, kind=FORMAT, version=VERSION)
        for name, shape in SHAPES.items():
            value = tensors.get(name)
            if value is None or value.shape != shape or not np.isfinite(value).all():
                raise VastError(
                    "vast_record_invalid", f"`{path}`: `{name}` is missing, damaged or not of shape {list(shape)}"
                )
        arrays = {name: tensors[name].astype(np.float32) for name in SHAPES}
        return cls(**arrays, n_strong=int(header["n_strong"]), iod=float(header["iod"]), hash=files.sha256(path)[:16])

    # --- expression -------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _fit(self) -> Float32:
        """[1434, 233]: least squares with a prior of each component's variance, one matrix for all frames."""
        basis = self.basis.astype(np.float64)
        prior = (RIDGE_IOD * self.iod) ** 2 / self.sd.astype(np.float64) ** 2
        fit: Float32 = np.linalg.solve(basis @ basis.T + np.diag(prior), basis).T.astype(np.float32)
        return fit

    def decode(self, identity: Float32, expression: Float32) -> Float32:
        """Meshes of a person with expressions (Phi', paper 3).

        Args:
            identity: [478, 3], neutral mesh.
            expression: [n, 233].

        Returns:
            [n, 478, 3], canonical units and axes, without pose.
        """
        return identity + (expression @ self.basis).reshape(-1, records.N_VERTICES, 3)

    def encode(self, stabilised: Float32, identity: Float32) -> Float32:
        """Expressions of meshes without pose (part of Phi, paper 3): [n, 478, 3] -> [n, 233]."""
        expression: Float32 = np.matmul((stabilised - identity).reshape(len(stabilised), -1), self._fit)
        return expression

    # --- pose -------------------------------------------------------------------------------------------------------

    def stabilise(self, landmarks: Float32, identity: Float32) -> tuple[Float32, Pose]:
        """Remove the pose from landmarks.

        Args:
            landmarks: [n, 478, 3], pixels, image axes (as tracked).
            identity: [478, 3], neutral mesh to align them with; only bony vertices count.

        Returns:
            meshes [n, 478, 3] in canonical units and axes, and the pose; `place` of the two gives the landmarks again.
        """
        upright = geometry.flip(landmarks)
        scale, rotation, translation = geometry.similarity(upright, identity, self.w_rigid)
        meshes = scale[:, None, None] * (upright @ rotation.transpose(0, 2, 1)) + translation[:, None]
        inverse = rotation.transpose(0, 2, 1)
        origin = -np.einsum("nij,nj->ni", inverse, translation) / scale[:, None]
        return meshes, Pose(geometry.rotation_vector(inverse), np.reciprocal(scale), geometry.flip(origin))

    def place(self, vertices: Float32, rotation: Float32, scale: Float32, translation: Float32) -> Float32:
        """Place meshes in the image (weak perspective).

        Args:
            vertices: [n, 478, 3], canonical (from `decode`).
            rotation: [n, 3], rotation vectors.
            scale: [n], pixels a canonical unit.
            translation: [n, 3], pixels.

        Returns:
            [n, 478, 3], pixels: x right, y down, z away from the camera; pixel centres lie at +0.5.
        """
        turned = vertices @ geometry.rotation_matrix(rotation).transpose(0, 2, 1)
        return geometry.flip(scale[:, None, None] * turned) + translation[:, None]

    # --- identity ---------------------------------------------------------------------------------------------------

    def neutral(self, landmarks: Float32) -> Float32:
        """Neutral mesh of a person from one or more clips pooled (identity part of Phi).

        G = 2 S_e (S_i + 2 S_e)^-1 separates mean expression from bone: what differs from the mean face as expressions
        do within clips is expression, everything else is identity. The clip mean as neutral would keep a smile as bone:
        with it the same actor in other emotions is 2.48 %IOD apart, with G 0.93.

        Args:
            landmarks: [n, 478, 3], pixels, image axes, valid frames only.

        Returns:
            [478, 3], canonical units.
        """
        neutral = self.v_bar
        for _ in range(NEUTRAL_ROUNDS):
            meshes, _ = self.stabilise(landmarks, neutral)
            anchor = self.anchor(meshes)
            neutral = anchor - self.mean_expression(anchor)
        return neutral

    def anchor(self, meshes: Float32) -> Float32:
        """Mean of the frames with the smallest inner-lip gap, aligned with the mean face: [n, 478, 3] -> [478, 3]."""
        gap = np.linalg.norm(meshes[:, INNER_LIPS[0], :2] - meshes[:, INNER_LIPS[1], :2], axis=1)
        chosen = np.argsort(gap, kind="stable")[: max(1, round(ANCHOR_SHARE * len(gap)))]
        mean = meshes[chosen].mean(0, keepdims=True)
        scale, rotation, translation = geometry.similarity(mean, self.v_bar, self.w_rigid)
        aligned: Float32 = (scale[:, None, None] * (mean @ rotation.transpose(0, 2, 1)) + translation[:, None])[0]
        return aligned

    def mean_expression(self, anchor: Float32) -> Float32:
        """The part of `anchor` - v_bar that is expression: G (anchor - v_bar). [478, 3] -> [478, 3]."""
        offset = (anchor - self.v_bar).reshape(-1)
        return (self.mean_expression_left @ (self.mean_expression_right @ offset)).reshape(-1, 3)

    # --- measures ---------------------------------------------------------------------------------------------------

    def lip_gap(self, identity: Float32, expression: Float32) -> Float32:
        """Gap of the inner lips (vertices 13, 14) in the image plane of the mesh without pose.

        Args:
            identity: [478, 3].
            expression: [n, 233].

        Returns:
            [n], percent of the distance of the outer eye corners.
        """
        columns = [3 * INNER_LIPS[0], 3 * INNER_LIPS[0] + 1, 3 * INNER_LIPS[1], 3 * INNER_LIPS[1] + 1]
        points = expression @ self.basis[:, columns] + identity.reshape(-1)[columns]
        eyes = np.linalg.norm(identity[OUTER_EYES[0], :2] - identity[OUTER_EYES[1], :2])
        gap: Float32 = 100 * np.linalg.norm(points[:, :2] - points[:, 2:], axis=1) / eyes
        return gap
