"""Make docs/demo.webp, the moving image of the README: a prompt, the example in its style, and in the avatar's own.

    python examples/make_demo.py

All frames are rendered by this project.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vast_cli import media
from vast_cli.core.arrays import Image as Frame
from vast_cli.evaluate import drawing

EXAMPLES = Path(__file__).resolve().parent
TARGET = EXAMPLES.parent / "docs" / "demo.webp"
SIZE = 224  # pixels of each video
EVERY = 2  # frames: 12.5 a second
BAR = 28  # pixels, under each video
QUALITY = 55  # of WebP; 4 s are 1 MB


def render(output: Path, *options: str) -> Path:
    """The example audio spoken by the example avatar."""
    command = [sys.executable, "-m", "vast_cli", "render", "--audio", str(EXAMPLES / "speech.flac"), *options]
    subprocess.run([*command, "-o", str(output)], check=True)
    return output


def tile(frame: Frame, label: str) -> Frame:
    """One video's frame over its label."""
    tile_image = np.full((SIZE + BAR, SIZE, 3), 255, np.uint8)
    tile_image[:SIZE] = np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    drawing.draw_text(tile_image, label, (SIZE // 2, SIZE + BAR // 2), 15, colour=(40, 40, 40), anchor="m")
    return tile_image


def main() -> None:
    """Render, join, write."""
    prompt = EXAMPLES / "prompt.mp4"
    with tempfile.TemporaryDirectory() as folder:
        videos = {
            "style video": prompt,
            "audio in its style": render(Path(folder) / "style.mp4", "--prompt", str(prompt)),
            "in the avatar's own": render(Path(folder) / "own.mp4"),
        }
        rows = [
            [tile(frame, label) for k, frame in enumerate(media.VideoReader(path)) if k % EVERY == 0]
            for label, path in videos.items()
        ]
    frames = [Image.fromarray(np.hstack(tiles)) for tiles in zip(*rows, strict=False)]
    frames[0].save(
        TARGET, save_all=True, append_images=frames[1:], duration=40 * EVERY, loop=0, quality=QUALITY, method=6
    )
    print(f"{TARGET}: {len(frames)} frames, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
