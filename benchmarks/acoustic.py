"""The acoustic network on test audio: table of accuracies, confusion matrix and accuracy of each phone as an image."""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from vast_cli.core.arrays import Float32, Image, Int64
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.media import load_audio, write_png
from vast_cli.speech import CLASSES, AcousticModel, extract_ppg, load_acoustic_model
from vast_cli.store import assets
from vast_cli.training.acoustic.corpus import utterance_audio
from vast_cli.training.acoustic.effects import add_noise
from vast_cli.training.acoustic.scores import CHANNELS, evaluate_acoustic

FONT, DARK, BAR = cv2.FONT_HERSHEY_SIMPLEX, (40, 50, 60), (50, 110, 170)


def plot_confusion(confusion: Int64) -> Image:
    """Rows are true phones, columns predicted ones, dark is often; at the right the share of each that is right."""
    cell, edge, bars = 22, 46, 260
    share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    n = len(CLASSES)
    image = np.full((edge + n * cell + 10, edge + n * cell + bars, 3), 255, np.uint8)
    for i, name in enumerate(CLASSES):
        y, x = edge + i * cell, edge + n * cell + 16
        cv2.putText(image, name, (6, y + 16), FONT, 0.42, DARK, 1, cv2.LINE_AA)
        cv2.putText(image, name, (edge + i * cell, edge - 8), FONT, 0.32, DARK, 1, cv2.LINE_AA)
        for j in range(n):
            shade = int(255 * (1 - share[i, j] ** 0.5))
            corner = (edge + (j + 1) * cell - 1, y + cell - 1)
            cv2.rectangle(image, (edge + j * cell, y), corner, (shade, shade, shade), -1)
        cv2.rectangle(image, (x, y + 4), (x + int(150 * share[i, i]), y + cell - 4), BAR, -1)
        text = f"{100 * share[i, i]:.0f} % of {confusion[i].sum()}"
        cv2.putText(image, text, (x + 156, y + 16), FONT, 0.34, DARK, 1, cv2.LINE_AA)
    return image


def print_languages(model: AcousticModel, corpus: Path) -> None:
    """How sure the network is of other languages: entropy of speech frames, share of silence; no labels."""
    recordings: dict[str, list[Float32]] = {}
    with (corpus / "multi" / "index.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            recordings.setdefault(row["lang"], []).append(load_audio(corpus / "multi" / row["file"]))
    recordings["en"] = [audio for _, audio in utterance_audio(corpus, "libri", "test")]
    rng = np.random.default_rng(0)
    print(f"{'language':10}{'seconds':>10}{'entropy, nats':>16}{'silence':>10}{'same with 20 dB noise':>24}")
    for language, clips in recordings.items():
        values = [extract_ppg([clip], model).values for clip in clips]
        noisy = np.concatenate([extract_ppg([add_noise(clip, 20.0, rng)], model).values for clip in clips])
        p = np.concatenate(values)
        best = p.argmax(axis=1)
        entropy = -(p * np.log(np.maximum(p, 1e-9))).sum(axis=1)[best != 0].mean()
        same = (noisy.argmax(axis=1) == best).mean()
        print(f"{language:10}{len(p) / 50:10.0f}{entropy:16.2f}{(best == 0).mean():10.2f}{same:24.2f}")


def print_speed(model: AcousticModel, minutes: int = 10) -> None:
    """Times real time on one thread, features included."""
    torch.set_num_threads(1)
    audio = np.random.default_rng(0).normal(0, 0.05, 60 * minutes * SAMPLE_RATE).astype(np.float32)
    best = min(_seconds(lambda: extract_ppg([audio], model)) for _ in range(3))
    print(f"speed on one thread: {60 * minutes / best:.0f} x real time")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/speech"))
    parser.add_argument("--weights", type=Path, help="the shipped ones if not given")
    parser.add_argument("--timit", type=Path, help="folder of TIMIT sentences with hand labels (`nltk` has 160)")
    parser.add_argument("--picture", type=Path, default=Path("build/confusion.png"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_acoustic_model(args.weights or assets.find("acoustic"))
    table, confusion = evaluate_acoustic(model, args.corpus, timit=args.timit)
    print(f"{'test':10}{'channel':12}{'all':>8}{'speech':>8}{'merged':>8}{'speech, merged':>16}")
    for name, rows in table.items():
        for channel in CHANNELS:
            s = rows[channel]
            print(f"{name:10}{channel:12}{s['all']:8.3f}{s['speech']:8.3f}{s['merged']:8.3f}{s['speech_merged']:16.3f}")
    print_languages(model, args.corpus)
    print_speed(model)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(args.picture, plot_confusion(confusion))
    print(f"confusions: {args.picture}")
    if args.json:
        args.json.write_text(json.dumps({"scores": table, "confusion": confusion.tolist()}))


if __name__ == "__main__":
    main()
