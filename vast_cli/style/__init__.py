"""Speaking style of a prompt, and the style space (paper 3.1, 3.2)."""

from vast_cli.style.space import (
    StyleModel,
    encode_style,
    interpolate,
    load_style_model,
    mix,
    mix_styles,
    person_part,
    sample,
    sample_prior,
)

__all__ = [
    "StyleModel",
    "encode_style",
    "interpolate",
    "load_style_model",
    "mix",
    "mix_styles",
    "person_part",
    "sample",
    "sample_prior",
]
