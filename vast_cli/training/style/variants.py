"""Variants of the style model for the paper's tables: modules taken away step by step (Table 3), and two baselines.

Each variant of Table 3 lacks what the one before it lacks, as in the paper. They are trained by the same command:
`vast train style --variant NAME`; the file tells which one it holds, and everything reads it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest

if TYPE_CHECKING:
    from vast_cli.training.style.train import StyleTrainingSettings

VARIANTS = {
    "vast": "the paper's model with moments, what ships",
    "no-flow": "without the Householder flow: a diagonal posterior (Table 3, w/o HF)",
    "no-enhancer": "and without E^v: the style is the encoder's mean, no KL (w/o E^v)",
    "no-style": "and without s: nothing of the prompt reaches D (w/o s)",
    "no-ar": "and without D^ar: D^nar predicts all components (w/o D^ar)",
    "style-avatar": "as StyleAvatar [50]: s is level and spread of the prompt alone, no latent z",
    "nvp": "as Neural Voice Puppetry [38]: audio alone, one network, squared error",
}


def with_variant(settings: "StyleTrainingSettings", name: str) -> "StyleTrainingSettings":
    """Settings of a variant.

    Raises:
        VastError: `vast_option_invalid` for a name that is none.
    """
    if name not in VARIANTS:
        raise VastError("vast_option_invalid", f"no variant `{name}`", hint=suggest(name, VARIANTS))
    order = ("no-flow", "no-enhancer", "no-style", "no-ar")
    removed = set(order[: order.index(name) + 1]) if name in order else set()
    if name == "nvp":
        removed = set(order)
    weights, style, expression = settings.weights, settings.style, settings.expression
    if "no-flow" in removed:
        style = replace(style, n_reflections=0)
    if "no-enhancer" in removed:
        weights = replace(weights, kl=0.0)
    if "no-style" in removed:
        expression = replace(expression, uses_latent=False, uses_moments=False)
        weights = replace(weights, arrive=0.0, arrive_weak=0.0)
    if "no-ar" in removed:
        expression = replace(expression, autoregressive=False)
    if name == "style-avatar":
        expression = replace(expression, uses_latent=False)
    if name == "nvp":
        # squared error of the mesh alone: no asymmetry, no terms for lips, spread and the level of a style
        weights = replace(
            weights, under=1.0, lips=0.0, gap=0.0, follow=0.0, shape=0.0, closure=0.0, spread=0.0, moments=0.0
        )
    return replace(settings, variant=name, weights=weights, style=style, expression=expression)


def samples_style(name: str) -> bool:
    """Whether the variant has the variational part: a sampled posterior, and motion that the audio does not explain."""
    return name in ("vast", "no-flow")
