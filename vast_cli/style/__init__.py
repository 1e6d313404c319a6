"""Style: what a prompt says about how to speak, and the space it lies in (paper 3.1, 3.2)."""

from vast_cli.style.space import StyleModel, draw, draw_prior, encode_style, interpolate, load_style_model, mix

__all__ = ["StyleModel", "draw", "draw_prior", "encode_style", "interpolate", "load_style_model", "mix"]
