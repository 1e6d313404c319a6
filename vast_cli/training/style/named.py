"""Make the named styles that ship: what the people of one mood or one kind of video have in common.

    python -m vast_cli.training.style.named --corpus ../shared/data/video [--work build] [--output presets/styles]

`mixed_model` takes what a label does out of the styles of all people under all labels (`samples`). A label ships if
several people show it and the styles made from the others tell them better than chance: what ships is nobody's own
style. Styles, cards and the README of the folder are written together.
"""

import argparse
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli.core import files
from vast_cli.core.arrays import Float64
from vast_cli.core.errors import VastError
from vast_cli.core.text import counted, duration
from vast_cli.records import Style
from vast_cli.store import style_cards, styles
from vast_cli.store.style_cards import StyleCard
from vast_cli.style import load_style_model, mix_styles
from vast_cli.training.style.mixed_model import Design, LabelEffects, chance_of_ranks, label_effects
from vast_cli.training.style.samples import EMOTION, GENRE, LABELS, Sample, encode_samples

LEAST_PEOPLE = {EMOTION: 2, GENRE: 3}  # actors show several emotions, so that their own part is known
SIGNIFICANT = 0.05  # chance that a label which means nothing would be told as well
PREVIEW = "preview.jpg"  # of `examples/make_style_previews.py`


@dataclass(frozen=True)
class Verdict:
    """Whether a label ships.

    Attributes:
        label: its name.
        people: who show it.
        recognised: people, see `StyleCard`.
        follow: slope of left-out people on the style, see `LabelEffects`.
        fault: why it does not ship; None if it does.
    """

    label: str
    people: int
    recognised: int
    follow: float
    fault: str | None = None


def estimate(samples: Sequence[Sample]) -> LabelEffects:
    """What each label does."""
    vectors: Float64 = np.stack([sample.style.vector for sample in samples]).astype(np.float64)
    design = Design(
        people=[sample.person for sample in samples],
        labels=[sample.label for sample in samples],
        kinds={name: label.kind for name, label in LABELS.items()},
    )
    return label_effects(vectors, design)


def judge(samples: Sequence[Sample], effects: LabelEffects) -> list[Verdict]:
    """Which labels ship, and why others do not."""
    verdicts = []
    for name in LABELS:
        ranks = effects.rank[[sample.label == name for sample in samples]]
        least, fault = LEAST_PEOPLE[LABELS[name].kind], None
        if len(ranks) < least:
            fault = f"{len(ranks)} of {least} people at least"
        elif chance_of_ranks(ranks, effects.n_labels) > SIGNIFICANT:
            fault = "people are not told better than by chance"
        follow = effects.follow.get(name, math.nan)
        verdicts.append(Verdict(name, len(ranks), int((ranks == 0).sum()), follow, fault))
    return verdicts


def style_of(name: str, vector: Float64, samples: Sequence[Sample]) -> Style:
    """The style of a label: its vector; how sure it is, as that of the person who was seen longest."""
    members = [sample.style for sample in samples if sample.label == name]
    mixed = mix_styles(members, [member.n_frames for member in members])
    s = vector.astype(np.float32)
    return dataclasses.replace(
        mixed, vector=s, moments=s[len(mixed.mean) :], source=f"{name}: mean of {len(members)} people"
    )


def write_styles(samples: Sequence[Sample], output: Path) -> list[Verdict]:
    """Write styles, cards and README into a folder; styles of an earlier run that do not ship any more are removed.

    Raises:
        VastError: `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    effects = estimate(samples)
    verdicts = judge(samples, effects)
    cards: dict[str, StyleCard] = {}
    for verdict in verdicts:
        path = output / f"{verdict.label}{styles.SUFFIX}"
        if verdict.fault is not None:
            path.unlink(missing_ok=True)
            continue
        record = style_of(verdict.label, effects.vectors[verdict.label], samples)
        record.save(path)
        cards[verdict.label] = _card(verdict, samples, path, record.model_hash, 1 / effects.n_labels)
    style_cards.write_cards(output, cards)
    with files.atomic_write(output / "README.md") as part:
        part.write_text(readme(cards), encoding="utf-8")
    return verdicts


def _card(verdict: Verdict, samples: Sequence[Sample], path: Path, model_hash: str, chance: float) -> StyleCard:
    clips = [clip for sample in samples if sample.label == verdict.label for clip in sample.clips]
    return StyleCard(
        description=LABELS[verdict.label].description,
        sha256=files.sha256(path),
        model_hash=model_hash,
        people=verdict.people,
        clips=len(clips),
        seconds=round(sum(clip.seconds for clip in clips), 1),
        sets=dict(Counter(clip.set for clip in clips).most_common()),
        licences=dict(Counter(clip.licence for clip in clips).most_common()),
        recognised=verdict.recognised,
        chance=round(chance, 4),
    )


README = """# Styles

Named styles: `vast render --style happy`, `vast styles list`, `vast styles show happy`. `vast styles mix` makes others.

Each is what the people of one mood or one kind of video have in common, nobody's own style: a linear mixed model takes
apart what the label does and what people are like (`vast_cli/training/style/mixed_model.py`). The clips are those that
the style model was trained on. *Recognised*: people whose own style is nearest to this one of all, when it is made
without them. Emotions of one person, genres of fewer than three, and what is told no better than by chance do not
ship.

{preview}| style | what it is | people | clips | footage | from sets | recognised (by chance) |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

Genres come from few sources each, so a style holds something of its source as well: light, distance, language.
Emotions are acted, most of them by few people; where they differ, the style is weaker than each of them
(`--style-strength 1.5`). `sad` is close to crying: the mouth is drawn wide, not down.

## Licences of the footage, as found

The files hold no face, voice or frame: each is a vector of some hundred numbers. Part of the footage is for research
only or of unclear rights.

{licences}

Made by `python -m vast_cli.training.style.named --corpus ../shared/data/video` with style model {model_hash};
`cards.json` holds the same for programs.
"""


def readme(cards: Mapping[str, StyleCard]) -> str:
    """The page of the folder."""
    rows = [
        f"| `{name}` | {card.description} | {card.people} | {card.clips} | {duration(card.seconds)} | "
        f"{', '.join(f'{one} {count}' for one, count in card.sets.items())} | "
        f"{card.recognised} of {card.people} ({card.chance * card.people:.1f}) |"
        for name, card in cards.items()
    ]
    licences = [
        f"- `{name}`: " + "; ".join(f"{counted(count, 'clip')}: {licence}" for licence, count in card.licences.items())
        for name, card in cards.items()
    ]
    hashes = {card.model_hash for card in cards.values()}
    return README.format(
        preview=f"![each style on the avatar obama]({PREVIEW})\n\n",
        rows="\n".join(rows),
        licences="\n".join(licences),
        model_hash=", ".join(sorted(hashes)) or "(none)",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the styles and print which ship."""
    parser = argparse.ArgumentParser(prog="python -m vast_cli.training.style.named", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of clips with its index.csv")
    parser.add_argument("--work", type=Path, default=Path("build"), help="work folder of `vast train style`")
    parser.add_argument("--output", type=Path, default=styles.shipped_folder(), help="folder of styles and cards")
    options = parser.parse_args(arguments)
    model = load_style_model()
    samples = encode_samples(options.corpus, options.work, model)
    for verdict in write_styles(samples, options.output):
        fate = "ships" if verdict.fault is None else f"left out: {verdict.fault}"
        print(
            f"{verdict.label:13s} {verdict.people:3d} people, {verdict.recognised:2d} recognised, "
            f"left-out people follow {verdict.follow:.2f}: {fate}"
        )


if __name__ == "__main__":
    try:
        main()
    except VastError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")
