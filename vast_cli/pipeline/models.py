"""Networks and avatars in memory, loaded once and used by every render of a process."""

import functools
from collections import OrderedDict
from pathlib import Path

from vast_cli import expression, face, renderer, speech, style
from vast_cli.core.errors import VastError
from vast_cli.store import assets

MAX_AVATARS = 4  # 10 MB each; more where a bundle holds its footage

Stamp = tuple[tuple[str, int, int], ...]  # name, size and time of change of each file of a bundle


class Models:
    """All shared networks, each loaded when first used, and the avatars used last."""

    def __init__(self) -> None:
        self._avatars: OrderedDict[Path, tuple[Stamp, renderer.Avatar]] = OrderedDict()

    @functools.cached_property
    def face_model(self) -> face.FaceModel:
        """Phi and Phi'."""
        return face.FaceModel.load(assets.find("face_model"))

    @functools.cached_property
    def acoustic_model(self) -> speech.AcousticModel:
        """Audio to posteriorgram."""
        return speech.load_acoustic_model(assets.find("acoustic"))

    @functools.cached_property
    def style_model(self) -> style.StyleModel:
        """E^p and E^v."""
        return style.load_style_model(assets.find("style"))

    @functools.cached_property
    def expression_model(self) -> expression.ExpressionModel:
        """D^ar and D^nar."""
        return expression.load_expression_model(assets.find("style"))

    @functools.cached_property
    def rasteriser(self) -> face.MeshRasteriser:
        """Mesh to mesh images."""
        return face.MeshRasteriser()

    @functools.cached_property
    def topology(self) -> face.Topology:
        """Named vertices of the mesh."""
        return face.Topology.load()

    @functools.cached_property
    def blendshapes(self) -> face.Blendshapes:
        """What ARKit's blendshapes do to the mesh."""
        return face.Blendshapes.load(assets.find("blendshapes"))

    def avatar(self, name: str) -> renderer.Avatar:
        """The bundle `name`, made for the face model in use; loaded again if its files changed.

        Raises:
            VastError: `vast_avatar_unknown`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_model_mismatch`.
        """
        path = renderer.find_avatar(name).absolute()
        stamp = _stamp(path)
        if path in self._avatars and self._avatars[path][0] == stamp:
            self._avatars.move_to_end(path)
            return self._avatars[path][1]
        avatar = renderer.Avatar.load(path)
        if avatar.face_model_hash != self.face_model.hash:
            raise VastError(
                "vast_model_mismatch",
                f"avatar `{name}` was fitted with another face model",
                hint="fit it again: `vast fit-renderer`",
            )
        self._avatars[path] = stamp, avatar
        self._avatars.move_to_end(path)
        while len(self._avatars) > MAX_AVATARS:
            self._avatars.popitem(last=False)
        return avatar


def _stamp(path: Path) -> Stamp:
    members = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(member.name, member.stat()) for member in members if member.is_file()]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
