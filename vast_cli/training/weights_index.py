"""Write `weights/index.json`: the hash of every file that ships.

python -m vast_cli.training.weights_index weights
"""

import json
import sys
from pathlib import Path

from vast_cli.core import files

MIXED_LICENCE = "Apache-2.0; trained partly on clips for research only or of unclear rights, see its card"

# name -> file, kind, licence, card
SHIPPED: dict[str, tuple[str, str, str, str]] = {
    "face_detection_short_range": (
        "face_detection_short_range.tflite",
        "network",
        "Apache-2.0",
        "face_tracker.card.md",
    ),
    "face_mesh_backbone": ("face_mesh_backbone.tflite", "network", "Apache-2.0", "face_tracker.card.md"),
    "face_mesh_heads": ("face_mesh_heads.tflite", "network", "Apache-2.0", "face_tracker.card.md"),
    "face_blendshapes": ("face_blendshapes.tflite", "network", "Apache-2.0", "face_tracker.card.md"),
    "topology": ("topology.npz", "mesh", "Apache-2.0", "face_tracker.card.md"),
    "index_sets": ("index_sets.json", "mesh", "Apache-2.0", "face_tracker.card.md"),
    "face_model": ("face_model.safetensors", "model", "Apache-2.0 AND MIT", "face_model.card.md"),
    "blendshapes": ("blendshapes.safetensors", "model", "Apache-2.0 AND MIT", "blendshapes.card.md"),
    "acoustic": ("acoustic.safetensors", "network", MIXED_LICENCE, "acoustic.card.md"),
    "style": ("style.safetensors", "network", MIXED_LICENCE, "style.card.md"),
    "lagsync": ("lagsync.safetensors", "network", MIXED_LICENCE, "lagsync.card.md"),
}


def write_index(folder: Path) -> None:
    """Hash the shipped files in `folder` and write its index; avatars are those in `folder/avatars`."""
    shipped = dict(SHIPPED)
    for path in sorted(folder.glob("avatars/*/avatar.safetensors")):
        name = path.parent.name
        bundle = f"avatars/{name}"
        shipped[f"avatar/{name}"] = (f"{bundle}/avatar.safetensors", "avatar", "see its card", f"{bundle}/card.md")
    rows = {
        name: {"file": file, "sha256": files.sha256(folder / file), "kind": kind, "licence": licence, "card": card}
        for name, (file, kind, licence, card) in shipped.items()
        if (folder / file).is_file()
    }
    with files.atomic_write(folder / "index.json") as part:
        part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_index(Path(sys.argv[1]))
