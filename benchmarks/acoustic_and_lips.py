"""Gain of a better posteriorgram: one style model recipe on several acoustic networks, lips of held-out clips.

    python benchmarks/acoustic_and_lips.py --corpus ../shared/data --tracks build/tracks EARLY.safetensors ...

Of each network: speech frames right on LibriSpeech test speakers (near vowels merged), then Pearson's r of the lip gap
as in `benchmarks/lips.py`, with a style model trained by the shipped recipe (about 25 minutes on one core each).
"""

import argparse
from pathlib import Path

import lips
import numpy as np
import torch

from vast_cli.expression import load_expression_model
from vast_cli.face.model import FaceModel
from vast_cli.speech import load_acoustic_model
from vast_cli.speech.filterbank import log_mel
from vast_cli.style import load_style_model
from vast_cli.training.acoustic.scores import accuracies, classify, labelled_audio
from vast_cli.training.style.train import StyleData, StyleTrainingSettings, train_style


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tracks", type=Path, default=Path("build/tracks"))
    parser.add_argument("--work", type=Path, default=Path("build/acoustic_and_lips"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--steps", type=int, default=3600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    face = FaceModel.load(options.weights / "face_model.safetensors")
    for path in options.networks:
        network = load_acoustic_model(path)
        pairs = [(classify(network, log_mel(a)), y) for a, y in labelled_audio(options.corpus / "speech", "libri")]
        figure = accuracies(*(np.concatenate(part) for part in zip(*pairs, strict=True)))["speech_merged"]
        style = options.work / f"style-{network.hash}.safetensors"
        if not style.exists():
            data = StyleData(options.corpus / "video", tracks=options.tracks, acoustic=path)
            train_style(data, style, StyleTrainingSettings(steps=options.steps), work=options.work / network.hash)
        models = lips.LipModels(face, load_style_model(style), load_expression_model(style))
        clips = lips.load(options.corpus / "video", options.tracks, path, models, raw=False)
        rows = [lips.measure(clip, clips, models) for clip in clips]
        print(f"\n{path}: {figure:.3f} of the speech frames of libri right")
        lips.print_table(rows)


if __name__ == "__main__":
    main()
