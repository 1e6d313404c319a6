"""Make `prompt.mp4`: the avatar obama speaks a synthetic sentence in the style of an acted, happy clip.

    python examples/make_prompt.py SHARED_DATA

Synthetic from end to end: the voice is Kokoro-82M's (Apache-2.0), the frames are rendered; only the style is taken
from a clip (`mead`), as a style code.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from vast_cli.pipeline.options import RenderOptions
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest

CLIP = "video/mead/{}"
STRENGTH = 1.2


def sentence(shared: Path, folder: Path) -> Path:
    """A sentence of the synthetic corpus, from a voice that no network was trained on."""
    labels = np.load(shared / "speech" / "kokoro.npz")
    rows = np.flatnonzero((labels["split"] == "test") & (labels["length"] > 16000 * 4) & (labels["length"] < 16000 * 8))
    row = rows[0]
    audio, rate = soundfile.read(
        shared / "speech" / "kokoro" / f"kokoro_{labels['bundle'][row]:03d}.opus", dtype="float32"
    )
    start, length = int(labels["start"][row]), int(labels["length"][row])
    target = folder / "sentence.wav"
    soundfile.write(target, audio[start : start + length], rate)
    return target


def main(shared: Path, clip: str) -> None:
    """Render the clip."""
    with tempfile.TemporaryDirectory() as folder:
        request = RenderRequest(
            audio=sentence(shared, Path(folder)),
            avatar="obama",
            prompt=shared / CLIP.format(clip),
            output=Path(__file__).with_name("prompt.mp4"),
            overwrite=True,
            options=RenderOptions(style_strength=STRENGTH, max_exaggeration=1.5, seed=7),
        )
        print(render(request).document())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "mead_M030_happy_l3.mp4")
