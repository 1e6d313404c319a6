"""Make presets/styles/preview.jpg: the example audio in each shipped style, spoken by the avatar obama.

    python examples/make_style_previews.py [--avatar obama] [--output presets/styles/preview.jpg]

One row a style, moments of the same audio in the columns. All frames are rendered by this project.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vast_cli import Pipeline, media
from vast_cli.core.arrays import Image as Frame
from vast_cli.evaluate import drawing
from vast_cli.records import FaceTrack
from vast_cli.store import style_cards, styles

AUDIO = Path(__file__).resolve().parent / "speech.flac"
N_MOMENTS = 6  # columns
SIZE = 144  # pixels of a face
FACE = 18.0  # canonical units that a face is wide and high
NAME_WIDTH = 120  # pixels, left of each row
QUALITY = 80  # of the JPEG


def render(vast: Pipeline, style: Path | None, avatar: str, output: Path) -> Path:
    """The example's audio in a style; without one, in the avatar's own."""
    vast.render(AUDIO, avatar, style=style, output=output, crf=12)
    return output


def row(name: str, video: Path, track: FaceTrack) -> list[Frame]:
    """The name of a style, and faces of a video in it. The head moves alike in all of them, as `track` says."""
    label = np.full((SIZE, NAME_WIDTH, 3), 255, np.uint8)
    drawing.draw_text(label, name, (NAME_WIDTH // 2, SIZE // 2), 15, colour=(40, 40, 40), anchor="m")
    moments = np.linspace(0, track.n_frames - 1, N_MOMENTS + 2)[1:-1].round().astype(int)
    with media.VideoReader(video) as reader:
        return [label, *(face(frame, track, k) for k, frame in enumerate(reader) if k in moments)]


def face(frame: Frame, track: FaceTrack, k: int) -> Frame:
    """The face of a frame, upright and of one size."""
    x, y, half = (float(value) for value in (*track.translation[k, :2], track.scale[k] * FACE / 2))
    box = (x - half, y - half, x + half, y + half)
    return np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box))


def main() -> None:
    """Render, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", default="obama")
    parser.add_argument("--output", type=Path, default=styles.shipped_folder() / "preview.jpg")
    options = parser.parse_args()
    vast = Pipeline(threads=1)
    cards = style_cards.read_cards(styles.shipped_folder())
    with tempfile.TemporaryDirectory() as folder:
        own = render(vast, None, options.avatar, Path(folder) / "own.mp4")
        track = vast.extract(own)
        rows = [row("avatar's own", own, track)]
        for name in cards:
            style = styles.shipped_folder() / f"{name}{styles.SUFFIX}"
            rows.append(row(name, render(vast, style, options.avatar, Path(folder) / f"{name}.mp4"), track))
    sheet = np.vstack([np.hstack(cells) for cells in rows])
    Image.fromarray(sheet).save(options.output, quality=QUALITY, optimize=True)
    print(f"{options.output}: {len(rows)} rows, {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
