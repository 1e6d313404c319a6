"""The avatar bundle: everything a person's renderer needs, as a folder or as a zip of it, a `.avatar` file.

avatar.json         card: name, subject, licence, consent, hashes, measured figures
avatar.safetensors  identity, template poses, textures, plate, G; footage only for avatars that are rendered into it
"""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vast_cli import __version__, records
from vast_cli.core import files
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.records import N_VERTICES
from vast_cli.renderer.geometry import Box, PoseStatistics
from vast_cli.renderer.limiter import ExpressionRange
from vast_cli.renderer.network import RendererNetwork, RendererNetworkConfig
from vast_cli.renderer.plate import Plate
from vast_cli.renderer.scene import Subject
from vast_cli.renderer.texture import Texture, TextureRegion
from vast_cli.store.bundles import CARD

FORMAT, VERSION = "vast.avatar", 1
WEIGHTS = "avatar.safetensors"
MEMBERS = {CARD, WEIGHTS, "card.md"}
MAX_MEMBER = 4 << 30  # bytes; an hour of footage fits
LAYERS = ("background", "torso", "head")


@dataclass(frozen=True)
class TemplateFootage:
    """Template frames of a bundle with footage: concatenated JPEG streams."""

    data: Image  # [bytes]
    offsets: NDArray[np.int64]  # [frames + 1]
    width: int
    height: int

    def frame(self, index: int) -> Image:
        """Decode a template frame: RGB [height, width, 3].

        Raises:
            VastError: `vast_record_invalid` if it is damaged.
        """
        image = cv2.imdecode(self.data[self.offsets[index] : self.offsets[index + 1]], cv2.IMREAD_COLOR)
        if image is None:
            raise VastError("vast_record_invalid", f"template frame {index} of the avatar is damaged")
        return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


@dataclass(frozen=True)
class Avatar:
    """A person's renderer, loaded."""

    name: str
    card: dict[str, Any]
    face_model_hash: str
    subject: Subject
    region: tuple[int, int, int, int]  # top, bottom, left, right of G's region; box pixels, multiples of 8
    rotation: Float32  # [t, 3], template poses in footage pixels
    scale: Float32  # [t]
    translation: Float32  # [t, 3]
    texture: Texture
    plate: Plate
    network: RendererNetwork
    expression_range: ExpressionRange
    neutral: Float32  # [d_s], the avatar's own style, or [0]
    neutral_model: str  # hash of the style model that encoded it
    person: Float32  # [233], the person's part of the face's level by that model, or [0]
    footage: TemplateFootage | None = None

    def neutral_style(self, model_hash: str) -> Float32 | None:
        """The avatar's own style [d_s] if the style model in use encoded it, else None."""
        return self.neutral if self.neutral_model == model_hash and len(self.neutral) else None

    def person_part(self, model_hash: str) -> Float32:
        """Expression [233] to add to what the style model in use predicts; 0 if another one measured it."""
        known = self.neutral_model == model_hash and len(self.person) == records.N_EXPRESSION
        return self.person if known else np.zeros(records.N_EXPRESSION, np.float32)

    @property
    def footage_statistics(self) -> Mapping[str, Any] | None:
        """Statistics of the avatar's footage, for ratios in evaluation and gates; None if it was not measured."""
        statistics = self.card.get("yardstick")
        return statistics if isinstance(statistics, Mapping) else None

    @property
    def n_template(self) -> int:
        """Number of template frames."""
        return len(self.scale)

    def save(self, folder: Path) -> None:
        """Write the bundle into `folder`."""
        header = {
            "name": self.name,
            "face_model_hash": self.face_model_hash,
            "box": asdict(self.subject.box),
            "region": list(self.region),
            "network": asdict(self.network.config),
            "limit": self.expression_range.limit,
            "gamma": [self.texture.lower.gamma, self.texture.upper.gamma],
            "neutral_model": self.neutral_model,
            "footage": None if self.footage is None else [self.footage.width, self.footage.height],
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / WEIGHTS
        records.save_tensors(path, self._tensors(), kind=FORMAT, version=VERSION, header=header)
        card = {"format": FORMAT, "format_version": VERSION, "producer": f"vast {__version__}"} | self.card
        _write_card(folder, card | {"name": self.name, "sha256": files.sha256(path)})

    def _tensors(self) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {
            "identity": self.subject.identity,
            "open_jaw": self.subject.open_jaw,
            "template.rotation": self.rotation,
            "template.scale": self.scale,
            "template.translation": self.translation,
            "pose.mean": self.subject.pose.mean,
            "pose.sd": self.subject.pose.sd,
            "reference": self.subject.reference,
            "texture.mean": _to_levels(self.texture.mean),
            "lower.vertices": self.subject.lower_vertices,
            "upper.vertices": self.subject.upper_vertices,
            "range.mean": self.expression_range.mean,
            "range.whitening": self.expression_range.whitening,
            "neutral": self.neutral,
            "person": self.person,
        }
        for name, region in (("lower", self.texture.lower), ("upper", self.texture.upper)):
            scale = np.abs(region.components).reshape(len(region.components), -1).max(1) / 127
            tensors |= {
                f"{name}.components": np.round(region.components / scale[:, None, None, None]).astype(np.int8),
                f"{name}.scale": scale.astype(np.float32),
                f"{name}.middle": region.middle,
                f"{name}.directions": region.directions,
                f"{name}.bounds": region.bounds,
                f"{name}.centres": region.centres,
                f"{name}.weights": region.weights,
                f"{name}.offset": region.offset,
            }
        for key, value in self.plate.state_dict().items():
            array = value.cpu().numpy()
            tensors[f"plate.{key}"] = _to_levels(255 * array) if key in LAYERS else array.astype(np.float16)
        for key, value in self.network.state_dict().items():
            tensors[f"network.{key}"] = value.cpu().numpy().astype(np.float16)
        if self.footage is not None:
            tensors |= {"footage.data": self.footage.data, "footage.offsets": self.footage.offsets}
        return tensors

    @classmethod
    def load(cls, path: Path) -> "Avatar":
        """Read a bundle, a folder or a `.avatar` file.

        Raises:
            VastError: `vast_input_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
        """
        if path.is_file():
            with tempfile.TemporaryDirectory() as folder:
                _unzip(path, Path(folder))
                return cls.load(Path(folder))
        card = read_card(path)
        weights = path / WEIGHTS
        files.check_input(weights)
        if card.get("sha256") != files.sha256(weights):
            hint = "reinstall vast, or copy or fit the avatar again"
            raise VastError(
                "vast_asset_corrupt", f"`{weights}` was modified: its SHA-256 differs from the card", hint=hint
            )
        tensors, header = records.load_tensors(weights, kind=FORMAT, version=VERSION)
        try:
            return cls._build(card, tensors, header)
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise VastError("vast_record_invalid", f"`{weights}` is not a valid avatar: {error}") from error

    @classmethod
    def _build(cls, card: dict[str, Any], t: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> "Avatar":
        if t["identity"].shape != (N_VERTICES, 3):
            raise ValueError(f"identity has shape {t['identity'].shape}")
        box = Box(**header["box"])
        plate = Plate(box.size)
        network = RendererNetwork(RendererNetworkConfig(**header["network"]))
        _load_module(plate, {k.removeprefix("plate."): v for k, v in t.items() if k.startswith("plate.")})
        _load_module(network, {k.removeprefix("network."): v for k, v in t.items() if k.startswith("network.")})
        regions = []
        for name, gamma in zip(("lower", "upper"), header["gamma"], strict=True):
            components = t[f"{name}.components"].astype(np.float32) * t[f"{name}.scale"][:, None, None, None]
            regions.append(
                TextureRegion(
                    components=components,
                    middle=t[f"{name}.middle"],
                    directions=t[f"{name}.directions"],
                    bounds=t[f"{name}.bounds"],
                    centres=t[f"{name}.centres"],
                    weights=t[f"{name}.weights"],
                    offset=t[f"{name}.offset"],
                    gamma=float(gamma),
                )
            )
        footage = None
        if header["footage"] is not None:
            footage = TemplateFootage(t["footage.data"], t["footage.offsets"], *header["footage"])
        top, bottom, left, right = header["region"]
        return cls(
            name=str(header["name"]),
            card=card,
            face_model_hash=str(header["face_model_hash"]),
            subject=Subject(
                box=box,
                identity=t["identity"],
                open_jaw=t["open_jaw"],
                pose=PoseStatistics(t["pose.mean"], t["pose.sd"]),
                reference=t["reference"],
                lower_vertices=t["lower.vertices"],
                upper_vertices=t["upper.vertices"],
            ),
            region=(top, bottom, left, right),
            rotation=t["template.rotation"],
            scale=t["template.scale"],
            translation=t["template.translation"],
            texture=Texture(t["texture.mean"].astype(np.float32), *regions),
            plate=plate,
            network=network,
            expression_range=ExpressionRange(t["range.mean"], t["range.whitening"], float(header["limit"])),
            neutral=t["neutral"],
            neutral_model=str(header["neutral_model"]),
            person=t.get("person", np.zeros(0, np.float32)),
            footage=footage,
        )


def read_card(path: Path) -> dict[str, Any]:
    """The card of a bundle.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`.
    """
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _unzip(path, Path(folder))
            return read_card(Path(folder))
    files.check_input(path / CARD)
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise VastError("vast_record_invalid", f"`{path / CARD}` is not a valid card: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise VastError("vast_record_invalid", f"`{path / CARD}` is not the card of an avatar")
    return card


def update_card(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change entries of the card of a bundle folder.

    Raises:
        VastError: `vast_option_invalid` for a `.avatar` file; those of `read_card` and `files.atomic_write`.
    """
    if folder.is_file():
        raise VastError("vast_option_invalid", f"`{folder}` is a packed avatar", hint="unpack it into a folder first")
    _write_card(folder, read_card(folder) | dict(changes))


def _write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a card with one key per line, so that lists of numbers stay on theirs."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in card.items()]
    with files.atomic_write(folder / CARD) as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _to_levels(values: Float32) -> Image:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _load_module(module: torch.nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    state = {}
    for key, value in arrays.items():
        scale = 255 if value.dtype == np.uint8 else 1  # layers are stored as levels of 255
        state[key] = torch.from_numpy(value.astype(np.float32) / scale)
    module.load_state_dict(state)
    module.eval().requires_grad_(False)


def _unzip(path: Path, folder: Path) -> None:
    """Unpack a `.avatar` file; members that a bundle does not have are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename not in MEMBERS or member.file_size > MAX_MEMBER:
                    raise VastError(
                        "vast_record_invalid", f"`{path}` contains `{member.filename}`, which is not part of an avatar"
                    )
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is not an avatar bundle: {error}") from error
