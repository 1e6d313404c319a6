"""The record of a style map: codes, their projections to the plane, and figures of how far labels lie apart."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.styles.codes import StyleCodes
from vast_cli.evaluate.styles.separation import Separation

SCHEMA = "vast.style_map/1"


@dataclass(frozen=True)
class Projection:
    """One run of t-SNE."""

    seed: int
    kl: float  # remaining divergence
    xy: Float64  # [n, 2]


@dataclass(frozen=True)
class StyleMap:
    """Everything that a map shows."""

    codes: StyleCodes
    perplexity: float
    runs: list[Projection]  # of the enhanced codes, the lowest divergence first
    others: dict[str, Projection]  # of the other embeddings, the best of the seeds
    figures: dict[str, dict[str, Separation]]  # embedding -> figure
    seed: int
    window_s: float | None

    def document(self) -> dict[str, Any]:
        """The map as JSON."""
        items = self.codes.items
        shown = self.runs[0]
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "n_codes": len(items),
            "n_clips": len({item.path for item in items}),
            "n_sources": len({item.source for item in items}),
            "n_speakers": len({item.speaker for item in items} - {""}),
            "labels": dict(sorted(Counter(item.label for item in items).items())),
            "window_s": self.window_s,
            "speech": self.codes.speech,
            "tsne": {
                "perplexity": self.perplexity,
                "shown": shown.seed,
                "runs": [{"seed": run.seed, "kl": run.kl} for run in self.runs],
            },
            "embeddings": {
                name: {figure: asdict(value) for figure, value in row.items()} for name, row in self.figures.items()
            },
            "codes": [
                {
                    "path": str(item.path),
                    "label": item.label,
                    "speaker": item.speaker or None,
                    "source": item.source,
                    "start_s": item.start_s,
                    "x": round(float(x), 3),
                    "y": round(float(y), 3),
                }
                for item, (x, y) in zip(items, shown.xy, strict=True)
            ],
            "warnings": self.codes.warnings,
        }
